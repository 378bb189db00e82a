"""Pieces of a saved state, checked in every point before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sleepengine.errors import StateError
from sleepengine.masks import bits as packed


def section(state: object, keys: list[str], where: str) -> Mapping[str, Any]:
    """The state itself, once it is a dict of exactly these keys.

    Raises:
        StateError: it is no dict, or keys are missing or unknown.
    """
    if not isinstance(state, Mapping):
        raise StateError(f"{where} must be a dict, got {type(state).__name__}")
    missing = [key for key in keys if key not in state]
    extra = [key for key in state if key not in keys]
    if missing or extra:
        raise StateError(f"{where} must have keys {keys}: missing {missing}, unknown {extra}")
    return state


def check_format(found: object, known: int, where: str) -> None:
    """The saved format is the one that is read here.

    Raises:
        StateError: it is another one, or no number.
    """
    if type(found) is not int or found != known:
        raise StateError(f"{where} format {_short(found)}, this reads {known}")


def read_bits(entry: object, numel: int, where: str) -> Tensor:
    """Packed bits from `{"bits": ..., "count": ...}`, checked and copied.

    Raises:
        StateError: dtype, length, padding bits or the count do not fit.
    """
    fields = section(entry, ["bits", "count"], where)
    bits, said = fields["bits"], fields["count"]
    if not isinstance(bits, Tensor) or bits.dtype != torch.uint8:
        raise StateError(f"{where}: bits must be a uint8 tensor, got {_kind_of(bits)}")
    if tuple(bits.shape) != (packed.byte_length(numel),):
        raise StateError(
            f"{where}: {numel} entries need {packed.byte_length(numel)} bytes in one dimension, "
            f"got shape {tuple(bits.shape)}"
        )
    if not packed.padding_is_zero(bits, numel):
        raise StateError(f"{where}: bits beyond entry {numel - 1} are set")
    if type(said) is not int or said != packed.count(bits):
        raise StateError(f"{where}: count says {said!r}, the bits say {packed.count(bits)}")
    return bits.detach().clone()


def read_parked(
    state: object, shape: torch.Size, dtype: torch.dtype, where: str
) -> tuple[Tensor, Tensor]:
    """(packed bits, values) of saved parked values, checked against the tensor's shape and dtype.

    Raises:
        StateError: shape, dtype, bits, count or values do not fit.
    """
    parts = section(state, ["shape", "dtype", "mask", "values"], where)
    if parts["shape"] != list(shape) or parts["dtype"] != str(dtype):
        raise StateError(
            f"{where}: {parts['dtype']} of shape {parts['shape']} was saved, "
            f"{dtype} of shape {list(shape)} is here"
        )
    bits = read_bits(parts["mask"], shape.numel(), f"{where}['mask']")
    return bits, read_values(parts["values"], dtype, packed.count(bits), where)


def read_values(values: object, dtype: torch.dtype, count: int, where: str) -> Tensor:
    """A 1-D tensor of that dtype and length, checked; the tensor itself, not a copy.

    Raises:
        StateError: it is something else.
    """
    if not isinstance(values, Tensor) or values.dtype != dtype:
        raise StateError(f"{where}: values must be a tensor of {dtype}, got {_kind_of(values)}")
    if tuple(values.shape) != (count,):
        raise StateError(
            f"{where}: {count} entries are parked, but values have shape {tuple(values.shape)}"
        )
    return values.detach()


def check_shapes(saved: object, shapes: Mapping[str, Sequence[int]]) -> None:
    """The saved shapes are those of the parameters, name by name.

    Raises:
        StateError: a name is missing or unknown, or a shape differs.
    """
    found = section(saved, list(shapes), "the table of shapes")
    for name, shape in shapes.items():
        if not isinstance(found[name], list) or found[name] != list(shape):
            raise StateError(f"{name!r} has shape {list(shape)} here, {found[name]} in the state")


def _kind_of(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


def _short(value: object) -> str:
    return repr(value) if isinstance(value, int | str) else type(value).__name__
