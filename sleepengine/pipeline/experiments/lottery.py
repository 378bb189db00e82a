"""The lottery ticket experiment: how the network of each arm and level begins.

Level 0 is the dense network. Level k of the ticket takes the network with which level k - 1 ended,
fires the rules of `each_level` as one transaction (sleep some, rewind the rest) and trains again on
a clock of its own. Its controls at level k:

    random_reinit   the ticket's masks of level k on weights drawn anew
    random_mask     random masks, with the ticket's count in every tensor, on the original weights

All arms and levels of a seed see the same batches in the same order: batch i is a function of
(seed, i), so a control differs from its ticket in nothing but what its name says. After a rewind to
a later point ("500it") with its LR schedule every arm of the level begins at that step. Rules that
do not rewind the schedule leave the learning rate where it ended (fine-tuning).

Source: Frankle and Carbin 2019; Frankle et al. 2020; Renda et al. 2020.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from schedules import Clock
from schedules.time import Time
from sleepengine.actions.rewind import Rewind
from sleepengine.errors import SetupError, SleepError
from sleepengine.masks.store import MaskStore
from sleepengine.pipeline import build
from sleepengine.pipeline.experiments.jobs import RANDOM_REINIT, TICKET, Job
from sleepengine.pipeline.parts import Parts
from sleepengine.pipeline.training.network import Network, State, make, masks_of
from sleepengine.rules.rule import Rule


def begin(parts: Parts, job: Job, ticket: State | None) -> Network:
    """The network of a job before its first step; `ticket` is how the seed's ticket stands."""
    if job.level == 0 or ticket is None:
        return make(parts, job.seed)
    rules = build.level_rules(parts.config)
    if job.arm == TICKET:
        network = make(parts, job.seed)
        network.load_state_dict(ticket)
        network.engine.restart()
        network.engine.fire(*rules)
    else:
        network = _control(parts, job, ticket, rules)
    network.start = start_step(rules, parts)
    network.schedule_runs = _rewinds_schedule(rules) or network.scheduler is None
    network.engine.time.iteration = network.start
    return network


def _control(parts: Parts, job: Job, ticket: State, rules: Sequence[Rule]) -> Network:
    if job.arm == RANDOM_REINIT:
        network = make(parts, job.seed, weights=job.seed_of("weights"))
    else:
        network = make(parts, job.seed)
    engine = network.engine
    masks = masks_of(ticket, engine.store)
    engine.set_masks(masks if job.arm == RANDOM_REINIT else random_masks(masks, job))
    check_counts(engine.store, masks, job)
    if start_step(rules, parts):
        live = engine.live
        live.kept.replace(live.kept.check(ticket["engine"]["kept_points"], live))
        engine.fire(*(_same_start(rule, job) for rule in rules if isinstance(rule.what, Rewind)))
    return network


def _same_start(rule: Rule, job: Job) -> Rule:
    """The ticket's rewind; weights that were drawn anew stay, with optimizer state of their own."""
    if job.arm != RANDOM_REINIT or not isinstance(rule.what, Rewind):
        return rule
    only = Rewind(rule.what.to, weights=False, buffers=False, optimizer=False)
    return Rule(rule.when, None, only, name=rule.name)


def start_step(rules: Sequence[Rule], parts: Parts) -> int:
    """The step to which the rules take the clock back: 0, or that of a kept point such as "500it".

    Raises:
        SetupError: the kept point is not inside the training.
    """
    steps = [0]
    for rule in rules:
        action = rule.what
        if isinstance(action, Rewind) and action.schedule and action.to not in ("init", "fresh"):
            clock = Clock(0, parts.steps_per_epoch, parts.total_steps)
            steps.append(Time.parse(action.to).iterations(clock))
            if steps[-1] >= parts.total_steps:
                raise SetupError(
                    f"lottery: rewinds to {action.to!r} (step {steps[-1]}), but training has "
                    f"{parts.total_steps} steps"
                )
    return max(steps)


def _rewinds_schedule(rules: Sequence[Rule]) -> bool:
    return any(isinstance(rule.what, Rewind) and rule.what.schedule for rule in rules)


def check_draws(parts: Parts) -> None:
    """The arm random_reinit needs a model that can be drawn anew.

    Raises:
        SetupError: the model was given ready-made.
    """
    if not parts.draws:
        raise SetupError(
            "the arm random_reinit draws weights anew, but model= is a module: give a function "
            "of (data, seed) that makes it"
        )


def random_masks(like: MaskStore, job: Job) -> dict[str, Tensor]:
    """Masks (True = awake) with the count of `like` in every tensor, at random places.

    A pure function of the counts and the job; tensors that are wholly awake stay so.
    """
    masks: dict[str, Tensor] = {}
    for name in like.names():
        total = like.numel(name)
        awake = total - like.asleep_count(name)
        if awake == total:
            continue
        digest = hashlib.sha256(f"{job.seed_of('masks')}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        mask = torch.zeros(total, dtype=torch.bool)
        mask[torch.randperm(total, generator=generator)[:awake]] = True
        masks[name] = mask.reshape(like.shape(name))
    return masks


def check_counts(store: MaskStore, ticket: MaskStore, job: Job) -> None:
    """Every tensor must have as many weights awake as the ticket has at this level.

    Raises:
        SleepError: one has not.
    """
    for name in ticket.names():
        found, wanted = store.asleep_count(name), ticket.asleep_count(name)
        if found != wanted:
            raise SleepError(f"{job}: {name} has {found} weights asleep, the ticket {wanted}")
