"""Statistics of activations against sums written out, and no trace left in the model."""

import pytest
import torch
from torch import nn

from saliency import (
    InputGram,
    InputMoment,
    OutputMagnitude,
    OutputMoments,
    OutputZeros,
    gather,
)

REQUESTS = [InputMoment(), InputGram(), OutputMagnitude(), OutputZeros(), OutputMoments()]


def net():
    torch.manual_seed(0)
    layers = (nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout(0.5), nn.Linear(3, 2))
    return nn.Sequential(*layers).double()


def params_of(model, *names):
    return {name: dict(model.named_parameters())[name] for name in names}


def batches():
    torch.manual_seed(1)
    return [(torch.randn(n, 4, dtype=torch.float64), torch.zeros(n)) for n in (5, 3)]


def expected(request, x, a):
    return {
        InputMoment: lambda: x.square().mean(0, keepdim=True),
        InputGram: lambda: (x.t() @ x / len(x)).unsqueeze(0),
        OutputMagnitude: lambda: a.abs().mean(0).unsqueeze(1),
        OutputZeros: lambda: (a <= 0).double().mean(0).unsqueeze(1),
        OutputMoments: lambda: torch.stack([a.mean(0), a.square().mean(0)]).unsqueeze(2),
    }[type(request)]()


@pytest.mark.parametrize("request_", REQUESTS, ids=repr)
def test_means_over_all_batches(request_):
    model = net()
    found = gather(model, params_of(model, "0.weight", "4.weight"), request_, batches())
    x = torch.cat([x for x, _ in batches()])
    model.eval()
    hidden = model[:4](x)
    torch.testing.assert_close(found["0.weight"], expected(request_, x, model[0](x)))
    torch.testing.assert_close(found["4.weight"], expected(request_, hidden, model[4](hidden)))


def test_through_the_nonlinearity():
    model, x = net().eval(), batches()[0][0]
    request = OutputMagnitude(through=torch.relu)
    found = gather(model, params_of(model, "0.weight"), request, [x])["0.weight"]
    torch.testing.assert_close(found, model[0](x).relu().mean(0).unsqueeze(1))


def test_a_nonlinearity_in_place_does_not_reach_the_model():
    model, x = net().eval(), batches()[0][0]
    outputs = []
    request = OutputMagnitude(through=nn.ReLU(inplace=True))
    params = params_of(model, "4.weight")
    gather(model, params, request, [x], run=lambda m, x: outputs.append(m(x)))
    assert torch.equal(outputs[0], model(x))


def test_moments_of_a_grouped_convolution_have_the_weight_s_shape():
    layer = nn.Conv2d(4, 6, 3, groups=2, bias=False).double()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    found = gather(layer, {"weight": layer.weight}, InputMoment(), [x])["weight"]
    assert found.shape == layer.weight.shape
    # Output 5 is of the second group: its input 1 is channel 3, at the window's corner (0, 2).
    corner = x[:, 3, 0:3, 2:5].square().mean()
    torch.testing.assert_close(found[5, 1, 0, 2], corner)


def test_the_gram_s_diagonal_is_the_moment():
    layer = nn.Conv2d(4, 6, 3, groups=2, padding=1, bias=False).double()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    gram = gather(layer, {"weight": layer.weight}, InputGram(), [x])["weight"]
    moment = gather(layer, {"weight": layer.weight}, InputMoment(), [x])["weight"]
    assert gram.shape == (2, 18, 18)
    diagonal = gram.diagonal(dim1=1, dim2=2).repeat_interleave(3, dim=0)
    torch.testing.assert_close(diagonal.reshape(6, 2, 3, 3), moment)


def test_the_packed_projection_sees_three_inputs():
    attention = nn.MultiheadAttention(4, 2, batch_first=True).double()
    q, kv = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 7, 4, dtype=torch.float64)
    found = gather(
        attention,
        {"in": attention.in_proj_weight, "out": attention.out_proj.weight},
        InputMoment(),
        [(q, kv)],
        run=lambda model, batch: model(batch[0], batch[1], batch[1]),
    )
    means = [x.reshape(-1, 4).square().mean(0).expand(4, 4) for x in (q, kv, kv)]
    torch.testing.assert_close(found["in"], torch.cat(means))
    assert found["out"].shape == (1, 4)


