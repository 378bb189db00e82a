"""Experiments with masks from configurations: what they write, and that it is true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sleepengine.errors import ConfigError, SetupError
from sleepengine.files import container
from sleepengine.masks.store import MaskStore
from sleepengine.pipeline import build, build_masks
from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.experiments.stages import StagedRunner
from sleepengine.pipeline.plan import plan
from sleepengine.pipeline.problems.bundle import Data, Scaling, Split
from sleepengine.pipeline.problems.questions import AtLeast, Label, Remainder, asked, one_task
from sleepengine.pipeline.resuming import resume
from sleepengine.pipeline.run_folder import RunFolder
from sleepengine.pipeline.running import run
from sleepengine.report.run_data import RunData

TRAIN = "train: {length: 4ep, batch_size: 16, optimizer: {Adam: {lr: 0.02}}}"
MASKS = f"""
name: masks
experiment: mask_training
model: {{mlp: {{sizes: [16]}}}}
{TRAIN}
seeds: [3]
mask_training:
  tasks: [Label, {{AtLeast: 2}}]
  length: 20ep
  optimizer: {{Adam: {{lr: 0.1}}}}
  alpha: 0.02
"""
SHORT = MASKS.replace("length: 20ep", "length: 3ep").replace("[3]", "[3, 1]")
SUPER = f"""
name: super
experiment: supermask
model: {{mlp: {{sizes: [48]}}}}
{TRAIN.replace("4ep", "12ep")}
supermask: {{asleep: [0.25, 0.5]}}
"""
TASKS = f"""
name: tasks
experiment: task_masks
model: {{mlp: {{sizes: [16]}}}}
{TRAIN}
task_masks: {{classes: 2, retrain: 2ep}}
"""


def blobs() -> Data:
    """Four classes of points: 80 to train on, 20 to validate, 40 to test."""
    generator = torch.Generator().manual_seed(5)
    y = torch.arange(140) % 4
    x = torch.randn(140, 6, generator=generator) + 3.0 * torch.eye(4, 6)[y]
    parts = [Split(x[a:b], y[a:b]) for a, b in ((0, 80), (80, 100), (100, 140))]
    return Data("blobs", *parts, (6,), 4, Scaling(1.0, 0.0, 1.0))


def rows(folder: Path, name: str = "results") -> list[dict[str, Any]]:
    lines = (folder / f"{name}.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


class TestQuestions:
    def test_every_sample_is_asked_every_question(self):
        data = blobs()
        several = asked(data, [Label(), Remainder(2), AtLeast(3)])
        assert several.input_shape == (9,)
        assert len(several.train) == 240
        for i, answers in enumerate((data.test.y, data.test.y % 2, (data.test.y >= 3).long())):
            own = one_task(several.test, i, 3)
            assert torch.equal(own.x[:, :6], data.test.x)
            assert own.x[:, 6:].unique(dim=0).tolist() == [[float(i == j) for j in range(3)]]
            assert torch.equal(own.y, answers)

    def test_the_same_question_twice_is_refused(self):
        with pytest.raises(SetupError, match=r"each must be another one, found \['odd', 'odd'\]"):
            asked(blobs(), [Remainder(2), Remainder(2)])
        with pytest.raises(SetupError, match="must be at least 2"):
            Remainder(1)


class TestMaskTraining:
    def test_rows_masks_and_shares(self, tmp_path):
        result = run(MASKS, out=tmp_path / "run", data=blobs(), progress=False)
        read = RunData.load(tmp_path / "run")
        arms = ("network", "all", "label", "at_least_2", "without_label", "without_at_least_2")
        assert (read.meta.arms, read.meta.experiment) == (arms, "mask_training")
        assert [(r.arm, r.seed) for r in read.results] == [(arm, 3) for arm in arms]
        by_arm = {r.arm: r for r in result.outcomes}
        network, both, label, large, *inverted = (by_arm[arm] for arm in arms)
        assert network.awake == 1.0 > both.awake
        assert network.tasks["label"] > 0.8
        assert label.tasks["label"] > 0.7 > label.tasks["at_least_2"]
        for task, complement in zip((label, large), inverted, strict=True):
            assert task.awake_count + complement.awake_count == task.maskable
            assert complement.test_accuracy < task.test_accuracy
        # Two tasks share the same weights whichever is asked.
        stores = [self.masks(tmp_path / "run", name) for name in ("label", "at_least_2")]
        same = sum(int((a & b).sum()) for a, b in zip(*stores, strict=True))
        any_ = sum(int((a | b).sum()) for a, b in zip(*stores, strict=True))
        assert label.shared == large.shared == pytest.approx(same / any_)
        assert {("all", 200), ("label", 100)} <= {(c.arm, c.step) for c in read.curves}

    def masks(self, folder: Path, arm: str) -> list[torch.Tensor]:
        config = load(MASKS)
        model = build.model(config, asked(blobs(), build_masks.questions(config)), 0)
        store = MaskStore({n: p.shape for n, p in model.named_parameters()})
        path = folder / "masks" / f"{arm}-s3-l0.masks"
        store.load_state_dict(container.read(path, kind="masks"))
        found = []
        for name in store.names():
            awake = store.awake(name)
            if name.endswith("weight"):
                found.append(torch.ones(store.shape(name)).bool() if awake is None else awake)
        return found


class TestSupermask:
    def test_masks_read_digits_that_weights_never_learned(self, tmp_path):
        result = run(SUPER, out=tmp_path / "run", data=blobs(), progress=False)
        learned, chance = result.of("supermask"), result.of("random_mask")
        assert [one.awake for one in (*learned, *result.of("supermask", level=1))] == [0.75, 0.5]
        assert chance[0].awake_count == learned[0].awake_count
        assert learned[0].test_accuracy > 0.75 > 0.5 > chance[0].test_accuracy
        assert {p.name for p in (tmp_path / "run" / "masks").iterdir()} == {
            "supermask-s0-l0.masks",
            "supermask-s0-l1.masks",
        }


class TestTaskMasks:
    def test_nothing_is_forgotten_to_the_bit_but_by_the_control(self, tmp_path):
        result = run(TASKS, out=tmp_path / "run", data=blobs(), progress=False)
        packed = [one for one in result.outcomes if one.arm == "packnet"]
        control = [one for one in result.outcomes if one.arm == "finetune"]
        assert [one.level for one in packed] == [one.level for one in control] == [0, 1]
        assert [one.unchanged for one in packed] == [True, True]
        assert [one.unchanged for one in control] == [False, True]
        assert all(one.test_accuracy == one.then_accuracy > 0.8 for one in packed)
        assert [one.awake for one in packed] == [0.5, 0.75]  # half, and half of the rest
        assert [one.maskable for one in packed] == [6 * 16] * 2  # the last layer is left out

    def test_models_and_classes_that_do_not_fit(self, tmp_path):
        def headless(data, seed):
            return torch.nn.Sequential(torch.nn.Linear(6, 3))

        with pytest.raises(
            SetupError, match="a row for each of 4 classes; rows of the last one: 3"
        ):
            run(TASKS, out=tmp_path / "run", data=blobs(), model=headless, progress=False)
        many = TASKS.replace("classes: 2", "classes: 3")
        with pytest.raises(SetupError, match="4 classes make no two tasks of 3 each"):
            run(many, out=tmp_path / "run", data=blobs(), progress=False)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "pulses"), [(SHORT, 140), (SUPER, 80), (TASKS, 45)], ids=["masks", "super", "tasks"]
)
def test_a_stage_that_was_cut_short_begins_anew_and_ends_the_same(
    text, pulses, tmp_path, monkeypatch
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(text, out=whole, data=blobs(), progress=False)
    stage, left = StagedRunner._stage, iter(range(pulses))

    class Impatient:
        @property
        def asked(self) -> bool:
            return next(left, None) is None

    with monkeypatch.context() as patch:
        patch.setattr(StagedRunner, "_stage", lambda self, job, _: stage(self, job, Impatient()))
        with pytest.raises(KeyboardInterrupt):
            run(text, out=cut, data=blobs(), progress=False)
    assert RunFolder.open(cut).meta["status"] == "interrupted"
    assert 0 < len(rows(cut)) < len(rows(whole))  # one stage is done, the next is in the middle
    assert resume(cut, data=blobs(), progress=False).status == "finished"
    for name in ("results", "curves"):
        assert rows(cut, name) == rows(whole, name)
    assert not (cut / "checkpoint.run").exists()


def test_plan_counts_stages():
    made = plan(MASKS, data=blobs())
    assert (made.experiment, made.networks, made.firings) == ("mask_training", 1, ())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("experiment: mask_training", "experiment: train"), "add that line or leave this out"),
        (("mask_training:", "supermask: {asleep: [0.5]}\nmask_training:"), "supermask: is for exp"),
        (("Label,", "Lable,"), "unknown task 'Lable'. Did you mean 'Label'"),
        (("AtLeast: 2", "AtLeast: two"), "bound"),
        (("tasks: [Label, {AtLeast: 2}]", "tasks: [Label]"), "must hold at least 2"),
        (("tasks: [Label, {AtLeast: 2}]", "tasks: [Label, Label]"), "'Label' is here twice"),
        (("alpha: 0.02", "alpha: -1.0"), "must be at least 0"),
        (("alpha: 0.02", "relaxation: {TopK: 1.5}"), "from 0 to below 1"),
        (("alpha: 0.02", "beta: 0.02"), "unknown key 'beta'"),
        (("length: 20ep", "length: 50%"), "share of the run; give its length"),
        (("mask_training:\n", "rules:\n  - {when: {once: 1ep}, what: Sleep}\nmask_training:\n"),
         "a mask_training has no rules"),
        (("experiment: mask_training", "experiment: task_masks"), "needs a key task_masks"),
    ],
)  # fmt: skip
def test_mistakes_have_a_line(change, said):
    with pytest.raises(ConfigError, match=r"<text>:\d+:\d+") as raised:
        load(MASKS.replace(*change))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "change", "said"),
    [
        (SUPER, ("[0.25, 0.5]", "[0.5, 0.25]"), "shares must rise"),
        (SUPER, ("[0.25, 0.5]", "[0.25, 1.0]"), "from 0 to below 1, found 1.0"),
        (SUPER, ("[0.25, 0.5]", "0.5"), "must be a list"),
        (TASKS, ("classes: 2", "classes: 0"), "must be at least 1"),
        (TASKS, ("retrain: 2ep", "share: 0.5"), "needs 'retrain'"),
        (
            TASKS,
            ("batch_size: 16", "lr_schedule: {StepLR: {step_size: 1ep}}"),
            "same learning rate",
        ),
    ],
)
def test_mistakes_in_the_other_sections(text, change, said):
    with pytest.raises(ConfigError, match=r"<text>:\d+:\d+") as raised:
        load(text.replace(*change))
    assert said in str(raised.value)


def test_a_section_of_another_experiment_is_not_there():
    with pytest.raises(SetupError, match="experiment supermask has other settings"):
        build_masks.mask_training(load(SUPER))
