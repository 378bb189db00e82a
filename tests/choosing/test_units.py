"""Weights to units and back."""

from __future__ import annotations

import pytest
import torch

from sleepengine.choosing import Blocks, Columns, Max, Mean, Norm, Rows, Total, Weights
from sleepengine.choosing.reductions import Reduction
from sleepengine.errors import SetupError

ALL = [Weights(), Rows(), Columns(), Blocks((2, 3)), Rows(Max()), Columns(Total()), Blocks((1, 6))]
SHAPES = {"fc": torch.Size((4, 6)), "conv": torch.Size((4, 6, 3, 3))}


def _random(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(s, generator=generator) for n, s in SHAPES.items()}


@pytest.mark.parametrize("units", ALL, ids=repr)
def test_what_is_spread_covers_whole_units(units):
    scores = units.pool(_random())
    chosen = {n: s > s.median() for n, s in scores.items()}
    masks = units.spread(chosen, SHAPES)
    assert {n: m.shape for n, m in masks.items()} == SHAPES
    for name, mask in masks.items():
        assert mask.dtype == torch.bool
        assert mask.is_contiguous()
        assert torch.equal(units.all_of({name: mask})[name], chosen[name])
        assert torch.equal(units.any_of({name: mask})[name], chosen[name])
        assert int(mask.sum()) * chosen[name].numel() == mask.numel() * int(chosen[name].sum())


@pytest.mark.parametrize("units", ALL, ids=repr)
def test_all_of_is_any_of_seen_from_the_other_side(units):
    masks = {n: s < 0.9 for n, s in _random().items()}
    every = units.all_of(masks)
    some = units.any_of({n: ~m for n, m in masks.items()})
    for name in masks:
        assert torch.equal(every[name], ~some[name])
        assert every[name].shape == units.pool(_random())[name].shape


def test_weights_cost_nothing():
    scores, masks = _random(), {"fc": torch.ones(4, 6, dtype=torch.bool)}
    assert Weights().pool(scores) is scores
    assert Weights().spread(masks, SHAPES) is masks
    assert Weights().all_of(masks) is masks
    assert Weights().any_of(masks) is masks


@pytest.mark.parametrize(
    ("reduce", "rows", "columns"),
    [
        (Mean(), [0.0, 3.0], [2.0, 0.5, 2.0]),
        (Total(), [0.0, 9.0], [4.0, 1.0, 4.0]),
        (Max(), [2.0, 4.0], [4.0, 3.0, 2.0]),
        (Norm(1), [4.0, 9.0], [4.0, 5.0, 4.0]),
        (Norm(float("inf")), [2.0, 4.0], [4.0, 3.0, 2.0]),
    ],
    ids=repr,
)
def test_reductions_by_eye(reduce, rows, columns):
    scores = {"w": torch.tensor([[0.0, -2.0, 2.0], [4.0, 3.0, 2.0]])}
    assert Rows(reduce).pool(scores)["w"].tolist() == rows
    assert Columns(reduce).pool(scores)["w"].tolist() == columns


def test_convolutions_reduce_over_all_but_one_dimension():
    scores = torch.arange(16.0).view(2, 2, 2, 2)
    assert Rows(Total()).pool({"w": scores})["w"].tolist() == [28.0, 92.0]
    assert Columns(Total()).pool({"w": scores})["w"].tolist() == [6 + 38.0, 22 + 54.0]


def test_blocks_tile_the_matrix_of_a_convolution():
    scores = torch.arange(16.0).view(2, 2, 2, 2)  # as a matrix: rows 0..7 and 8..15
    units = Blocks((2, 4), Max())
    assert units.pool({"w": scores})["w"].tolist() == [[11.0, 15.0]]
    mask = units.spread({"w": torch.tensor([[False, True]])}, {"w": scores.shape})["w"]
    assert mask.flatten().int().tolist() == [0, 0, 0, 0, 1, 1, 1, 1] * 2


def test_a_vector_has_one_weight_per_row():
    assert Rows().pool({"b": torch.tensor([1.0, 2.0])})["b"].tolist() == [1.0, 2.0]
    assert Rows().all_of({"b": torch.tensor([True, False])})["b"].tolist() == [True, False]


@pytest.mark.parametrize("reduce", [Total(), Mean(), Norm(2)], ids=repr)
def test_half_precision_sums_do_not_overflow(reduce):
    scores = torch.full((1, 1000), 1000.0, dtype=torch.float16)
    found = Rows(reduce).pool({"w": scores})["w"]
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("reduce", [Total(), Mean(), Max(), Norm(2)], ids=repr)
def test_reductions_are_values_and_take_whole_numbers(reduce: Reduction):
    assert reduce == type(reduce)()
    assert hash(reduce) == hash(type(reduce)())
    assert Rows(reduce).pool({"w": torch.tensor([[2, 2]])})["w"].dim() == 1


@pytest.mark.parametrize("p", [0, -1, float("nan"), True, "2"])
def test_a_norm_without_meaning_raises(p):
    with pytest.raises(SetupError, match="p is a number above 0"):
        Norm(p)


@pytest.mark.parametrize("shape", [(2,), (2, 0), (2, -1), 4, "44", (2.0, 2), (1, 2, 3), (True, 1)])
def test_a_block_without_sides_raises(shape):
    with pytest.raises(SetupError, match=r"give \(rows, columns\), as \(4, 4\)"):
        Blocks(shape)


def test_a_block_that_does_not_divide_names_the_tensor_and_shapes_that_fit():
    message = (
        r"Blocks\(shape=\(4, 4\)\) does not divide 'fc.weight': its shape \(6, 9\) is 6 x 9 as a "
        r"matrix. Shapes that fit: \(3, 3\), \(3, 1\), \(2, 3\), \(2, 1\)\."
    )
    with pytest.raises(SetupError, match=message):
        Blocks((4, 4)).pool({"fc.weight": torch.ones(6, 9)})


@pytest.mark.parametrize("units", [Columns(), Blocks((1, 1))], ids=repr)
def test_vectors_have_no_columns(units):
    with pytest.raises(SetupError, match=r"2 or more dimensions: 'b' has shape \(3,\)"):
        units.pool({"b": torch.ones(3)})
    with pytest.raises(SetupError, match="'b'"):
        units.all_of({"b": torch.ones(3, dtype=torch.bool)})