def test_an_encoder_s_fused_path_is_left():
    encoder = nn.TransformerEncoderLayer(4, 2, dim_feedforward=8, batch_first=True).eval()
    names = ("self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear2.weight")
    fused = torch.backends.mha.get_fastpath_enabled()
    found = gather(encoder, params_of(encoder, *names), InputMoment(), [torch.randn(2, 3, 4)])
    assert {name: tuple(t.shape) for name, t in found.items()} == {
        "self_attn.in_proj_weight": (12, 4),
        "self_attn.out_proj.weight": (1, 4),
        "linear2.weight": (1, 8),
    }
    assert torch.backends.mha.get_fastpath_enabled() == fused


def test_a_layer_that_runs_twice_counts_twice():
    layer = nn.Linear(2, 2, bias=False)

    def run(model, x):
        model(x)
        model(3 * x)

    found = gather(layer, {"weight": layer.weight}, InputMoment(), [torch.ones(1, 2)], run)
    assert found["weight"].tolist() == [[5.0, 5.0]]


def test_half_precision_is_squared_in_float32():
    layer = nn.Linear(2, 1, bias=False).half()
    x = torch.full((4, 2), 300.0, dtype=torch.float16)  # 300^2 overflows float16
    found = gather(layer, {"weight": layer.weight}, InputMoment(), [x])["weight"]
    assert found.dtype == torch.float32
    assert found.tolist() == [[90000.0, 90000.0]]


def trace(model):
    return (
        [m.training for m in model.modules()],
        {name: t.clone() for name, t in model.state_dict().items()},
        [p.grad for p in model.parameters()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        torch.get_rng_state(),
    )


def same(a, b):
    return (
        a[0] == b[0]
        and all(torch.equal(a[1][name], b[1][name]) for name in a[1])
        and a[2:4] == b[2:4]
        and torch.equal(a[4], b[4])
    )


@pytest.mark.parametrize("request_", REQUESTS, ids=repr)
@pytest.mark.parametrize("broken", [False, True])
def test_nothing_stays_behind(request_, broken):
    model = net().train()
    model[1].eval()  # a frozen normalisation among layers in train mode
    given = [*batches(), *([(torch.randn(2, 9, dtype=torch.float64), None)] if broken else [])]
    before = trace(model)
    if broken:  # the last batch does not fit
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            gather(model, params_of(model, "0.weight", "4.weight"), request_, given)
    else:
        gather(model, params_of(model, "0.weight", "4.weight"), request_, given)
    assert same(before, trace(model))


def test_hooks_go_also_when_one_cannot_be_set(monkeypatch):
    model, given = net(), batches()

    def fail(*args, **kwargs):
        raise RuntimeError("no more hooks")

    monkeypatch.setattr(model[4], "register_forward_hook", fail)
    before = trace(model)
    with pytest.raises(RuntimeError, match="no more hooks"):
        gather(model, params_of(model, "0.weight", "4.weight"), InputMoment(), given)
    assert same(before, trace(model))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "there was no batch"),
        ([{"x": 1}], "type dict is neither a tensor nor a pair"),
    ],
)
def test_batches_that_do_not_work(given, said):
    model = net()
    with pytest.raises(ValueError, match=said):
        gather(model, params_of(model, "0.weight"), InputMoment(), given)


def test_a_layer_that_never_runs_is_named():
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "idle": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match="no batch ran the layers of 'idle"):
        gather(
            model,
            params_of(model, "used.weight", "idle.weight"),
            InputMoment(),
            [torch.ones(1, 2)],
            run=lambda m, x: m["used"](x),
        )


def test_outputs_inside_of_an_attention_are_refused():
    attention = nn.MultiheadAttention(4, 2)
    with pytest.raises(ValueError, match="outputs cannot be read of 'in_proj_weight'"):
        gather(attention, params_of(attention, "in_proj_weight"), OutputMagnitude(), [])
