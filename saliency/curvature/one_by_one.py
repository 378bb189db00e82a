"""The same by ordinary backward passes, for models and losses that torch.func cannot transform.

Recurrent layers, steps that depend on values, checkpointed activations: slower by the loop.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from saliency.curvature.flat import Layout
from saliency.curvature.functional import Params, loss_of, output_of, pair, pieces
from saliency.problem import Problem

T = TypeVar("T")


@final
class Attempt:
    """together(...) as long as torch can do that, and from then on apart(...).

    >>> def refused(x):
    ...     raise RuntimeError("vmap: not supported")
    >>> double = Attempt(refused, lambda x: 2 * x)
    >>> double(4), double(5)
    (8, 10)
    """

    def __init__(self, together: Callable[..., Any], apart: Callable[..., Any]) -> None:
        self._together: Callable[..., Any] | None = together
        self._apart = apart

    def __call__(self, *given: Any) -> Any:
        """What either gives; an error of the second one is the caller's."""
        if self._together is not None:
            try:
                return self._together(*given)
            except RuntimeError:
                self._together = None
        return self._apart(*given)


def sample_gradients(problem: Problem, params: Params, piece: Any) -> Params:
    """Gradient of each sample's own loss; tensors [n, *shape]."""

    def one(leaves: Params, sample: Any) -> Params:
        loss = loss_of(problem, leaves, sample)
        return _pulled([loss], leaves, None)

    each = [_inside(problem, params, one, sample) for sample in pieces(piece, 1)]
    return {name: torch.stack([found[name] for found in each]) for name in params}


def batch_gradient(problem: Problem, params: Params, batch: Any) -> Params:
    """Gradient of the batch's mean loss."""
    return _inside(problem, params, lambda p, b: _pulled([loss_of(problem, p, b)], p, None), batch)


def columns(
    problem: Problem,
    params: Params,
    piece: Any,
    root: Callable[[Tensor, Any], tuple[Tensor, Tensor, Tensor]],
) -> tuple[Params, Tensor, Tensor]:
    """J' s of each sample [n, C, *shape]; root(output, target) gives s [C, ...], its extremes."""

    def one(leaves: Params, sample: Any) -> tuple[Params, Tensor, Tensor]:
        x, y = pair(sample)
        out = output_of(problem, leaves, x)
        rows, lowest, highest = root(out.detach(), y)
        pulled = [_pulled([out], leaves, [row.to(out.dtype)]) for row in rows]
        return {n: torch.stack([p[n] for p in pulled]) for n in leaves}, lowest, highest

    each = [_inside(problem, params, one, sample) for sample in pieces(piece, 1)]
    rows = {name: torch.stack([found[0][name] for found in each]) for name in params}
    low, high = torch.stack([f[1] for f in each]), torch.stack([f[2] for f in each])
    return rows, low, high


def hessian_products(
    problem: Problem, params: Params, batch: Any, layout: Layout, directions: Tensor
) -> Tensor:
    """H v for each row v of [k, size], with H of this batch's loss."""

    def all_(leaves: Params, batch: Any) -> Tensor:
        loss = loss_of(problem, leaves, batch)
        slope = layout.flat(_pulled([loss], leaves, None, create_graph=True))
        if not slope.requires_grad:  # the loss is linear
            return torch.zeros_like(directions)
        return torch.stack([layout.flat(_pulled([slope], leaves, [v])) for v in directions])

    with _same_draws(problem):
        return _inside(problem, params, all_, batch)


def output_hessian(loss: Callable[[Tensor], Tensor], flat: Tensor) -> Tensor:
    """Of a loss of one vector, row by row."""
    with torch.enable_grad():
        found: Any = torch.autograd.functional.hessian(loss, flat.detach())
    return found.detach()


@final
class Inside(nn.Module):
    """The model, and what to do while it has other parameters."""

    def __init__(self, model: nn.Module, work: Callable[[], Any]) -> None:
        super().__init__()
        self.model = model
        self.work = work

    def forward(self) -> Any:
        """Do it."""
        return self.work()


def _inside(problem: Problem, params: Params, work: Callable[[Params, Any], T], given: Any) -> T:
    """work(leaves, given), its backward passes included, while the model's parameters are leaves.

    A checkpointed part of the model runs once more in the backward pass.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in params.items()}
    inner = {f"model.{name}": tensor for name, tensor in leaves.items()}
    with torch.enable_grad(), _no_lost_gradients():
        whole = Inside(problem.model, lambda: work(leaves, given))
        found: T = functional_call(whole, inner, ())
    return found


@contextmanager
def _no_lost_gradients() -> Iterator[None]:
    """Refuse checkpoints that give no gradients, of which torch just warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="None of the inputs have requires_grad")
        try:
            yield
        except UserWarning as warning:
            if "None of the inputs have requires_grad" not in str(warning):
                raise
            raise ValueError(
                "A part of the model runs in torch.utils.checkpoint with use_reentrant=True, which "
                "gives its parameters no gradients here: use_reentrant=False does."
            ) from None


def _pulled(
    of: list[Tensor], leaves: Params, along: list[Tensor] | None, create_graph: bool = False
) -> Params:
    """Gradients by name, 0 for leaves that take no part; the graph stays."""
    found = torch.autograd.grad(
        of,
        list(leaves.values()),
        along,
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
    )
    return {
        name: torch.zeros_like(leaf) if g is None else g
        for (name, leaf), g in zip(leaves.items(), found, strict=True)
    }


@contextmanager
def _same_draws(problem: Problem) -> Iterator[None]:
    """Dropout draws the same in every chunk of directions."""
    devices = sorted({p.device for p in problem.params.values() if p.is_cuda}, key=str)
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(problem.seed)
        yield
