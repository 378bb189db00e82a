"""ONNX files, where the packages are installed; what is said where they are not."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch

from sleepengine import SetupError
from sleepengine.export import export_onnx

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
needs_onnx = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in PACKAGES), reason="needs sleepengine[onnx]"
)


@needs_onnx
def test_the_file_gives_the_outputs_of_the_masked_model(convolutions, tmp_path):
    import onnxruntime

    engine, x = convolutions
    path = tmp_path / "net.onnx"
    report = export_onnx(engine, x, path)
    assert report.changed["c1"] == "5 of 8 nodes"
    assert report.difference <= 1e-5
    assert report.bytes[1] == path.stat().st_size
    session = onnxruntime.InferenceSession(str(path))
    other = torch.randn(3, 3, 4, 4)  # another number of samples
    found = session.run(None, {session.get_inputs()[0].name: other.numpy()})[0]
    with torch.no_grad():
        expected = engine.model.eval()(other)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


@needs_onnx
def test_a_model_that_cannot_be_made_smaller_is_written_whole(tmp_path):
    from torch import nn

    from sleepengine import SleepEngine

    engine = SleepEngine(nn.Sequential(nn.Linear(4, 3)))
    engine.sleep_weights("0", (0, 0))
    report = export_onnx(engine, {"input": torch.randn(2, 4)}, tmp_path / "net.onnx")
    assert report.parameters == (15, 15)


@needs_onnx
def test_a_model_that_cannot_be_traced(tmp_path):
    from torch import nn

    from sleepengine import SleepEngine

    class Branches(nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x[:, :2]

    engine = SleepEngine(Branches(4, 2))
    with pytest.raises(SetupError, match="cannot be written as ONNX"):
        export_onnx(engine, torch.ones(2, 4), tmp_path / "net.onnx")


def test_missing_packages_are_named(convolutions, tmp_path, monkeypatch):
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    engine, x = convolutions
    with pytest.raises(SetupError, match=r"onnx, onnxscript, onnxruntime.*sleepengine\[onnx\]"):
        export_onnx(engine, x, tmp_path / "net.onnx")
