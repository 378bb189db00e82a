import numpy as np
import pytest
import torch
from scipy import sparse

from sleepengine.errors import SetupError
from sleepengine.masks.positions import mask_from_adjacency, to_mask


def rows(mask: torch.Tensor) -> str:
    return "/".join("".join("x" if one else "." for one in row) for row in mask)


BOOLS = torch.tensor([[True, False, False], [False, False, True]])
FLAT = [
    ((0, 2), "..x/..."),
    ((-1, -3), ".../x.."),
    ([(0, 0), (1, 1)], "x../.x."),
    ([], ".../..."),
    ((1, slice(None)), ".../xxx"),
    ((slice(None), -1), "..x/..x"),
    ((1, ...), ".../xxx"),
    ((..., 0), "x../x.."),
    (slice(1, 2), ".../xxx"),
    (..., "xxx/xxx"),
    ([(0, slice(1, 3)), (1, 0)], ".xx/x.."),
    ((np.int64(0), np.int64(1)), ".x./..."),
    (BOOLS, "x../..x"),
    (BOOLS.numpy(), "x../..x"),
    (torch.tensor([[0, 1], [1, -1]]), ".x./..x"),
    (np.array([[0, 1], [1, -1]]), ".x./..x"),
    (torch.zeros(0, 2, dtype=torch.long), ".../..."),
    (sparse.csr_matrix(BOOLS.numpy()), "x../..x"),
    (sparse.coo_array(([2.0, 0.0], ([0, 1], [1, 1])), shape=(2, 3)), ".x./..."),
]


@pytest.mark.parametrize(("where", "expected"), FLAT, ids=lambda value: str(value)[:30])
def test_positions_in_a_2_by_3(where, expected):
    mask = to_mask(where, (2, 3))
    assert mask.dtype == torch.bool
    assert mask.is_contiguous()
    assert rows(mask) == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (1, ".x..."),
        (-1, "....x"),
        ((2,), "..x.."),
        ([0, 3], "x..x."),
        ([(0,), 3], "x..x."),
        (slice(3, None), "...xx"),
        (torch.tensor([0, 4]), "x...x"),
        (np.int32(2), "..x.."),
    ],
)
def test_positions_in_five(where, expected):
    assert rows(to_mask(where, (5,))[None]) == expected


def test_four_dimensions():
    mask = to_mask([(1, 0, ...), (0, 1, 2, 2)], (2, 2, 3, 3))
    assert int(mask.sum()) == 10
    assert bool(mask[1, 0].all())
    assert bool(mask[0, 1, 2, 2])


def test_indices_after_dots_count_from_the_last_dimension():
    mask = to_mask((..., 2), (1, 2, 3))
    assert mask.nonzero().tolist() == [[0, 0, 2], [0, 1, 2]]


def test_a_transposed_mask_has_to_be_announced():
    assert rows(to_mask(BOOLS.T, (2, 3), layout="in_out")) == "x../..x"
    assert rows(to_mask(sparse.csr_matrix(BOOLS.T.numpy()), (2, 3), layout="in_out")) == "x../..x"


@pytest.mark.parametrize(
    ("where", "shape", "message"),
    [
        (3, (4, 5), r"3 alone is not clear .* \(4, 5\): write \(3, j\) .* \(3, slice\(None\)\)"),
        ([3], (4, 5), "3 alone is not clear"),
        ((4, 0), (4, 5), r"position \(4, 0\) is outside the shape \(4, 5\)"),
        ((0, -6), (4, 5), r"\(0, -6\) is outside"),
        ((..., 5), (4, 5), "is outside"),
        ([(0, 0), (9, 9)], (4, 5), r"\(9, 9\) is outside"),
        (torch.tensor([[0, 0], [0, 5]]), (4, 5), r"\(0, 5\) is outside"),
        ((1,), (4, 5), "has 1 parts"),
        ((1, 2, 3), (4, 5), "has 3 parts"),
        ((..., ...), (4, 5), "has 2 parts"),
        ((1, "a"), (4, 5), "'a' in the position"),
        ((True, 1), (4, 5), "True in the position"),
        ("fc1", (4, 5), "'fc1' names no position"),
        (None, (4, 5), "None names no position"),
        (1.0, (4,), r"1\.0 names no position"),
        (torch.ones(4, 5), (4, 5), r"torch\.float32 is neither a mask .* `mask != 0`"),
        (torch.ones(4, 5).int(), (4, 5), r"shape \(k, 2\), got \(4, 5\); a mask .* must be bool"),
        (torch.tensor([1, 2]), (4, 5), r"shape \(k, 2\), got \(2,\)"),
        (BOOLS, (4, 5), r"mask has shape \(2, 3\), the parameter has \(4, 5\)$"),
        (BOOLS, (3, 2), r"\(2, 3\), .* \(3, 2\) \(the transposed shape would fit.*layout='in_out'"),
        (sparse.csr_matrix((3, 2)), (2, 3), "transposed shape would fit"),
        (np.array(["a"]), (1,), "array of dtype <U1"),
    ],
)
def test_unclear_positions_are_refused(where, shape, message):
    with pytest.raises(SetupError, match=message):
        to_mask(where, shape)


def test_layouts_are_refused_where_they_mean_nothing():
    with pytest.raises(SetupError, match="layout='in_out' is for masks"):
        to_mask((0, 0), (2, 3), layout="in_out")
    with pytest.raises(SetupError, match="layout='rows'"):
        to_mask((0, 0), (2, 3), layout="rows")


@pytest.mark.parametrize("kind", [torch.tensor, np.array, sparse.csr_matrix, list])
def test_adjacency_in_three_layouts(kind):
    matrix = [[1, 0, 2], [0, 0, 3]]  # as out_in: inputs 0 and 2 to output 0, input 2 to output 1
    assert rows(mask_from_adjacency(kind(matrix), "out_in")) == "x.x/..x"
    assert rows(mask_from_adjacency(kind(matrix), "in_out")) == "x./../xx"
    nodes = [[0] * 5 for _ in range(5)]  # three inputs, then two outputs
    nodes[0][3] = nodes[2][3] = nodes[2][4] = 1
    nodes[3][0] = 1  # the same edge from the other side
    assert rows(mask_from_adjacency(kind(nodes), "bipartite", (2, 3))) == "x.x/..x"


@pytest.mark.parametrize(
    ("matrix", "layout", "shape", "message"),
    [
        ([[1]], "outin", None, r"layout='outin' is not known\. Did you mean 'out_in'"),
        ([1, 0], "out_in", None, r"two dimensions, got shape \(2,\)"),
        ([[1, 0]], "out_in", (2, 1), "transposed shape would fit"),
        ([[float("nan")]], "out_in", None, "NaN"),
        ([[0, 1], [0, 0]], "bipartite", None, r"needs shape=\(out, in\)"),
        ([[0, 1], [0, 0]], "bipartite", (2, 1), r"square with 3 rows .* got shape \(2, 2\)"),
        ([[0, 1, 1], [0, 0, 0], [0, 0, 0]], "bipartite", (1, 2), "joins two inputs: 0 and 1"),
        ([[1, 2], [3]], "out_in", None, "not a matrix of numbers"),
    ],
)
def test_adjacency_mistakes(matrix, layout, shape, message):
    with pytest.raises(SetupError, match=message):
        mask_from_adjacency(matrix, layout, shape)


def test_square_matrices_are_not_guessed():
    square = [[0, 1], [0, 0]]
    assert rows(mask_from_adjacency(square, "out_in")) == ".x/.."
    assert rows(mask_from_adjacency(square, "in_out")) == "../x."
