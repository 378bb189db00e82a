"""Optimizer state of cut parameters: small while they are small, and full again after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from sleepengine.actions.live import Live
from sleepengine.compaction.cuts import Cut
from sleepengine.enforcement.state_table import fresh_value, rule_for


@final
class States:
    """Every state tensor of a parameter's shape is cut like the parameter; the rest is shared."""

    def __init__(self, live: Live, cuts: Mapping[str, Cut]) -> None:
        self._live, self._cuts = live, cuts
        self._full: dict[tuple[int, str], dict[str, Any]] = {}
        self._small: dict[tuple[int, str], dict[str, Any]] = {}

    def cut(self) -> None:
        """Make the small state; nothing has it yet."""
        for k, optimizer in enumerate(self._live.optimizers):
            for name, cut in self._cuts.items():
                state = optimizer.state.get(self._live.params[name])
                if state:
                    self._full[k, name] = state
                    self._small[k, name] = {
                        key: cut.take(value) if _per_entry(value, cut.shape) else value
                        for key, value in state.items()
                    }

    def shrink(self) -> None:
        """Give every optimizer the small state; the full one is kept here."""
        for (k, name), state in self._small.items():
            self._live.optimizers[k].state[self._live.params[name]] = state
        self._small = {}

    def expand(self) -> None:
        """Give every optimizer its full state, with the awake entries as they are now.

        The parameters are full again. State that appeared meanwhile is filled where nodes sleep,
        as it would have been.
        """
        for k, optimizer in enumerate(self._live.optimizers):
            for name, cut in self._cuts.items():
                param = self._live.params[name]
                small = optimizer.state.get(param)
                if not small:
                    continue  # never stepped, or cleared by somebody meanwhile
                full = self._full.get((k, name), {})
                for key in [key for key in full if key not in small]:
                    del full[key]
                for key, value in small.items():
                    if not _per_entry(value, cut.small):
                        full[key] = value
                        continue
                    if not _per_entry(full.get(key), cut.shape):
                        full[key] = _filled(key, value, param, self._group(k, name))
                    cut.put(value, full[key])
                optimizer.state[param] = full

    def _group(self, k: int, name: str) -> Mapping[str, Any]:
        roster = self._live.state.roster
        return next(roster.group(k, m) for m in roster.members(k) if m.name == name)


def _per_entry(value: object, shape: torch.Size) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape == shape


def _filled(key: str, value: Tensor, param: Tensor, group: Mapping[str, Any]) -> Tensor:
    """State of the full size as sleepers have it when it is made while they sleep."""
    full = torch.zeros_like(param, dtype=value.dtype, requires_grad=False)
    rule = rule_for(key, full, param)
    if rule is not None:
        fill = fresh_value(rule, group) if rule.fill is None else rule.fill
        full.fill_(fill or 0.0)
    return full
