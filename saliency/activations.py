"""Statistics of what flows into and out of layers, gathered over batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from saliency.activation_requests import ActivationRequest
from saliency.layer_places import Place, places_of
from saliency.problem import Progress

Run = Callable[[nn.Module, Any], Any]
"""Runs the model on one batch: (model, batch) -> anything."""


def gather(
    model: nn.Module,
    params: Mapping[str, Tensor],
    request: ActivationRequest,
    batches: Iterable[Any],
    run: Run | None = None,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """The statistic that `request` names, of each parameter, over all positions of all batches.

    The model runs in eval mode, without gradients and without attention's fused path. Whatever
    happens, its modes are put back and no hook stays.

    Args:
        model: The model.
        params: Name -> parameter, the very tensors that the model holds.
        request: Which statistic.
        batches: Pairs (input, target), or inputs.
        run: How to run the model on a batch, if batches are anything else.
        progress: Called after each batch.

    Raises:
        ValueError: A parameter's layer cannot be watched, no batch ran it, or there is no batch.

    >>> from saliency import InputMoment
    >>> layer = nn.Linear(2, 1)
    >>> x = torch.tensor([[1.0, 3.0], [1.0, 5.0]])
    >>> gather(layer, {"weight": layer.weight}, InputMoment(), [x])
    {'weight': tensor([[ 1., 17.]])}
    """
    sums = {
        name: LayerSums(name, params[name], request, places)
        for name, places in check(model, params, request).items()
    }
    seen = 0
    with _undisturbed(model), _watched(sums.values()), torch.no_grad():
        for batch in batches:
            (run or run_on_input)(model, batch)
            seen += 1
            if progress is not None:
                progress(f"{request!r} batches", seen, 0)
    if not seen:
        raise ValueError(f"{request!r}: there was no batch to gather activations from.")
    never = [name for name, one in sums.items() if not one.complete]
    if never:
        raise ValueError(
            f"{request!r}: no batch ran the layers of {', '.join(map(repr, never))}, so that "
            "nothing is known of them. Leave these parameters out."
        )
    return {name: one.finished() for name, one in sums.items()}


def check(
    model: nn.Module, params: Mapping[str, Tensor], request: ActivationRequest
) -> dict[str, list[Place]]:
    """Where the parameters are used, or ValueError with the names of those that cannot be read."""
    places = places_of(model, params)
    for name, param in params.items():
        request.check(name, param)
    if request.of_outputs:
        mute = [name for name, uses in places.items() if not all(p.has_outputs for p in uses)]
        if mute:
            raise ValueError(
                f"{request!r}: outputs cannot be read of {', '.join(map(repr, mute))}, which lie "
                "inside of an attention. Leave these parameters out."
            )
    return places


def run_on_input(model: nn.Module, batch: Any) -> Any:
    """model(input) of a pair (input, target), or of the batch itself if it is a tensor.

    Raises:
        ValueError: The batch is neither.
    """
    if isinstance(batch, Tensor):
        return model(batch)
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return model(batch[0])
    raise ValueError(
        f"A batch of type {type(batch).__name__} is neither a tensor nor a pair (input, target): "
        "say how the model runs on it."
    )


@final
class LayerSums:
    """Sums over positions of one parameter's statistic, per group of rows."""

    def __init__(
        self, name: str, param: Tensor, request: ActivationRequest, places: list[Place]
    ) -> None:
        self.name = name
        self.places = places
        self._param = param
        self._request = request
        self._totals: Tensor | None = None  # [groups, ...]
        self._counts = [0] * (1 if request.of_outputs else places[0].groups)
        self._busy = False

    def watch(self, place: Place) -> RemovableHandle:
        """Add up what each forward of this place shows."""

        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if self._busy:  # a place may run its module once more to see inside of it
                return
            self._busy = True
            try:
                self.take(place, args, kwargs, output)
            finally:
                self._busy = False

        return place.watched.register_forward_hook(hook, with_kwargs=True)

    def take(self, place: Place, args: Any, kwargs: Any, output: Any) -> None:
        """Add up one forward of this place."""
        if self._request.of_outputs:
            self._add(0, place.outputs(output).unsqueeze(0))
            return
        for first, rows in place.inputs(args, kwargs):
            self._add(first, rows)

    def _add(self, first: int, rows: Tensor) -> None:
        sums, count = self._request.of(self.name, first, len(self._counts)).measure(rows)
        if self._totals is None:
            shape = (len(self._counts), *sums.shape[1:])
            self._totals = torch.zeros(shape, dtype=sums.dtype, device=self._param.device)
        self._totals[first : first + len(sums)] += sums.to(self._totals.device)
        for group in range(first, first + len(sums)):
            self._counts[group] += count

    @property
    def complete(self) -> bool:
        """Whether every group of rows has seen a position."""
        return all(self._counts)

    def finished(self) -> Tensor:
        """The mean over positions, in the shape that the request says."""
        assert self._totals is not None  # complete, so something was added
        counts = torch.tensor(self._counts, dtype=self._totals.dtype, device=self._totals.device)
        means = self._totals / counts.reshape(-1, *[1] * (self._totals.dim() - 1))
        return self._request.finish(means, self._param)


@contextmanager
def _watched(sums: Iterable[LayerSums]) -> Iterator[None]:
    handles: list[RemovableHandle] = []
    try:
        for one in sums:
            handles += [one.watch(place) for place in one.places]
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode, and attention that calls its modules; both are put back."""
    modes = [(module, module.training) for module in model.modules()]
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        for module, _ in modes:
            module.training = False
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module, mode in modes:
            module.training = mode
