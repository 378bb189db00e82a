"""ONNX files of every kind of layer, run by ONNX Runtime beside the masked model."""

import importlib.util

import pytest
import torch

from sleepengine import SetupError, SleepEngine, export_onnx

needs_onnx = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs sleepengine[onnx]",
)

FIRST = ["conv2d", "depthwise", "embedding", "heads", "lstm"]
REST = ["linear", "conv1d", "conv3d", "transposed", "grouped", "residual", "gru", "rnn", "deep gru"]
REST += ["attention"]


def test_no_kind_is_left_out(cases):
    assert {*FIRST, *REST, "projected lstm"} == set(cases)


@needs_onnx
@pytest.mark.parametrize(
    "kind", [*FIRST, *(pytest.param(one, marks=pytest.mark.slow) for one in REST)]
)
def test_the_file_gives_the_outputs_of_the_masked_model(kind, cases, tmp_path):
    torch.manual_seed(1)
    case = cases[kind]
    model, batch = case.make(), case.batch()
    engine = SleepEngine(model, nodes=case.groups(model))
    for name, nodes in case.sleep.items():
        engine.sleep_nodes(name, nodes)
    report = export_onnx(engine, batch, tmp_path / "net.onnx")
    assert not report.left
    assert set(report.changed) == set(case.sleep)
    assert report.difference <= 1e-5


@needs_onnx
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_what_onnx_does_not_know_is_refused(cases, tmp_path):
    case, path = cases["projected lstm"], tmp_path / "net.onnx"
    model = case.make()
    engine = SleepEngine(model, nodes=case.groups(model))
    with pytest.raises(SetupError, match=r"ONNX Runtime cannot run the file.*LSTM"):
        export_onnx(engine, case.batch(), path)
    assert not path.exists()
