"""N of M: every group keeps its highest, whatever the shape."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepengine.choosing import NofM, Rows, Weights, choose, to
from sleepengine.choosing.groups import lowest_of_groups
from sleepengine.errors import ScheduleError, SetupError

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)


def _keep(scores, n, m, asleep=None, eligible=None, highest=False):
    return choose(
        {"w": scores},
        NofM(n, m),
        None,
        asleep={} if asleep is None else {"w": asleep},
        eligible={} if eligible is None else {"w": eligible},
        highest=highest,
    ).masks["w"]


def test_two_of_four_by_eye():
    scores = torch.tensor(
        [
            [1.0, 2.0, 3.0, 4.0, 9.0, 7.0, 8.0, 6.0],  # 1 and 2 sleep; 7 and 6 sleep
            [5.0, 5.0, 5.0, 5.0, 0.0, -1.0, 0.0, -1.0],  # the first two of equals; both -1
        ]
    )
    assert _keep(scores, 2, 4).int().tolist() == [
        [1, 1, 0, 0, 0, 1, 0, 1],
        [1, 1, 0, 0, 0, 1, 0, 1],
    ]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(DTYPES))
def test_every_group_equals_one_stable_sort(reference, data, dtype):
    m = data.draw(st.integers(2, 10))
    drop = data.draw(st.integers(1, m - 1))
    groups, count = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
    values = st.sampled_from([0, 1, 2, -1] if dtype == torch.int64 else [0.0, -0.0, 1.5, math.inf])
    numbers = data.draw(st.lists(values, min_size=count * groups * m, max_size=count * groups * m))
    scores = torch.tensor(numbers, dtype=dtype).view(count, groups * m)
    mask = lowest_of_groups("w", scores, m, drop, chunk=11)
    for one, chosen in zip(scores.reshape(-1, m), mask.reshape(-1, m), strict=True):
        assert torch.equal(chosen, reference([(one, None)], drop)[0])


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 4), (1, 2), (4, 8), (3, 16)])
@pytest.mark.parametrize("shape", [(5, 16), (3, 16, 2), (4, 32, 3, 3)])
def test_each_kernel_position_has_its_own_groups_along_the_inputs(n, m, shape):
    scores = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    asleep = _keep(scores, n, m)
    assert asleep.shape == scores.shape
    by_position = asleep.flatten(2) if asleep.dim() > 2 else asleep.unsqueeze(2)
    kept = (~by_position).transpose(1, 2).reshape(-1, m).sum(1)
    assert kept.tolist() == [n] * len(kept)
    # None that sleeps is worth more than one of its group that stays awake.
    flat = scores.flatten(2) if scores.dim() > 2 else scores.unsqueeze(2)
    groups = flat.transpose(1, 2).reshape(-1, m)
    slept = by_position.transpose(1, 2).reshape(-1, m)
    worst_kept = groups.masked_fill(slept, math.inf).amin(1)
    best_slept = groups.masked_fill(~slept, -math.inf).amax(1)
    assert (best_slept <= worst_kept).all()


def test_groups_with_sleepers_get_only_what_is_missing():
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0, 4.0, 3.0, 2.0, 1.0, 4.0, 3.0, 2.0, 1.0]])
    asleep = torch.tensor([[1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0]]).bool()
    assert _keep(scores, 2, 4, asleep).int().tolist() == [[0, 0, 0, 1] + [0] * 8]


def test_waking_gives_back_the_highest_of_groups_that_sleep_too_much():
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0, 4.0, 3.0, 2.0, 1.0]])
    asleep = torch.tensor([[1, 1, 1, 0, 0, 0, 1, 1]]).bool()
    woken = _keep(scores, 2, 4, asleep, highest=True)
    assert woken.int().tolist() == [[1, 0, 0, 0, 0, 0, 0, 0]]
    assert not _keep(scores, 2, 4, highest=True).any()


def test_units_that_may_not_be_chosen_are_passed_over():
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    eligible = torch.tensor([[True, True, True, False]])
    assert _keep(scores, 2, 4, eligible=eligible).int().tolist() == [[0, 1, 1, 0]]
    with pytest.raises(ScheduleError, match=r"NofM\(n=1, m=4\) .* in 1 of 1 groups of 'w'"):
        _keep(scores, 1, 4, eligible=torch.tensor([[True, True, False, False]]))


def test_no_single_threshold_is_claimed():
    chosen = choose({"w": torch.rand(2, 4)}, NofM(2, 4), None, asleep={}, eligible={})
    assert chosen.threshold is None
    assert chosen.carry == 0.0


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 4), (5, 4), (-1, 2), (1.0, 2), (True, 2)])
def test_impossible_numbers_raise(n, m):
    with pytest.raises(SetupError, match="0 < n < m"):
        NofM(n, m)


def test_impossible_pairs_raise_when_the_rule_is_built():
    NofM(2, 4).check(Weights(), None)
    with pytest.raises(SetupError, match=r"takes no amount: leave to\(0.5\) out"):
        NofM(2, 4).check(Weights(), to(0.5))
    with pytest.raises(SetupError, match=r"use Weights\(\), not Rows"):
        NofM(2, 4).check(Rows(), None)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((3, 6), r"'w' has shape \(3, 6\), and 4 does not divide its 6 inputs"), ((8,), "2 or more")],
)
def test_shapes_that_do_not_fit_are_named(shape, message):
    with pytest.raises(SetupError, match=message):
        _keep(torch.rand(shape), 2, 4)


def test_a_tensor_without_elements_is_left_alone():
    assert _keep(torch.rand(0, 8), 2, 4).shape == (0, 8)
