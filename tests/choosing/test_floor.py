"""No tensor loses its last awake unit, and no quota is quietly cut."""

from __future__ import annotations

import pytest
import torch

from sleepengine.choosing import (
    Global,
    PerRow,
    PerTensor,
    below,
    choose,
    count,
    to,
)
from sleepengine.errors import CollapseError, ScheduleError

GLOBAL, TENSOR, ROW = Global(), PerTensor(), PerRow()


def test_below_takes_the_threshold_itself_and_leaves_the_best():
    scores = {"a": torch.tensor([0.1, 0.2, 0.1]), "b": torch.tensor([0.0, 0.1, 0.1])}
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        typed = {n: s.to(dtype) for n, s in scores.items()}
        chosen = choose(typed, GLOBAL, below(0.1), asleep={}, eligible={})
        # Every unit of b is low: its last best one stays.
        assert chosen.masks["a"].tolist() == [True, False, True]
        assert chosen.masks["b"].tolist() == [True, True, False]
    free = choose(scores, TENSOR, below(0.1), asleep={}, eligible={}, keep_one=False)
    assert free.masks["b"].tolist() == [True, True, True]
    assert choose(scores, TENSOR, below(-1), asleep={}, eligible={}).threshold is None
    closed = {"a": torch.tensor([False, True, True])}
    some = choose(scores, TENSOR, below(0.3), asleep={}, eligible=closed)
    assert some.masks["a"].tolist() == [False, True, True]


def test_the_floor_moves_the_quota_to_the_next_lowest():
    scores = {"small": torch.tensor([1.0, 2.0]), "big": torch.tensor([3.0, 4.0, 5.0])}
    chosen = choose(scores, GLOBAL, count(3), asleep={}, eligible={})
    assert chosen.masks["small"].tolist() == [True, False]
    assert chosen.masks["big"].tolist() == [True, True, False]
    assert chosen.threshold == 4.0
    bare = choose(scores, GLOBAL, count(3), asleep={}, eligible={}, keep_one=False)
    assert bare.masks["small"].tolist() == [True, True]


def test_the_floor_among_equals_keeps_the_last():
    scores = {n: torch.zeros(3) for n in "ab"}
    chosen = choose(scores, GLOBAL, count(4), asleep={}, eligible={})
    assert [m.tolist() for m in chosen.masks.values()] == [[True, True, False]] * 2


def test_a_closed_awake_unit_is_floor_enough_and_a_sleeping_one_is_not():
    scores = {"a": torch.tensor([1.0, 2.0, 3.0])}
    closed = {"a": torch.tensor([True, True, False])}
    chosen = choose(scores, GLOBAL, count(2), asleep={}, eligible=closed)
    assert chosen.masks["a"].tolist() == [True, True, False]
    asleep = {"a": torch.tensor([False, False, True])}
    with pytest.raises(CollapseError, match="'a'"):
        choose(scores, GLOBAL, count(2), asleep=asleep, eligible={})


def test_a_quota_that_would_empty_tensors_names_them_and_the_numbers():
    scores = {"fc1": torch.zeros(4), "fc2": torch.zeros(2)}
    message = (
        r"Choosing 5 units would empty 'fc1' \(4 of 4 may be chosen, 0 asleep\)\. "
        r"With one awake unit kept in each tensor 4 can be chosen"
    )
    with pytest.raises(CollapseError, match=message):
        choose(scores, GLOBAL, count(5), asleep={}, eligible={})
    with pytest.raises(CollapseError, match="'fc2'"):
        choose(scores, TENSOR, to(0.8), asleep={}, eligible={})
    with pytest.raises(CollapseError, match="'fc1'"):
        choose({"fc1": torch.zeros(2, 2)}, ROW, to(1.0), asleep={}, eligible={})
    chosen = choose(scores, TENSOR, to(1.0), asleep={}, eligible={}, keep_one=False)
    assert all(bool(m.all()) for m in chosen.masks.values())


@pytest.mark.parametrize("pool", [GLOBAL, TENSOR, ROW], ids=repr)
def test_more_than_may_be_chosen_raises(pool):
    closed = {"w": torch.zeros(2, 4, dtype=torch.bool)}
    message = r"4 units are asked for|8 units are asked for"
    with pytest.raises(ScheduleError, match=f"({message}) and 0 may be chosen: 'w"):
        choose({"w": torch.ones(2, 4)}, pool, to(1.0), asleep={}, eligible=closed)
