"""The journal knows the masks of every step of a trainer; what a rewind of data order is there."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events, create_supervised_trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sleepengine as se


class Rig:
    """A trainer over a loader whose order the sampler decides."""

    def __init__(self, *rules: se.Rule) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1, momentum=0.9)
        x = torch.randn(24, 4)
        self.sampler = se.ResumableSampler(24, batch_size=4, seed=3)
        self.loader = DataLoader(
            TensorDataset(x, x[:, :2]), batch_sampler=self.sampler, generator=self.sampler.generator
        )
        self.trainer = create_supervised_trainer(self.model, self.optimizer, nn.functional.mse_loss)
        self.seen: list[list[float]] = []
        self.masks: dict[int, dict[str, torch.Tensor]] = {}
        self.trainer.add_event_handler(Events.ITERATION_STARTED, self._look)
        self.engine = se.SleepEngine(self.model, self.optimizer, rules, sampler=self.sampler)
        self.engine.attach(self.trainer)
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, self._note)
        self.sampler.attach(self.trainer)

    def _look(self, trainer) -> None:
        self.seen.append(trainer.state.batch[0][:, 0].tolist())

    def _note(self, trainer) -> None:
        self.masks[trainer.state.iteration] = {
            name: self.engine.get_sleep_state(name).awake.clone() for name in self.engine.scope
        }


def moving() -> list[se.Rule]:
    return list(se.recipes.set_(0.5, interval="3it", end="15it"))


def test_the_journal_knows_the_masks_of_every_step_and_replays_them():
    rig = Rig(*moving())
    rig.trainer.run(rig.loader, max_epochs=3)
    assert len({str(masks) for masks in rig.masks.values()}) >= 3
    for step, wanted in rig.masks.items():
        held = rig.engine.journal.masks_at(step)
        for name, mask in wanted.items():
            assert torch.equal(held.awake(name), mask), (step, name)


def test_the_data_order_of_a_running_trainer_is_not_rewound_and_nothing_else_then():
    back = se.Rule(se.once("9it"), None, se.Rewind("init", data=True))
    rig, plain = Rig(*moving(), back), Rig(*moving())
    with pytest.raises(se.SleepError, match="cannot be set to 0 batches after 9 iterations"):
        rig.trainer.run(rig.loader, max_epochs=3)
    plain.trainer.run(plain.loader, max_epochs=3)
    assert rig.seen == plain.seen[:9]


def test_between_two_runs_it_is():
    rig = Rig()
    rig.engine.detach()
    engine = se.SleepEngine(rig.model, rig.optimizer, sampler=rig.sampler, keep=("init",))
    with engine.attach(rig.trainer):
        rig.trainer.run(rig.loader, max_epochs=2)
    rig.sampler.detach()
    engine.fire(se.Rule(se.once("0it"), None, se.Rewind("init", data=True)))
    assert rig.sampler.position == (0, 0)
    rig.sampler.attach(rig.trainer)
    rig.trainer.run(rig.loader, max_epochs=2)
    assert rig.seen[12:] == rig.seen[:12]


def test_without_it_the_data_go_on():
    back = se.Rule(se.once("9it"), None, se.Rewind("init", data=False))
    rig, plain = Rig(*moving(), back), Rig(*moving())
    rig.trainer.run(rig.loader, max_epochs=3)
    plain.trainer.run(plain.loader, max_epochs=3)
    assert rig.seen == plain.seen


def test_a_rewind_of_data_needs_a_sampler():
    model = nn.Linear(2, 2)
    back = se.Rule(se.once("9it"), None, se.Rewind("init", data=True))
    with pytest.raises(se.SetupError, match="rewinds the data order; give sampler="):
        se.SleepEngine(model, torch.optim.SGD(model.parameters(), 0.1), [back])
