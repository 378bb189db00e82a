"""What cannot be compacted: said by name before anything is tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn, optim
from torch.nn.parallel import DistributedDataParallel

from sleepengine.actions.live import Live
from sleepengine.compaction.storage import Place
from sleepengine.enforcement.state_table import TABLE, StateKind, holds_history
from sleepengine.errors import SetupError
from sleepengine.nodes.group import NodeGroup
from sleepengine.parametrized import behind_weights

_WHOLE: Mapping[type[optim.Optimizer], str] = {
    optim.Adafactor: "scales its step with the whole parameter",
    optim.LBFGS: "keeps one history of all parameters",
    optim.Muon: "scales its step with the shape of the whole matrix",
}


def check_model(given: nn.Module, live: Live) -> None:
    """The model is a plain one in one process.

    Raises:
        SetupError: shapes are baked in somewhere: DDP, FSDP2, a compiled or scripted model.
    """
    if live.ranks.several or _wrapped(given):
        raise SetupError(
            "compact(): DistributedDataParallel has buckets of fixed sizes; compact works in one "
            "process, on the plain model"
        )
    if "_orig_mod" in given._modules:
        raise SetupError(
            "compact(): torch.compile has the shapes of the model baked in; give the engine the "
            "plain model, and compile after training"
        )
    for path, module in live.model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise SetupError(f"compact(): {path or 'the model'} is scripted, its shapes are fixed")
        if module._compiled_call_impl is not None:
            raise SetupError(f"compact(): {path or 'the model'} is compiled, its shapes are fixed")
    for name, param in live.params.items():
        if type(param) is not nn.Parameter or type(param.data) is not Tensor:
            raise SetupError(
                f"compact(): {name!r} is a {type(param.data).__name__} (DTensor, FSDP2 or another "
                "kind of tensor), and its shards cannot be cut"
            )


def computed(model: nn.Module) -> dict[str, str]:
    """Parameter name -> what computes it, or computes something from it: a parametrization."""
    found: dict[str, str] = {}
    for name, one in behind_weights(model).items():
        found[name] = found[one.weight] = one.by
    return found


def of_group(
    live: Live,
    group: NodeGroup,
    asleep: Tensor,
    held: Mapping[int, list[Place]],
    computes: Mapping[str, str],
) -> str | None:
    """Why the sleeping nodes of one group must stay as zeros; None when nothing is known."""
    if bool(asleep.all()):
        return "all of them sleep, and a layer without nodes cannot be run"
    if group.read_by:
        return f"they are read by {', '.join(group.read_by)} without weights, as zeros"
    for path in group.counted_by:
        owner, _, attribute = path.rpartition(".")
        value = getattr(live.model.get_submodule(owner), attribute, None)
        if type(value) is not int or value < 1 or value % group.size:
            return f"counted_by names {path!r}, which is {value!r} and no multiple of {group.size}"
    for name in group.params:
        if name in computes:
            return f"{name!r} belongs to {computes[name]}, whose tensors cannot be cut one by one"
        if id(live.params[name]) not in held:
            return f"the model holds {name!r} no more"
        reason = _state(live, name)
        if reason is not None:
            return reason
    return None


def _state(live: Live, name: str) -> str | None:
    param = live.params[name]
    for k in live.state.roster.owners(name):
        optimizer = live.optimizers[k]
        kind = type(optimizer).__name__
        for whole, why in _WHOLE.items():
            if isinstance(optimizer, whole):
                return f"{kind} {why}, so {name!r} cannot be cut"
        state = optimizer.state.get(param, {})
        if holds_history(state):
            return f"{kind} keeps one history of all parameters, so {name!r} cannot be cut"
        for key, value in state.items():
            if not isinstance(value, Tensor) or value.numel() <= 1 or value.shape == param.shape:
                continue
            factored = key in TABLE and TABLE[key].kind is StateKind.FACTORED
            told = "factored state" if factored else f"state of shape {tuple(value.shape)}"
            return f"{kind} keeps {told} {key!r} of {name!r}, which cannot be cut"
    return None


def _wrapped(model: nn.Module) -> bool:
    return any(isinstance(module, DistributedDataParallel) for module in model.modules())


def listed(names: Iterable[str]) -> str:
    """Names in quotes."""
    return ", ".join(repr(name) for name in names)
