"""The random states of a process, saved and given back."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from sleepengine.errors import StateError
from sleepengine.files import plain_state
from sleepengine.pipeline.training import random_state


def draw() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(),
            torch.rand(1).item(), torch.randn(1).item()]  # fmt: skip


@pytest.mark.parametrize("drawn", [0, 1, 700])
def test_all_three_go_on_exactly_there(drawn: int) -> None:
    with random_state.kept():
        random_state.seed(2**62 + 3)
        for _ in range(drawn):
            draw()
        saved = plain_state.decode(*plain_state.encode(random_state.state()))
        first = [draw() for _ in range(3)]
        random_state.load(saved)
        assert [draw() for _ in range(3)] == first


def test_a_seed_says_all() -> None:
    with random_state.kept():
        random_state.seed(5)
        first = draw()
        random_state.seed(5)
        assert draw() == first
        random_state.seed(6)
        assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_the_block_leaves_no_trace() -> None:
    before = random_state.state()
    with random_state.kept():
        draw()
    after = random_state.state()
    assert plain_state.encode(before)[0] == plain_state.encode(after)[0]
    assert torch.equal(before["torch"], after["torch"])
    assert torch.equal(before["python"]["words"], after["python"]["words"])
    assert torch.equal(before["numpy"]["words"], after["numpy"]["words"])


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.pop("python"),
        lambda s: s.update(torch=torch.zeros(3, dtype=torch.uint8)),
        lambda s: s.update(torch=torch.zeros(3)),
        lambda s: s["python"].update(version=9),
        lambda s: s["python"].update(words=torch.zeros(3)),
        lambda s: s["python"].update(words=3),
        lambda s: s["numpy"].update(name="x"),
        lambda s: s["numpy"].update(place=625),
        lambda s: s["numpy"].update(place=-1),
        lambda s: s["numpy"].update(place=True),
        lambda s: s["numpy"].update(words=s["numpy"]["words"][:9]),
        lambda s: s["numpy"].update(gauss="x"),
    ],
)
def test_what_is_no_state_changes_nothing(change: Any) -> None:
    with random_state.kept():
        saved, first = random_state.state(), random_state.state()
        change(saved)
        with pytest.raises(StateError, match="the saved random state is damaged"):
            random_state.load(saved)
        following = draw()
        random_state.load(first)
        assert draw() == following
