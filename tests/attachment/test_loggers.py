"""Ignite's own handlers use the sparsity: loggers, progress bars, early stopping, checkpoints."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, EarlyStopping, ProgressBar, global_step_from_engine
from ignite.handlers.tensorboard_logger import OutputHandler, TensorboardLogger
from torch import nn

import sleepengine as se


class Rig:
    """A trainer whose network sleeps a quarter more after each of three epochs."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(4, 2)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1)
        self.loader = [(torch.randn(6, 4), torch.randn(6, 2)) for _ in range(5)]
        self.trainer = create_supervised_trainer(self.model, self.optimizer, nn.functional.mse_loss)
        amount = se.to(se.linear(0.25, 0.75))
        rule = se.Rule(
            se.every("1ep", before="3ep"), se.Who(se.Magnitude(), amount=amount), se.Sleep()
        )
        self.engine = se.SleepEngine(self.model, self.optimizer, [rule])
        self.engine.attach(self.trainer)
        self.evaluator = create_supervised_evaluator(self.model)
        se.Sparsity(self.engine).attach(self.evaluator, "sparsity")

    def evaluate(self, _: Engine) -> None:
        self.evaluator.run(self.loader, max_epochs=1)

    def run(self, epochs: int = 4) -> None:
        self.trainer.run(self.loader, max_epochs=epochs)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What an event file of TensorBoard holds: tag -> (step, value)."""
    from tensorboard.compat.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, float]]] = {}
    (path,) = folder.glob("events.*")
    data = path.read_bytes()
    while data:  # length, its checksum, the event, its checksum
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]
        for one in event.summary.value:
            value = one.simple_value or sum(one.tensor.float_val)
            found.setdefault(one.tag, []).append((event.step, round(value, 4)))
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_tensorboard_gets_the_metric_and_the_attributes_of_the_state(rig, tmp_path):
    pytest.importorskip("tensorboard")
    rig.trainer.add_event_handler(Events.EPOCH_COMPLETED, rig.evaluate)
    with TensorboardLogger(log_dir=str(tmp_path)) as logger:
        logger.attach(
            rig.evaluator,
            OutputHandler(
                "valid",
                metric_names=["sparsity"],
                global_step_transform=global_step_from_engine(rig.trainer),
            ),
            Events.EPOCH_COMPLETED,
        )
        logger.attach_output_handler(
            rig.trainer,
            Events.EPOCH_COMPLETED,
            tag="train",
            state_attributes=["sleep_fraction", "sleep_awake", "sleep_slept"],
        )
        rig.run()
    logged = scalars(tmp_path)
    assert logged["valid/sparsity"] == [(1, 0.25), (2, 0.5), (3, 0.75), (4, 0.75)]
    assert logged["train/sleep_fraction"] == [(1, 0.25), (2, 0.5), (3, 0.75), (4, 0.75)]
    assert logged["train/sleep_awake"] == [(1, 6.0), (2, 4.0), (3, 2.0), (4, 2.0)]
    assert logged["train/sleep_slept"] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 3.0)]


def test_a_progress_bar_shows_metric_and_attribute(rig, capsys):
    rig.trainer.add_event_handler(Events.EPOCH_COMPLETED, rig.evaluate)
    ProgressBar(persist=True).attach(rig.trainer, state_attributes=["sleep_fraction"])
    ProgressBar(persist=True).attach(
        rig.evaluator,
        metric_names=["sparsity"],
        event_name=Events.EPOCH_COMPLETED,
        closing_event_name=Events.COMPLETED,
    )
    rig.run(3)
    shown = capsys.readouterr().err
    assert "sleep_fraction=0.5" in shown
    assert "sparsity=0.25" in shown


def test_early_stopping_by_sparsity(rig):
    """Stop once nothing more has fallen asleep for two evaluations."""
    rig.trainer.add_event_handler(Events.EPOCH_COMPLETED, rig.evaluate)
    stop = EarlyStopping(
        patience=2, score_function=lambda e: e.state.metrics["sparsity"], trainer=rig.trainer
    )
    rig.evaluator.add_event_handler(Events.COMPLETED, stop)
    rig.run(20)
    assert rig.trainer.state.epoch == 5  # 0.75 came in the third epoch


def test_a_checkpoint_keeps_the_sparsest_and_names_it(rig, tmp_path):
    rig.trainer.add_event_handler(Events.EPOCH_COMPLETED, rig.evaluate)
    keeper = Checkpoint(
        {"model": rig.model, "sleep": rig.engine},
        str(tmp_path),
        n_saved=1,
        score_name="sparsity",
        score_function=Checkpoint.get_default_score_fn("sparsity"),
        global_step_transform=global_step_from_engine(rig.trainer),
    )
    rig.evaluator.add_event_handler(Events.COMPLETED, keeper)
    rig.run()
    (path,) = tmp_path.iterdir()
    assert path.name == "checkpoint_3_sparsity=0.7500.pt"
    again = Rig()
    Checkpoint.load_objects({"model": again.model, "sleep": again.engine}, str(path))
    assert again.engine.fraction() == 0.75
    assert torch.equal(again.model.weight, rig.model.weight) is False  # one epoch was trained since
    assert int((again.model.weight == 0).sum()) == 6


def test_checkpoints_by_an_attribute_of_the_trainers_state(rig, tmp_path):
    keeper = Checkpoint(
        {"model": rig.model},
        str(tmp_path),
        n_saved=None,
        score_name="asleep",
        score_function=lambda trainer: trainer.state.sleep_fraction,
    )
    rig.trainer.add_event_handler(Events.EPOCH_COMPLETED, keeper)
    rig.run()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model_asleep=0.2500.pt",
        "model_asleep=0.5000.pt",
        "model_asleep=0.7500.pt",
    ]


def test_the_metric_of_a_layer_and_of_all():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 4))
    engine = se.SleepEngine(model)
    engine.sleep_weights("0", (0, slice(None)))
    evaluator = create_supervised_evaluator(model)
    for name, layer in (("all", None), ("first", "0"), ("second", "1")):
        se.Sparsity(engine, layer).attach(evaluator, name)
    evaluator.run([(torch.zeros(1, 2), torch.zeros(1, 4))])
    assert evaluator.state.metrics == {"all": 2 / 12, "first": 0.5, "second": 0.0}


def test_the_metric_of_a_layer_that_is_not_there_is_told_when_it_is_made():
    engine = se.SleepEngine(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(se.UnknownNameError, match="no layer or parameter '1'"):
        se.Sparsity(engine, "1")
