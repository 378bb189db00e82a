"""What all scorers around scorers share: they pass on needs, anchor, observations and state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from saliency.curvature.request import CurvatureRequest
from saliency.running import check_keys
from saliency.scorer import Scorer, one_activation, one_anchor, one_curvature
from saliency.signals import Signals

if TYPE_CHECKING:
    from saliency.activation_requests import ActivationRequest


class Wrapper(Scorer):
    """needs = union of the needs of the scorers inside; the rest is passed on to each of them."""

    @property
    @abstractmethod
    def inside(self) -> tuple[Scorer, ...]:
        """The scorers inside, in the order of the arguments."""

    # Read-only here, because these follow from the scorers inside.
    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Union of the needs inside."""
        return frozenset({"weights"}).union(*(scorer.needs for scorer in self.inside))

    @property
    def anchor(self) -> str | None:  # type: ignore[override]
        """The kept point that the scorers inside share."""
        return one_anchor(repr(self), self.inside)

    @property
    def curvature(self) -> CurvatureRequest | None:  # type: ignore[override]
        """The curvature that the scorers inside share."""
        return one_curvature(repr(self), self.inside)

    @property
    def activations(self) -> ActivationRequest | None:  # type: ignore[override]
        """The activation statistic that the scorers inside share."""
        return one_activation(repr(self), self.inside)

    @property
    def accumulates(self) -> bool:  # type: ignore[override]
        """Whether one of the scorers inside accumulates."""
        return any(scorer.accumulates for scorer in self.inside)

    @property
    def before_step(self) -> bool:  # type: ignore[override]
        """Whether all scorers inside that accumulate observe before the step."""
        accumulating = [scorer for scorer in self.inside if scorer.accumulates]
        return bool(accumulating) and all(scorer.before_step for scorer in accumulating)

    @property
    def elementwise(self) -> bool:  # type: ignore[override]
        """Whether all scorers inside are elementwise."""
        return all(scorer.elementwise for scorer in self.inside)

    @property
    def equivariant(self) -> bool:  # type: ignore[override]
        """Whether all scorers inside are equivariant."""
        return all(scorer.equivariant for scorer in self.inside)

    def observe(self, signals: Signals) -> None:
        """Let the scorers inside that accumulate observe this step."""
        for scorer in self.inside:
            if scorer.accumulates:
                scorer.observe(signals)

    def restarted(self, entries: Mapping[str, Tensor], step: int) -> None:
        """Tell the scorers inside."""
        for scorer in self.inside:
            scorer.restarted(entries, step)

    def reset(self) -> None:
        """Reset the scorers inside."""
        for scorer in self.inside:
            scorer.reset()

    def state_dict(self) -> dict[str, Any]:
        """The states of the scorers inside, in order."""
        return {"inside": [scorer.state_dict() for scorer in self.inside]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Hand saved states to the scorers inside; if one does not fit, none is changed."""
        check_keys(repr(self), state, {"inside"})
        load_all(repr(self), self.inside, state["inside"])


def load_all(owner: str, scorers: tuple[Scorer, ...], states: object) -> None:
    """Load one state per scorer, or put all of them back as they were and raise."""
    if not isinstance(states, list) or len(states) != len(scorers):
        raise ValueError(f"The state given to {owner} must hold {len(scorers)} states inside.")
    before = [scorer.state_dict() for scorer in scorers]
    try:
        for scorer, state in zip(scorers, states, strict=True):
            scorer.load_state_dict(state)
    except ValueError:
        for scorer, state in zip(scorers, before, strict=True):
            scorer.load_state_dict(state)
        raise
