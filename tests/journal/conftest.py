"""A mask store driven beside plain bool tensors, with a journal that looks on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sleepengine.journal import Journal, Record, TensorCounts
from sleepengine.masks.choice import Choice, Kind, Layer
from sleepengine.masks.store import MaskStore

Naive = dict[tuple[Kind, Layer, str], Tensor]
SHAPES = {"a": torch.Size([3, 3]), "b": torch.Size([17]), "c": torch.Size([2, 4])}


class Driven:
    """`act` changes the store, the naive masks and the journal alike; `states` are deep copies."""

    def __init__(self, keep: int | None = None, keyframe_every: int = 64) -> None:
        self.store = MaskStore(SHAPES)
        self.journal = Journal(SHAPES, keep=keep, keyframe_every=keyframe_every)
        self.naive: Naive = {
            (kind, layer, name): torch.zeros(shape, dtype=torch.bool)
            for kind in Kind
            for layer in Layer
            for name, shape in SHAPES.items()
        }
        # (transaction, step, masks before, masks after)
        self.states: list[tuple[int, int, Naive, Naive]] = []
        self.journal.begin(self.store)

    def copy(self) -> Naive:
        return {plane: mask.clone() for plane, mask in self.naive.items()}

    def change(self, kind: Kind, layer: Layer, value: bool, name: str, mask: Tensor) -> None:
        """Set or clear bits without telling the journal."""
        choice = Choice({name: mask}, layer)
        calls = {
            (Kind.ASLEEP, True): self.store.sleep,
            (Kind.ASLEEP, False): self.store.wake,
            (Kind.FROZEN, True): self.store.freeze,
            (Kind.FROZEN, False): self.store.thaw,
        }
        calls[kind, value](choice)
        self.naive[kind, layer, name][mask] = value

    def act(self, step: int, changes: list[tuple], rules: int = 1, rule: str = "rule") -> None:
        """One transaction of `rules` records."""
        before, naive = self.store.fork(), self.copy()
        for one in changes:
            self.change(*one)
        number = self.journal.next_transaction
        counts = {
            name: TensorCounts(
                0, self.store.asleep_count(name), self.store.frozen_count(name), shape.numel()
            )
            for name, shape in SHAPES.items()
        }
        records = [
            Record(
                self.journal.next_index + place,
                number,
                step,
                step / 10,
                f"{rule}{place}",
                "Sleep",
                "every('1it')",
                len(changes),
                counts,
                self.store.fraction(),
            )
            for place in range(rules)
        ]
        self.journal.append(records, before, self.store)
        self.states.append((number, step, naive, self.copy()))

    def sleep(self, step: int, name: str, places: list[int], rules: int = 1) -> None:
        """One transaction that puts flat places of one tensor to sleep."""
        mask = torch.zeros(SHAPES[name].numel(), dtype=torch.bool)
        mask[places] = True
        change = (Kind.ASLEEP, Layer.WEIGHTS, True, name, mask.view(SHAPES[name]))
        self.act(step, [change], rules)


def same(store: MaskStore, naive: Naive) -> bool:
    """The store has exactly the naive masks, layer by layer and effectively."""
    other = MaskStore(SHAPES)
    for (kind, layer, name), mask in naive.items():
        put = other.sleep if kind is Kind.ASLEEP else other.freeze
        put(Choice({name: mask}, layer))
    return store.digest() == other.digest()


@pytest.fixture(scope="session")
def driven() -> type[Driven]:
    return Driven


@pytest.fixture(scope="session")
def same_masks() -> Callable[[MaskStore, Naive], bool]:
    return same
