"""Vectors x whose outer products add up to a curvature: F = sum of x x' / their number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from saliency.curvature import one_by_one
from saliency.curvature.flat import Layout
from saliency.curvature.functional import (
    Params,
    check_loss,
    live,
    loss_of,
    output_of,
    pair,
    pieces,
    pullback,
    refuse_mixing,
    sample_gradients,
)
from saliency.curvature.one_by_one import Attempt
from saliency.curvature.request import positive_int
from saliency.curvature.storage import width_dtype
from saliency.problem import Problem, batch_size, change_tensors, tensors_in


class Rows(ABC):
    """A stream of row vectors, one entry per weight, for F = (1/P) sum x x'."""

    @abstractmethod
    def count(self, problem: Problem) -> int:
        """P, the number that the sum of outer products is divided by."""

    @abstractmethod
    def each(self, problem: Problem) -> Iterator[tuple[Tensor, int]]:
        """(rows [k, size], how much of P they are worth), a few at a time."""


@final
@dataclass(frozen=True)
class SampleGradients(Rows):
    """x_n = gradient of the loss of sample n: F is the empirical Fisher.

    Args:
        chunk: Samples at a time. Memory grows by chunk x (weights + activations).

    Raises:
        ValueError: The samples of a batch have no gradients of their own (BatchNorm that is in
            train mode).
    """

    chunk: int = 32

    def __post_init__(self) -> None:
        positive_int("SampleGradients", "chunk", self.chunk)

    def count(self, problem: Problem) -> int:
        """The number of samples."""
        return problem.samples()

    def each(self, problem: Problem) -> Iterator[tuple[Tensor, int]]:
        """A row per sample."""
        params = live(problem)
        refuse_mixing(problem)
        layout = Layout.of(params)
        gradients = Attempt(sample_gradients, one_by_one.sample_gradients)
        for batch in problem.each():
            check_loss(loss_of(problem, params, batch))
            for piece in pieces(batch, self.chunk):
                yield layout.flat(gradients(problem, params, piece)), batch_size(piece)


@final
@dataclass(frozen=True)
class BatchGradients(Rows):
    """x_b = gradient of the mean loss of batch b; for models that mix the samples of a batch.

    Its F is smaller than that of the samples, by about the batch size where gradients are noise.
    """

    def count(self, problem: Problem) -> int:
        """The number of batches."""
        return sum(1 for _ in problem.each())

    def each(self, problem: Problem) -> Iterator[tuple[Tensor, int]]:
        """A row per batch."""
        params = live(problem)
        layout = Layout.of(params)
        gradient = Attempt(_batch_gradient, one_by_one.batch_gradient)
        for batch in problem.each():
            check_loss(loss_of(problem, params, batch))
            yield layout.flat(gradient(problem, params, batch))[None], 1


def _batch_gradient(problem: Problem, params: Params, batch: Any) -> Params:
    found: Params = grad(lambda p: loss_of(problem, p, batch))(params)
    return found


@final
@dataclass(frozen=True)
class GaussNewtonColumns(Rows):
    """x_nc = J_n' s_nc, with S_n S_n' = Hessian of sample n's loss in its outputs.

    F is the generalised Gauss-Newton matrix: J the derivative of the outputs by the weights, and
    C rows per sample of C outputs. For a squared error the rows are the output gradients of OBS.

    Args:
        chunk: Samples at a time. Memory grows by chunk x C x (weights + activations).

    Raises:
        ValueError: The problem has no loss of (output, target), or one that is not convex in the
            outputs, or samples have no gradients of their own.
        TypeError: The model gives something else than one tensor.

    Source: Schraudolph 2002; Dangel, Kunstner and Hennig 2020 for the square root.
    """

    chunk: int = 8

    def __post_init__(self) -> None:
        positive_int("GaussNewtonColumns", "chunk", self.chunk)

    def count(self, problem: Problem) -> int:
        """The number of samples, each of which has C rows."""
        return problem.samples()

    def each(self, problem: Problem) -> Iterator[tuple[Tensor, int]]:
        """C rows per sample."""
        if problem.loss is None:
            raise ValueError(
                f"{self!r} splits the loss from the outputs: give loss= of (output, target), or "
                "use SampleGradients() or HessianDiagonal() with batch_loss=."
            )
        refuse_mixing(problem)
        params = live(problem)
        layout = Layout.of(params)
        columns = Attempt(_columns, _columns_apart)
        for batch in problem.each():
            check_loss(loss_of(problem, params, batch))
            for piece in pieces(batch, self.chunk):
                rows, lowest, highest = columns(problem, params, piece)
                check_convex(lowest, highest)
                yield layout.flat(rows).flatten(0, 1), batch_size(piece)


def _columns(problem: Problem, params: Params, piece: object) -> tuple[Params, Tensor, Tensor]:
    """Rows [n, C, *shape], and the smallest and largest eigenvalue of each sample's Hessian."""
    tensors = list(tensors_in(piece))

    def one(params: Params, *parts: Tensor) -> tuple[Params, Tensor, Tensor]:
        left = iter(parts)
        x, y = pair(change_tensors(piece, lambda _: next(left).unsqueeze(0)))
        out, back = pullback(lambda p: _tensor(output_of(problem, p, x)), params)
        root, lowest, highest = output_root(problem, out, y)
        return vmap(back)(root.to(out.dtype)), lowest, highest

    where = (None, *(0 for _ in tensors))
    return vmap(one, in_dims=where, randomness="different")(params, *tensors)


def _columns_apart(
    problem: Problem, params: Params, piece: object
) -> tuple[Params, Tensor, Tensor]:
    def root(out: Tensor, target: Any) -> tuple[Tensor, Tensor, Tensor]:
        return output_root(problem, _tensor(out), target, one_by_one.output_hessian)

    return one_by_one.columns(problem, params, piece, root)


def _output_hessian(loss: Callable[[Tensor], Tensor], flat: Tensor) -> Tensor:
    found: Tensor = jacrev(jacrev(loss))(flat)
    return found


def output_root(
    problem: Problem,
    out: Tensor,
    target: Any,
    hessian_of: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor] = _output_hessian,
) -> tuple[Tensor, Tensor, Tensor]:
    """(S [C, *out.shape], smallest, largest eigenvalue): S'S = Hessian of one sample's loss.

    In float32 for 16-bit outputs.
    """
    assert problem.loss is not None
    loss, wide = problem.loss, out.to(width_dtype(out))
    hessian = hessian_of(lambda o: loss(o.reshape(out.shape), target), wide.reshape(-1))
    values, vectors = torch.linalg.eigh(hessian)
    root = (vectors * values.clamp(min=0).sqrt()).mT
    return root.reshape(-1, *out.shape), values[0], values[-1]


def check_convex(lowest: Tensor, highest: Tensor) -> None:
    """Raise ValueError unless the Hessians with these extreme eigenvalues have a real root."""
    # Rounding leaves the zero eigenvalues of a convex loss slightly negative. It is that of terms
    # of order one where a sample is fitted so well that its whole Hessian is next to nothing.
    rounding = 1e-4 * highest.abs() + 16 * torch.finfo(lowest.dtype).eps
    if bool((lowest < -rounding).any()):
        raise ValueError(
            "Gauss-Newton: the loss is not convex in the outputs (its Hessian has the eigenvalue "
            f"{float(lowest.min()):.3g}); use HessianDiagonal(), InverseHessian() or "
            "SampleGradients()."
        )


def _tensor(output: object) -> Tensor:
    if not isinstance(output, Tensor):
        raise TypeError(
            f"Gauss-Newton needs a model that gives one tensor, got {type(output).__name__}."
        )
    return output
