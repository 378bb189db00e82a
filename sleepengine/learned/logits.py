"""The logits of masks: real numbers that train in place of a frozen network's weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from sleepengine.choosing.units import Units, Weights
from sleepengine.errors import SetupError, StateError
from sleepengine.learned.frozen import scope
from sleepengine.learned.noise import uniform
from sleepengine.learned.relaxation import Place, Relaxation
from sleepengine.learned.stochastic import GumbelSigmoid
from sleepengine.learned.warm_start import WarmStart
from sleepengine.masks.choice import Choice
from sleepengine.masks.snapshots import MaskSnapshot
from sleepengine.masks.store import MaskStore
from sleepengine.names import named_parameters

_FORMAT = 1


@final
class MaskLogits:
    """One logit per weight (or per row, block, output) of a model that stays as it is.

    Args:
        model: read for names, shapes and devices; nothing in it changes.
        relaxation: how logits stand for a mask; a frozen object such as `GumbelSigmoid()`.
        params: names or patterns of the parameters that get a mask; None = `weight` of linear,
            convolution and attention layers.
        units: what shares a logit: `Weights()`, `Rows()`, `Columns()`, `Blocks((r, c))`, or
            `Outputs()` (rows with their bias).
        warm_start: logits in the order of a scorer's scores instead of all alike.
        seed: of the noise, and of first scores drawn at random.

    Logits are float32, or float64 for float64 weights, on the weights' device.

    Raises:
        SetupError: nothing to mask, units that do not fit, or a wrong relaxation.

    >>> logits = MaskLogits(nn.Linear(3, 2))
    >>> logits
    MaskLogits(weight: 6; 0.0000 asleep; GumbelSigmoid(temperature=1.0, init=2.0, hard=True))
    >>> logits.masks()["weight"].all().item()
    True
    """

    def __init__(
        self,
        model: nn.Module,
        relaxation: Relaxation | None = None,
        *,
        params: str | Sequence[str] | None = None,
        units: Units | None = None,
        warm_start: WarmStart | None = None,
        seed: int = 0,
    ) -> None:
        self.relaxation = GumbelSigmoid() if relaxation is None else relaxation
        if not isinstance(self.relaxation, Relaxation):
            raise SetupError(
                f"relaxation={relaxation!r} is not a relaxation; give one such as GumbelSigmoid()"
            )
        self.units = Weights() if units is None else units
        if not isinstance(self.units, Units):
            raise SetupError(f"units={units!r} is not a Units; give Weights(), Rows(), Outputs()")
        self.seed = seed
        self.names = scope(model, params)
        known = named_parameters(model)
        self.shapes = {name: known[name].shape for name in self.names}
        self._all_shapes = {name: p.shape for name, p in known.items()}
        scores = {n: torch.zeros_like(known[n], requires_grad=False) for n in self.names}
        if warm_start is not None:
            scores = warm_start.scores({n: known[n].detach() for n in self.names})
        pooled = self.units.pool(scores)
        self._logits: dict[str, nn.Parameter] = {}
        for key, score in pooled.items():
            place = self._place(key, score, known)
            if warm_start is None:
                first = self.relaxation.start(place)
            else:
                first = warm_start.logits(self.relaxation, place, score)
            self._logits[key] = nn.Parameter(first)
        for name, gates in self.draw(0).items():
            if gates.shape != self.shapes.get(name) or not gates.requires_grad:
                raise SetupError(
                    f"{self.relaxation!r} with {self.units!r} gives gates of shape "
                    f"{tuple(gates.shape)} for {name!r}, connected to the logits: "
                    f"{gates.requires_grad}; shape {tuple(known[name].shape)} and a gradient "
                    "are needed"
                )

    # --- train ---------------------------------------------------------------------------------

    def parameters(self) -> list[nn.Parameter]:
        """The logits, for an optimizer."""
        return list(self._logits.values())

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Unit key (for weights and rows: the parameter's name) -> logits."""
        return dict(self._logits)

    def draw(self, step: int, sample: int = 0) -> dict[str, Tensor]:
        """Gates of one mask sample by parameter name; a function of (seed, step, sample) alone."""
        return self._spread({k: self._gates(k, step, sample) for k in self._logits})

    def penalty(self) -> Tensor | None:
        """The relaxation's penalty summed over tensors; None when it has none."""
        parts = [self.relaxation.penalty(logit) for logit in self._logits.values()]
        given = [part.to(self.parameters()[0].device) for part in parts if part is not None]
        return torch.stack(given).sum() if given else None

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring logits back into the relaxation's range."""
        for logit in self._logits.values():
            self.relaxation.clamp_(logit)

    # --- the result ----------------------------------------------------------------------------

    def masks(self) -> dict[str, Tensor]:
        """Parameter name -> bool tensor, True = awake; `engine.set_masks` takes it."""
        return self._spread({k: self.relaxation.awake(v) for k, v in self._logits.items()})

    def gates(self) -> dict[str, Tensor]:
        """Parameter name -> the soft mask without noise."""
        return self._spread({k: self.relaxation.expected(v) for k, v in self._logits.items()})

    def snapshot(self) -> MaskSnapshot:
        """The learned masks as a value with set algebra."""
        return MaskSnapshot({name: mask.cpu() for name, mask in self.masks().items()})

    def store(self) -> MaskStore:
        """The learned masks in a new store of all the model's parameters."""
        store = MaskStore(self._all_shapes)
        store.sleep(Choice({name: ~mask.cpu() for name, mask in self.masks().items()}))
        return store

    def fraction(self) -> float:
        """Sleeping share of the weights that have a mask."""
        return self.snapshot().fraction()

    # --- save ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The logits, copied to the CPU."""
        logits = {k: v.detach().to("cpu", copy=True) for k, v in self._logits.items()}
        return {"format": _FORMAT, "seed": self.seed, "logits": logits}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved logits, and the seed of their noise, once all of them fit.

        Raises:
            StateError: a format, name, shape or type differs; nothing is changed.
        """
        saved = state.get("logits") if isinstance(state, Mapping) else None
        if not isinstance(saved, Mapping) or state.get("format") != _FORMAT:
            raise StateError(f"not a state of mask logits in format {_FORMAT}")
        if type(state.get("seed")) is not int:
            raise StateError(f"the state of mask logits has seed {state.get('seed')!r}")
        if set(saved) != set(self._logits):
            raise StateError(
                f"logits of {sorted(saved)} were saved, logits of {sorted(self._logits)} are here"
            )
        for key, logit in self._logits.items():
            one = saved[key]
            if not isinstance(one, Tensor) or (one.shape, one.dtype) != (logit.shape, logit.dtype):
                raise StateError(f"the saved logits of {key!r} differ in shape or type")
        with torch.no_grad():
            for key, logit in self._logits.items():
                logit.copy_(saved[key])
        self.seed = state["seed"]

    def digest(self) -> str:
        """sha256 over names, seed and logits: the same on two machines that hold the same."""
        found = hashlib.sha256(repr((self.seed, self.relaxation)).encode())
        for key, logit in self._logits.items():
            found.update(key.encode())
            found.update(logit.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    def __repr__(self) -> str:
        sizes = ", ".join(f"{key}: {logit.numel()}" for key, logit in self._logits.items())
        return f"MaskLogits({sizes}; {self.fraction():.4f} asleep; {self.relaxation!r})"

    def _gates(self, key: str, step: int, sample: int) -> Tensor:
        logit = self._logits[key]
        if not self.relaxation.draws:
            return self.relaxation.gates(logit, None)
        drawn = uniform(
            self.seed,
            step,
            key,
            logit.shape,
            sample=sample,
            device=logit.device,
            dtype=logit.dtype,
        )
        return self.relaxation.gates(logit, drawn)

    def _spread(self, units: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(self.units.spread(units, self.shapes))

    def _place(self, key: str, score: Tensor, known: Mapping[str, nn.Parameter]) -> Place:
        dtype = torch.promote_types(score.dtype, torch.float32)
        fan_in = known[key][:1].numel() if key in known and known[key].dim() > 1 else 1
        return Place(key, score.shape, dtype, score.device, fan_in, self.seed)
