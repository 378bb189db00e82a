"""Parked values of many tensors, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor

from sleepengine.errors import SetupError, StateError, UnknownNameError, did_you_mean
from sleepengine.masks.parked import Parked

__all__ = ["Parked", "Parking", "park_and_clear_", "restore_"]


@final
class Parking(Mapping[str, Parked]):
    """Name -> parked values, for one kind of thing: the parameters, or one optimizer state.

    Args:
        tensors: what may be parked, by name; read for shape, dtype and device, and not kept.
        dense: buffers of the tensors' size, given back fastest (True), or the values alone (False).
        device: where values are kept; None is the device of each tensor, "cpu" offloads.

    >>> w = torch.tensor([1.0, 2.0])
    >>> parking = Parking({"w": w})
    >>> parking["w"].put(w, torch.tensor([2], dtype=torch.uint8))
    >>> parking.occupied(), parking["w"].count()
    (('w',), 1)
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor] | None = None,
        *,
        dense: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        self.dense = dense
        self.device = None if device is None else torch.device(device)
        self._parked: dict[str, Parked] = {}
        for name, tensor in (tensors or {}).items():
            self.add(name, tensor)

    def add(self, name: str, tensor: Tensor) -> Parked:
        """The parked values of one tensor, empty at first; an existing entry that fits is kept.

        Raises:
            SetupError: the tensor is complex.
        """
        old = self._parked.get(name)
        if old is not None and old.shape == tensor.shape and old.dtype == tensor.dtype:
            return old
        device = tensor.device if self.device is None else self.device
        parked = Parked(tensor.shape, tensor.dtype, dense=self.dense, device=device)
        self._parked[name] = parked
        return parked

    def __getitem__(self, name: str) -> Parked:
        if name not in self._parked:
            raise UnknownNameError(
                f"nothing named {name!r} can be parked here. {did_you_mean(name, self._parked)}"
            )
        return self._parked[name]

    def replace(self, name: str, parked: Parked) -> None:
        """Hold these parked values for one tensor, in place of what was held.

        Raises:
            UnknownNameError: nothing of that name can be parked here.
            SetupError: shape or dtype differ.
        """
        old = self[name]
        if (old.shape, old.dtype) != (parked.shape, parked.dtype):
            raise SetupError(
                f"parked values of {name!r} have {parked.dtype} {tuple(parked.shape)}, "
                f"not {old.dtype} {tuple(old.shape)}"
            )
        self._parked[name] = parked

    def __contains__(self, name: object) -> bool:
        return name in self._parked

    def __iter__(self) -> Iterator[str]:
        return iter(self._parked)

    def __len__(self) -> int:
        return len(self._parked)

    @property
    def nbytes(self) -> int:
        """Bytes of all values and bits kept."""
        return sum(parked.nbytes for parked in self._parked.values())

    def occupied(self) -> tuple[str, ...]:
        """Names with anything parked."""
        return tuple(name for name, parked in self._parked.items() if parked.count())

    def copy(self) -> Parking:
        """The same values, apart."""
        other = Parking(dense=self.dense, device=self.device)
        other._parked = {name: parked.copy() for name, parked in self._parked.items()}
        return other

    def state_dict(self) -> dict[str, Any]:
        """Name -> shape, dtype, packed bits and values, only where anything is parked."""
        return {name: self._parked[name].state_dict() for name in self.occupied()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace everything by a saved state, after all of it was checked.

        Raises:
            StateError: a name, shape, dtype, bits, count or values do not fit; nothing was changed.
        """
        if not isinstance(state, Mapping):
            raise StateError(f"parked values must be a dict, got {type(state).__name__}")
        loaded: dict[str, Parked] = {}
        for name, entry in state.items():
            if name not in self._parked:
                raise StateError(
                    f"parked values for unknown {name!r}. {did_you_mean(str(name), self._parked)}"
                )
            loaded[name] = self._parked[name].emptied()
            loaded[name].load_state_dict(entry, f"parked values of {name!r}")
        for name, parked in self._parked.items():
            self._parked[name] = loaded.get(name, parked.emptied())


def park_and_clear_(tensor: Tensor, bits: Tensor, parked: Parked) -> None:
    """parked[bits] = tensor[bits], then tensor[bits] = +0.0, in place; other entries untouched."""
    parked.park_and_clear_(tensor, bits)


def restore_(tensor: Tensor, bits: Tensor, parked: Parked, *, target_is_zero: bool = False) -> None:
    """tensor[bits] = parked[bits], in place, and those entries are parked no more."""
    parked.restore_(tensor, bits, target_is_zero=target_is_zero)
