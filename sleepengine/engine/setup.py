"""What the engine is built from, and every gap found before anything changes, in one error."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from schedules.time import Time
from sleepengine import names as naming
from sleepengine.actions.initialise import check_initialiser
from sleepengine.actions.kept_points import PARTS, KeptPoints
from sleepengine.actions.live import Initialiser, Live
from sleepengine.actions.reset import Reset
from sleepengine.actions.rewind import Rewind
from sleepengine.actions.values import Fresh, value_policy
from sleepengine.actions.wake import Wake
from sleepengine.distributed import is_sharded, ranks_of
from sleepengine.enforcement.closures import evaluates_often
from sleepengine.enforcement.held_buffers import HeldBuffers
from sleepengine.enforcement.optimizer_state import OptimizerState
from sleepengine.enforcement.roster import Roster
from sleepengine.enforcement.verdicts import Problem, Severity
from sleepengine.enforcement.verdicts import problems as optimizer_problems
from sleepengine.engine.arguments import Memory, check_seed
from sleepengine.errors import SetupError, did_you_mean
from sleepengine.firing.gathering import Gatherer
from sleepengine.masks.parking import Parking
from sleepengine.masks.store import MaskStore
from sleepengine.parametrized import check_not_behind, warn_left_out
from sleepengine.rules.rule import Rule
from sleepengine.shared_memory import check_targets


def live_things(
    model: nn.Module,
    optimizers: tuple[Optimizer, ...],
    schedulers: tuple[Any, ...],
    samplers: tuple[Any, ...],
    initialisers: Mapping[str, Initialiser],
    memory: Memory,
    rules: Sequence[Rule],
    seed: int,
) -> Live:
    """The live things of one engine."""
    if not isinstance(model, nn.Module):
        raise SetupError(f"model={model!r} is not a torch.nn.Module")
    check_seed(seed)
    params = naming.named_parameters(model)
    shapes = {name: p.shape for name, p in params.items()}
    devices = {name: p.device for name, p in params.items()}
    dense = memory.mode == "fast"
    return Live(
        model=naming.unwrap(model),
        params=params,
        store=MaskStore(shapes, devices),
        parked=Parking(params, dense=dense, device=memory.park_on),
        state=OptimizerState(
            Roster(params, optimizers), memory.state(rules), device=memory.park_on, dense=dense
        ),
        kept=KeptPoints(),
        held=HeldBuffers(model),
        optimizers=optimizers,
        schedulers=schedulers,
        samplers=samplers,
        initialisers=dict(initialisers),
        ranks=ranks_of(model),
        seed=seed,
    )


def scope(model: nn.Module, patterns: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of the parameters that rules act on.

    Raises:
        UnknownNameError: a pattern matches nothing.
        SetupError: a parameter shares memory with another, or has no shape yet.
    """
    if patterns is None:
        names = naming.default_scope(model)
    else:
        names = naming.matching(model, patterns)
    check_targets(naming.named_parameters(model), names)
    check_not_behind(model, names)
    return names


def kept_times(
    rules: Sequence[Rule], keep: Sequence[str]
) -> dict[str, tuple[Time | None, frozenset[str]]]:
    """Which points to keep, when, and which parts: found from the rules, and those asked for."""
    parts: dict[str, frozenset[str]] = dict.fromkeys(keep, PARTS)
    for rule in rules:
        asked = dict(rule.what.kept_points)
        if rule.who is not None and rule.who.scorer is not None and rule.who.scorer.anchor:
            asked[rule.who.scorer.anchor] = frozenset({"weights"})
        for tag, wanted in asked.items():
            parts[tag] = parts.get(tag, frozenset()) | wanted
    times: dict[str, tuple[Time | None, frozenset[str]]] = {}
    for tag, wanted in parts.items():
        try:
            times[tag] = (None if tag == "init" else Time.parse(tag), wanted)
        except ValueError as error:
            raise SetupError(
                f"kept point {tag!r} is neither 'init' nor a time such as '500it'. "
                f"{did_you_mean(tag, ['init', 'fresh'])}"
            ) from error
    return times


def judged(live: Live, scope: Sequence[str]) -> list[Problem]:
    """What is known of the optimizers and the parameters in scope: errors and warnings."""
    return optimizer_problems(Roster({n: live.params[n] for n in scope}, live.optimizers))


def warn(live: Live, scope: Sequence[str], rules: Sequence[Rule]) -> None:
    """Say what works with a difference to know, by name."""
    if any(r.who is not None and r.who.params is None for r in rules) and tuple(scope) == (
        naming.default_scope(live.model)
    ):
        warn_left_out(live.model)
    for one in judged(live, scope) if live.optimizers else []:
        if one.severity is Severity.WARNING:
            warnings.warn(one.message, stacklevel=3)


def check(
    live: Live,
    rules: Sequence[Rule],
    scope: Sequence[str],
    names_of: Callable[[Rule], Sequence[str]],
    gatherer: Gatherer,
) -> None:
    """Every gap that can be seen before the first step.

    Raises:
        SetupError: all of them, one per line.
    """
    problems: list[str] = []
    sharded = [name for name in scope if is_sharded(live.params[name])]
    if sharded:
        problems.append(
            f"{', '.join(sharded[:5])}: sharded parameters (DTensor, FSDP2) cannot sleep yet; "
            "attach to the unsharded model"
        )
    found = judged(live, scope) if live.optimizers else []
    problems += [one.message for one in found if one.severity is Severity.ERROR]
    held = {id(p) for o in live.optimizers for g in o.param_groups for p in g["params"]}
    for rule in rules:
        try:
            names = names_of(rule)
        except SetupError as error:
            problems.append(f"rule {rule.name!r}: {error}")
            continue
        if not names and rule.what.chooses:
            problems.append(f"rule {rule.name!r}: no parameter is in its scope")
        problems += gatherer.problems(rule, names)
        problems += _missing(rule, names, live)
        if rule.skip_step and not live.optimizers:
            problems.append(f"rule {rule.name!r}: skip_step needs an optimizer")
        problems += [
            f"rule {rule.name!r}: skip_step cannot hold a step of {type(optimizer).__name__}, "
            "which needs the gradients that it asks for inside the step; use at='before_step'"
            for optimizer in live.optimizers
            if rule.skip_step and evaluates_often(optimizer)
        ]
        outside = [n for n in names if live.optimizers and id(live.params[n]) not in held]
        if outside:
            problems.append(
                f"rule {rule.name!r}: {', '.join(outside[:5])} in none of the given optimizers"
            )
    if problems:
        raise SetupError("\n".join(problems))


def _missing(rule: Rule, names: Sequence[str], live: Live) -> list[str]:
    found: list[str] = []
    action = rule.what
    draws = isinstance(action, Wake | Reset) and isinstance(value_policy(action.value), Fresh)
    if draws or (isinstance(action, Rewind) and action.to == "fresh"):
        drawn = names if rule.what.chooses else tuple(live.params)
        found += [f"rule {rule.name!r}: {p}" for n in drawn if (p := check_initialiser(live, n))]
    if isinstance(action, Rewind):
        if action.schedule and not live.schedulers and _schedules(live):
            found.append(
                f"rule {rule.name!r}: rewinds the LR schedule; give scheduler=, or schedule=False"
            )
        if action.data and not live.samplers:
            found.append(f"rule {rule.name!r}: rewinds the data order; give sampler=")
    return found


def _schedules(live: Live) -> bool:
    """Whether an LR scheduler was built on an optimizer (it writes `initial_lr`)."""
    return any("initial_lr" in group for o in live.optimizers for group in o.param_groups)
