"""The floating-point operations of one forward pass, and which weights have them."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from saliency.switches import switched_off
from sleepengine.errors import SetupError
from sleepengine.names import named_parameters


@final
@dataclass(frozen=True)
class Work:
    """Operations of matrix products and convolutions, 2 for each multiplication and addition.

    Args:
        of_weights: parameter name -> those that it takes part in.
        between: module name -> those of activations with each other, such as attention scores.
        rest: those of several parameters at once, or of something made from them.
    """

    of_weights: Mapping[str, int]
    between: Mapping[str, int]
    rest: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.of_weights.values()) + sum(self.between.values()) + self.rest


def work_of(model: nn.Module, inputs: Any) -> Work:
    """The work of `model(inputs)` in evaluation mode, without its gradients.

    It is done by a copy, with fused kernels (attention, LSTM) taken apart so that their products
    are seen.

    Args:
        model: the plain model.
        inputs: a tensor, a tuple of arguments, or a dict of keyword arguments.

    Raises:
        SetupError: the model does not run on the inputs.

    >>> work = work_of(nn.Linear(3, 2), torch.zeros(5, 3))
    >>> dict(work.of_weights), work.total  # 2 * 5 * 3 * 2
    ({'weight': 60}, 60)
    """
    twin = copy.deepcopy(model).eval()
    counter = _Counter(named_parameters(twin))
    for path, module in twin.named_modules():
        module.register_forward_pre_hook(counter.enter(path))
        module.register_forward_hook(counter.leave, always_call=True)
    devices = {p.device for p in twin.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices, key=str)), torch.no_grad(), _taken_apart():
        try:
            with counter:
                if isinstance(inputs, Mapping):
                    twin(**inputs)
                else:
                    twin(*inputs) if isinstance(inputs, (tuple, list)) else twin(inputs)
        except Exception as error:
            raise SetupError(f"the model does not run on example_inputs: {error}") from error
    return Work(counter.of_weights, counter.between, counter.rest)


@contextmanager
def _taken_apart() -> Iterator[None]:
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(switched_off(torch.backends.mkldnn))
        stack.enter_context(switched_off(torch.backends.cudnn))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


@final
class _Counter(TorchDispatchMode):
    """Counts each product once, by the parameter whose memory it reads, else by its module."""

    def __init__(self, params: Mapping[str, Tensor]) -> None:
        super().__init__()
        # Views of a parameter begin within its memory; several may lie in one storage.
        known = sorted((p.data_ptr(), p.nbytes, n) for n, p in params.items() if p.numel())
        self._starts = [start for start, _, _ in known]
        self._known = known
        self._inside: list[str] = []
        self.of_weights: dict[str, int] = {}
        self.between: dict[str, int] = {}
        self.rest = 0

    def enter(self, path: str) -> Any:
        """A hook that notes that this module runs."""
        return lambda *_: self._inside.append(path)

    def leave(self, *_: Any) -> None:
        """The last module that was entered is done."""
        self._inside.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        out = func(*args, **given)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self._add(int(formula(*args, **given, out_val=out)), tree_leaves((args, given)))
        return out

    def _add(self, count: int, values: list[Any]) -> None:
        tensors = [v for v in values if isinstance(v, Tensor)]
        names = {n for t in tensors if t.dim() > 1 and (n := self._owner(t)) is not None}
        if len(names) == 1:
            name = names.pop()
            self.of_weights[name] = self.of_weights.get(name, 0) + count
        elif names:
            self.rest += count
        else:
            path = self._inside[-1] if self._inside else ""
            self.between[path] = self.between.get(path, 0) + count

    def _owner(self, tensor: Tensor) -> str | None:
        place = bisect_right(self._starts, tensor.data_ptr()) - 1
        if place < 0:
            return None
        start, size, name = self._known[place]
        return name if tensor.data_ptr() < start + size else None
