"""The calls of an engine that make tensors physically smaller, and full again."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Any

from torch import nn

from sleepengine.actions.live import Live
from sleepengine.calls.node_calls import NodeCalls
from sleepengine.calls.node_groups import group_of
from sleepengine.compaction import Compacted, Compaction
from sleepengine.compaction.payback import Payback
from sleepengine.enforcement.hooks import Enforcer
from sleepengine.errors import SetupError


class CompactCalls(NodeCalls, ABC):
    """Sleeping nodes are cut out of the live tensors; the full ones stay in the engine."""

    compaction: Compaction

    def compact(
        self, layers: str | Sequence[str] | None = None, *, example_inputs: Any = None
    ) -> Compacted:
        """Make tensors as small as the awake nodes need, until `expand()`; returns what is small.

        Call it between steps. Parameters, buffers, gradients and optimizer state keep identity and
        shrink; `state_dict()` of model and optimizer stay of full size. Whatever must see the full
        model (a transaction, a checkpoint) expands by itself, and what can be small is so again
        afterwards.

        Args:
            layers: names of node groups, or layers that make them; None = whatever can be.
            example_inputs: of the forward pass by which the smaller model is tried; None = those
                that the engine was given.

        Raises:
            SetupError: it cannot be done, with the reason for each group; all is as it was.
        """
        if layers is None:
            return self.compaction.compact(inputs=example_inputs)
        several = [layers] if isinstance(layers, str) else list(layers)
        names = [group_of(self.live.nodes, one).name for one in several]
        return self.compaction.compact(names, example_inputs)

    def expand(self) -> None:
        """Put everything back, bit for bit; awake entries as they were trained meanwhile."""
        self.compaction.expand()

    @property
    def compacted(self) -> Compacted:
        """What is small now."""
        return self.compaction.report

    def adopt_zeros(self, params: str | Sequence[str] | None = None) -> int:
        """Put every weight that is exactly zero to sleep, so that fine-tuning keeps it zero."""
        with self.live.whole():
            return super().adopt_zeros(params)


def compaction_of(
    given: nn.Module, live: Live, enforcer: Enforcer, example_inputs: Any, compact: str | None
) -> Compaction:
    """The compaction of one engine, tied to its live things.

    Raises:
        SetupError: the word is not known, or "auto" cannot work with this model.
    """
    if compact not in (None, "auto"):
        raise SetupError(f"compact={compact!r} is not known; valid: None, 'auto'")
    payback = None if compact is None else Payback()
    compaction = Compaction(given, live, enforcer, example_inputs, payback)
    if compact is not None:
        compaction.check()
    live.whole, live.planned = compaction.whole, compaction.planned
    return compaction
