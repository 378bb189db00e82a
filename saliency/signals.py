"""What a scorer may read: tensors by parameter name, and an error that says what is missing."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from saliency.counter_random import stream_key
from saliency.gathered import NEEDS, Gathered, MissingSignal, missing
from saliency.problem import Progress

__all__ = ["NEEDS", "MissingSignal", "Signals"]

# Signals with one entry per weight. Activations and curvature come in shapes of their own.
_WEIGHT_SHAPED = ("grads", "anchor", "moments", "awake")


@final
@dataclass(frozen=True, init=False, eq=False, repr=False)
class Signals:
    """What a scorer may read; reading what was not gathered raises MissingSignal.

    All tensors are handed out detached, on the device and in the dtype that they came in.
    `grads`, `anchor`, `moments` and `awake` have the shape of the weight of the same name.
    Weights asleep are 0 in `weights`.

    Args:
        weights: Live values.
        grads: Gradients of the loss, also of weights asleep.
        activations: Statistics of what flows through the layers.
        curvature: Second-order statistics of the loss.
        anchor: Values at the kept point that the scorer names.
        moments: First moments of the optimizer.
        parked: Values that sleeping weights had when they fell asleep.
        awake: Bool, True = awake; a name that is absent is wholly awake.
        offsets: Place of a shard's first entry in its whole tensor, row-major; absent = 0.
        seed: Seed for random scorers.
        step: Number of the step, for random scorers and for memory of the last step.
        scorer: Who reads, for messages.
        rule: For which rule, for messages and for random scorers.
        progress: Called now and then by scorers that take long.

    Raises:
        TypeError: A value is not a tensor, or `awake` is not bool.
        ValueError: A shape differs from that of the weight.

    >>> import torch
    >>> signals = Signals(weights={"w": torch.tensor([1.0, 0.0])}, scorer="Taylor()", rule="snip")
    >>> signals.has("grads"), signals.awake
    (False, {})
    >>> signals.grads  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    saliency.gathered.MissingSignal: Taylor() in rule 'snip' needs 'grads', which were not ...
    """

    seed: int
    step: int
    scorer: str
    rule: str
    progress: Progress | None
    awake: dict[str, Tensor]
    offsets: dict[str, int]
    _gathered: dict[str, Gathered]

    def __init__(
        self,
        *,
        weights: Mapping[str, Tensor] | None = None,
        grads: Mapping[str, Tensor] | None = None,
        activations: Mapping[str, Tensor] | None = None,
        curvature: Mapping[str, Tensor] | None = None,
        anchor: Mapping[str, Tensor] | None = None,
        moments: Mapping[str, Tensor] | None = None,
        parked: Mapping[str, Tensor] | None = None,
        awake: Mapping[str, Tensor] | None = None,
        offsets: Mapping[str, int] | None = None,
        seed: int = 0,
        step: int = 0,
        scorer: str = "",
        rule: str = "",
        progress: Progress | None = None,
    ) -> None:
        given = {
            "weights": weights,
            "grads": grads,
            "activations": activations,
            "curvature": curvature,
            "anchor": anchor,
            "moments": moments,
            "parked": parked,
        }
        _check({**given, "awake": awake})
        reader = _reader(scorer, rule)
        gathered = {
            need: Gathered(need, reader, tensors)
            for need, tensors in given.items()
            if tensors is not None
        }
        fields = {
            "seed": seed,
            "step": step,
            "scorer": scorer,
            "rule": rule,
            "progress": progress,
            "awake": dict(awake or {}),
            "offsets": dict(offsets or {}),
            "_gathered": gathered,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Live values; 0 where asleep."""
        return self.read("weights")

    @property
    def grads(self) -> Mapping[str, Tensor]:
        """Gradients of the loss, also of weights asleep."""
        return self.read("grads")

    @property
    def activations(self) -> Mapping[str, Tensor]:
        """Statistics of what flows through the layers."""
        return self.read("activations")

    @property
    def curvature(self) -> Mapping[str, Tensor]:
        """Second-order statistics of the loss."""
        return self.read("curvature")

    @property
    def anchor(self) -> Mapping[str, Tensor]:
        """Values at the kept point that the scorer names."""
        return self.read("anchor")

    @property
    def moments(self) -> Mapping[str, Tensor]:
        """First moments of the optimizer."""
        return self.read("moments")

    @property
    def parked(self) -> Mapping[str, Tensor]:
        """Values that sleeping weights had when they fell asleep."""
        return self.read("parked")

    @property
    def generator(self) -> torch.Generator:
        """A fresh CPU generator, seeded from (seed, step, rule): the same draws at every call."""
        key = stream_key(self.seed, self.step, "", self.rule)
        return torch.Generator().manual_seed(key >> 1)

    def has(self, need: str) -> bool:
        """Whether the signal of this name was gathered."""
        if need not in NEEDS:
            raise ValueError(f"Signals.has({need!r}): valid names are {sorted(NEEDS)}.")
        return need in self._gathered

    def read(self, need: str) -> Mapping[str, Tensor]:
        """The signal of this name, or MissingSignal."""
        if not self.has(need):
            raise missing(need, _reader(self.scorer, self.rule))
        return self._gathered[need]

    def report(self, what: str, done: int, total: int = 0) -> None:
        """Tell the caller how far the work is."""
        if self.progress is not None:
            self.progress(what, done, total)

    def for_scorer(self, scorer: object, rule: str) -> Signals:
        """The same signals, with the two names that messages mention."""
        return self.rebuilt(_unchanged, scorer=str(scorer), rule=rule)

    def at_step(self, step: int) -> Signals:
        """The same signals, under another step number."""
        return self.rebuilt(_unchanged, step=step)

    def keeping(self, needs: Container[str]) -> Signals:
        """The same signals without those that are not in `needs`."""
        return self.rebuilt(_unchanged, needs=needs)

    def only(self, names: Container[str]) -> Signals:
        """The same signals, of the parameters in `names` alone."""
        return self.rebuilt(lambda need, name, tensor: tensor if name in names else None)

    def rebuilt(
        self,
        change: Callable[[str, str, Tensor], Tensor | None],
        *,
        needs: Container[str] = NEEDS,
        offsets: Mapping[str, int] | None = None,
        step: int | None = None,
        scorer: str | None = None,
        rule: str | None = None,
    ) -> Signals:
        """The signals with `change(need, name, tensor)` for each tensor; None drops it."""
        new: dict[str, dict[str, Tensor]] = {}
        for need, tensors in {**self._gathered, "awake": self.awake}.items():
            if need not in needs and need != "awake":
                continue
            pairs = ((name, change(need, name, tensor)) for name, tensor in tensors.items())
            new[need] = {name: tensor for name, tensor in pairs if tensor is not None}
        return Signals(
            weights=new.get("weights"),
            grads=new.get("grads"),
            activations=new.get("activations"),
            curvature=new.get("curvature"),
            anchor=new.get("anchor"),
            moments=new.get("moments"),
            parked=new.get("parked"),
            awake=new["awake"],
            offsets=self.offsets if offsets is None else offsets,
            seed=self.seed,
            step=self.step if step is None else step,
            scorer=self.scorer if scorer is None else scorer,
            rule=self.rule if rule is None else rule,
            progress=self.progress,
        )

    def __repr__(self) -> str:
        held = ", ".join(f"{need}: {len(t)}" for need, t in self._gathered.items())
        return f"<Signals of step {self.step}: {held or 'nothing gathered'}>"


def _unchanged(need: str, name: str, tensor: Tensor) -> Tensor:
    return tensor


def _reader(scorer: str, rule: str) -> str:
    """Who reads, as a message says it."""
    return f"{scorer or 'The scorer'} in rule {rule!r}" if rule else scorer or "The scorer"


def _check(given: Mapping[str, Mapping[str, Tensor] | None]) -> None:
    """Types of all tensors, and shapes of those that have an entry per weight."""
    weights = given["weights"] or {}
    for need, tensors in given.items():
        for name, tensor in (tensors or {}).items():
            said = f"Signals({need}=...): the entry {name!r}"
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{said} is a {type(tensor).__name__}, not a tensor.")
            if need == "awake" and tensor.dtype != torch.bool:
                raise TypeError(f"{said} has dtype {tensor.dtype}; it must be torch.bool.")
            if need in _WEIGHT_SHAPED and name in weights and tensor.shape != weights[name].shape:
                raise ValueError(
                    f"{said} has shape {tuple(tensor.shape)}, but its weight has shape "
                    f"{tuple(weights[name].shape)}."
                )
