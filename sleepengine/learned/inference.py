"""Run a model with a mask and leave its weights as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sleepengine.enforcement.bit_masks import AndMask, Expander, and_
from sleepengine.errors import SetupError, UnknownNameError, did_you_mean
from sleepengine.learned.inputs import Inputs
from sleepengine.masks import bits as packed
from sleepengine.masks.store import MaskStore
from sleepengine.names import canonical, named_parameters, unwrap

Masks = MaskStore | Mapping[str, Tensor]


def masked_call(model: nn.Module, masks: Masks, *inputs: Any) -> Any:
    """model(*inputs) with +0.0 in place of every sleeping weight; nothing is written, ever.

    inputs: as the model takes them, or one `Inputs` where some go by keyword.

    masks: a `MaskStore`, `MaskSnapshot` or name -> bool tensor (True = awake); parameters without
    a mask are wholly awake. Gradients reach the weights awake. Layers in train mode update their
    statistics as in any call.

    Raises:
        UnknownNameError: a name is not a parameter.
        SetupError: a mask has another shape or is not bool.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> masked_call(layer, {"weight": torch.zeros(1, 2, dtype=torch.bool)}, torch.ones(1, 2)).item()
    0.0
    """
    module = unwrap(model)
    full = {canonical(name): name for name, _ in module.named_parameters()}
    known = named_parameters(model)
    values = {
        full[name]: known[name].masked_fill(~awake.to(known[name].device), 0.0)
        for name, awake in _checked(masks, known).items()
    }
    first = inputs[0] if len(inputs) == 1 else None
    given = first if isinstance(first, Inputs) else Inputs(inputs)
    return functional_call(module, values, given.args, dict(given.kwargs))


@contextmanager
def masked(model: nn.Module, masks: Masks) -> Iterator[nn.Module]:
    """Inside the block sleeping weights are +0.0 in the model itself; after it every bit is back.

    For code that takes a model and calls it (evaluators, exporters). It is for looking, not for
    training: what happens to these parameters inside is undone. Parameters keep their identity and
    storage. Weights that an engine has put to sleep stay asleep.

    Raises:
        UnknownNameError, SetupError: as `masked_call`, before anything is written.

    >>> layer = nn.Linear(2, 1)
    >>> before = layer.weight.detach().clone()
    >>> with masked(layer, {"weight": torch.zeros(1, 2, dtype=torch.bool)}) as same:
    ...     same.weight.tolist()
    [[0.0, 0.0]]
    >>> torch.equal(layer.weight, before)
    True
    """
    known = named_parameters(model)
    wanted = _checked(masks, known)
    kept = {name: known[name].detach().clone() for name in wanted}
    try:
        for name, awake in wanted.items():
            live = known[name].detach()
            bits = packed.pack(awake.to(live.device))
            and_(live, AndMask(bits, live, Expander(live.device), lean=True))
        yield model
    finally:
        with torch.no_grad():
            for name, before in kept.items():
                known[name].detach().copy_(before)


def _checked(masks: Masks, known: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Name -> awake, for the parameters that have any asleep."""
    if isinstance(masks, MaskStore):
        found = {name: masks.awake(name) for name in masks.names()}
    else:
        found = dict(masks.items())
    checked: dict[str, Tensor] = {}
    for name, awake in found.items():
        if name not in known:
            raise UnknownNameError(f"no parameter {name!r} to mask. {did_you_mean(name, known)}")
        if awake is None:
            continue
        if not isinstance(awake, Tensor) or awake.dtype != torch.bool:
            raise SetupError(f"masks[{name!r}]: give a bool tensor, True = awake")
        if awake.shape != known[name].shape:
            raise SetupError(
                f"masks[{name!r}] has shape {tuple(awake.shape)}, the parameter "
                f"{tuple(known[name].shape)}"
            )
        if not bool(awake.all()):
            checked[name] = awake
    return checked
