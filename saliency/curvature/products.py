"""Hessian-vector products, one or many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor
from torch.func import grad, vmap

from saliency.curvature import one_by_one
from saliency.curvature.flat import Layout
from saliency.curvature.functional import Params, check_loss, live, loss_of, pullback
from saliency.curvature.request import finite
from saliency.curvature.storage import width_dtype
from saliency.problem import Problem, batch_size

Products = Callable[[Tensor], Tensor]
"""Maps [k, size] to its k products with a Hessian, [k, size]."""


def hessian_vector_product(problem: Problem, vector: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """H v, with H the Hessian of the problem's loss: one backward through a backward per batch.

    Args:
        problem: The loss.
        vector: One tensor per parameter of the problem, of its shape.

    Raises:
        ValueError: `vector` has other names or shapes, or the product is not finite.

    Source: Pearlmutter 1994, "Fast exact multiplication by the Hessian".

    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> batch = (torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))
    >>> problem = Problem(layer, {"weight": layer.weight}, [batch], torch.nn.MSELoss())
    >>> hessian_vector_product(problem, {"weight": torch.tensor([[1.0, 0.0]])})
    {'weight': tensor([[2., 4.]])}
    """
    params = live(problem)
    shapes = {name: tuple(tensor.shape) for name, tensor in params.items()}
    given = {name: tuple(tensor.shape) for name, tensor in vector.items()}
    if given != shapes:
        raise ValueError(
            f"hessian_vector_product: the vector has the shapes {given}, the problem {shapes}."
        )
    layout = Layout.of(params)
    direction = layout.flat(vector)[None]
    total = torch.zeros_like(direction, dtype=width_dtype(direction))
    with problem.calm():
        for products, share in hessian_products(problem, params):
            total += products(direction) * share
            problem.report("Hessian-vector product", 0)
    return finite("hessian_vector_product", layout.named(total[0].to(direction.dtype)))


def hessian_products(problem: Problem, params: Params) -> Iterator[tuple[Products, float]]:
    """For each batch its products, and its share of the samples; to be run in `calm()`.

    The forward and the first backward pass of a batch run once, however many products follow.
    Every way in which a parameter is used counts, so tied parameters are exact; BatchNorm in
    train mode is differentiated through the statistics of the batch.
    """
    layout = Layout.of(params)
    samples = problem.samples()
    for batch in problem.each():
        check_loss(loss_of(problem, params, batch))
        yield _products(problem, params, batch, layout), batch_size(batch) / samples


def _products(problem: Problem, params: Params, batch: object, layout: Layout) -> Products:
    back: list[Callable[[Params], Params]] = []  # made at the first call, then kept

    def together(directions: Tensor) -> Tensor:
        if not back:
            slope: Callable[[Params], Params] = grad(lambda p: loss_of(problem, p, batch))
            back.append(pullback(slope, params)[1])
        return layout.flat(vmap(back[0])(layout.named(directions)))

    def apart(directions: Tensor) -> Tensor:
        return one_by_one.hessian_products(problem, params, batch, layout, directions)

    return one_by_one.Attempt(together, apart)


def basis(size: int, start: int, stop: int, like: Tensor) -> Tensor:
    """Rows `start` to `stop` of the identity.

    >>> basis(3, 1, 3, torch.zeros(1))
    tensor([[0., 1., 0.],
            [0., 0., 1.]])
    """
    rows = torch.zeros(stop - start, size, dtype=like.dtype, device=like.device)
    index = torch.arange(stop - start, device=like.device)
    rows[index, index + start] = 1
    return rows
