"""The experiment task_masks: tasks one after another in one network, none of them forgotten.

The classes are split into tasks. After each task a share of the weights that it trained falls
asleep, the others are trained again and then frozen for good; the sleepers wake, at zero, for the
next task. The mask of a task is what was awake when it was done. In the end every task is tried
with its mask. Of the last layer, a row belongs to the task of its class. The control trains the
same network in the same order without any mask.

Source: Mallya and Lazebnik 2018 (arXiv:1711.05769), PackNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from saliency import Magnitude
from schedules import once
from sleepengine.actions.freeze import Freeze
from sleepengine.actions.sleep import Sleep
from sleepengine.actions.wake import Wake
from sleepengine.choosing import PerTensor, by
from sleepengine.errors import SetupError
from sleepengine.masks.mask_sets import MaskSets
from sleepengine.pipeline import build, build_masks
from sleepengine.pipeline.configuration.config import Config
from sleepengine.pipeline.experiments.jobs import Job
from sleepengine.pipeline.experiments.stages import Desk, Experiment
from sleepengine.pipeline.outcome import Outcome
from sleepengine.pipeline.parts import Parts
from sleepengine.pipeline.problems.sequence import Tasks, head_of
from sleepengine.rules.rule import Rule, Who

PACKED, CONTROL = "packnet", "finetune"


@final
class TaskMasksExperiment(Experiment):
    """A stage per seed and arm; a task is a level of the results."""

    def arms(self, config: Config) -> tuple[str, ...]:
        """With masks, and without."""
        return (PACKED, CONTROL)

    def jobs(self, parts: Parts, seeds: Sequence[int]) -> tuple[Job, ...]:
        """Both arms of every seed."""
        return tuple(Job(arm, seed) for seed in seeds for arm in (PACKED, CONTROL))

    def check(self, parts: Parts) -> None:
        """The model ends in one row per class, and there are tasks enough.

        Raises:
            SetupError: naming what is wrong.
        """
        head_of(parts.model(parts.config.seeds[0]), parts.memory.classes)
        classes = build_masks.task_masks(parts.config).classes
        if 2 * classes > parts.memory.classes:
            raise SetupError(
                f"task_masks: {parts.memory.classes} classes make no two tasks of {classes} each"
            )

    def carry_out(self, desk: Desk) -> Sequence[Outcome]:
        """All tasks in order, then all of them again."""
        tasks = Tasks.begin(desk)
        return _packed(tasks) if desk.job.arm == PACKED else _control(tasks)


def _packed(tasks: Tasks) -> list[Outcome]:
    """Every task sleeps, retrains and freezes; in the end each one has its mask back."""
    desk, body = tasks.desk, tasks.body
    share = build_masks.task_masks(desk.parts.config).share
    config = desk.parts.config
    small, keep, free = _rules(share, body)
    engine = build.engine(config, tasks.model, tasks.optimizer, seed=desk.job.seed)

    def awake() -> dict[str, float]:
        return {name: 1.0 - engine.store.fraction(name) for name in body}

    sets, then = MaskSets(), []
    with engine.attach():
        for level, own in enumerate(tasks.classes):
            tasks.train(level, again=False, awake=awake())
            engine.fire(small)
            tasks.train(level, again=True, awake=awake())
            sets[str(level)] = engine.store
            desk.folder.save_masks(Job(PACKED, desk.job.seed, level), engine.store)
            then.append(tasks.look(level))
            engine.fire(keep, free)
            for name in tasks.others:
                engine.freeze_weights(name)
            for name in tasks.head:
                engine.freeze_weights(name, own)
            tasks.settled = True
        rows = []
        for level, before in enumerate(then):
            masks = sets[str(level)]
            engine.set_masks(masks)
            rows.append(tasks.row(level, before, {name: masks[name] for name in body}))
    return rows


def _control(tasks: Tasks) -> list[Outcome]:
    """The same tasks for the same time, every weight trained by each of them."""
    whole = tasks.whole()
    awake = dict.fromkeys(whole, 1.0)
    then = []
    for level in range(len(tasks.classes)):
        for again in (False, True):
            tasks.train(level, again=again, awake=awake)
        then.append(tasks.look(level))
    return [tasks.row(level, before, whole) for level, before in enumerate(then)]


def _rules(share: float, body: Sequence[str]) -> tuple[Rule, Rule, Rule]:
    """What happens after the training of a task, and the two that happen after its retraining."""
    now, names = once("0it"), list(body)
    small = Who(Magnitude(), pools=PerTensor(), amount=by(share), params=names)
    everything = Who(amount=by(1.0), params=names)
    return (
        Rule(now, small, Sleep()),
        Rule(now, everything, Freeze()),
        Rule(now, everything, Wake("zero", "zero")),
    )
