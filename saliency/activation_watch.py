"""Statistics of forward passes that somebody else runs, such as those of a training loop."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.modules import module as of_torch
from torch.utils.hooks import RemovableHandle

from saliency.activation_requests import ActivationRequest
from saliency.activations import LayerSums, check
from saliency.layer_places import Place

Asked = Mapping[str, tuple[ActivationRequest, Mapping[str, Tensor]]]
"""Who asks -> which statistic of which parameters, the very tensors that the model holds."""


@final
class ActivationWatch:
    """Adds up what flows through layers while the model trains, in the mode that it is in.

    Forward passes with gradients enabled count, others (validation) do not. While something is
    watched there is one forward hook. PyTorch holds it, not the model, so that copies and pickles
    of the model carry nothing of it; it goes with `stop`, with an error inside of it, and with
    the watch itself. A forward pass of compiled code calls no hooks and shows nothing.

    Args:
        model: The model, without wrappers.

    >>> from saliency import InputMoment
    >>> layer = nn.Linear(2, 1)
    >>> watch = ActivationWatch(layer)
    >>> watch.start({"wanda": (InputMoment(), {"weight": layer.weight})})
    >>> _ = layer(torch.tensor([[1.0, 3.0], [1.0, 5.0]]))
    >>> watch.stop()
    >>> watch.means("wanda", ["weight"])
    {'weight': tensor([[ 1., 17.]])}
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._sums: dict[tuple[str, str], LayerSums] = {}
        self._at: dict[int, list[tuple[LayerSums, Place]]] = {}  # by id of the watched module
        self._known: dict[str, tuple[ActivationRequest, list[int], dict[str, list[Place]]]] = {}
        self._hook: weakref.finalize[Any, Any] | None = None
        self._paused = False

    @property
    def open(self) -> bool:
        """Whether forward passes are watched now."""
        return self._hook is not None

    def start(self, asked: Asked) -> None:
        """Watch from now on, and only this; sums of a watch that is open already go on.

        Raises:
            ValueError: A parameter's layer cannot be watched.
        """
        before = self._sums if self.open else {}
        self.stop()
        self._sums, self._at = {}, {}
        for who, (request, params) in asked.items():
            for name, places in self._places(who, request, params).items():
                old = before.get((who, name))
                sums = old or LayerSums(name, params[name], request, places)
                self._sums[who, name] = sums
                for place in sums.places:
                    self._at.setdefault(id(place.watched), []).append((sums, place))
        if self._sums:
            handle = of_torch.register_module_forward_hook(_Hook(self), with_kwargs=True)
            self._hook = weakref.finalize(self, _remove, handle)

    def _places(
        self, who: str, request: ActivationRequest, params: Mapping[str, Tensor]
    ) -> dict[str, list[Place]]:
        """Looked up once, not at every step."""
        ids = [id(tensor) for tensor in params.values()]
        known = self._known.get(who)
        if (
            known is None
            or known[0] != request
            or known[1] != ids
            or params.keys() != known[2].keys()
        ):
            known = self._known[who] = (request, ids, check(self._model, params, request))
        return known[2]

    def stop(self) -> None:
        """Watch no more; what was seen can still be read."""
        if self._hook is not None:
            self._hook()
            self._hook = None

    def saw(self, who: str) -> bool:
        """Whether a layer that `who` asks for was run since `start`."""
        return any(one.complete for (asking, _), one in self._sums.items() if asking == who)

    def means(self, who: str, names: Iterable[str]) -> dict[str, Tensor]:
        """The statistic of those parameters whose layers were run since `start`."""
        found = {name: self._sums.get((who, name)) for name in names}
        return {n: one.finished() for n, one in found.items() if one is not None and one.complete}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Forward passes in here do not count."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def take(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """One module was run."""
        uses = self._at.get(id(module))
        if uses is None or self._paused or not torch.is_grad_enabled():
            return
        try:
            with self.paused(), torch.no_grad(), _at_full_precision():
                for sums, place in uses:
                    with _same_random_state(place):
                        sums.take(place, args, kwargs, output)
        except BaseException:
            self.stop()
            raise


def _remove(handle: RemovableHandle) -> None:
    """The handle alone leaves the hook's number in one of torch's tables, for compile to find."""
    handle.remove()
    of_torch._global_forward_hooks_with_kwargs.pop(handle.id, None)


@final
class _Hook:
    """Tells the watch, as long as there is one."""

    def __init__(self, watch: ActivationWatch) -> None:
        self._watch = weakref.ref(watch)

    def __call__(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        watch = self._watch()
        if watch is not None:
            watch.take(module, args, kwargs, output)


@contextmanager
def _at_full_precision() -> Iterator[None]:
    """Sums are not to be made in the low precision of the pass that they are of."""
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _same_random_state(place: Place) -> Any:
    """A place that runs its module once more may draw dropout anew; nobody is to notice."""
    if not place.reruns:
        return nullcontext()
    devices = {p.device for p in place.watched.parameters() if p.device.type == "cuda"}
    return torch.random.fork_rng(devices=sorted(devices, key=str))
