"""Whether parameters share memory, so that what one does to a weight another would undo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor
from torch.nn.parameter import UninitializedParameter

from sleepengine.errors import SetupError


def check_targets(parameters: Mapping[str, Tensor], targets: Iterable[str]) -> None:
    """Targets hold memory of their own and have a shape.

    Raises:
        SetupError: a target shares memory with another parameter, or is not initialised yet.
    """
    chosen = set(targets)
    for name in sorted(chosen):
        if isinstance(parameters[name], UninitializedParameter):
            raise SetupError(f"{name!r} has no shape yet; run one batch through the model first")
    spans = sorted(_spans(parameters), key=lambda span: span[:3])
    for i, (storage, _, end, name) in enumerate(spans):
        for other_storage, other_start, _, other in spans[i + 1 :]:
            if other_storage != storage or other_start >= end:
                break
            if chosen & {name, other}:
                raise SetupError(
                    f"{name!r} and {other!r} are two parameters on the same memory: what one "
                    "does to a weight the other undoes. Tie them by assigning one Parameter to "
                    "both modules, or leave both out of params="
                )


def _spans(parameters: Mapping[str, Tensor]) -> Iterator[tuple[int, int, int, str]]:
    """(storage address, first byte, byte after the last, name) of what holds memory."""
    for name, tensor in parameters.items():
        if isinstance(tensor, UninitializedParameter) or not tensor.numel() or tensor.is_meta:
            continue
        steps = zip(tensor.shape, tensor.stride(), strict=True)
        last = sum((size - 1) * stride for size, stride in steps)
        start = int(tensor.storage_offset()) * tensor.element_size()
        end = start + (last + 1) * tensor.element_size()
        yield tensor.untyped_storage().data_ptr(), start, end, name
