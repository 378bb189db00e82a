"""Phases: the network is sparse for a while, dense for a while."""

from __future__ import annotations

from collections.abc import Sequence

from saliency import Gradient, Magnitude
from schedules import at, cyclic, every, once
from sleepengine.actions.sleep import Sleep
from sleepengine.actions.wake import Wake
from sleepengine.choosing import Global, PerTensor, by, to
from sleepengine.rules.rule import Rule, Who


def acdc(
    sparsity: float = 0.9,
    *,
    sparse_at: Sequence[str] = ("5%", "25%", "45%", "65%", "85%"),
    dense_at: Sequence[str] = ("15%", "35%", "55%", "75%"),
) -> tuple[Rule, ...]:
    """AC/DC: sparse and dense phases in turn; a last sparse phase to the end.

    | when            | who                               | what             |
    |-----------------|-----------------------------------|------------------|
    | at(`sparse_at`) | Magnitude, Global, to(`sparsity`) | Sleep            |
    | at(`dense_at`)  | all                               | Wake(value=zero) |

    Source: Peste et al. 2021 (arXiv:2106.12379): of 200 epochs, sparse from 10, 50, ..., 170 and
    dense from 30, 70, ..., 150.

    >>> from schedules import preview
    >>> [(row.step, row.rule) for row in preview(acdc(0.9), total_steps=100)][:4]
    [(5, 'Sleep-Magnitude'), (15, 'Wake'), (25, 'Sleep-Magnitude'), (35, 'Wake')]
    """
    sparse = Who(Magnitude(), pools=Global(), amount=to(sparsity))
    return (
        Rule(at(*sparse_at), sparse, Sleep()),
        Rule(at(*dense_at), Who(amount=by(1.0)), Wake("zero", "zero")),
    )


def dense_sparse_dense(
    sparsity: float = 0.3, *, sparse_from: str = "40%", dense_from: str = "70%"
) -> tuple[Rule, ...]:
    """DSD: train, train on without the smallest weights, then with all of them from zero.

    | when                | who                                  | what             |
    |---------------------|--------------------------------------|------------------|
    | once(`sparse_from`) | Magnitude, PerTensor, to(`sparsity`) | Sleep            |
    | once(`dense_from`)  | all                                  | Wake(value=zero) |

    The paper divides the learning rate by ten for the last phase.

    Source: Han et al. 2017 (arXiv:1607.04381).

    >>> from schedules import preview
    >>> [(row.step, row.rule, row.target) for row in preview(dense_sparse_dense(), 100)]
    [(40, 'Sleep-Magnitude', 0.3), (70, 'Wake', 1.0)]
    """
    sparse = Who(Magnitude(), pools=PerTensor(), amount=to(sparsity))
    return (
        Rule(once(sparse_from), sparse, Sleep()),
        Rule(once(dense_from), Who(amount=by(1.0)), Wake("zero", "zero")),
    )


def prune_regrow(
    low: float = 0.5,
    high: float = 0.9,
    *,
    cycles: float = 2.5,
    interval: str = "5%",
    end: str = "80%",
) -> tuple[Rule, ...]:
    """The sleeping share swings between `low` and `high`; half cycles end at `high`.

    | when                     | who                              | what               |
    |--------------------------|----------------------------------|--------------------|
    | every(`interval`, `end`) | Magnitude, Global, to(cyclic)    | Sleep              |
    | the same                 | Gradient, Global, to(cyclic)     | Wake(value=parked) |

    Both have the same target: on the way up only the first has something to do, on the way down
    only the second. Weights wake where the gradient is largest, with the value and the second
    moments that they had.

    >>> from schedules import preview
    >>> rules = prune_regrow(0.5, 0.9, cycles=1, interval="10it", end="50it")
    >>> rows = preview(rules, total_steps=60)
    >>> [(row.step, round(row.target, 6)) for row in rows if row.rule == "Wake-Gradient"]
    [(10, 0.5), (20, 0.7), (30, 0.9), (40, 0.7), (50, 0.5)]
    """
    when = every(interval, before=end)
    amount = to(cyclic(low, high, cycles))
    return (
        Rule(when, Who(Magnitude(), amount=amount), Sleep()),
        Rule(when, Who(Gradient(), amount=amount), Wake("parked", "keep")),
    )
