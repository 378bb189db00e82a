"""Names of parameters: one spelling everywhere, that of the unwrapped model."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import UninitializedParameter

from sleepengine.errors import SetupError, UnknownNameError, did_you_mean, shortened

_WRAPPER_PARTS = frozenset({"module", "_orig_mod"})
_WEIGHTED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_ATTENTION = frozenset({"in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"})


def canonical(name: str) -> str:
    """The name without the parts that wrappers add: `module.` and `_orig_mod.`.

    >>> canonical("module._orig_mod.fc1.weight"), canonical("fc1._orig_mod.weight")
    ('fc1.weight', 'fc1.weight')
    """
    parts = name.split(".")
    kept = [part for part in parts[:-1] if part not in _WRAPPER_PARTS]
    return ".".join([*kept, parts[-1]])


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DataParallel, DistributedDataParallel and torch.compile wrappers.

    >>> inner = nn.Linear(2, 2)
    >>> unwrap(nn.DataParallel(inner)) is inner
    True
    """
    while True:
        if isinstance(model, (DataParallel, DistributedDataParallel)):
            model = model.module
        elif "_orig_mod" in model._modules:
            model = model.get_submodule("_orig_mod")
        else:
            return model


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name -> parameter of the unwrapped model; a tied parameter once, under its first name.

    Raises:
        SetupError: two parameters would have the same name once wrappers are left out.

    >>> list(named_parameters(nn.DataParallel(nn.Linear(2, 2))))
    ['weight', 'bias']
    """
    found: dict[str, nn.Parameter] = {}
    for name, parameter in unwrap(model).named_parameters():
        short = canonical(name)
        if short in found:
            raise SetupError(
                f"two parameters are named {short!r} once wrapper parts are left out of {name!r}; "
                "rename the submodule called 'module'"
            )
        found[short] = parameter
    return found


def aliases(model: nn.Module) -> dict[str, str]:
    """Every further name of a tied parameter -> its first name.

    >>> a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    >>> b.weight = a.weight
    >>> aliases(nn.Sequential(a, b))
    {'1.weight': '0.weight'}
    """
    first = {id(parameter): name for name, parameter in named_parameters(model).items()}
    every = unwrap(model).named_parameters(remove_duplicate=False)
    return {
        canonical(name): first[id(parameter)]
        for name, parameter in every
        if canonical(name) != first[id(parameter)]
    }


def owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds the parameter, and the attribute it is held under.

    Raises:
        UnknownNameError: there is no such parameter.

    >>> net = nn.Sequential(nn.Linear(2, 2))
    >>> module, attribute = owner(net, "0.weight")
    >>> module is net[0], attribute
    (True, 'weight')
    """
    wanted, valid = canonical(name), []
    for full, module, attribute in _slots(model):
        if full == wanted:
            return module, attribute
        valid.append(full)
    raise UnknownNameError(f"there is no parameter {name!r}. {did_you_mean(name, valid)}")


def parameter_of(model: nn.Module, layer: str) -> str:
    """The parameter that a direct call means: a parameter's own name, or the layer's `weight`.

    Raises:
        UnknownNameError: it is neither.
        SetupError: the layer has several weights and none is called `weight`.

    >>> net = nn.Sequential(nn.Linear(2, 2))
    >>> parameter_of(net, "0"), parameter_of(net, "0.bias")
    ('0.weight', '0.bias')
    """
    known, tied = named_parameters(model), aliases(model)
    wanted = canonical(layer)
    for name in (wanted, f"{wanted}.weight" if wanted else "weight"):
        if name in known or name in tied:
            return tied.get(name, name)
    below = [name for name in known if name.startswith(f"{wanted}.")]
    _check_not_computed(model, wanted)
    if below:
        raise SetupError(
            f"{layer!r} has no parameter called 'weight'; name one of {', '.join(below)}"
        )
    layers = [full.rsplit(".", 1)[0] for full in known if "." in full]
    raise UnknownNameError(
        f"there is no layer or parameter {layer!r}. "
        f"{did_you_mean(layer, [*known, *dict.fromkeys(layers)])}"
    )


def weighted_layers(model: nn.Module) -> set[str]:
    """Names of the layers whose `weight` belongs in the default scope if it is a parameter."""
    found = unwrap(model).named_modules()
    return {canonical(f"{name}.")[:-1] for name, m in found if isinstance(m, _WEIGHTED)}


