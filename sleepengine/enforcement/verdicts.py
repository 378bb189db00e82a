"""Which optimizers keep inactive entries exact by themselves, and what to warn about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, final

import torch
from torch import Tensor, optim
from torch.optim import Optimizer

from sleepengine.enforcement.roster import Roster


@final
@dataclass(frozen=True)
class Verdict:
    """What was verified with masked gradients and filled state, over every option of the optimizer.

    Attributes:
        asleep: entries that are +0.0 stay +0.0 without repair after the step.
        frozen: values stay bit-identical without repair, as long as no weight decays.
    """

    asleep: bool
    frozen: bool


_EXACT = Verdict(asleep=True, frozen=True)

VERDICTS: Mapping[type[Optimizer], Verdict] = {
    optim.SGD: _EXACT,
    optim.Adam: _EXACT,
    optim.AdamW: _EXACT,
    optim.NAdam: _EXACT,
    optim.RAdam: _EXACT,
    optim.Adamax: _EXACT,
    optim.Adagrad: _EXACT,
    optim.Adadelta: _EXACT,
    optim.RMSprop: _EXACT,
    optim.Rprop: _EXACT,
    optim.SparseAdam: _EXACT,
    # Both compute with norms of whole tensors: one gradient that is NaN makes every update NaN.
    optim.Adafactor: Verdict(asleep=False, frozen=False),
    optim.LBFGS: Verdict(asleep=False, frozen=False),
    optim.ASGD: Verdict(asleep=True, frozen=False),  # decays by lambd even with weight_decay=0
    optim.Muon: Verdict(asleep=False, frozen=False),  # an update mixes all entries of a matrix
}


def needs_repair(optimizer: Optimizer, group: Mapping[str, Any], frozen: bool) -> bool:
    """False only where it was verified that a step leaves inactive entries bit for bit.

    Args:
        optimizer: judged by its exact type; subclasses and others are always repaired.
        group: the param group as it is now.
        frozen: ask for frozen entries (a value to keep) instead of sleeping ones (zero).

    >>> w = torch.nn.Parameter(torch.zeros(2))
    >>> adamw = optim.AdamW([w])
    >>> [needs_repair(adamw, adamw.param_groups[0], frozen) for frozen in (False, True)]
    [False, True]
    """
    verdict = VERDICTS.get(type(optimizer))
    if verdict is None or _divides_by_zero(group):
        return True
    decay = group.get("weight_decay", 0)
    if frozen:
        # With maximize the zero gradient is -0.0, and -0.0 + 0.0 would turn a frozen -0.0.
        return not verdict.frozen or decay != 0 or bool(group.get("maximize", False))
    return not verdict.asleep or _turns_sign(group, max(decay, group.get("lambd", 0)))


@final
class Severity(Enum):
    """WARNING: works, with a difference to know. ERROR: cannot work."""

    WARNING = "warning"
    ERROR = "error"


@final
@dataclass(frozen=True)
class Problem:
    """Something about an optimizer or parameter that the user should know."""

    severity: Severity
    message: str


def problems(roster: Roster) -> list[Problem]:
    """Everything worth saying about the optimizers and the parameters, worst first.

    >>> w = torch.nn.Parameter(torch.zeros(2))
    >>> [p.message for p in problems(Roster({"w": w}, [optim.SGD([w])]))]
    []
    """
    found = [p for k in range(len(roster.optimizers)) for p in _of_optimizer(roster, k)]
    complex_ = [name for name, param in roster.params.items() if param.is_complex()]
    if complex_:
        found.append(_error(f"complex parameters cannot sleep: {_listed(complex_)}"))
    idle = roster.without_optimizer()
    if idle:
        found.append(_warning(f"no optimizer steps {_listed(idle)}"))
    return sorted(found, key=lambda problem: problem.severity is not Severity.ERROR)


def _of_optimizer(roster: Roster, k: int) -> list[Problem]:
    optimizer = roster.optimizers[k]
    found: list[Problem] = []
    kind = type(optimizer)
    if kind not in VERDICTS:
        found.append(
            _warning(
                f"{kind.__name__} is not one of the optimizers that were verified; weights are "
                "repaired after every step"
            )
        )
    if kind in _REMARKS:
        found.append(_warning(_REMARKS[kind]))
    for n, group in enumerate(optimizer.param_groups):
        if group.get("differentiable"):
            found.append(
                _error(f"{kind.__name__} group {n} has differentiable=True; sleep works in place")
            )
        if group.get("capturable"):
            found.append(
                _warning(
                    f"{kind.__name__} group {n} has capturable=True; a step replayed from a CUDA "
                    "graph runs no hooks, so masks would not be enforced there"
                )
            )
        members = [m for m in roster.members(k) if m.group == n]
        if members and _divides_by_zero(group):
            found.append(
                _warning(
                    f"{kind.__name__} group {n} has eps={group['eps']}: a weight whose gradients "
                    "were all exactly zero is divided 0 by 0 and becomes NaN, such as one behind "
                    "an input or a ReLU that is always 0, or one that wakes with its optimizer "
                    f"state at zero: {_listed([m.name for m in members])}; use eps=1e-8 or more"
                )
            )
        half = [m.name for m in members if m.param.dtype is torch.float16 and _eps_is_lost(group)]
        if half and not (group.get("fused") and kind in (optim.Adam, optim.AdamW)):
            found.append(
                _warning(
                    f"{kind.__name__} eps={group['eps']:g} is 0 in float16, so awake weights "
                    f"become NaN where a gradient underflows: {_listed(half)}; use "
                    "eps=1e-4, or float32 parameters with autocast"
                )
            )
    return found


_REMARKS: Mapping[type[Optimizer], str] = {
    optim.Adafactor: (
        "Adafactor scales its step with the norm of the whole parameter, so weights that sleep "
        "make the steps of the others smaller"
    ),
    optim.Muon: (
        "Muon mixes rows and columns of a matrix in every update; sleep is kept by repair, and "
        "awake weights see the gradient of the masked network only approximately"
    ),
    optim.LBFGS: (
        "LBFGS keeps one history of all weights; it is cleared whenever weights sleep, wake, "
        "freeze or thaw, and skip_step cannot be used"
    ),
}


def _turns_sign(group: Mapping[str, Any], decay: float) -> bool:
    """Decoupled decay multiplies by 1 - lr*decay; below zero it turns +0.0 into -0.0."""
    if decay == 0:
        return False
    lr = group.get("lr", 1.0)
    if isinstance(lr, Tensor) and lr.device.type != "cpu":
        return True  # reading it would wait for the device in every step
    return float(lr) * decay >= 1


def _divides_by_zero(group: Mapping[str, Any]) -> bool:
    """Whether eps is 0; of Adafactor's two numbers the first is added to squared gradients."""
    eps = group.get("eps")
    if isinstance(eps, tuple | list):
        eps = eps[0]
    if isinstance(eps, Tensor):
        return eps.device.type == "cpu" and float(eps) == 0
    return eps == 0


def _eps_is_lost(group: Mapping[str, Any]) -> bool:
    eps = group.get("eps")
    return isinstance(eps, float) and eps > 0 and float(torch.tensor(eps).half()) == 0


def _listed(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _warning(message: str) -> Problem:
    return Problem(Severity.WARNING, message)


def _error(message: str) -> Problem:
    return Problem(Severity.ERROR, message)
