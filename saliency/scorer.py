"""The contract of every scorer: signals in, one score per weight out, nothing touched."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from saliency.curvature.request import CurvatureRequest
from saliency.signals import NEEDS, Signals

if TYPE_CHECKING:
    from saliency.activation_requests import ActivationRequest


class Scorer(ABC):
    """score(signals) -> one score per weight; higher = keep awake.

    A scorer reads signals and returns new tensors. It never writes weights, gradients, the
    train or eval mode, hooks or the global random state.

    Attributes:
        needs: Names of the signals that `score` and `observe` read. "weights" is always there.
        anchor: Name of the kept point ("init", "500it") that `signals.anchor` must hold.
        curvature: What to ask of the loss for `signals.curvature`, if that is a need.
        activations: What to ask of the layers for `signals.activations`, if that is a need.
        accumulates: True if `observe` has to be called on the observed steps.
        before_step: True if `observe` has to see the weights that the gradients are of, those from
            before the optimizer's step. A step is then observed first and scored afterwards.
        elementwise: True if an entry's score depends on no other entry, so that the shards of
            a tensor can be scored apart.
        equivariant: True if moving the entries of a tensor moves their scores with them.

    Raises:
        TypeError: A subclass declares `needs` that is no frozenset, or an unknown need.

    >>> import torch
    >>> class Square(Scorer):
    ...     elementwise = equivariant = True
    ...     def score(self, signals):
    ...         return {name: w * w for name, w in signals.weights.items()}
    >>> Square().score(Signals(weights={"w": torch.tensor([3.0, -1.0])}))
    {'w': tensor([9., 1.])}
    """

    needs: frozenset[str] = frozenset({"weights"})
    anchor: str | None = None
    curvature: CurvatureRequest | None = None
    activations: ActivationRequest | None = None
    accumulates: bool = False
    before_step: bool = False
    elementwise: bool = False
    equivariant: bool = False

    def __init_subclass__(cls) -> None:
        declared = vars(cls).get("needs", frozenset())
        if not isinstance(declared, property):
            check_needs(cls.__name__, declared)

    @abstractmethod
    def score(self, signals: Signals) -> dict[str, Tensor]:
        """One score per weight: the keys of `signals.weights`, in their order.

        Shapes equal those of the weights, or broadcast to them. Asking twice gives the same
        scores. Raises MissingSignal if a need was not gathered.
        """

    def observe(self, signals: Signals) -> None:
        """Take in one step; called once per observed step and scorer, and only if `accumulates`.

        A step that is both scored and observed is scored first, unless `before_step`. A parameter
        that this step has no signal of is skipped.
        """
        return None

    def restarted(  # noqa: B027 - most remember nothing of single entries
        self, entries: Mapping[str, Tensor], step: int
    ) -> None:
        """Told which entries were reset or woke: what was observed of them is of other weights.

        Args:
            entries: name -> bool tensor of the weight's shape.
            step: number of the step under way; if it is observed yet, it is of what was there
                before, too.
        """

    def reset(self) -> None:
        """Forget all observed steps."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What `observe` has gathered: a copy, of tensors and plain values only."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state; it is checked first and never changed.

        Raises:
            ValueError: The state does not fit this scorer.
        """
        if state:
            raise ValueError(f"{self!r} keeps no state, but was given {sorted(state)}.")

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Scorers of this class to run the contract test on; override if arguments are needed."""
        return (cls(),)


def check_needs(owner: str, needs: object) -> None:
    """Raise TypeError unless `needs` is a frozenset of names from NEEDS.

    >>> check_needs("Mine", frozenset({"gradients"}))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    TypeError: Mine.needs holds 'gradients'; valid are ['activations', ...]. ...'grads'?
    """
    if not isinstance(needs, frozenset):
        raise TypeError(f"{owner}.needs must be a frozenset of names, got {needs!r}.")
    for need in sorted(needs - NEEDS, key=str):
        near = difflib.get_close_matches(str(need), sorted(NEEDS), n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"{owner}.needs holds {need!r}; valid are {sorted(NEEDS)}.{hint}")


def check_scorer_argument(owner: str, argument: str, value: object) -> None:
    """Raise TypeError unless `value` is a scorer; a class is told apart from its instance."""
    if isinstance(value, Scorer):
        return
    if isinstance(value, type) and issubclass(value, Scorer):
        raise TypeError(
            f"{owner}({argument}={value.__name__}): {argument} must be a scorer, not its class. "
            f"Did you mean {value.__name__}()?"
        )
    raise TypeError(f"{owner}({argument}={value!r}): {argument} must be a scorer.")


def one_anchor(owner: str, scorers: Iterable[Scorer]) -> str | None:
    """The kept point that these scorers share; two different ones raise ValueError."""
    points = sorted({scorer.anchor for scorer in scorers if scorer.anchor is not None})
    if len(points) > 1:
        raise ValueError(
            f"{owner}: its scorers need different kept points, {points}; there can be only one."
        )
    return points[0] if points else None


def one_curvature(owner: str, scorers: Iterable[Scorer]) -> CurvatureRequest | None:
    """The curvature that these scorers share; two different ones raise ValueError."""
    asked: list[CurvatureRequest] = []
    for scorer in scorers:
        if scorer.curvature is not None and scorer.curvature not in asked:
            asked.append(scorer.curvature)
    if len(asked) > 1:
        raise ValueError(f"{owner}: its scorers need different curvatures, {asked}; use one.")
    return asked[0] if asked else None


def one_activation(owner: str, scorers: Iterable[Scorer]) -> ActivationRequest | None:
    """The activation statistic that these scorers share; two different ones raise ValueError."""
    asked: list[ActivationRequest] = []
    for scorer in scorers:
        if scorer.activations is not None and scorer.activations not in asked:
            asked.append(scorer.activations)
    if len(asked) > 1:
        raise ValueError(f"{owner}: its scorers need different activations, {asked}; use one.")
    return asked[0] if asked else None


def widened(tensor: Tensor) -> Tensor:
    """float32 in place of a shorter float: products and sums of those under- and overflow.

    >>> import torch
    >>> widened(torch.tensor([1e-4], dtype=torch.float16)).square().item() > 0
    True
    """
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor
