"""Optimizer state by name: what it is, what fills it while asleep, what is fresh.

One table serves every optimizer of torch.optim. A state that is not listed and has exactly the
parameter's shape is taken for a first moment, which is safe: it is filled with zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, final

import torch
from torch import Tensor


@final
class StateKind(Enum):
    """FIRST: where to go. SECOND: how large steps are. The others are shared and left alone."""

    FIRST = "first moment"
    SECOND = "second moment"
    SCALAR = "scalar"
    FACTORED = "factored"
    HISTORY = "history of all parameters in one vector"


@final
class Fresh(Enum):
    """Value of an entry of state before the first step."""

    ZERO = "0"
    LR = "the group's lr"
    INITIAL_ACCUMULATOR = "the group's initial_accumulator_value"
    PARAMETER = "the parameter's own value"


@final
@dataclass(frozen=True)
class StateRule:
    """How one state tensor is treated at inactive entries.

    Attributes:
        kind: what the state is.
        fill: value while inactive; None leaves it as it is, since a zero gradient does not move it.
        fresh: value when an entry starts anew.
        decays: keys of the param group that hold the factor by which the fill shrinks every step.
    """

    kind: StateKind
    fill: float | None = 0.0
    fresh: Fresh = Fresh.ZERO
    decays: tuple[str, ...] = ()

    @property
    def per_entry(self) -> bool:
        """True when every entry of the parameter has its own entry of state."""
        return self.kind in (StateKind.FIRST, StateKind.SECOND)


_FIRST = StateRule(StateKind.FIRST)
# A second moment of 1 makes the update 0 / (1 + eps) = 0 exactly. Zero would be 0 / 0 with eps = 0
# or eps rounded to zero, and square roots of zeros and denormals are many times slower on CPUs.
_SECOND = StateRule(StateKind.SECOND, fill=1.0, decays=("betas",))
_SCALAR = StateRule(StateKind.SCALAR)
_FACTORED = StateRule(StateKind.FACTORED)
_HISTORY = StateRule(StateKind.HISTORY)

TABLE: Mapping[str, StateRule] = {
    "exp_avg": _FIRST,
    "momentum_buffer": _FIRST,
    "grad_avg": _FIRST,
    "prev": _FIRST,
    "exp_avg_sq": _SECOND,
    "max_exp_avg_sq": _SECOND,
    "exp_inf": _SECOND,
    "square_avg": StateRule(StateKind.SECOND, fill=1.0, decays=("alpha", "rho")),
    "sum": StateRule(StateKind.SECOND, fill=1.0, fresh=Fresh.INITIAL_ACCUMULATOR),
    "acc_delta": StateRule(StateKind.SECOND),
    "variance": StateRule(StateKind.SECOND),
    "step_size": StateRule(StateKind.SECOND, fill=None, fresh=Fresh.LR),
    "ax": StateRule(StateKind.FIRST, fresh=Fresh.PARAMETER),
    "row_var": _FACTORED,
    "col_var": _FACTORED,
    "step": _SCALAR,
    "eta": _SCALAR,
    "mu": _SCALAR,
    "mu_product": _SCALAR,
    "old_dirs": _HISTORY,
    "prev_flat_grad": _HISTORY,
}


_HISTORIES = frozenset(name for name, rule in TABLE.items() if rule.kind is StateKind.HISTORY)


def rule_for(name: str, value: object, param: Tensor) -> StateRule | None:
    """The rule of a state tensor that has one entry per entry of the parameter, else None.

    >>> w = torch.zeros(2, 3)
    >>> rule_for("exp_avg_sq", torch.zeros(2, 3), w).fill
    1.0
    >>> rule_for("row_var", torch.zeros(2, 1), w), rule_for("step", torch.zeros(()), w)
    (None, None)
    >>> rule_for("something_new", torch.zeros(2, 3), w).kind
    <StateKind.FIRST: 'first moment'>
    """
    rule = TABLE.get(name, _FIRST)
    if not rule.per_entry or not isinstance(value, Tensor) or value.shape != param.shape:
        return None
    return rule if value.is_floating_point() else None


def holds_history(state: Mapping[str, object]) -> bool:
    """True when the state mixes all parameters in one vector, so that no entry can be cared for.

    >>> holds_history({"old_dirs": [], "d": None}), holds_history({"exp_avg": None})
    (True, False)
    """
    return not _HISTORIES.isdisjoint(state)


def fresh_value(rule: StateRule, group: Mapping[str, Any]) -> float | None:
    """Value of a fresh entry; None means the parameter's own value.

    >>> fresh_value(TABLE["step_size"], {"lr": 0.25}), fresh_value(TABLE["ax"], {})
    (0.25, None)
    """
    if rule.fresh is Fresh.LR:
        return float(group["lr"])
    if rule.fresh is Fresh.INITIAL_ACCUMULATOR:
        return float(group.get("initial_accumulator_value", 0.0))
    return None if rule.fresh is Fresh.PARAMETER else 0.0


def refill_after(rule: StateRule, group: Mapping[str, Any], dtype: torch.dtype) -> int | None:
    """Steps until the fill should be written again, before it decays to denormals; None = never.

    The fill after n steps is beta^n, and n = 0.69 ln(smallest normal) / ln(beta), so that
    float32 comes to e^-60, about 60 / (1 - beta) steps.

    >>> refill_after(TABLE["exp_avg_sq"], {"betas": (0.9, 0.999)}, torch.float32)
    60232
    >>> refill_after(TABLE["sum"], {}, torch.float32) is None
    True
    """
    if not rule.fill or not dtype.is_floating_point:
        return None
    for key in rule.decays:
        if key in group:
            value = group[key]
            beta = float(value[1] if isinstance(value, (tuple, list)) else value)
            if beta >= 1:
                return None
            if beta <= 0:
                return 1
            return max(1, int(0.69 * math.log(torch.finfo(dtype).tiny) / math.log(beta)))
    return None
