"""Split a batch into equal parts, one for each mask sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from sleepengine.errors import SetupError
from sleepengine.learned.inputs import Inputs


def as_pair(batch: Any) -> tuple[Any, Any]:
    """A batch as (input, target).

    Raises:
        SetupError: it is no pair.
    """
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return batch[0], batch[1]
    raise SetupError(
        f"a batch of type {type(batch).__name__} is no pair (input, target); give prepare_batch="
    )


def size_of(batch: Any) -> int:
    """Samples in a batch: the first dimension that all its tensors share.

    Raises:
        SetupError: there is no tensor with samples, or the tensors differ.

    >>> import torch
    >>> size_of({"a": torch.zeros(4, 2), "b": [torch.zeros(4)]})
    4
    """
    sizes = {len(t) if t.dim() else 0 for t in tensors_of(batch)}
    if len(sizes) != 1 or 0 in sizes:
        raise SetupError(
            f"a batch needs tensors with the samples along dimension 0; found sizes {sorted(sizes)}"
        )
    return sizes.pop()


def split(batch: Any, parts: int) -> list[Any]:
    """The batch in `parts` consecutive parts, the first ones a sample longer when uneven.

    Tensors may be nested in lists, tuples, dicts and `Inputs`; anything else goes into every part.

    >>> import torch
    >>> split((torch.arange(5), "note"), 2)
    [(tensor([0, 1, 2]), 'note'), (tensor([3, 4]), 'note')]
    """
    if isinstance(batch, Tensor):
        return list(batch.tensor_split(parts))
    if isinstance(batch, Mapping):
        split_up = {key: split(value, parts) for key, value in batch.items()}
        return [{key: pieces[i] for key, pieces in split_up.items()} for i in range(parts)]
    if isinstance(batch, Inputs):
        both = zip(split(batch.args, parts), split(batch.kwargs, parts), strict=True)
        return [Inputs(args, kwargs) for args, kwargs in both]
    if isinstance(batch, list | tuple):
        pieces = [split(value, parts) for value in batch]
        return [type(batch)([p[i] for p in pieces]) for i in range(parts)]
    return [batch] * parts


def stacked(batch: Any, parts: int) -> Any:
    """The batch with a new first dimension of `parts`; its size must be a multiple.

    >>> import torch
    >>> stacked(torch.arange(4), 2)
    tensor([[0, 1],
            [2, 3]])
    """
    if isinstance(batch, Tensor):
        return batch.unflatten(0, (parts, -1))
    if isinstance(batch, Mapping):
        return {key: stacked(value, parts) for key, value in batch.items()}
    if isinstance(batch, Inputs):
        return Inputs(stacked(batch.args, parts), stacked(batch.kwargs, parts))
    if isinstance(batch, list | tuple):
        return type(batch)([stacked(value, parts) for value in batch])
    return batch


def flattened(output: Any) -> Any:
    """The first two dimensions of every tensor as one: the inverse of `stacked`."""
    if isinstance(output, Tensor):
        return output.flatten(0, 1)
    if isinstance(output, Mapping):
        return {key: flattened(value) for key, value in output.items()}
    if isinstance(output, list | tuple):
        return type(output)([flattened(value) for value in output])
    return output


def with_tensors(batch: Any, tensors: Iterator[Tensor]) -> Any:
    """The batch with other tensors in the places of its own, in the order of `tensors_of`."""
    if isinstance(batch, Tensor):
        return next(tensors)
    if isinstance(batch, Mapping):
        return {key: with_tensors(value, tensors) for key, value in batch.items()}
    if isinstance(batch, Inputs):
        args = with_tensors(batch.args, tensors)
        return Inputs(args, with_tensors(batch.kwargs, tensors))
    if isinstance(batch, list | tuple):
        return type(batch)([with_tensors(value, tensors) for value in batch])
    return batch


def connected(output: Any) -> bool:
    """Whether any tensor of an output can pass a gradient."""
    return any(t.requires_grad for t in tensors_of(output))


def tensors_of(batch: Any) -> list[Tensor]:
    """All tensors of a nested batch, in order."""
    if isinstance(batch, Tensor):
        return [batch]
    if isinstance(batch, Mapping):
        return [t for value in batch.values() for t in tensors_of(value)]
    if isinstance(batch, Inputs):
        return tensors_of([batch.args, batch.kwargs])
    if isinstance(batch, list | tuple):
        return [t for value in batch for t in tensors_of(value)]
    return []
