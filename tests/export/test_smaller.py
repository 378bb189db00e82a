"""The smaller model: sizes counted by hand, the outputs of the masked model, plain modules."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from sleepengine import SetupError, SleepEngine
from sleepengine.export import smaller_model
from sleepengine.export.report import ExportReport, compared


def outputs(model, x):
    with torch.no_grad():
        return copy.deepcopy(model).eval()(x)


def test_outputs_are_those_of_the_masked_model(asleep):
    engine, x = asleep
    exported = smaller_model(engine, x)
    expected, found = outputs(engine.model, x), exported.model(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    other = torch.randint(11, (3, 4)) if x.dtype == torch.long else torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(
        exported.model(other), outputs(engine.model, other), rtol=1e-5, atol=1e-6
    )
    assert exported.report.difference <= exported.report.tolerance == 1e-5


def test_sizes_are_those_of_the_awake_nodes(convolutions):
    engine, x = convolutions
    exported = smaller_model(engine, x)
    shapes = {name: tuple(p.shape) for name, p in exported.model.named_parameters()}
    assert shapes == {
        "c1.weight": (5, 3, 3, 3),
        "b1.weight": (5,),
        "b1.bias": (5,),
        "c2.weight": (5, 5, 3, 3),
        "c2.bias": (5,),
        "depth.weight": (5, 1, 3, 3),
        "depth.bias": (5,),
        "c3.weight": (5, 5, 1, 1),
        "c3.bias": (5,),
        "fc1.weight": (4, 20),
        "fc1.bias": (4,),
        "fc2.weight": (4, 4),
        "fc2.bias": (4,),
    }
    model, report = exported.model, exported.report
    assert (model.c2.in_channels, model.c2.out_channels, model.depth.groups) == (5, 5, 5)
    assert (model.b1.num_features, model.b1.running_var.shape) == (5, (5,))
    assert model.fc2.weight[0, 0] == 0  # a weight that sleeps by itself stays a zero
    assert report.changed == {
        "c1": "5 of 8 nodes",
        "c3": "5 of 6 nodes",
        "fc1": "4 of 10 nodes",
    }
    full = sum(p.numel() for p in engine.model.parameters())
    assert report.parameters == (full, sum(p.numel() for p in model.parameters()))
    assert report.bytes[1] == 4 * report.parameters[1] + 4 * 10 + 8
    assert min(report.milliseconds) > 0


def test_what_cannot_be_cut_is_named_and_stays(words):
    engine, x = words
    exported = smaller_model(engine, x)
    assert set(exported.report.changed) == {"embed", "fc1"}
    assert "takes the width of its heads" in exported.report.left["attention"]
    assert exported.model.attention.in_proj_weight.shape == (24, 8)
    assert exported.model.lstm.input_size == 4
    assert "attention: " in str(exported.report)


def test_the_engine_and_its_model_are_as_before(asleep):
    engine, x = asleep
    before = {name: value.clone() for name, value in engine.model.state_dict().items()}
    engine.model.train()
    smaller_model(engine, x)
    assert engine.model.training
    for name, value in engine.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(not m._state_dict_hooks for m in engine.model.modules())


def test_nothing_of_this_package_is_in_it(convolutions):
    engine, x = convolutions
    engine.attach()
    model = smaller_model(engine, x).model
    buffer = io.BytesIO()
    torch.save(model, buffer)
    assert b"sleepengine" not in buffer.getvalue()
    for module in model.modules():
        for name, held in vars(module).items():
            assert not ("hooks" in name and held), name
    engine.detach()


def test_it_trains_like_any_other(convolutions):
    engine, x = convolutions
    model = smaller_model(engine, x).model.train()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    first = model(x).square().mean()
    for _ in range(5):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    assert model(x).square().mean() < first


def test_float64_has_a_tolerance_of_its_own():
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    engine = SleepEngine(net, example_inputs=torch.zeros(1, 4).double())
    engine.sleep_nodes("0", [0, 1])
    report = smaller_model(engine, torch.randn(9, 4).double()).report
    assert report.difference <= report.tolerance == 1e-12


def test_while_compact(convolutions):
    engine, x = convolutions
    expected = outputs(engine.model, x)
    engine.compact()
    exported = smaller_model(engine, x)
    engine.expand()
    torch.testing.assert_close(exported.model(x), expected, rtol=1e-5, atol=1e-6)
    assert exported.model.fc1.out_features == 4


def test_nothing_asleep_gives_a_copy():
    net = nn.Sequential(nn.Linear(4, 2))
    exported = smaller_model(SleepEngine(net), torch.zeros(1, 4))
    assert exported.model[0].weight is not net[0].weight
    assert exported.report.parameters == (10, 10)


def test_nothing_that_can_be_cut_is_an_error(words):
    engine, x = words
    engine.wake_nodes("embed")
    engine.wake_nodes("fc1")
    with pytest.raises(SetupError, match=r"smaller_model\(\): .*'attention'"):
        smaller_model(engine, x)


def test_differences_are_refused():
    ones = [torch.ones(3)]
    assert compared("x", ones, [torch.ones(3) * (1 + 1e-6)])[0] == pytest.approx(1e-6, rel=0.1)
    for other in ([torch.ones(3) * 1.1], [torch.full((3,), float("nan"))]):
        with pytest.raises(SetupError, match="x computes something else"):
            compared("x", ones, other)
    with pytest.raises(SetupError, match="does not return the outputs"):
        compared("x", ones, [torch.ones(2)])


def test_a_report_in_words():
    report = ExportReport(
        "smaller", (10, 5), (40, 20), (3.0, 1.0), 1e-7, 1e-5, {}, {"fc1": "because"}
    )
    assert report.speedup == 3.0
    assert str(report).splitlines()[1] == "  fc1: because"
