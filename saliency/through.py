"""The activation functions that usually follow a layer, by name."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import final

import torch
from torch import Tensor
from torch.nn import functional


@final
class Through(Enum):
    """What a network applies to the output of a layer; called, it is that function.

    For places that can hold a word but no function, such as a configuration file.

    >>> Through.RELU(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    >>> Through.RELU
    Through.RELU
    """

    RELU = "relu"
    GELU = "gelu"
    SILU = "silu"
    TANH = "tanh"
    SIGMOID = "sigmoid"

    def __call__(self, outputs: Tensor) -> Tensor:
        """The function of the outputs."""
        return _FUNCTIONS[self](outputs)

    def __repr__(self) -> str:
        return f"Through.{self.name}"


_FUNCTIONS: dict[Through, Callable[[Tensor], Tensor]] = {
    Through.RELU: torch.relu,
    Through.GELU: functional.gelu,
    Through.SILU: functional.silu,
    Through.TANH: torch.tanh,
    Through.SIGMOID: torch.sigmoid,
}
