"""The inverse Fisher kept as its gradients: exact, and never a matrix over the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from saliency.curvature.flat import Layout, readable
from saliency.curvature.functional import live
from saliency.curvature.inverse import Inverse, InverseRequest
from saliency.curvature.request import check_request, finite, positive_int
from saliency.curvature.rows import Rows, SampleGradients
from saliency.curvature.storage import (
    DEFAULT_MEMORY,
    check_arguments,
    positive_damping,
    width_dtype,
)
from saliency.problem import Problem

_COLUMNS = 1 << 16


@final
@dataclass(frozen=True)
class Woodbury(InverseRequest):
    """(damping I + A'A)^-1 = (I - A'(damping I + A A')^-1 A) / damping, with A = X / sqrt(P).

    The same matrix as `InverseFisher` dense, in count x weights memory in place of weights^2.
    Gives by name the rows [count, numel] of A. The first `count` rows are taken, and P is their
    number (of samples); more data are left unread.

    Args:
        damping: Added to the diagonal; above 0, in units of the curvature.
        rows: What to sum up, as in `InverseFisher`.
        count: Rows to keep at most.
        memory: Bytes that the rows may take.

    Raises:
        ValueError: An argument is out of range, or the rows would not fit (the message names the
            number that does), or they are not finite.

    Source: Frantar, Kurtic and Alistarh 2021, M-FAC (arXiv:2107.03356).

    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> batch = (torch.eye(2), torch.zeros(2, 1))
    >>> problem = Problem(layer, {"weight": layer.weight}, [batch], torch.nn.MSELoss())
    >>> request = Woodbury(damping=2.0)  # Fisher: 2 I
    >>> request.open(request(problem), {"weight": layer.weight.detach()}, {}).diagonal()
    {'weight': tensor([[0.2500, 0.2500]], dtype=torch.float64)}
    """

    damping: float = 1e-4
    rows: Rows = field(default_factory=SampleGradients)
    count: int = 256
    memory: int = DEFAULT_MEMORY

    def __post_init__(self) -> None:
        check_arguments("Woodbury", None, self.damping, self.memory)
        positive_damping("Woodbury", self.damping)
        positive_int("Woodbury", "count", self.count)
        check_request("Woodbury", "rows", self.rows, Rows)

    def __call__(self, problem: Problem) -> dict[str, Tensor]:
        """The rows of A by name."""
        params = live(problem)
        layout = Layout.of(params)
        self.check(problem.model, params)
        kept: Tensor | None = None
        held, total = 0, 0
        with problem.calm():
            for rows, worth in self.rows.each(problem):
                # A sample with several rows is taken whole, or not at all.
                per = len(rows) // worth
                units = min(worth, max((self.count - held) // per, 0))
                if total == 0 and units == 0:
                    raise ValueError(
                        f"Woodbury(count={self.count}): one sample alone has {per} rows."
                    )
                if kept is None:
                    kept = rows.new_empty(self.count, layout.size, dtype=width_dtype(rows))
                kept[held : held + units * per] = rows[: units * per]
                held, total = held + units * per, total + units
                problem.report("Woodbury rows", held, self.count)
                full = units < worth or held == self.count
                del rows  # not in memory while the next ones are made
                if full:
                    break
        assert kept is not None  # a problem has batches
        kept = kept if held == self.count else kept[:held].clone()
        parts = kept.div_(total**0.5).split(layout.sizes, dim=1)
        return finite(repr(self), dict(zip(layout.names, parts, strict=True)))

    def check(self, model: nn.Module, params: Mapping[str, Tensor]) -> None:
        """Whether the rows fit in `memory`."""
        size = sum(p.numel() for p in params.values())
        each = sum(p.numel() * width_dtype(p).itemsize for p in params.values())
        if self.count * each > self.memory:
            raise ValueError(
                f"Woodbury(count={self.count}): rows of {size} weights take "
                f"{readable(self.count * each)}, and memory= allows {readable(self.memory)}; "
                f"count={self.memory // each} or less fits."
            )

    def open(
        self,
        curvature: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        awake: Mapping[str, Tensor],
    ) -> WoodburyInverse:
        """The inverse over the awake weights."""
        given = {name: curvature[name] for name in weights}
        for name, w in weights.items():
            if given[name].dim() != 2 or given[name].shape[1] != w.numel():
                raise ValueError(
                    f"{self!r}: the curvature of {name!r} has shape {tuple(given[name].shape)}, "
                    f"expected (rows, {w.numel()}); ask for it with these weights."
                )
        return WoodburyInverse(given, weights, awake, self.damping)


@final
class WoodburyInverse(Inverse):
    """(damping I + A'A)^-1 over the awake weights; small systems are solved in float64."""

    def __init__(
        self,
        rows: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        awake: Mapping[str, Tensor],
        damping: float,
    ) -> None:
        self._rows = rows
        self._weights = weights
        self._awake = {
            n: awake.get(n, torch.ones_like(w, dtype=torch.bool)).flatten()
            for n, w in weights.items()
        }
        self._damping = damping

    def _gram(self, over: Mapping[str, Tensor]) -> Tensor:
        """A A' over these entries."""
        first = next(iter(self._rows.values()))
        gram = first.new_zeros(len(first), len(first), dtype=torch.float64)
        for name, rows in self._rows.items():
            for part, mask in zip(
                rows.split(_COLUMNS, dim=1), over[name].split(_COLUMNS), strict=True
            ):
                some = part.double() * mask
                gram.addmm_(some, some.T)
        return gram

    def diagonal(self) -> dict[str, Tensor]:
        """(1 - a' (damping I + A A')^-1 a) / damping for each column a of A, in float64.

        Loses digits where damping is tiny beside the curvature of a weight.
        """
        gram = self._gram(self._awake)
        gram.diagonal().add_(self._damping)
        factor = torch.linalg.cholesky(gram)
        found = {}
        for name, rows in self._rows.items():
            parts = [rows.new_empty(0, dtype=torch.float64)]
            for part in rows.split(_COLUMNS, dim=1):
                half = torch.linalg.solve_triangular(factor, part.double(), upper=False)
                parts.append((1 - half.square().sum(0)) / self._damping)
            whole = torch.cat(parts).masked_fill(~self._awake[name], 1 / self._damping)
            found[name] = whole.reshape(self._weights[name].shape)
        return found

    def remove(self, chosen: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        """As ridge regression of the removed weights on the survivors' rows: no cancellation."""
        none = {n: torch.zeros_like(mask) for n, mask in self._awake.items()}
        out = {n: chosen[n].flatten() & self._awake[n] if n in chosen else none[n] for n in none}
        stay = {n: self._awake[n] & ~out[n] for n in out}
        first = next(iter(self._rows.values()))
        pulled = first.new_zeros(len(first), dtype=torch.float64)
        squares = 0.0
        for name, rows in self._rows.items():
            gone = self._weights[name].flatten().double() * out[name]
            for part, some in zip(rows.split(_COLUMNS, dim=1), gone.split(_COLUMNS), strict=True):
                pulled += part.double() @ some
            squares += float(gone.square().sum())
        gram = self._gram(stay)
        gram.diagonal().add_(self._damping)
        push = torch.linalg.solve(gram, pulled)
        loss = 0.5 * self._damping * (squares + float(pulled @ push))
        update = {
            name: ((push.to(rows.dtype) @ rows) * stay[name]).reshape(self._weights[name].shape)
            for name, rows in self._rows.items()
        }
        return loss, update
