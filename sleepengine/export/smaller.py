"""A smaller plain model, without the nodes that sleep."""

from __future__ import annotations

import copy
import warnings
from typing import Any

from torch import nn

from sleepengine.actions.sleep import Sleep
from sleepengine.compaction import Compacted, Compaction
from sleepengine.engine.sleep_engine import SleepEngine
from sleepengine.errors import SetupError
from sleepengine.export.report import (
    Exported,
    ExportReport,
    bytes_of,
    call,
    compared,
    parameters_of,
    times,
)
from sleepengine.masks.choice import Kind


def masked_copy(engine: SleepEngine) -> nn.Module:
    """A copy of the model as it is: sleepers zero, full size, in evaluation mode."""
    with engine.live.whole():
        engine.live.held.repair()
        return copy.deepcopy(engine.live.model).eval()


def smaller_model(engine: SleepEngine, example_inputs: Any) -> Exported:
    """The same outputs from layers that hold awake nodes alone; the engine's model is untouched.

    The result is a copy of your own class with smaller layers: no wrapper, no hook, nothing of this
    package, so that `torch.save`, `torch.export` and training work on it as on any other. Weights
    that sleep one by one stay in it as zeros.

    A group that cannot be cut stays at full size with its sleeping nodes as zeros and is named in
    `report.left` with the reason: nodes that are read without weights or averaged over, heads of
    `nn.MultiheadAttention` (which takes their width from its input), and whatever changed the
    outputs when it was tried.

    Args:
        engine: with its node groups.
        example_inputs: real inputs: a tensor, a tuple of arguments, or a dict of keywords.

    Raises:
        SetupError: nothing can be made smaller, or the outputs differ by more than rounding (1e-5
            of the largest output in float32, 1e-12 in float64).

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> engine = SleepEngine(net, example_inputs=torch.zeros(1, 4))
    >>> engine.sleep_nodes("0", [0, 1, 2, 3, 4, 5])
    6
    >>> smaller_model(engine, torch.randn(16, 4)).model
    Sequential(
      (0): Linear(in_features=4, out_features=2, bias=True)
      (1): ReLU()
      (2): Linear(in_features=2, out_features=2, bias=True)
    )
    """
    full = masked_copy(engine)
    model, done = _cut(engine, full, example_inputs)
    before, after = call(full, example_inputs), call(model, example_inputs)
    difference, tolerance = compared("the smaller model", before, after)
    device = next((p.device for p in full.parameters()), None)
    report = ExportReport(
        "smaller model",
        (parameters_of(full), parameters_of(model)),
        (bytes_of(full), bytes_of(model)),
        times(lambda: call(full, example_inputs), lambda: call(model, example_inputs), device),
        difference,
        tolerance,
        {name: f"{awake} of {size} nodes" for name, (awake, size) in done.groups.items()},
        dict(done.left),
    )
    return Exported(model, report)


def _cut(engine: SleepEngine, full: nn.Module, inputs: Any) -> tuple[nn.Module, Compacted]:
    """A copy with the tensors and sizes of a compacted engine that is thrown away."""
    nodes = engine.live.nodes
    asleep = nodes.nodes(Kind.ASLEEP)
    if asleep.is_empty():
        return copy.deepcopy(full), Compacted()
    spare = SleepEngine(
        copy.deepcopy(full), nodes=tuple(nodes.groups.values()), undo=False, check_every=0
    )
    spare.act(Sleep(include_frozen=True), asleep)
    compaction = Compaction(spare.model, spare.live, spare.enforcer, inputs)
    try:
        with warnings.catch_warnings():  # what it leaves as it was is in the report
            warnings.simplefilter("ignore")
            done = compaction.compact()
        # Not a copy of the spare model itself: its modules hold hooks while they are compact.
        return _like(spare.live.model, copy.deepcopy(full)), done
    except SetupError as error:
        raise SetupError(f"smaller_model(): {str(error).removeprefix('compact(): ')}") from error
    finally:
        compaction.expand()


def _like(small: nn.Module, model: nn.Module) -> nn.Module:
    """The model with the tensors of a smaller one, and the sizes that its modules note."""
    for one, other in zip(small.modules(), model.modules(), strict=True):
        mine = vars(other)
        sizes = {k: v for k, v in vars(one).items() if type(v) is int and v != mine.get(k)}
        mine.update(sizes)
    tensors = [(*m.parameters(), *m.buffers()) for m in (small, model)]
    for source, target in zip(*tensors, strict=True):
        target.data = source.data.clone()
    return model
