"""Relaxations that draw noise: Gumbel-sigmoid and the hard concrete distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from sleepengine.errors import SetupError
from sleepengine.learned.relaxation import Relaxation, check_number, logistic, straight_through


def _uniform(owner: Relaxation, uniform: Tensor | None) -> Tensor:
    if uniform is None:
        raise SetupError(f"{owner!r} draws noise: give uniform numbers, one per logit")
    return uniform


@final
@dataclass(frozen=True)
class GumbelSigmoid(Relaxation):
    """s = sigmoid((l + noise) / T); m = 1[s > 1/2], with the gradient of s. Awake: l >= 0.

    The noise is logistic, one draw per weight and sample: -log(log u1 / log u0) has that
    distribution too, and needs two draws. `hard=False` multiplies weights by s itself.

    Args:
        temperature: T, above 0.
        init: the first logit; 2 is awake with probability 0.88.
        hard: zeros and ones in the forward pass.

    The penalty is the sum of the logits, which has no lower bound: on weights that the loss does
    not hold, logits fall for as long as training lasts, and the loss with the penalty falls too.

    Source: Csordas, van Steenkiste and Schmidhuber 2021 (arXiv:2010.02066), whose settings are
    the defaults, with Adam at 1e-2 and alpha = 1e-4.

    >>> import torch
    >>> gates = GumbelSigmoid().gates(torch.tensor([0.0, 0.0]), torch.tensor([0.4, 0.6]))
    >>> gates, GumbelSigmoid().awake(torch.tensor([-0.1, 0.0]))
    (tensor([0., 1.]), tensor([False,  True]))
    """

    temperature: float = 1.0
    init: float = 2.0
    hard: bool = True
    draws: ClassVar[bool] = True
    alpha: ClassVar[float] = 1e-4

    def __post_init__(self) -> None:
        check_number("GumbelSigmoid", "temperature", self.temperature, lambda t: t > 0, "above 0")
        check_number("GumbelSigmoid", "init", self.init, lambda _: True, "a finite number")

    @property
    def centre(self) -> float:
        """0, where both states are equally likely."""
        return 0.0

    @property
    def first(self) -> float:
        """`init`."""
        return self.init

    def gates(self, logits: Tensor, uniform: Tensor | None) -> Tensor:
        """Hard or soft samples."""
        noise = logistic(_uniform(self, uniform))
        soft = ((logits + noise) / self.temperature).sigmoid()
        return straight_through(soft > 0.5, soft) if self.hard else soft

    def awake(self, logits: Tensor) -> Tensor:
        """Logits of 0 and above."""
        return logits.detach() >= 0

    def expected(self, logits: Tensor) -> Tensor:
        """sigmoid(l): the probability of being awake."""
        return logits.detach().sigmoid()


@final
@dataclass(frozen=True)
class HardConcrete(Relaxation):
    """s = sigmoid((l + noise) / beta); z = clip(s (high - low) + low, 0, 1). Awake: mean z >= 1/2.

    The penalty counts the weights that are not exactly zero: the sum of
    P(z != 0) = sigmoid(l - beta log(-low / high)). Logits stay in [log 0.01, log 100].

    Args:
        beta: temperature, above 0.
        low, high: the stretched interval, with low < 0 and high > 1, so that z is exactly 0 or 1
            with a probability above 0.
        init: the first logit.
        hard: 1[z > 1/2] in the forward pass, with the gradient of z.

    Source: Louizos, Welling and Kingma 2018 (arXiv:1712.01312). There weights are scaled by the
    mean z; a mask cannot scale, so it takes the nearer of 0 and 1, and `expected` gives mean z.

    >>> import torch
    >>> relaxation = HardConcrete()
    >>> relaxation.gates(torch.zeros(3), torch.tensor([0.01, 0.5, 0.99]))
    tensor([0.0000, 0.5000, 1.0000])
    >>> round(relaxation.penalty(torch.zeros(1)).item(), 4)
    0.8318
    """

    beta: float = 2 / 3
    low: float = -0.1
    high: float = 1.1
    init: float = 2.0
    hard: bool = False
    draws: ClassVar[bool] = True
    alpha: ClassVar[float] = 1e-4

    def __post_init__(self) -> None:
        check_number("HardConcrete", "beta", self.beta, lambda b: b > 0, "above 0")
        check_number("HardConcrete", "low", self.low, lambda x: x < 0, "below 0")
        check_number("HardConcrete", "high", self.high, lambda x: x > 1, "above 1")
        low, high = _RANGE
        check_number(
            "HardConcrete",
            "init",
            self.init,
            lambda x: low <= x <= high,
            f"in {low:.3} .. {high:.3}",
        )

    @property
    def centre(self) -> float:
        """The logit whose mean z is 1/2; 0 when low and high lie evenly about 1/2."""
        middle = (0.5 - self.low) / (self.high - self.low)
        return math.log(middle / (1 - middle))

    @property
    def first(self) -> float:
        """`init`."""
        return self.init

    def gates(self, logits: Tensor, uniform: Tensor | None) -> Tensor:
        """Samples of z."""
        noise = logistic(_uniform(self, uniform))
        z = self._stretched(((logits + noise) / self.beta).sigmoid())
        return straight_through(z > 0.5, z) if self.hard else z

    def awake(self, logits: Tensor) -> Tensor:
        """Mean z >= 1/2."""
        return logits.detach() >= self.centre

    def expected(self, logits: Tensor) -> Tensor:
        """clip(sigmoid(l) (high - low) + low, 0, 1)."""
        return self._stretched(logits.detach().sigmoid())

    def penalty(self, logits: Tensor) -> Tensor:
        """Expected number of weights that are not zero."""
        return (logits - self.beta * math.log(-self.low / self.high)).sigmoid().sum()

    def clamp_(self, logits: Tensor) -> None:
        """Into [log 0.01, log 100]."""
        logits.clamp_(*_RANGE)

    def _stretched(self, s: Tensor) -> Tensor:
        return (s * (self.high - self.low) + self.low).clamp(0, 1)


_RANGE = (math.log(0.01), math.log(100.0))
