"""Inputs of layers: their dot products with the weight's rows are what the layer gives out."""

import pytest
import torch
from torch import nn

from saliency.layer_places import places_of

LAYERS = [
    (nn.Linear(4, 3, bias=False), (5, 4)),
    (nn.Linear(4, 3, bias=False), (2, 5, 4)),
    (nn.Conv1d(4, 6, 3, bias=False), (2, 4, 9)),
    (nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, bias=False), (2, 4, 9)),
    (nn.Conv1d(2, 3, 3, bias=False), (2, 9)),  # without a batch dimension
    (nn.Conv2d(3, 4, (3, 2), bias=False), (2, 3, 6, 5)),
    (nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), (2, 4, 5, 5)),
    (nn.Conv2d(4, 8, 3, groups=4, bias=False), (2, 4, 5, 5)),  # depthwise
    pytest.param(
        nn.Conv2d(3, 4, (2, 4), padding="same", bias=False),
        (2, 3, 6, 5),
        marks=pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
    ),
    (nn.Conv2d(3, 4, 2, padding="valid", stride=(2, 1), bias=False), (2, 3, 6, 5)),
    (nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="circular", bias=False), (2, 3, 6, 5)),
    (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect", bias=False), (2, 3, 6, 5)),
    (nn.Conv3d(2, 4, (2, 3, 1), padding=(1, 0, 2), groups=2, bias=False), (2, 2, 4, 5, 3)),
    (nn.Conv3d(2, 3, 2, padding=1, padding_mode="replicate", bias=False), (2, 2, 4, 5, 3)),
]


def rows_of(place, *args, **kwargs):
    """group -> all positions."""
    groups = {}
    for first, rows in place.inputs(args, kwargs):
        for offset, one in enumerate(rows):
            groups.setdefault(first + offset, []).append(one)
    return [torch.cat(groups[g]) for g in sorted(groups)]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda v: str(v))
def test_rows_times_weight_is_the_output(layer, shape):
    layer = layer.double()
    x = torch.randn(shape, dtype=torch.float64)
    (place,) = places_of(layer, {"weight": layer.weight})["weight"]
    inputs = rows_of(place, x)
    weights = layer.weight.flatten(1).chunk(place.groups)
    assert len(inputs) == place.groups
    found = torch.cat([i @ w.t() for i, w in zip(inputs, weights, strict=True)], dim=1)
    torch.testing.assert_close(found, place.outputs(layer(x)))


def test_large_inputs_come_in_pieces(monkeypatch):
    monkeypatch.setattr("saliency.layer_places.PIECE", 50)
    layer, x = nn.Conv2d(1, 1, 2, bias=False), torch.randn(4, 1, 4, 4)
    (place,) = places_of(layer, {"weight": layer.weight})["weight"]
    pieces = [rows.shape for _, rows in place.inputs((), {"input": x})]
    assert pieces == [(1, 9, 4)] * 4  # 36 numbers of each sample


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_attention(batch_first, bias):
    attention = nn.MultiheadAttention(4, 2, bias=bias, batch_first=batch_first).double().eval()
    q, kv = torch.randn(3, 5, 4, dtype=torch.float64), torch.randn(3, 5, 4, dtype=torch.float64)
    params = {"in": attention.in_proj_weight, "out": attention.out_proj.weight}
    places = places_of(attention, params)
    query, key, value = rows_of(places["in"][0], q, kv, value=kv)
    assert torch.equal(query, q.reshape(-1, 4))
    assert torch.equal(key, kv.reshape(-1, 4))
    assert torch.equal(value, kv.reshape(-1, 4))
    (rows,) = rows_of(places["out"][0], q, key=kv, value=kv)
    output = attention(q, kv, kv)
    linear = nn.functional.linear(rows, attention.out_proj.weight, attention.out_proj.bias)
    torch.testing.assert_close(linear, places["out"][0].outputs(output))


def test_attention_with_inputs_of_several_widths():
    attention = nn.MultiheadAttention(4, 2, kdim=3, vdim=5)
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    places = places_of(attention, {name: getattr(attention, name) for name in names})
    inputs = (torch.randn(2, 4), torch.randn(6, 3), torch.randn(6, 5))
    for name, x in zip(names, inputs, strict=True):
        (rows,) = rows_of(places[name][0], *inputs)
        assert torch.equal(rows, x)


def test_a_tied_weight_has_two_places():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    assert len(places_of(nn.Sequential(first, second), {"0.weight": first.weight})["0.weight"]) == 2


@pytest.mark.parametrize(
    ("layer", "attribute", "said"),
    [
        (nn.ConvTranspose2d(2, 2, 2), "weight", r"'0.weight' \(ConvTranspose2d.weight\)"),
        (nn.Embedding(3, 2), "weight", "Embedding.weight"),
        (nn.Bilinear(2, 2, 2), "weight", "Bilinear.weight"),
        (nn.LSTM(2, 2), "weight_ih_l0", "LSTM.weight_ih_l0"),
        (nn.Linear(2, 2), "bias", "Linear.bias"),
        (nn.MultiheadAttention(2, 1), "in_proj_bias", "MultiheadAttention.in_proj_bias"),
    ],
    ids=lambda v: str(v),
)
def test_what_cannot_be_read_is_refused_by_name(layer, attribute, said):
    parameter = getattr(layer, attribute)
    with pytest.raises(ValueError, match=said):
        places_of(nn.Sequential(layer), {f"0.{attribute}": parameter})


def test_a_parameter_of_another_model_is_refused():
    with pytest.raises(ValueError, match="no parameter of the model"):
        places_of(nn.Linear(2, 2), {"weight": nn.Linear(2, 2).weight})
