"""Shrink only where the outputs stay: the trial of a plan, and who is to blame if it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from torch import Tensor

from sleepengine.actions.live import Live
from sleepengine.compaction.plan import Plan, plan
from sleepengine.compaction.trial import Trial, difference
from sleepengine.errors import SetupError

_ELSE = "the model computes something else without them"
_DRAWS = (
    "dropout over nodes draws other numbers for fewer of them: the same in distribution, not in "
    "numbers"
)
_Outputs = list[list[Tensor]]


@final
class Prover:
    """Shapes that were proved once are not tried again.

    Args:
        live: the model and what belongs to it.
        inputs: example inputs.
        swap: makes the tensors of a plan small.
        expand: makes them full again.
        exact: refuse what is the same in distribution only.
    """

    def __init__(
        self,
        live: Live,
        inputs: Any,
        swap: Callable[[Plan], None],
        expand: Callable[[], None],
        exact: bool,
    ) -> None:
        self._live, self.inputs = live, inputs
        self._swap, self._expand, self._exact = swap, expand, exact
        self._known: dict[tuple[tuple[str, int], ...], dict[str, str]] = {}
        self.remarks: dict[str, None] = {}

    def misfits(self, found: Plan) -> dict[str, str]:
        """Shrink, and nothing is returned; or all is as it was, and group -> what went wrong."""
        signature = found.signature()
        if signature in self._known:
            if not self._known[signature]:
                self._swap(found)
            return self._known[signature]
        trial = Trial(self._live.model, self.inputs)
        self._live.held.repair()
        try:
            before = trial.outputs()
        except Exception as error:
            raise SetupError(f"the model does not run on example_inputs: {error}") from error
        reason = self._fails(trial, found, before)
        blamed: dict[str, str] = {}
        if reason is not None and len(found.awake) > 1:
            blamed = self._blamed(trial, found, before)
        if reason is not None and not blamed:
            blamed = dict.fromkeys(found.awake, reason)
        self._known[signature] = blamed
        return blamed

    def _fails(self, trial: Trial, found: Plan, before: _Outputs) -> str | None:
        """Shrink, and stay so where nothing differs."""
        self._swap(found)
        reason = None
        try:
            for one, other in zip(before, trial.outputs(), strict=True):
                told = difference(one, other)
                drawn = trial.draws and one is before[-1]
                if told is not None and drawn and not self._exact:
                    self.remarks[_DRAWS] = None
                elif told is not None:
                    reason = _DRAWS if drawn else f"{_ELSE}: {told}"
                    break
        except Exception as error:  # whatever a forward pass of the user's model raises
            lines = str(error).splitlines() or [""]
            reason = f"{_ELSE}: {type(error).__name__}: {lines[0]}"
        except BaseException:
            self._expand()
            raise
        if reason is not None:
            self._expand()
        return reason

    def _blamed(self, trial: Trial, found: Plan, before: _Outputs) -> dict[str, str]:
        """Each group on its own: which of them change the outputs."""
        blamed: dict[str, str] = {}
        for name in found.awake:
            alone = plan(self._live, (name,))
            if alone.awake:
                reason = self._fails(trial, alone, before)
                self._expand()
                if reason is not None:
                    blamed[name] = reason
        return blamed
