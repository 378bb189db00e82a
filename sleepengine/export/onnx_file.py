"""ONNX files of the awake network."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sleepengine.engine.sleep_engine import SleepEngine
from sleepengine.errors import SetupError
from sleepengine.export.report import (
    ExportReport,
    bytes_of,
    call,
    compared,
    parameters_of,
    times,
)
from sleepengine.export.smaller import masked_copy, smaller_model

_MISSING = "ONNX files need packages that are missing ({}): pip install 'sleepengine[onnx]'"


def export_onnx(engine: SleepEngine, example_inputs: Any, path: str | Path) -> ExportReport:
    """Write the model without sleeping nodes as ONNX, and run the file to compare it.

    The first dimension of every input is left open where the model allows it. The file is run by
    ONNX Runtime on the CPU; its time is compared with that of the masked model in PyTorch, so that
    a difference is that of the runtimes too.

    Args:
        engine: whose model is meant.
        example_inputs: real inputs: a tensor, a tuple of arguments, or a dict of keywords.
        path: of the file; its folder exists.

    Raises:
        SetupError: packages are missing, the model cannot be exported, ONNX Runtime cannot run the
            file (an LSTM with proj_size, which ONNX does not know), or the outputs differ; no file
            is left then.
    """
    runtime = _runtime()
    full = masked_copy(engine)
    changed: Mapping[str, str] = {}
    left: Mapping[str, str] = {}
    try:
        smaller = smaller_model(engine, example_inputs)
        model, changed, left = smaller.model, smaller.report.changed, smaller.report.left
    except SetupError as error:
        model, left = full, {"the model": str(error)}
    _write(model, example_inputs, Path(path))
    before = [one.cpu() for one in call(full, example_inputs)]
    try:
        session, feed = _session(runtime, Path(path), example_inputs)
        found = [torch.from_numpy(one) for one in _run(session, feed)]
        difference, tolerance = compared("the ONNX file", before, found)
    except SetupError:
        Path(path).unlink()  # nobody should take it for the model
        raise
    return ExportReport(
        "ONNX file",
        (parameters_of(full), parameters_of(model)),
        (bytes_of(full), Path(path).stat().st_size),
        times(lambda: call(full, example_inputs), lambda: session.run(None, feed)),
        difference,
        tolerance,
        changed,
        left,
    )


def _runtime() -> Any:
    missing = []
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise SetupError(_MISSING.format(", ".join(missing)))
    return module


def _session(runtime: Any, path: Path, inputs: Any) -> tuple[Any, dict[str, Any]]:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what fails is raised
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own kinds of errors have no common base
        raise SetupError(f"ONNX Runtime cannot read the file: {_first_line(error)}") from error
    return session, _feed(session, inputs)


def _run(session: Any, feed: dict[str, Any]) -> list[Any]:
    try:
        found: list[Any] = session.run(None, feed)
    except Exception as error:
        raise SetupError(
            "ONNX Runtime cannot run the file, so that some layer has no faithful form in ONNX: "
            f"{_first_line(error)}"
        ) from error
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _write(model: nn.Module, inputs: Any, path: Path) -> None:
    named = dict(inputs) if isinstance(inputs, Mapping) else {}
    places = () if named else tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    free = {0: torch.export.Dim.AUTO}
    shapes: Any = {k: dict(free) for k in named} if named else tuple(dict(free) for _ in places)
    told = logging.getLogger("torch.onnx")
    level = told.level
    told.setLevel(logging.ERROR)  # it lists the layers of packages that are not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model.cpu(),
                tuple(_cpu(one) for one in places),
                str(path),
                kwargs={k: _cpu(v) for k, v in named.items()} or None,
                dynamo=True,
                dynamic_shapes=shapes,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # whatever tracing the user's model raises
        raise SetupError(
            f"the model cannot be written as ONNX: {type(error).__name__}: {_first_line(error)}"
        ) from error
    finally:
        told.setLevel(level)


def _feed(session: Any, inputs: Any) -> dict[str, Any]:
    given = inputs.values() if isinstance(inputs, Mapping) else inputs
    places = list(given) if isinstance(inputs, (tuple, list, Mapping)) else [inputs]
    names = [one.name for one in session.get_inputs()]
    if len(names) != len(places):
        raise SetupError(f"the ONNX file has the inputs {names}, and {len(places)} are given")
    return {name: _cpu(one).numpy() for name, one in zip(names, places, strict=True)}


def _cpu(one: Any) -> Tensor:
    if not isinstance(one, Tensor):
        raise SetupError(f"ONNX inputs are tensors, got {type(one).__name__}")
    return one.detach().cpu()
