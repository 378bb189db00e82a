"""To and from `torch.nn.utils.prune`: masks that live in the model's own buffers."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.utils import prune

from sleepengine.errors import SetupError
from sleepengine.masks.store import MaskStore
from sleepengine.names import canonical, named_parameters, owner, unwrap


def masks_from_torch_prune(model: nn.Module) -> dict[str, Tensor]:
    """Parameter name -> bool tensor, True = awake, for every tensor that torch has pruned.

    The names are those without pruning (`fc1.weight`, not `fc1.weight_orig`). The model is only
    read.

    Raises:
        SetupError: a mask holds other values than 0 and 1.

    >>> import torch
    >>> layer = nn.Linear(2, 1)
    >>> _ = prune.custom_from_mask(layer, "weight", torch.tensor([[1.0, 0.0]]))
    >>> masks_from_torch_prune(layer)
    {'weight': tensor([[ True, False]])}
    """
    masks: dict[str, Tensor] = {}
    for name, module, attribute in _pruned(model):
        mask = module.get_buffer(f"{attribute}_mask").detach()
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise SetupError(f"the pruning mask of {name!r} holds other values than 0 and 1")
        masks[name] = mask != 0
    return masks


def originals_from_torch_prune(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameter name -> the parameter behind the mask, whose values pruning left as they were."""
    return {
        name: module.get_parameter(f"{attribute}_orig")
        for name, module, attribute in _pruned(model)
    }


def remove_torch_prune(model: nn.Module) -> dict[str, Tensor]:
    """Make pruned tensors plain parameters again; returns the masks as they were, True = awake.

    The Parameter object is the one the optimizer knows, with the values that stood behind the mask:
    the entries that were masked are not zero until they are put to sleep.

    Raises:
        SetupError: a mask holds other values than 0 and 1; nothing was changed.

    >>> import torch
    >>> layer = nn.Linear(2, 1)
    >>> weight = layer.weight
    >>> _ = prune.custom_from_mask(layer, "weight", torch.tensor([[1.0, 0.0]]))
    >>> masks = remove_torch_prune(layer)
    >>> layer.weight is weight, masks["weight"].tolist()
    (True, [[True, False]])
    """
    masks = masks_from_torch_prune(model)
    for _, module, attribute in list(_pruned(model)):
        original = module.get_parameter(f"{attribute}_orig")
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, prune.BasePruningMethod) and hook._tensor_name == attribute:
                del module._forward_pre_hooks[key]
        del module._parameters[f"{attribute}_orig"]
        del module._buffers[f"{attribute}_mask"]
        module.__dict__.pop(attribute, None)
        module.register_parameter(attribute, original)
    return masks


def to_torch_prune(model: nn.Module, store: MaskStore) -> tuple[str, ...]:
    """Apply `prune.custom_from_mask` wherever the store has sleepers; returns the names.

    The parameters keep their values: what sleeps in the live model stays zero behind the mask.

    Raises:
        UnknownNameError: the model lacks a parameter of the store.
        SetupError: a shape differs; nothing was changed.

    >>> from sleepengine.masks.choice import Choice
    >>> import torch
    >>> layer = nn.Linear(2, 1)
    >>> store = MaskStore({"weight": layer.weight.shape})
    >>> _ = store.sleep(Choice({"weight": torch.tensor([[True, False]])}))
    >>> to_torch_prune(layer, store), layer.weight_mask.tolist()
    (('weight',), [[0.0, 1.0]])
    """
    parameters = named_parameters(model)
    found: list[tuple[str, nn.Module, str, Tensor]] = []
    for name in store.entries():
        awake = store.awake(name)
        if awake is None:
            continue
        module, attribute = owner(model, name)
        parameter = module.get_parameter(attribute)
        if parameter.shape != awake.shape:
            raise SetupError(
                f"{name!r} has shape {tuple(parameter.shape)}, its mask {tuple(awake.shape)}"
            )
        if name not in parameters:
            raise SetupError(f"{name!r} is a further name of a tied parameter")
        found.append((name, module, attribute, awake.to(parameter.device)))
    for _, module, attribute, awake in found:
        prune.custom_from_mask(module, attribute, awake)
    return tuple(name for name, *_ in found)


def _pruned(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """(parameter name, module, attribute) of every tensor under a pruning mask."""
    for prefix, module in unwrap(model).named_modules():
        for orig in list(module._parameters):
            attribute = orig.removesuffix("_orig")
            if attribute != orig and f"{attribute}_mask" in module._buffers:
                full = f"{prefix}.{attribute}" if prefix else attribute
                yield canonical(full), module, attribute