def default_scope(model: nn.Module) -> tuple[str, ...]:
    """`weight` of Linear, Conv and attention projections: at least 2-D and trainable.

    Biases, normalisations and embeddings are left out, as is a weight tied to an embedding.

    >>> default_scope(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Embedding(4, 3)))
    ('0.weight',)
    """
    inside: set[int] = set()
    outside: set[int] = set()
    for _, module, attribute in _slots(model):
        parameter = module._parameters[attribute]
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            outside.add(id(parameter))
        elif (isinstance(module, _WEIGHTED) and attribute == "weight") or (
            isinstance(module, nn.MultiheadAttention) and attribute in _ATTENTION
        ):
            inside.add(id(parameter))
    return tuple(
        name
        for name, parameter in named_parameters(model).items()
        if id(parameter) in inside - outside
        and parameter.requires_grad
        and (isinstance(parameter, UninitializedParameter) or parameter.dim() >= 2)
    )


def matching(model: nn.Module, patterns: str | Iterable[str]) -> tuple[str, ...]:
    """Names that the patterns mean, in the model's order, each once.

    A pattern is a parameter's name, a module's name (the weights of the default scope below it, or
    its own `weight`), or a shell pattern such as `"*.weight"` over parameter names.

    Raises:
        UnknownNameError: a pattern matches nothing, or there is none.
        SetupError: a pattern is no text.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> matching(net, "1"), matching(net, ["*.weight", "0.bias"])
    (('1.weight',), ('0.weight', '0.bias', '1.weight'))
    """
    wanted = _patterns(patterns)
    known, tied, scope = named_parameters(model), aliases(model), default_scope(model)
    found: set[str] = set()
    for pattern in wanted:
        hits = _hits(canonical(pattern), [*known, *tied], scope)
        if not hits:
            raise UnknownNameError(_why_nothing(model, canonical(pattern), list(known)))
        found.update(tied.get(name, name) for name in hits)
    return tuple(name for name in known if name in found)


def _slots(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """(canonical name, module, attribute) of every place that holds a parameter."""
    for prefix, module in unwrap(model).named_modules(remove_duplicate=False):
        for attribute, parameter in module._parameters.items():
            if parameter is not None:
                full = f"{prefix}.{attribute}" if prefix else attribute
                yield canonical(full), module, attribute


def _why_nothing(model: nn.Module, pattern: str, known: Sequence[str]) -> str:
    """What to say of a pattern that matches nothing."""
    _check_not_computed(model, pattern)
    below = [name for name in known if name.startswith(f"{pattern}.")]
    if below:
        return f"{pattern!r} has no weight of two dimensions; name one of {', '.join(below[:8])}"
    layers = dict.fromkeys(name.rsplit(".", 1)[0] for name in known if "." in name)
    return f"{pattern!r} matches no parameter. {did_you_mean(pattern, [*known, *layers])}"


def _check_not_computed(model: nn.Module, name: str) -> None:
    """A layer or weight that a reparametrization computes is no parameter: say so."""
    from sleepengine.parametrized import behind_weights

    for one in behind_weights(model).values():
        if name in (one.weight, one.weight.rpartition(".")[0]):
            words = f"{one.weight!r} is no parameter: it is computed by {one.by} from {one.name!r}"
            raise UnknownNameError(f"{words} ({one.reason})")


def _patterns(patterns: str | Iterable[str]) -> list[str]:
    """The patterns as a list, at least one."""
    if not isinstance(patterns, (str, Iterable)) or isinstance(patterns, Tensor):
        raise SetupError(f"params={shortened(patterns)} is no list of names or patterns")
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    if not wanted:
        raise UnknownNameError(
            f"params={patterns!r} names no parameter; leave params out for the weights of linear, "
            "convolution and attention layers"
        )
    for one in wanted:
        if not isinstance(one, str):
            raise SetupError(f"params: {shortened(one)} is not the name or pattern of a parameter")
    return wanted


def _hits(pattern: str, names: Sequence[str], scope: Sequence[str]) -> list[str]:
    if pattern in names:
        return [pattern]
    below = [name for name in scope if name.startswith(f"{pattern}.")]
    if below:
        return below
    if f"{pattern}.weight" in names:
        return [f"{pattern}.weight"]
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]
