"""Parameters that stand behind a reparametrized weight: which of them may sleep, and why not."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import final

from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from sleepengine.errors import SetupError
from sleepengine.names import canonical, unwrap, weighted_layers

_WHOLE_ROWS = "one entry scales a whole row, so rows sleep as a whole"
_DIRECTION = (
    "a row of zeros in it makes the weight NaN, and single zeros change the other weights; "
    "put whole rows to sleep through {g!r} instead"
)
_SPECTRAL = "every weight is divided by a norm of all of them, so a sleeper changes the others"
_ORTHOGONAL = "zeros in it are not zeros in the weight"
_PRUNED = "torch.nn.utils.prune holds a mask of its own; call remove_torch_prune(model) first"
_UNKNOWN = "zeros in it need not be zeros in the weight"


@final
@dataclass(frozen=True)
class Behind:
    """A parameter behind a computed weight: its name, the weight, by what, and the verdict."""

    name: str
    weight: str
    by: str
    allowed: bool
    reason: str


def behind_weights(model: nn.Module) -> dict[str, Behind]:
    """Name -> verdict for every parameter that a reparametrization computes a weight from.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> for found in behind_weights(layer).values(): print(found.name, found.allowed)
    parametrizations.weight.original0 True
    parametrizations.weight.original1 False
    """
    return {found.name: found for found in _walk(unwrap(model))}


def check_not_behind(model: nn.Module, names: Iterable[str]) -> None:
    """Targets are plain parameters, or ones behind a weight that may sleep all the same.

    Raises:
        SetupError: naming the target, the reparametrization and the reason.
    """
    found = behind_weights(model)
    computed = {one.weight: one for one in found.values()}
    for name in map(canonical, names):
        if name in computed:
            one = computed[name]
            inputs = [other.name for other in found.values() if other.weight == name]
            raise SetupError(
                f"{name!r} is computed by {one.by} from {', '.join(inputs)}; writing to it has no "
                "effect"
            )
        if name in found and not found[name].allowed:
            one = found[name]
            raise SetupError(f"{name!r} stands behind {one.weight!r} ({one.by}): {one.reason}")


def warn_left_out(model: nn.Module) -> None:
    """Say by name which weights the default scope lacks because they are computed."""
    computed = {one.weight: one for one in behind_weights(model).values()}
    expected = {f"{layer}.weight".lstrip(".") for layer in weighted_layers(model)}
    for one in (computed[name] for name in computed if name in expected):
        warnings.warn(
            f"{one.weight!r} is computed by {one.by}, so it is not in the default scope and no "
            f"rule without params= will touch it ({one.reason})",
            stacklevel=4,
        )


def _walk(model: nn.Module) -> Iterator[Behind]:
    for prefix, module in model.named_modules():
        at = canonical(f"{prefix}.") if prefix else ""
        if isinstance(module, ParametrizationList):
            yield from _parametrized(at, module)
        for hook in module._forward_pre_hooks.values():
            yield from _hooked(at, hook)


def _parametrized(at: str, chain: ParametrizationList) -> Iterator[Behind]:
    holder, tensor = at.removesuffix(".").rsplit("parametrizations.", 1)
    weight = holder + tensor
    by = ", ".join(type(step).__name__.lstrip("_") for step in chain)
    only = chain[0] if len(chain) == 1 else None
    for attribute, parameter in chain._parameters.items():
        if parameter is None:
            continue
        allowed, reason = False, _UNKNOWN
        if isinstance(only, parametrizations._WeightNorm):
            allowed = attribute == "original0"
            reason = _WHOLE_ROWS if allowed else _DIRECTION.format(g=f"{at}original0")
        elif isinstance(only, parametrizations._SpectralNorm):
            reason = _SPECTRAL
        elif isinstance(only, parametrizations._Orthogonal):
            reason = _ORTHOGONAL
        yield Behind(f"{at}{attribute}", weight, by, allowed, reason)


def _hooked(at: str, hook: object) -> Iterator[Behind]:
    """The older reparametrizations, which compute the weight in a forward hook."""
    if isinstance(hook, WeightNorm):
        weight, g = f"{at}{hook.name}", f"{at}{hook.name}_g"
        yield Behind(g, weight, "weight_norm", True, _WHOLE_ROWS)
        yield Behind(f"{weight}_v", weight, "weight_norm", False, _DIRECTION.format(g=g))
    elif isinstance(hook, SpectralNorm):
        weight = f"{at}{hook.name}"
        yield Behind(f"{weight}_orig", weight, "spectral_norm", False, _SPECTRAL)
    elif isinstance(hook, BasePruningMethod):
        weight = f"{at}{hook._tensor_name}"
        yield Behind(f"{weight}_orig", weight, "torch.nn.utils.prune", False, _PRUNED)
