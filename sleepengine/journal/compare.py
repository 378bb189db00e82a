"""How masks moved: churn between two states, and since when each entry sleeps."""

from __future__ import annotations

import torch
from torch import Tensor

from sleepengine.journal.replay import Replay
from sleepengine.masks.bits import bit_or, bit_xor, count, empty, unpack
from sleepengine.masks.store import MaskStore


def changed_share(a: MaskStore, b: MaskStore) -> float:
    """Entries asleep, or frozen, in one of two stores and not in the other / all entries.

    >>> from sleepengine.masks.choice import Choice
    >>> a, b = MaskStore({"w": torch.Size([4])}), MaskStore({"w": torch.Size([4])})
    >>> _ = a.sleep(Choice({"w": torch.tensor([True, True, False, False])}))
    >>> _ = b.sleep(Choice({"w": torch.tensor([False, True, False, False])}))
    >>> changed_share(a, b)
    0.25
    """
    total = changed = 0
    for name in a.names():
        none = empty(a.numel(name))
        pairs = [
            (a.asleep_bits(name), b.asleep_bits(name)),
            (a.frozen_bits(name), b.frozen_bits(name)),
        ]
        asleep, frozen = (
            bit_xor(none if left is None else left, none if right is None else right)
            for left, right in pairs
        )
        changed += count(bit_or(asleep, frozen))
        total += a.numel(name)
    return changed / total if total else 0.0


def asleep_since(replay: Replay, name: str, step: int) -> Tensor:
    """int64 tensor of the parameter's shape: step of falling asleep, -1 where awake at `step`.

    Entries that sleep when the replay starts get its first step.

    Raises:
        SetupError: the step was forgotten.
        UnknownNameError: there is no such parameter.
    """
    since = torch.full(replay.masks(step).shape(name), -1, dtype=torch.int64)
    for at, bits in replay.asleep(name):
        if at > step:
            break
        if bits is None:
            since.fill_(-1)
            continue
        asleep = unpack(bits, since.shape)
        since.masked_fill_(~asleep, -1)
        since.masked_fill_(asleep & (since < 0), at)
    return since
