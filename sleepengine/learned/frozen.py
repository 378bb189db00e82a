"""A model whose weights and buffers keep every bit while masks are learned on it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sleepengine.engine import setup
from sleepengine.errors import LeakError, SetupError
from sleepengine.learned.inputs import Inputs
from sleepengine.names import named_parameters, unwrap


def scope(model: nn.Module, patterns: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of the parameters that get a mask, whether or not they require gradients.

    None means `weight` of linear, convolution and attention layers.

    Raises:
        SetupError: no module, a pattern without a match, or nothing to mask at all.

    >>> scope(nn.Sequential(nn.Linear(2, 2)).requires_grad_(False), None)
    ('0.weight',)
    """
    if not isinstance(model, nn.Module):
        raise SetupError(f"model={model!r} is not a torch.nn.Module")
    with _as_trainable(model):
        names = setup.scope(model, patterns)
    if not names:
        known = ", ".join(named_parameters(model)) or "none"
        raise SetupError(f"no parameter to mask by default; name some in params= (there: {known})")
    return names


def name_some(names: Sequence[str], most: int = 4) -> str:
    """The first names, quoted, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


@final
class FrozenModel:
    """Calls an unmodified model with masked weights; refuses whatever would change the model.

    Weights go in detached, buffers as copies: a call leaves no trace, not even in running
    statistics.

    Raises:
        SetupError: parameters require gradients, or a layer with buffers is in train mode.

    >>> layer = nn.Linear(2, 1, bias=False).requires_grad_(False).eval()
    >>> frozen = FrozenModel(layer)
    >>> frozen.call({"weight": torch.zeros(1, 2)}, torch.ones(3, 2)).tolist()
    [[0.0], [0.0], [0.0]]
    """

    def __init__(self, model: nn.Module) -> None:
        self.module = unwrap(model)
        known = named_parameters(model)
        trainable = [name for name, p in known.items() if p.requires_grad]
        if trainable:
            raise SetupError(
                f"the model is not frozen: {name_some(trainable)} require gradients. Call "
                "model.requires_grad_(False).eval() first; only logits are trained"
            )
        self.weights: dict[str, Tensor] = {name: p.detach() for name, p in known.items()}
        # Tied parameters are handed over under each of their names.
        every = list(self.module.named_parameters(remove_duplicate=False))
        self._full = {name: [full for full, p in every if p is known[name]] for name in known}
        self._buffers = {name: b.detach().clone() for name, b in self.module.named_buffers()}
        self._first = dict(_digests(self.module))
        self.check_mode()

    def check_mode(self) -> None:
        """No layer with buffers is in train mode.

        Raises:
            SetupError: one is; its statistics would follow the data of mask training.
        """
        moving = [
            name
            for name, module in self.module.named_modules()
            if module.training and any(b is not None for b in module._buffers.values())
        ]
        if moving:
            kind = type(self.module.get_submodule(moving[0])).__name__
            raise SetupError(
                f"{name_some(moving)} ({kind}) is in train mode: it would use and change running "
                "statistics, so the network would not stay frozen. Call model.eval(), also after "
                "every evaluation that calls model.train()"
            )

    def call(self, gates: Mapping[str, Tensor], x: Any) -> Any:
        """model(x), or model(*args, **kwargs) of `Inputs`, with gated weights."""
        values: dict[str, Tensor] = dict(self._buffers)
        for name, weight in self.weights.items():
            gate = gates.get(name)
            masked = weight if gate is None else weight * gate.to(weight.dtype)
            values.update(dict.fromkeys(self._full[name], masked))
        given = Inputs.of(x)
        return functional_call(
            self.module, values, given.args, dict(given.kwargs), tie_weights=False
        )

    def check_buffers(self) -> None:
        """The forward pass wrote into no buffer (it got copies, so the model is as it was).

        Raises:
            SetupError: naming the buffer.
        """
        written = [name for name, copy in self._buffers.items() if copy._version]
        if written:
            raise SetupError(
                f"the forward pass writes into the buffers {name_some(written)}, so the outputs "
                "depend on the calls before; bring the layer into eval mode"
            )

    def verify(self) -> None:
        """Every weight and buffer of the model is what it was at the start, bit for bit.

        Raises:
            LeakError: naming those that changed.
        """
        changed = [n for n, digest in _digests(self.module) if self._first.get(n) != digest]
        if changed:
            raise LeakError(
                f"{name_some(changed)} changed while masks were learned: another optimizer, "
                "engine or load_state_dict wrote to the frozen model"
            )


def _digests(module: nn.Module) -> Iterator[tuple[str, bytes]]:
    """(name, sha256 of the bytes) of every parameter and buffer."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        raw = tensor.detach().cpu().contiguous().flatten()
        if raw.numel() and not raw.is_quantized:
            yield name, hashlib.sha256(raw.view(torch.uint8).numpy().tobytes()).digest()


@contextmanager
def _as_trainable(model: nn.Module) -> Iterator[None]:
    """The default scope asks for trainable weights: flags up, and back as they were."""
    frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
    try:
        for p in frozen:
            p.requires_grad_(True)
        yield
    finally:
        for p in frozen:
            p.requires_grad_(False)
