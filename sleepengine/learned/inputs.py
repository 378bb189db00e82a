"""Several inputs of one call: what a model that takes more than `x` is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final


@final
@dataclass(frozen=True)
class Inputs:
    """model(*args, **kwargs) where a model takes more than one input.

    Tensors in it are cut along their samples as those of any batch; all else goes into every call.

    >>> import torch
    >>> from sleepengine.learned.batches import split
    >>> both = Inputs((torch.arange(4),), {"scale": torch.ones(4), "causal": True})
    >>> split(both, 2)[1]
    Inputs(args=(tensor([2, 3]),), kwargs={'scale': tensor([1., 1.]), 'causal': True})
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, x: Any) -> Inputs:
        """As it is, or one input alone."""
        return x if isinstance(x, Inputs) else cls((x,))
