"""Diagonals of plain linear layers, without a gradient per sample.

The gradient of sample n is the outer product of g_n and x_n, so the sum of its squares over n is
one product of the squares, (G * G)' (X * X).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from saliency.curvature.functional import check_loss, live, loss_of, output_of, pair
from saliency.curvature.layer_columns import Root, layer_columns
from saliency.curvature.storage import width_dtype
from saliency.problem import Problem, batch_size


def plain_layers(problem: Problem) -> dict[str, nn.Linear]:
    """Linear layers that are asked for, used once per pass, on a [samples, in] input, untied."""
    if problem.loss is None:
        return {}
    owners: dict[int, int] = {}
    for _, p in problem.model.named_parameters(remove_duplicate=False):
        owners[id(p)] = owners.get(id(p), 0) + 1
    found = {}
    for path, module in problem.model.named_modules():
        own = [f"{path}.{kind}".lstrip(".") for kind, _ in module.named_parameters(recurse=False)]
        wanted = any(name in problem.params for name in own)
        # A subclass may compute something else.
        if wanted and type(module) is nn.Linear and _untied(module, owners):
            found[path] = module
    used = _used_once(problem, found)
    return {path: layer for path, layer in found.items() if path in used}


def _untied(module: nn.Module, owners: Mapping[int, int]) -> bool:
    return all(owners[id(p)] == 1 for p in module.parameters())


def _used_once(problem: Problem, layers: Mapping[str, nn.Module]) -> set[str]:
    """Layers that the first batch passes once, with a row per sample; none if outputs are many."""
    shapes: dict[str, list[tuple[int, int]]] = {path: [] for path in layers}

    def recorder(path: str) -> Callable[..., None]:
        def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            shapes[path].append((len(args[0]), args[0].dim()))

        return record

    hooks = [layer.register_forward_hook(recorder(path)) for path, layer in layers.items()]
    try:
        batch = next(problem.each())
        out = output_of(problem, live(problem), pair(batch)[0])
    finally:
        for hook in hooks:
            hook.remove()
    rows = (batch_size(batch), 2)  # tokens that were made rows belong to few samples
    whole = isinstance(out, Tensor) and len(out) == rows[0]
    return {path for path, found in shapes.items() if whole and found == [rows]}


def add_squares(
    problem: Problem,
    layers: Mapping[str, nn.Linear],
    batch: object,
    total: dict[str, Tensor],
    roots: tuple[Root, Root],
) -> None:
    """Add the sums over one batch's samples and columns to `total`, by parameter name."""
    inputs, columns = layer_columns(problem, layers, batch, *roots)
    squares = {path: _wide(a).square() for path, a in inputs.items()}
    for gradients in columns:
        for path, g in gradients.items():
            weight, bias = (f"{path}.{kind}".lstrip(".") for kind in ("weight", "bias"))
            g2 = _wide(g).square()
            if weight in total:
                total[weight].addmm_(g2.T, squares[path])
            if bias in total:
                total[bias].add_(g2.sum(0))


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(width_dtype(tensor))


def plain_diagonals(problem: Problem, what: str, roots: tuple[Root, Root]) -> dict[str, Tensor]:
    """The diagonal of the parameters of plain layers; of no others."""
    layers = plain_layers(problem)
    if not layers:
        return {}
    names = [f"{path}.{kind}".lstrip(".") for path in layers for kind in ("weight", "bias")]
    total = {n: torch.zeros_like(_wide(p)) for n, p in live(problem).items() if n in names}
    done = 0
    for batch in problem.each():
        check_loss(loss_of(problem, live(problem), batch))
        add_squares(problem, layers, batch, total, roots)
        done += batch_size(batch)
        problem.report(what, done)
    return {name: tensor.div_(done) for name, tensor in total.items()}
