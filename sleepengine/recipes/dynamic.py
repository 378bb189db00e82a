"""Dynamic sparse training: sparse from the start, while connections come and go."""

from __future__ import annotations

from saliency import Gradient, Magnitude, Momentum, Random
from schedules import cosine, every, once
from sleepengine.actions.sleep import Sleep
from sleepengine.actions.wake import Wake
from sleepengine.choosing import ER, ERK, MeanScore, PerTensor, Shares, Uniform, by, to
from sleepengine.rules.rule import Rule, Who


def set_(
    sparsity: float = 0.9,
    *,
    drop: float = 0.3,
    interval: str = "1ep",
    end: str = "90%",
    shares: Shares | None = None,
) -> tuple[Rule, ...]:
    """SET: drop the smallest weights of each tensor, grow as many at random.

    | when                     | who                                    | what             |
    |--------------------------|----------------------------------------|------------------|
    | once(0it)                | Random, PerTensor(ER), to(`sparsity`)  | Sleep            |
    | every(`interval`, `end`) | Magnitude, PerTensor(ER), by(`drop`)   | Sleep            |
    | the same                 | Random, PerTensor(ER), to(`sparsity`)  | Wake(value=zero) |

    The paper drops the same share of the smallest positive and the largest negative weights
    apart; here both compete by magnitude.

    Source: Mocanu et al. 2018 (arXiv:1707.04780).

    >>> from schedules import preview
    >>> for row in preview(set_(0.9), total_steps=20, steps_per_epoch=10):
    ...     print(row.step, row.rule, row.target)
    0 Sleep-Random 0.9
    10 Sleep-Magnitude 0.3
    10 Wake-Random 0.9
    """
    pools = PerTensor(shares or ER())
    when = every(interval, before=end)
    return (
        Rule(once("0it"), Who(Random(), pools=pools, amount=to(sparsity)), Sleep()),
        Rule(when, Who(Magnitude(), pools=pools, amount=by(drop)), Sleep()),
        Rule(when, Who(Random(), pools=pools, amount=to(sparsity)), Wake("zero", "zero")),
    )


def rigl(
    sparsity: float = 0.9,
    *,
    drop: float = 0.3,
    interval: str = "100it",
    end: str = "75%",
    shares: Shares | None = None,
) -> tuple[Rule, ...]:
    """RigL: drop the smallest weights, grow those with the largest gradients.

    | when                     | who                                    | what             |
    |--------------------------|----------------------------------------|------------------|
    | once(0it)                | Random, PerTensor(ERK), to(`sparsity`) | Sleep            |
    | every(`interval`, `end`) | Magnitude, PerTensor(ERK), by(cosine)  | Sleep            |
    | the same                 | Gradient, PerTensor(ERK), to(`sparsity`) | Wake(value=zero) |

    The update replaces the optimizer step of its iteration. A weight that is dropped and grown
    at once keeps its value and its momentum.

    Source: Evci et al. 2020 (arXiv:1911.11134): drop fraction 0.3, every 100 steps, for the
    first three quarters of training.

    >>> from schedules import preview
    >>> for row in preview(rigl(0.9), total_steps=400):
    ...     print(row.step, row.rule, round(row.target, 3))
    0 Sleep-Random 0.9
    100 Sleep-Magnitude 0.225
    100 Wake-Gradient 0.9
    200 Sleep-Magnitude 0.075
    200 Wake-Gradient 0.9
    300 Sleep-Magnitude 0.0
    300 Wake-Gradient 0.9
    """
    pools = PerTensor(shares or ERK())
    when = every(interval, before=end)
    drops = Who(Magnitude(), pools=pools, amount=by(cosine(drop, 0.0)))
    grows = Who(Gradient(), pools=pools, amount=to(sparsity))
    return (
        Rule(once("0it"), Who(Random(), pools=pools, amount=to(sparsity)), Sleep()),
        Rule(when, drops, Sleep(), skip_step=True, over=("0it", end)),
        Rule(when, grows, Wake("zero", "zero"), skip_step=True),
    )


def snfs(
    sparsity: float = 0.9,
    *,
    drop: float = 0.5,
    last_drop: float = 0.005,
    interval: str = "1ep",
    end: str = "90%",
) -> tuple[Rule, ...]:
    """Sparse momentum: grow where the momentum is large, in the tensors where it is largest.

    | when                     | who                                        | what             |
    |--------------------------|--------------------------------------------|------------------|
    | once(0it)                | Random, PerTensor(Uniform), to(`sparsity`) | Sleep            |
    | every(`interval`, `end`) | Magnitude, PerTensor(Uniform), by(cosine)  | Sleep            |
    | the same       | Momentum, PerTensor(MeanScore), to(`sparsity`)       | Wake(value=zero) |

    A tensor's part of what is grown is in proportion to the mean momentum of its awake weights.

    Source: Dettmers and Zettlemoyer 2019 (arXiv:1907.04840).

    >>> from schedules import preview
    >>> for row in preview(snfs(0.9), total_steps=20, steps_per_epoch=10):
    ...     print(row.step, row.rule, round(row.target, 3))
    0 Sleep-Random 0.9
    10 Sleep-Magnitude 0.21
    10 Wake-Momentum 0.9
    """
    when = every(interval, before=end)
    evenly = PerTensor(Uniform())
    drops = Who(Magnitude(), pools=evenly, amount=by(cosine(drop, last_drop)))
    grows = Who(Momentum(), pools=PerTensor(MeanScore()), amount=to(sparsity))
    return (
        Rule(once("0it"), Who(Random(), pools=evenly, amount=to(sparsity)), Sleep()),
        Rule(when, drops, Sleep(), over=("0it", end)),
        Rule(when, grows, Wake("zero", "zero")),
    )
