"""Proof by trial that nothing reads a node but the weights that its group lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from sleepengine.errors import SetupError
from sleepengine.nodes.group import NodeGroup
from sleepengine.nodes.sides import Side

Call = Callable[[nn.Module], Any]


@final
class Proof:
    """With its outgoing weights zero, a node must not change the output, whatever makes it.

    Args:
        model: a copy to work on, in eval mode; its parameters are moved a little, so that no
            path is dead by chance, and put back after every trial.
        call: runs the model on the example inputs.
    """

    def __init__(self, model: nn.Module, params: Mapping[str, nn.Parameter], call: Call) -> None:
        self._model, self._params, self._call = model, params, call
        self._generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for param in params.values():
                spread = 0.5 / max(1, param[:1].numel()) ** 0.5 if param.dim() > 1 else 0.1
                param.add_(self._noise(param), alpha=spread)

    def complete(self, group: NodeGroup) -> bool:
        """Whether the listed weights are all that reads the nodes; half of them are tried."""
        nodes = torch.arange(group.size) % 2 == 0
        shapes = {name: self._params[name].shape for name in group.params}
        outgoing = group.spread(nodes, shapes, Side.OUTGOING)
        every = group.spread(nodes, shapes)
        kept = {name: self._params[name].detach().clone() for name in group.params}
        try:
            with torch.no_grad():
                for name, mask in outgoing.items():
                    self._params[name].masked_fill_(mask.to(self._params[name].device), 0)
                before = list(tensors_of(self._call(self._model)))
                for name, mask in every.items():
                    own = mask & ~outgoing[name] if name in outgoing else mask
                    param = self._params[name]
                    param.add_(self._noise(param) * own.to(param.device))
                after = list(tensors_of(self._call(self._model)))
        finally:
            with torch.no_grad():
                for name, value in kept.items():
                    self._params[name].copy_(value)
        return all(torch.equal(a, b) for a, b in zip(before, after, strict=True))

    def _noise(self, param: Tensor) -> Tensor:
        drawn = torch.randn(param.shape, generator=self._generator)
        return drawn.to(param.device, param.dtype)


def tensors_of(output: Any) -> Iterator[Tensor]:
    """All tensors of an output, in order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for one in output.values():
            yield from tensors_of(one)
    elif isinstance(output, (tuple, list)):
        for one in output:
            yield from tensors_of(one)
    elif output is not None and not isinstance(output, (bool, int, float, str)):
        raise SetupError(
            f"the model returns {type(output).__name__}; to find its nodes it must return tensors, "
            "or tuples, lists or dicts of them"
        )
