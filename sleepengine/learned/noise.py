"""Noise of masks as a pure function of (seed, step, name, sample)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from saliency.counter_random import counter_uniform


def uniform(
    seed: int,
    step: int,
    name: str,
    shape: Sequence[int],
    *,
    sample: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """One number in (0, 1) per logit: the entries of sample s follow those of sample s - 1.

    Every process, device and run gives the same numbers; the global random state is not touched.
    A zero, which has no logarithm, is lifted to half the smallest step.

    >>> both = uniform(0, 7, "w", (2, 3))
    >>> torch.equal(both[1], uniform(0, 7, "w", (3,), sample=1))
    True
    """
    size = torch.Size(shape)
    drawn = counter_uniform(
        seed,
        step=step,
        name=name,
        shape=size,
        device=device,
        offset=sample * size.numel(),
        dtype=dtype,
    )
    return drawn.clamp_(min=torch.finfo(dtype).eps / 4)
