"""Gauss-Newton columns at the outputs of layers: C ordinary backward passes per batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from saliency.curvature.functional import pair, pieces, refuse_mixing
from saliency.curvature.one_by_one import Attempt, output_hessian
from saliency.curvature.rows import check_convex, output_root
from saliency.problem import Problem, change_tensors


def layer_columns(
    problem: Problem, layers: Mapping[str, nn.Module], batch: Any
) -> tuple[dict[str, Tensor], Iterator[dict[str, Tensor]]]:
    """The layers' inputs, and for each output column c the gradients of s_c at their outputs.

    Args:
        problem: With a loss of (output, target).
        layers: Modules by a name of the caller's.
        batch: A pair (input, target).

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
    return {name: a for name, (a, _) in seen.items()}, _columns(problem, out, target, seen)


def _columns(
    problem: Problem, out: Tensor, target: Any, seen: dict[str, tuple[Tensor, Tensor]]
) -> Iterator[dict[str, Tensor]]:
    def root(output: Tensor, own: Any) -> tuple[Tensor, Tensor, Tensor]:
        one = change_tensors(own, lambda t: t.unsqueeze(0))
        return output_root(problem, output[None], one)

    def apart(outputs: Tensor, targets: Any) -> tuple[Tensor, Tensor, Tensor]:
        each = [
            output_root(problem, one, y, output_hessian)
            for one, (y,) in zip(outputs.split(1), pieces((targets,), 1), strict=True)
        ]
        roots, lowest, highest = zip(*each, strict=True)
        return torch.stack(roots), torch.stack(lowest), torch.stack(highest)

    columns, lowest, highest = Attempt(vmap(root), apart)(out.detach(), target)
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
