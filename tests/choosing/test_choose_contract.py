"""Units, pools and masks that fit together, and those that are refused."""

from __future__ import annotations

import math

import pytest
import torch

from sleepengine.choosing import (
    ER,
    ERK,
    Blocks,
    Columns,
    Factors,
    Global,
    MeanScore,
    NofM,
    PerRow,
    PerTensor,
    Rows,
    Uniform,
    Weights,
    below,
    choose,
    count,
    rate,
    to,
)
from sleepengine.errors import SetupError

SHAPES = {"a": (6, 8), "b": (4, 12), "c": (3, 4, 2, 2)}
GLOBAL, TENSOR, ROW = Global(), PerTensor(), PerRow()


def _scores() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(7)
    return {n: torch.rand(s, generator=random) for n, s in SHAPES.items()}


def test_missing_masks_mean_all():
    scores = {"a": torch.tensor([1.0, 2.0, 3.0, 4.0])}
    asleep = {"a": torch.tensor([True, True, False, False])}
    slept = choose(scores, GLOBAL, count(1), asleep=asleep, eligible={}).masks["a"]
    woken = choose(scores, GLOBAL, count(1), asleep=asleep, eligible={}, highest=True).masks["a"]
    assert slept.tolist() == [False, False, True, False]
    assert woken.tolist() == [False, True, False, False]


@pytest.mark.parametrize("pool", [GLOBAL, TENSOR, ROW, NofM(2, 4)], ids=repr)
def test_nothing_is_written_and_masks_fit(pool):
    scores = _scores()
    before = {n: s.clone() for n, s in scores.items()}
    asleep = {"a": torch.zeros(SHAPES["a"], dtype=torch.bool)}
    able = {"b": torch.ones(SHAPES["b"], dtype=torch.bool)}
    amount = None if isinstance(pool, NofM) else to(0.5)
    chosen = choose(scores, pool, amount, asleep=asleep, eligible=able)
    assert list(chosen.masks) == list(SHAPES)
    for name, mask in chosen.masks.items():
        assert mask.dtype == torch.bool
        assert mask.shape == SHAPES[name]
        assert torch.equal(scores[name], before[name])
    assert not asleep["a"].any()
    assert able["b"].all()


@pytest.mark.parametrize("units", [Weights(), Rows(), Columns(), Blocks((1, 2))], ids=repr)
@pytest.mark.parametrize(
    "pool",
    [GLOBAL, TENSOR, ROW, PerTensor(ERK()), PerTensor(ER()), PerTensor(Factors({"a": 0.5}))],
    ids=repr,
)
def test_units_and_pools_are_independent_or_refused_when_built(units, pool):
    if pool is ROW and isinstance(units, (Rows, Columns)):
        with pytest.raises(SetupError, match="nothing to compare in a row"):
            pool.check(units, to(0.5))
        return
    pool.check(units, to(0.5))
    scores = units.pool(_scores())
    chosen = choose(scores, pool, to(0.5), asleep={}, eligible={}, shapes=SHAPES)
    weights = units.spread(chosen.masks, {n: torch.Size(s) for n, s in SHAPES.items()})
    for name, mask in chosen.masks.items():
        share = int(mask.sum()) / mask.numel()
        assert int(weights[name].sum()) == pytest.approx(share * math.prod(SHAPES[name]))


@pytest.mark.parametrize("empty", [(0,), (0, 4), (3, 0)])
@pytest.mark.parametrize("pool", [GLOBAL, TENSOR], ids=repr)
def test_tensors_without_elements_take_part_in_nothing(pool, empty):
    scores = {"none": torch.zeros(empty), "w": torch.arange(4.0)}
    chosen = choose(scores, pool, to(0.5), asleep={}, eligible={})
    assert chosen.masks["none"].shape == empty
    assert chosen.masks["w"].tolist() == [True, True, False, False]


def test_no_tensors_give_no_masks():
    for pool in (GLOBAL, TENSOR, ROW, PerTensor(MeanScore())):
        chosen = choose({}, pool, to(0.5), asleep={}, eligible={}, highest=True)
        assert chosen.masks == {}
        assert chosen.threshold is None


@pytest.mark.parametrize("pool", [GLOBAL, TENSOR, ROW, PerTensor(Uniform())], ids=repr)
def test_pools_need_an_amount(pool):
    with pytest.raises(SetupError, match="needs an amount: to, by, count, rate or below"):
        pool.check(Weights(), None)
    with pytest.raises(SetupError, match="needs an amount"):
        choose({"w": torch.ones(2, 2)}, pool, None, asleep={}, eligible={})


def test_impossible_pairs_raise():
    with pytest.raises(SetupError, match=r"rate\(0.1\) keeps a remainder for every pool"):
        PerRow().check(Weights(), rate(0.1))
    for pool in (GLOBAL, TENSOR, ROW):
        with pytest.raises(SetupError, match=r"below\(0.1\) picks low scores"):
            pool.check(Weights(), below(0.1), highest=True)
    with pytest.raises(SetupError, match=r"PerRow\(\) needs 2 or more dimensions: 'b'"):
        choose({"b": torch.ones(3)}, ROW, to(0.5), asleep={}, eligible={})
    with pytest.raises(SetupError, match="replace it with"):
        choose({"b": torch.ones(3)}, GLOBAL, to(lambda p: p), asleep={}, eligible={})


@pytest.mark.parametrize(
    ("what", "mask", "message"),
    [
        ("asleep", torch.zeros(3), r"asleep\['w'\] is torch.float32; masks are torch.bool"),
        ("eligible", torch.zeros(2, dtype=torch.bool), r"eligible\['w'\] has shape \(2,\)"),
        ("asleep", torch.zeros(3, dtype=torch.bool, device="meta"), "is on meta"),
    ],
)
def test_masks_that_do_not_fit_raise(what, mask, message):
    masks = {"asleep": {}, "eligible": {}, what: {"w": mask}}
    with pytest.raises(SetupError, match=message):
        choose({"w": torch.ones(3)}, GLOBAL, to(0.5), **masks)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_nan_scores_are_named_and_infinities_are_not(dtype):
    fine = {"a": torch.tensor([math.inf, -math.inf, 1.0], dtype=dtype)}
    assert choose(fine, GLOBAL, count(1), asleep={}, eligible={}).masks["a"][1]
    wrong = {**fine, "fc.weight": torch.tensor([1.0, math.nan, math.nan], dtype=dtype)}
    with pytest.raises(SetupError, match=r"2 of 3 scores of 'fc\.weight' are NaN"):
        choose(wrong, GLOBAL, count(1), asleep={}, eligible={})


def test_complex_scores_are_refused():
    with pytest.raises(SetupError, match=r"'a' are torch\.complex64; scores are real"):
        choose({"a": torch.ones(2, dtype=torch.complex64)}, GLOBAL, to(0), asleep={}, eligible={})
