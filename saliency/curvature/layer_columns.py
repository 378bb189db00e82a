"""Gradients at the outputs of layers: as many ordinary backward passes per batch as columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from saliency.curvature.functional import pair, pieces, refuse_mixing
from saliency.curvature.one_by_one import Attempt, output_hessian
from saliency.curvature.rows import check_convex, output_root
from saliency.problem import Problem, change_tensors, tensors_in

Root = Callable[[Problem, Tensor, Any], tuple[Tensor, Tensor, Tensor]]
"""(problem, output, target) of one sample -> (rows [k, *output.shape], least, greatest value)."""


def gauss_newton(problem: Problem, out: Tensor, target: Any) -> tuple[Tensor, Tensor, Tensor]:
    """C rows S with S'S = Hessian of the sample's loss."""
    return output_root(problem, out, target)


def gauss_newton_apart(problem: Problem, out: Tensor, target: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The same for a loss that torch.func cannot transform twice."""
    return output_root(problem, out, target, output_hessian)


def loss_gradient(problem: Problem, out: Tensor, target: Any) -> tuple[Tensor, Tensor, Tensor]:
    """One row, the gradient of the sample's loss."""
    assert problem.loss is not None
    loss = problem.loss
    slope: Tensor = grad(lambda o: loss(o, target))(out)
    return slope[None], slope.new_zeros(()), slope.new_zeros(())


def layer_columns(
    problem: Problem,
    layers: Mapping[str, nn.Module],
    batch: Any,
    root: Root = gauss_newton,
    apart: Root = gauss_newton_apart,
) -> tuple[dict[str, Tensor], Iterator[dict[str, Tensor]]]:
    """The layers' inputs, and for each row c of `root` the gradients of s_c at their outputs.

    Args:
        problem: With a loss of (output, target).
        layers: Modules by a name of the caller's.
        batch: A pair (input, target).
        root: What is sent back from the output of each sample.
        apart: The same, for a loss that cannot be taken of many samples at a time.

    Raises:
        ValueError: A layer is used twice or not at all, samples are mixed, or the loss is of
            (model, batch).
    """
    if problem.loss is None:
        raise ValueError(
            "Gauss-Newton columns split the loss from the outputs: give loss= of (output, target)."
        )
    refuse_mixing(problem)
    inputs, target = pair(batch)
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    state = {name: b.clone() for name, b in problem.model.named_buffers()}
    state.update({name: p.detach().requires_grad_() for name, p in problem.params.items()})
    hooks = [layer.register_forward_hook(_recorder(name, seen)) for name, layer in layers.items()]
    try:
        with torch.enable_grad():
            out = functional_call(problem.model, state, (inputs,))
    finally:
        for hook in hooks:
            hook.remove()
    unused = sorted(set(layers) - set(seen))
    if unused:
        raise ValueError(f"The layers of {unused} took no part in the forward pass.")
    columns = _columns(problem, out, target, seen, root, apart)
    return {name: a for name, (a, _) in seen.items()}, columns


def _columns(
    problem: Problem,
    out: Tensor,
    target: Any,
    seen: dict[str, tuple[Tensor, Tensor]],
    root: Root,
    apart: Root,
) -> Iterator[dict[str, Tensor]]:
    tensors = list(tensors_in(target))

    def one(output: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        left = iter(parts)
        own = change_tensors(target, lambda _: next(left).unsqueeze(0))
        return root(problem, output[None], own)

    def each(outputs: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pairs = zip(outputs.split(1), pieces((target,), 1), strict=True)
        roots, lowest, highest = zip(*(apart(problem, o, y) for o, (y,) in pairs), strict=True)
        return torch.stack(roots), torch.stack(lowest), torch.stack(highest)

    columns, lowest, highest = Attempt(vmap(one), each)(out.detach(), *tensors)
    check_convex(lowest, highest)
    columns = columns.squeeze(2).transpose(0, 1).to(out.dtype)
    sent = [output for _, output in seen.values()]
    for c, column in enumerate(columns):
        more = c + 1 < len(columns)
        found = torch.autograd.grad(out, sent, column, retain_graph=more, allow_unused=True)
        yield {
            name: torch.zeros_like(output) if g is None else g
            for (name, (_, output)), g in zip(seen.items(), found, strict=True)
        }


def _recorder(name: str, seen: dict[str, tuple[Tensor, Tensor]]) -> Callable[..., None]:
    def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if name in seen:
            raise ValueError(f"The layer of {name!r} is used twice in one forward pass.")
        seen[name] = (args[0].detach(), output)

    return record
