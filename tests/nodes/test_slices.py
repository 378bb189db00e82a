"""Slices: which entries belong to which node."""

import pytest
import torch

from sleepengine.errors import SetupError, UnknownNameError
from sleepengine.nodes import NodeGroup, Side, Slice


def picked(mask):
    return [tuple(i) for i in mask.nonzero().tolist()]


@pytest.mark.parametrize(
    ("one", "node", "size", "shape", "entries"),
    [
        (Slice("w"), 1, 2, (2, 2), [(1, 0), (1, 1)]),
        (Slice("w", 1), 0, 2, (2, 2), [(0, 0), (1, 0)]),
        (Slice("w", 1, start=2), 1, 2, (1, 4), [(0, 3)]),
        (Slice("w", 0, stride=2, repeat=2), 1, 2, (4,), [(2,), (3,)]),
        (Slice("w", 0, start=1, stride=3), 1, 2, (6,), [(4,)]),
        # 4 inputs in 2 groups of a 4 x 2 convolution: input 3 is column 1 of rows 2 and 3
        (Slice("w", 1, groups=2), 3, 4, (4, 2, 1), [(2, 1, 0), (3, 1, 0)]),
        (Slice("w", 0, index=((0, 2), (1,))), 0, 2, (3,), [(0,), (2,)]),
    ],
)
def test_mask(one, node, size, shape, entries):
    nodes = torch.zeros(size, dtype=torch.bool)
    nodes[node] = True
    assert picked(one.mask(nodes, shape)) == entries


@pytest.mark.parametrize(
    "one",
    [Slice("w"), Slice("w", 1), Slice("w", 1, groups=2), Slice("w", 0, 0, 2, 2)],
    ids=str,
)
def test_gather_reads_what_mask_marks(one):
    size = {1: 4, 2: 2}[one.repeat] if one.groups == 1 else 8
    values = torch.arange(4 * 4 * 2.0).reshape(4, 4, 2)
    lines = one.gather(values, size)
    for node in range(size):
        nodes = torch.arange(size) == node
        assert sorted(lines[node].tolist()) == values[one.mask(nodes, values.shape)].tolist()


def test_gather_of_nodes_with_different_counts():
    lines = Slice("w", 0, index=((0, 2), (1,))).gather(torch.tensor([5.0, 6.0, 7.0]), 2)
    assert [line.tolist() for line in lines] == [[5.0, 7.0], [6.0]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dim": -1}, "dim=-1"),
        ({"stride": 0}, "stride=0"),
        ({"groups": 2}, "groups=2.*needs dim=1"),
        ({"repeat": 1.5}, "repeat=1.5"),
    ],
)
def test_wrong_numbers(arguments, said):
    with pytest.raises(SetupError, match=said):
        Slice("w", **arguments)


def test_a_group_must_fit_the_model():
    shapes = {"fc.weight": torch.Size([2, 3])}
    with pytest.raises(UnknownNameError, match=r"no parameter 'fc.wieght'.*Did you mean"):
        NodeGroup("fc", 2, [Slice("fc.wieght")]).check(shapes, {})
    with pytest.raises(SetupError, match="3 nodes need the indices 0 to 2 of dimension 0"):
        NodeGroup("fc", 3, [Slice("fc.weight")]).check(shapes, {})
    with pytest.raises(SetupError, match="has no dimension 2"):
        NodeGroup("fc", 2, [Slice("fc.weight", 2)]).check(shapes, {})
    with pytest.raises(UnknownNameError, match="no buffer"):
        NodeGroup("fc", 2, [Slice("fc.weight")], buffers=["bn.running_mean"]).check(shapes, {})
    with pytest.raises(SetupError, match="write Slice"):
        NodeGroup("fc", 2, ["fc.weight"])
    with pytest.raises(SetupError, match="neither"):
        NodeGroup("fc", 2)


def test_sides():
    group = NodeGroup(
        "c", 2, [Slice("c.weight")], [Slice("d.weight", 1)], ["c.bias", "n.weight", "n.bias"]
    )
    names = {side: [one.param for one in group.slices(side)] for side in Side}
    assert names[Side.INCOMING] == ["c.weight"]
    assert names[Side.OUTGOING] == ["d.weight"]
    assert names[Side.SCALE] == ["n.weight"]
    assert names[Side.SHIFT] == ["c.bias", "n.bias"]
    assert [one.param for one in group.norms()] == ["n.weight", "n.bias"]
