"""Values of one tensor, kept beside it while their entries sleep, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from sleepengine.errors import SetupError
from sleepengine.masks import bits as packed
from sleepengine.masks.bit_values import (
    check_bits,
    clear_,
    gather,
    integer_view,
    move_,
    move_to_new_,
    places,
    row_major,
    scatter_,
    write_back,
)
from sleepengine.masks.saved import read_parked


@final
class Parked:
    """Values of some entries of one tensor: put, got and given back without a bit of change.

    Dense: a buffer of the tensor's size, zero bits elsewhere. Not dense: the values alone, in flat
    index order. Bits given to a method are packed, row-major; they go to the device of the values.

    Args:
        shape, dtype: of the tensor; any real dtype.
        dense, device: speed (True) or memory (False), and where the values are kept.

    Raises (every call):
        SetupError: a tensor of another shape or dtype, or bits that are not parked.

    >>> w = torch.tensor([-0.0, 1.0, 2.0])
    >>> parked = Parked(w.shape, w.dtype)
    >>> bits = torch.tensor([3], dtype=torch.uint8)
    >>> parked.park_and_clear_(w, bits); w.tolist(), parked.get(bits).tolist(), parked.count()
    ([0.0, 0.0, 2.0], [-0.0, 1.0], 2)
    >>> parked.restore_(w, bits); w.tolist(), parked.count()
    ([-0.0, 1.0, 2.0], 0)
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: torch.dtype,
        *,
        dense: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        if dtype.is_complex:
            integer_view(torch.empty(0, dtype=dtype))
        self.shape = torch.Size(shape)
        self._numel = self.shape.numel()
        self.dtype = dtype
        self.dense = dense
        self.device = torch.device(device)
        self._bits: Tensor | None = None
        self._values: Tensor | None = None
        self._shared = False  # with a copy, so that neither may write into the values

    @property
    def bits(self) -> Tensor:
        """Packed bits of the entries parked; never to be written into."""
        return packed.empty(self._numel, self.device) if self._bits is None else self._bits

    @property
    def nbytes(self) -> int:
        """Bytes of the values and bits kept."""
        kept = [tensor for tensor in (self._bits, self._values) if tensor is not None]
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)

    def count(self) -> int:
        """Number of entries parked."""
        return 0 if self._bits is None else packed.count(self._bits)

    def put(self, tensor: Tensor, bits: Tensor) -> None:
        """Keep tensor[bits], over what was kept of the same entries; the tensor is only read."""
        self._put(tensor, bits, clear=False)

    def get(self, bits: Tensor) -> Tensor:
        """The values at the bits, 1-D in flat index order, as a new tensor."""
        wanted = self._parked_bits(bits)
        if self._values is None:
            return torch.empty(0, dtype=self.dtype, device=self.device)
        if self.dense:
            return gather(self._values, wanted).view(self.dtype)
        if torch.equal(wanted, self.bits):
            return self._values.clone().view(self.dtype)
        return self._values[places(wanted, self.bits, self._numel)].view(self.dtype)

    def take(self, bits: Tensor) -> Tensor:
        """`get`, and the entries are parked no more."""
        values = self.get(bits)
        self.discard(bits)
        return values

    def discard(self, bits: Tensor) -> None:
        """Forget the entries at the bits; those that are not parked are passed over."""
        gone = packed.bit_and(self._here(bits), self.bits)
        self._keep_only(packed.bit_andnot(self.bits, gone), gone, cleared=False)

    def fill_into(self, tensor: Tensor, bits: Tensor, *, target_is_zero: bool = False) -> None:
        """tensor[bits] = the values parked there, where there are; they stay parked."""
        present = packed.bit_and(self._here(bits), self.bits)
        self._give(tensor, present, remove=False, target_is_zero=target_is_zero)

    def park_and_clear_(self, tensor: Tensor, bits: Tensor) -> None:
        """`put`, then tensor[bits] = +0.0, in one pass; the other entries keep every bit."""
        self._put(tensor, bits, clear=True)

    def restore_(self, tensor: Tensor, bits: Tensor, *, target_is_zero: bool = False) -> None:
        """tensor[bits] = the values parked there (all of them), and they are parked no more.

        target_is_zero: tensor[bits] is known to hold +0.0; a dense buffer then needs one OR.
        """
        self._give(tensor, bits, remove=True, target_is_zero=target_is_zero)

    def to(self, device: torch.device | str) -> None:
        """Keep the values on another device from now on."""
        self.device = torch.device(device)
        self._bits = None if self._bits is None else self._bits.to(self.device)
        self._values = None if self._values is None else self._values.to(self.device)

    def emptied(self) -> Parked:
        """Nothing parked, for the same tensor in the same way."""
        return Parked(self.shape, self.dtype, dense=self.dense, device=self.device)

    def copy(self) -> Parked:
        """The same values, apart."""
        other = self.emptied()
        other._bits = self._bits
        other._values = self._values
        self._shared = other._shared = True
        return other

    def state_dict(self) -> dict[str, Any]:
        """Shape, dtype, packed bits and the parked values alone, on the CPU."""
        return {
            "shape": list(self.shape),
            "dtype": str(self.dtype),
            "mask": {"bits": self.bits.to("cpu", copy=True), "count": self.count()},
            "values": self.get(self.bits).cpu(),
        }

    def load_state_dict(self, state: Mapping[str, Any], where: str = "parked values") -> None:
        """Replace everything by a saved state; StateError, and no change, if it does not fit."""
        bits, values = read_parked(state, self.shape, self.dtype, where)
        self._bits = self._values = None
        if packed.any_set(bits):
            self._merge(integer_view(values.to(self.device, copy=True)), bits.to(self.device))

    def _put(self, tensor: Tensor, bits: Tensor, *, clear: bool) -> None:
        view = self._checked_view(tensor, bits)
        if not packed.any_set(bits):
            return
        flat, near = row_major(view), bits.to(view.device)
        if self.dense and view.device == self.device:
            if self._values is None:
                self._values, self._shared = move_to_new_(flat, near, clear_source=clear), False
            else:
                new = not packed.any_set(packed.bit_and(near, self.bits))
                move_(flat, self._own(self._values), near, clear_source=clear, target_is_zero=new)
            self._bits = packed.bit_or(self.bits, near)
            if clear:
                write_back(view, flat)
            return
        self._merge(gather(flat, near).to(self.device), self._here(bits))
        if clear:
            clear_(tensor, near)

    def _give(self, tensor: Tensor, bits: Tensor, *, remove: bool, target_is_zero: bool) -> None:
        view = self._checked_view(tensor, bits)
        wanted = self._parked_bits(bits)
        if self._values is None or not packed.any_set(wanted):
            return
        flat, cleared = row_major(view), False
        if self.dense and view.device == self.device:
            whole = torch.equal(wanted, self.bits)
            if whole and target_is_zero:
                flat.bitwise_or_(self._values)
            else:
                cleared = remove and not whole  # what is given back whole is dropped anyway
                values = self._own(self._values) if cleared else self._values
                zero = target_is_zero
                move_(values, flat, wanted, clear_source=cleared, target_is_zero=zero)
        else:
            values = integer_view(self.get(wanted)).to(view.device)
            scatter_(flat, wanted.to(view.device), values)
        write_back(view, flat)
        if remove:
            self._keep_only(packed.bit_andnot(self.bits, wanted), wanted, cleared=cleared)

    def _merge(self, values: Tensor, bits: Tensor) -> None:
        """Keep integer values at the bits, over what was kept of the same entries."""
        numel, old, union = self._numel, self.bits, packed.bit_or(self.bits, bits)
        if self.dense:
            if self._values is None:
                self._values = torch.zeros(numel, dtype=values.dtype, device=self.device)
                self._shared = False
            scatter_(self._own(self._values), bits, values)
        elif self._values is None:
            self._values = values
        else:
            merged = values.new_empty(packed.count(union))
            merged.index_copy_(0, places(old, union, numel), self._values)
            merged.index_copy_(0, places(bits, union, numel), values)
            self._values = merged
        self._bits = union

    def _keep_only(self, left: Tensor, gone: Tensor, *, cleared: bool) -> None:
        """Drop the entries `gone`; `cleared` says that a dense buffer already lost them."""
        if self._values is None:
            return
        if not packed.any_set(left):
            self._bits = self._values = None
            return
        if not self.dense:
            self._values = self._values.index_select(0, places(left, self.bits, self._numel))
        elif not cleared:
            clear_(self._own(self._values), gone)
        self._bits = left

    def _own(self, values: Tensor) -> Tensor:
        """The values of a dense buffer, to be written into."""
        if self._shared:
            self._values, self._shared = values.clone(), False
            return self._values
        return values

    def _here(self, bits: Tensor) -> Tensor:
        check_bits(bits, self._numel)
        return bits.to(self.device)

    def _parked_bits(self, bits: Tensor) -> Tensor:
        wanted = self._here(bits)
        missing = packed.count(packed.bit_andnot(wanted, self.bits))
        if missing:
            raise SetupError(
                f"{missing} of {packed.count(wanted)} entries asked for are not parked "
                f"(tensor of shape {tuple(self.shape)}, {self.count()} parked)"
            )
        return wanted

    def _checked_view(self, tensor: Tensor, bits: Tensor) -> Tensor:
        if tensor.shape != self.shape or tensor.dtype != self.dtype:
            raise SetupError(
                f"these values belong to {self.dtype} of shape {tuple(self.shape)}, "
                f"got {tensor.dtype} of shape {tuple(tensor.shape)}"
            )
        check_bits(bits, self._numel)
        return integer_view(tensor)
