"""Firing on full tensors: what was made smaller is full while masks change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from sleepengine.actions.action import Action
from sleepengine.firing.firing import Firing
from sleepengine.masks.choice import Choice
from sleepengine.masks.planes import Changes
from sleepengine.masks.store import MaskStore
from sleepengine.rules.rule import Rule


class WholeFiring(Firing):
    """Scores, actions, values and undo are of the full model, whatever size it has in training."""

    def fire(self, rules: Sequence[Rule], captured: Mapping[str, Tensor] | None) -> Changes:
        """Fire these rules as one transaction."""
        with self._live.whole():
            return super().fire(rules, captured)

    def at_once(self, action: Action, choice: Choice, name: str = "direct call") -> Changes:
        """Do one action to chosen weights now."""
        with self._live.whole():
            return super().at_once(action, choice, name)

    def become(self, masks: MaskStore, name: str = "set masks") -> Changes:
        """Make the masks equal to these."""
        with self._live.whole():
            return super().become(masks, name)

    def undo(self) -> bool:
        """Take back the last transaction; True when bit for bit."""
        with self._live.whole():
            return super().undo()

    def observe(self, rules: Sequence[Rule], captured: Mapping[str, Tensor] | None) -> None:
        """Let accumulating scorers look at this step."""
        if rules:
            with self._live.whole():
                super().observe(rules, captured)
