"""Random scores: the control that every scorer has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saliency.counter_random import counter_uniform
from saliency.scorer import Scorer
from saliency.signals import Signals


@dataclass(frozen=True)
class Random(Scorer):
    """s = a uniform number in [0, 1), a function of (seed, step, rule, name, place in the tensor).

    The same scores come on every device and whatever the number of processes: nothing is drawn
    from a generator. Two rules draw independently, also at one step. Scores are float64 for float64
    weights and float32 otherwise.

    Args:
        seed: None takes `signals.seed`.

    Raises:
        TypeError: `seed` is neither an integer nor None.

    Source: random growth in SET (Mocanu et al. 2018); random masks as a control in
    Frankle and Carbin 2019.

    >>> import torch
    >>> w = {"w": torch.zeros(2, 3)}
    >>> first = Random(seed=1).score(Signals(weights=w))["w"]
    >>> again = Random(seed=1).score(Signals(weights=w))["w"]
    >>> later = Random(seed=1).score(Signals(weights=w, step=1))["w"]
    >>> torch.equal(first, again), torch.equal(first, later)
    (True, False)
    >>> grow = Random(seed=1).score(Signals(weights=w, rule="grow"))["w"]
    >>> torch.equal(first, grow)
    False
    """

    seed: int | None = None

    elementwise = True

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, (int, type(None))):
            raise TypeError(f"Random(seed={self.seed!r}): seed must be an integer or None.")

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """A number for each entry, asleep or awake."""
        seed = signals.seed if self.seed is None else self.seed
        return {
            name: counter_uniform(
                seed,
                step=signals.step,
                name=name,
                shape=w.shape,
                device=w.device,
                offset=signals.offsets.get(name, 0),
                use=signals.rule,
                dtype=torch.float64 if w.dtype == torch.float64 else torch.float32,
            )
            for name, w in signals.weights.items()
        }
