"""Weights and nodes fall asleep, wake, freeze and reset around an unmodified training loop.

`import sleepengine as se` gives every public name; each is loaded when it is first used, so that
the command line starts fast.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_HOMES: dict[str, tuple[str, ...]] = {
    "saliency": (
        "ActivationRequest",
        "ActivationVariance",
        "AnchorMagnitude",
        "APoZ",
        "BatchGradients",
        "BrokenContract",
        "CombinatorialOBS",
        "CompensatingScorer",
        "CurvatureRequest",
        "DiagonalRequest",
        "Dormancy",
        "Estimate",
        "ExactOBS",
        "FirstMoment",
        "Fisher",
        "FisherDiagonal",
        "GaussNewtonColumns",
        "GaussNewtonDiagonal",
        "Gradient",
        "GradientChange",
        "GraSP",
        "HessianDiagonal",
        "HessianGradient",
        "Hutchinson",
        "InputGram",
        "InputMagnitude",
        "InputMoment",
        "Inverse",
        "InverseFisher",
        "InverseHessian",
        "InverseRequest",
        "KFAC",
        "KFACDiagonal",
        "KroneckerFactors",
        "Lamp",
        "Magnitude",
        "MagnitudeIncrease",
        "MaxScale",
        "MeanActivation",
        "MeanScale",
        "MissingSignal",
        "Momentum",
        "Movement",
        "Negative",
        "Normalized",
        "OBD",
        "OBS",
        "OutputMagnitude",
        "OutputMoments",
        "OutputZeros",
        "Problem",
        "Random",
        "SampleGradients",
        "Scorer",
        "SecondOrderTaylor",
        "SequentialOBS",
        "Signals",
        "Smoothed",
        "Snip",
        "SoftMovement",
        "SparseGPT",
        "StdScale",
        "StdThreshold",
        "Sum",
        "SumScale",
        "SynapticFlow",
        "SynFlow",
        "Taylor",
        "Through",
        "Utility",
        "Wanda",
        "Woodbury",
        "check_scorer",
        "hessian_vector_product",
        "synaptic_flow_steps",
    ),
    "schedules": (
        "Clock",
        "Time",
        "Trigger",
        "after",
        "at",
        "before",
        "constant",
        "cooldown",
        "cosine",
        "cubic",
        "cyclic",
        "every",
        "exponential",
        "join",
        "linear",
        "on",
        "once",
        "one_cycle",
        "plateau",
        "preview",
        "staircase",
        "when",
    ),
    "sleepengine.actions.action": ("Action",),
    "sleepengine.actions.follow": ("Follow",),
    "sleepengine.actions.freeze": ("Freeze", "Thaw"),
    "sleepengine.actions.reset": ("Reset",),
    "sleepengine.actions.rewind": ("Rewind", "RewindError"),
    "sleepengine.actions.sleep": ("Sleep",),
    "sleepengine.actions.values": ("ValuePolicy", "Fresh", "Kept", "Original", "Parked", "Zero"),
    "sleepengine.actions.wake": ("Wake",),
    "sleepengine.attachment.ignite_events": ("SleepEvents", "on_event"),
    "sleepengine.attachment.metrics": ("Sparsity",),
    "sleepengine.attachment.sampler": ("ResumableSampler",),
    "sleepengine.choosing.amounts": ("below", "by", "count", "rate", "to"),
    "sleepengine.choosing.budgets": ("to_flops", "to_parameters"),
    "sleepengine.choosing.choose": ("choose",),
    "sleepengine.choosing.mean_score": ("MeanScore",),
    "sleepengine.choosing.n_of_m": ("NofM",),
    "sleepengine.choosing.pools": ("Pools", "Global", "PerRow", "PerTensor"),
    "sleepengine.choosing.reductions": ("Max", "Mean", "Norm", "Total"),
    "sleepengine.choosing.shares": ("FractionShares", "Shares", "ER", "ERK", "Factors", "Uniform"),
    "sleepengine.choosing.units": ("Units", "Blocks", "Columns", "Rows", "Weights"),
    "sleepengine.calls.states": ("NodeState", "SleepState"),
    "sleepengine.calls.direct_calls": ("LayerView",),
    "sleepengine.compaction.report": ("Compacted",),
    "sleepengine.enforcement.policies": ("StatePolicy",),
    "sleepengine.engine.sleep_engine": ("SleepEngine",),
    "sleepengine.errors": (
        "CollapseError",
        "ConfigError",
        "FileError",
        "LeakError",
        "ScheduleError",
        "SetupError",
        "SleepError",
        "StateError",
        "UnknownNameError",
    ),
    "sleepengine.export.onnx_file": ("export_onnx",),
    "sleepengine.export.report": ("Exported", "ExportReport"),
    "sleepengine.export.semi_structured": ("two_of_four_model",),
    "sleepengine.export.smaller": ("smaller_model",),
    "sleepengine.export.sparse": ("SparseLinear", "sparse_model"),
    "sleepengine.rules.filters": ("Filter", "older_than", "where"),
    "sleepengine.firing.gathering": ("BatchLoss",),
    "sleepengine.rules.happenings": ("Happening", "News"),
    "sleepengine.journal": ("Journal", "Record", "Replay"),
    "sleepengine.learned.deterministic": ("StraightThrough", "TopK"),
    "sleepengine.learned.inference": ("masked", "masked_call"),
    "sleepengine.learned.inputs": ("Inputs",),
    "sleepengine.learned.logits": ("MaskLogits",),
    "sleepengine.learned.mask_files": ("load_masks", "save_masks"),
    "sleepengine.learned.outputs": ("Outputs",),
    "sleepengine.learned.relaxation": ("Relaxation",),
    "sleepengine.learned.stochastic": ("GumbelSigmoid", "HardConcrete"),
    "sleepengine.learned.trainer": ("create_mask_trainer",),
    "sleepengine.learned.warm_start": ("WarmStart", "frozen_signals"),
    "sleepengine.masks.choice": ("Choice",),
    "sleepengine.masks.mask_sets": ("MaskSets",),
    "sleepengine.masks.positions": ("mask_from_adjacency",),
    "sleepengine.masks.snapshots": ("MaskSnapshot", "iou"),
    "sleepengine.masks.store": ("MaskStore",),
    "sleepengine.masks.torch_prune": (
        "masks_from_torch_prune",
        "remove_torch_prune",
        "to_torch_prune",
    ),
    "sleepengine.nodes.found": ("Found", "find_groups"),
    "sleepengine.nodes.group": ("NodeGroup",),
    "sleepengine.nodes.hand_written": ("attention_heads", "recurrent_units"),
    "sleepengine.nodes.sides": ("Side",),
    "sleepengine.nodes.slices": ("Slice",),
    "sleepengine.nodes.units": ("Nodes",),
    "sleepengine.rules.rule": ("Rule", "Who"),
    "sleepengine.structure.awake_network": ("AwakeNetwork",),
    "sleepengine.structure.node_facts": ("NodeFacts", "node_facts"),
    "sleepengine.structure.graphs": (
        "from_networkx",
        "read_graphml",
        "to_networkx",
        "write_graphml",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("pipeline", "recipes")

__all__ = sorted([*_HOME, *_MODULES])


def _check_neighbours() -> None:
    """Another distribution installs a top-level `saliency` too: say so, do not fail oddly."""
    spec = importlib.util.find_spec("saliency")
    origin = None if spec is None or spec.origin is None else Path(spec.origin)
    if origin is None or not origin.with_name("counter_random.py").exists():
        raise ImportError(
            f"sleepengine needs its own package 'saliency', but Python finds {origin}. Another "
            "distribution of that name is installed: pip uninstall saliency, then reinstall "
            "sleepengine."
        )


_check_neighbours()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"sleepengine.{name}")
    if name not in _HOME:
        from sleepengine.errors import did_you_mean

        hint = "" if name.startswith("_") else f". {did_you_mean(name, __all__)}"
        raise AttributeError(f"module 'sleepengine' has no attribute {name!r}{hint}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
