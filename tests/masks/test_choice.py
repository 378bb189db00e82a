import pytest
import torch

from sleepengine.masks import bits
from sleepengine.masks.choice import Choice, Layer


def mask(text: str) -> torch.Tensor:
    return torch.tensor([letter == "x" for letter in text])


A = Choice({"u": mask("xx.."), "v": mask("x")})
B = Choice({"u": mask("x.x."), "w": mask(".x")})


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (A | B, {"u": "xxx.", "v": "x", "w": ".x"}),
        (A & B, {"u": "x..."}),
        (A - B, {"u": ".x..", "v": "x"}),
        (B - A, {"u": "..x.", "w": ".x"}),
        (A - A, {}),
    ],
)
def test_algebra(made, expected):
    assert made == Choice({name: mask(text) for name, text in expected.items()})


def test_counts():
    assert A.count() == 3
    assert A.counts() == {"u": 2, "v": 1}
    assert A.names == ("u", "v")
    assert bool(A)
    assert Choice.empty().is_empty()
    assert Choice({"u": mask("....")}).is_empty()


def test_packed_and_plain_choices_are_the_same():
    packed = Choice.from_bits({"u": bits.pack(mask("xx.."))}, {"u": (4,)})
    assert packed == A.only(["u"])
    assert packed["u"].tolist() == [True, True, False, False]
    assert packed.shape("u") == (4,)
    assert packed.only(["v"]).is_empty()
    assert torch.equal(packed.bits("u"), A.bits("u"))


def test_the_layer_is_part_of_the_choice():
    nodes = A.on_layer(Layer.NODES)
    assert nodes != A
    assert nodes.on_layer(Layer.WEIGHTS) == A
    with pytest.raises(ValueError, match="one choice speaks of weights, the other of nodes"):
        A.union(nodes)


def test_wrong_masks_are_refused_by_name():
    with pytest.raises(TypeError, match=r"'u' must be a bool tensor .* dtype torch\.float32"):
        Choice({"u": torch.ones(2)})
    with pytest.raises(TypeError, match="'u' must be a bool tensor"):
        Choice({"u": [True]})
    with pytest.raises(TypeError, match="keyed by parameter names, got 3"):
        Choice({3: mask("x")})
    with pytest.raises(TypeError, match=r"Layer\.WEIGHTS or Layer\.NODES, got 'nodes'"):
        Choice({}, "nodes")
    with pytest.raises(ValueError, match=r"'u' has shape \(4,\) in one choice and \(1,\)"):
        A.union(Choice({"u": mask("x")}))
