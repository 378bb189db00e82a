"""An estimate of the Hessian's diagonal from random probes, with its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from saliency.counter_random import counter_uniform
from saliency.curvature.flat import Layout
from saliency.curvature.functional import Params, live
from saliency.curvature.products import hessian_products
from saliency.curvature.request import DiagonalRequest, finite, positive_int
from saliency.curvature.storage import width_dtype
from saliency.problem import Problem


@final
@dataclass(frozen=True)
class Estimate:
    """A mean over probes and its standard error, by parameter name.

    Attributes:
        mean: The estimate.
        error: sqrt(variance over probes / probes), entry by entry.
    """

    mean: dict[str, Tensor]
    error: dict[str, Tensor]


@final
@dataclass(frozen=True)
class Hutchinson(DiagonalRequest):
    """h ~ mean over probes of v * (H v), with v of random signs.

    Unbiased. The variance of entry k for one probe is the sum of h_kj^2 over j != k, so that
    entries much smaller than their row are lost in it: compare the error before ranking by it.
    Probes are a function of the problem's seed and of the parameters' names.

    Args:
        probes: Products per batch; 2 or more for an error.
        chunk: Products at a time.

    Raises:
        ValueError: `probes` is below 2 or `chunk` below 1, or an entry is not finite.

    Source: Bekas, Kokiopoulou and Saad 2007, after Hutchinson 1990.

    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> batch = (torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))
    >>> problem = Problem(layer, {"weight": layer.weight}, [batch], torch.nn.MSELoss())
    >>> found = Hutchinson(probes=400).estimate(problem)
    >>> exact = torch.tensor([[2.0, 8.0]])
    >>> bool(((found.mean["weight"] - exact).abs() < 4 * found.error["weight"]).all())
    True
    """

    probes: int = 100
    chunk: int = 64

    def __post_init__(self) -> None:
        positive_int("Hutchinson", "probes", self.probes)
        positive_int("Hutchinson", "chunk", self.chunk)
        if self.probes < 2:
            raise ValueError(
                f"Hutchinson(probes={self.probes}): probes must be 2 or more, for an error."
            )

    def __call__(self, problem: Problem) -> dict[str, Tensor]:
        """The estimate; tensors of the weights' shapes."""
        return self.estimate(problem).mean

    def estimate(self, problem: Problem) -> Estimate:
        """The estimate with its standard error; only two vectors are kept."""
        params = live(problem)
        layout = Layout.of(params)
        like = layout.flat(params)
        mean = torch.zeros_like(like, dtype=width_dtype(like))
        squares = torch.zeros_like(mean)
        for start in range(0, self.probes, self.chunk):
            stop = min(start + self.chunk, self.probes)
            v = torch.stack([_signs(problem.seed, i, params) for i in range(start, stop)])
            hv = torch.zeros_like(v, dtype=mean.dtype)
            seen = 0.0  # share of the samples
            with problem.calm():
                for products, share in hessian_products(problem, params):
                    hv += products(v) * share
                    seen += share
                    done = round(start + seen * (stop - start))
                    problem.report("Hutchinson's diagonal", done, self.probes)
            for count, sample in enumerate(hv.mul_(v), start=start + 1):
                # Welford's running variance: exact where squares would cancel.
                before = sample - mean
                mean += before / count
                squares += before * (sample - mean)
        error = (squares / (self.probes - 1) / self.probes).sqrt()
        return Estimate(finite(repr(self), layout.named(mean)), layout.named(error))


def _signs(seed: int, probe: int, params: Params) -> Tensor:
    parts = []
    for name, tensor in params.items():
        shape, device = (tensor.numel(),), tensor.device
        u = counter_uniform(seed, step=probe, name=f"probe {name}", shape=shape, device=device)
        parts.append(torch.where(u < 0.5, -1.0, 1.0).to(tensor.dtype))
    return torch.cat(parts)
