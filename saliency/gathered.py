"""One gathered signal by parameter name, and the error that says what was not gathered."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import final

from torch import Tensor

NEEDS = frozenset({"weights", "grads", "activations", "curvature", "anchor", "moments", "parked"})

_REMEDIES = {
    "weights": "Pass weights= to Signals.",
    "grads": "Fire the rule on a step that has run backward, or pass grads= to Signals.",
    "activations": "Run example data through the model, or pass activations= to Signals.",
    "curvature": "Give the data and the loss that curvature comes from, or pass curvature=.",
    "anchor": "Keep the point that the scorer names as its anchor, or pass anchor= to Signals.",
    "moments": "Use an optimizer that keeps first moments and has stepped, or pass moments=.",
    "parked": "Park the values of sleeping weights, or pass parked= to Signals.",
}


class MissingSignal(ValueError):  # noqa: N818  (its name says what happened)
    """A scorer read a signal that was not gathered; names scorer, need, rule and remedy."""


@final
class Gathered(dict[str, Tensor]):
    """One signal by parameter name; `[name]` of an absent name raises MissingSignal."""

    def __init__(self, need: str, reader: str, tensors: Mapping[str, Tensor]) -> None:
        super().__init__({name: tensor.detach() for name, tensor in tensors.items()})
        self._need = need
        self._reader = reader

    def __missing__(self, name: str) -> Tensor:
        near = difflib.get_close_matches(name, list(self), n=1, cutoff=0.6)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise MissingSignal(
            f"{self._reader} needs {self._need!r} of {name!r}, which were not gathered."
            f"{hint} {_REMEDIES[self._need]}"
        )


def missing(need: str, reader: str) -> MissingSignal:
    """The error for a signal that was not gathered at all."""
    return MissingSignal(
        f"{reader} needs {need!r}, which were not gathered. "
        f"{_REMEDIES[need]} A scorer of your own must list {need!r} in its `needs`."
    )
