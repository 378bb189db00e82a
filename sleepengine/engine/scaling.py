"""Gradients that a GradScaler scaled: scorers read them as they are without it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from sleepengine.actions.live import Live
from sleepengine.choosing.amounts import Below
from sleepengine.enforcement.hooks import Enforcer
from sleepengine.errors import SetupError
from sleepengine.firing.agenda import observes, reads_gradients
from sleepengine.rules.rule import Rule

_LEAST = 4  # a smaller ratio of powers of two may be clipping


def grad_scaler(scaler: object) -> torch.amp.GradScaler | None:
    """The scaler of the training loop, or None.

    Raises:
        SetupError: it is something else.
    """
    if scaler is not None and not isinstance(scaler, torch.amp.GradScaler):
        raise SetupError(f"scaler={scaler!r} is not a torch.amp.GradScaler")
    return scaler


class Scaling:
    """Unscales what rules read, before each step, by the factor that the scaler itself uses.

    One step has one scale, and an order of scores does not depend on it. Sums over steps do, and
    thresholds: a run whose scaler was not given is told so, once.
    """

    def __init__(self, live: Live, enforcer: Enforcer, rules: Sequence[Rule]) -> None:
        self._live = live
        self._enforcer = enforcer
        self._wary = [rule.name for rule in rules if reads_gradients(rule) and _minds(rule)]

    def unscale(self) -> None:
        """Gradients kept for scorers are those of the loss from here on."""
        scaler = self._live.scaler
        if scaler is None or not scaler.is_enabled():
            return
        scale = torch.tensor(scaler.get_scale(), dtype=torch.float64)
        self._enforcer.unscale(scale.reciprocal().float())

    def usable(self, optimizer: Optimizer, captured: Mapping[str, Tensor]) -> bool:
        """Whether the gradients did not overflow: a fused optimizer skips such a step inside."""
        found = vars(optimizer).get("found_inf")
        if isinstance(found, Tensor) and bool(found):
            return False
        if self._wary and self._live.scaler is None:
            self._look(captured)
        return True

    def _look(self, captured: Mapping[str, Tensor]) -> None:
        """Warn if gradients as they came are a high power of two times those of the step."""
        name, wary = next(iter(captured)), self._wary
        grad = self._live.params[name].grad
        if grad is None or grad.is_sparse or not bool(grad.count_nonzero()):
            return
        self._wary = []
        place = int(grad.abs().argmax())
        ratio = float(captured[name].flatten()[place]) / float(grad.flatten()[place])
        if not math.isfinite(ratio) or ratio <= 0:
            return
        mantissa, exponent = math.frexp(ratio)
        if mantissa == 0.5 and exponent > _LEAST:
            warnings.warn(
                f"gradients come scaled by {ratio:g}, and rules {', '.join(map(repr, wary))} sum "
                "them over steps or compare them with a threshold: give SleepEngine(scaler=scaler)",
                UserWarning,
                stacklevel=2,
            )


def _minds(rule: Rule) -> bool:
    """Whether the scale of a step's gradients changes what the rule does."""
    return observes(rule) or (rule.who is not None and isinstance(rule.who.amount, Below))
