"""Writing the state of some entries of one parameter: fills, fresh values and parked ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, final

from torch import Tensor

from sleepengine.enforcement.bit_masks import AndMask, Expander, and_, copy_where_, fill_where_
from sleepengine.enforcement.state_table import StateRule, fresh_value, rule_for
from sleepengine.masks import bits as packed
from sleepengine.masks.parked import Parked


@final
class Entry(NamedTuple):
    """One state tensor with an entry per entry of the parameter."""

    key: str
    tensor: Tensor
    rule: StateRule


def entries(state: Mapping[str, object], param: Tensor) -> Iterator[Entry]:
    """The state tensors of a parameter that can be cared for entry by entry."""
    for key, value in state.items():
        rule = rule_for(key, value, param)
        if rule is not None and isinstance(value, Tensor):
            yield Entry(key, value, rule)


def can_park(entry: Entry) -> bool:
    """True when the state's values are worth keeping: dense, and not left as they are."""
    return entry.rule.fill is not None and not entry.tensor.is_sparse


def write_fill(entry: Entry, bits: Tensor, expander: Expander) -> None:
    """state[bits] = the value that keeps an inactive entry at rest."""
    if entry.rule.fill is not None:
        _write(entry.tensor, bits, entry.rule.fill, expander)


def write_fresh(
    entry: Entry, bits: Tensor, group: Mapping[str, Any], param: Tensor, expander: Expander
) -> None:
    """state[bits] = the value before the first step."""
    value = fresh_value(entry.rule, group)
    if value is not None:
        _write(entry.tensor, bits, value, expander)
    elif param.dtype == entry.tensor.dtype:
        copy_where_(entry.tensor, param, bits, expander)
    else:
        copy_where_(entry.tensor, param.detach().to(entry.tensor.dtype), bits, expander)


def write_true(
    entry: Entry,
    bits: Tensor,
    parked: Parked | None,
    group: Mapping[str, Any],
    param: Tensor,
    expander: Expander,
) -> None:
    """state[bits] = what was parked, and fresh values for entries that were not."""
    if entry.rule.fill is None:
        return
    fresh = bits
    if parked is not None and not entry.tensor.is_sparse:
        here = parked.bits.to(bits.device)
        parked.fill_into(entry.tensor, packed.bit_and(bits, here))
        fresh = packed.bit_andnot(bits, here)
    if packed.any_set(fresh):
        write_fresh(entry, fresh, group, param, expander)


def _write(tensor: Tensor, bits: Tensor, value: float, expander: Expander) -> None:
    if not tensor.is_sparse:
        fill_where_(tensor, bits, value, expander)
    elif value == 0:  # a sparse buffer has no entry where nothing was ever added
        and_(tensor, AndMask(packed.bit_not(bits, tensor.numel()), tensor, expander, lean=True))
