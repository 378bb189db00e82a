"""Movement pruning: training decides which weights sleep, and sleepers may come back."""

from __future__ import annotations

from saliency import Gradient, Movement, Scorer, SoftMovement
from schedules import Trigger, cubic, every
from sleepengine.actions.sleep import Sleep
from sleepengine.actions.wake import Wake
from sleepengine.choosing import Amount, Global, PerTensor, Pools, below, by, to
from sleepengine.rules.rule import Rule, Who


def movement(
    sparsity: float = 0.9,
    *,
    interval: str = "1it",
    start: str = "10%",
    end: str = "80%",
    last: str = "100%",
    pools: Pools | None = None,
) -> tuple[Rule, ...]:
    """Movement pruning: the top 1 - s_t of the scores -(sum of w g) are awake, s_t cubic.

    | when                                | who                                          | what  |
    |-------------------------------------|----------------------------------------------|-------|
    | every(`interval`, `start` to `last`) | all that sleep                              | Wake  |
    | the same                            | Movement(revive), PerTensor, to(cubic)       | Sleep |

    Both rules are one transaction: weights that are awake before and after it keep their values
    and their momentum, so that its net effect is the top of all scores. A sleeper's score goes on
    with its parked value and the gradient that it would have; with that value it comes back. From
    `end` to `last` the count stands still and the masks go on moving.

    Source: Sanh, Wolf and Rush 2020 (arXiv:2005.07683): new masks at every step, the cubic curve
    from 10 % to 80 % of the run. With plain SGD the masks are exactly theirs. Under an optimizer
    with momentum their sleeping weights drift on behind the mask; here they rest.

    >>> from schedules import preview
    >>> rules = movement(0.8, interval="50it", start="50it", end="150it")
    >>> for row in preview(rules, total_steps=200):
    ...     print(row.step, row.rule, round(row.target, 4))
    50 Wake-Gradient 1.0
    50 Sleep-Movement 0.0
    100 Wake-Gradient 1.0
    100 Sleep-Movement 0.7
    150 Wake-Gradient 1.0
    150 Sleep-Movement 0.8
    200 Wake-Gradient 1.0
    200 Sleep-Movement 0.8
    """
    when = every(interval, after=start, before=last)
    amount = to(cubic(0.0, sparsity))
    return _renewed(when, Movement(revive=True), pools or PerTensor(), amount, over=(start, end))


def soft_movement(
    threshold: float = 0.0,
    *,
    penalty: float = 1.0,
    rate: float = 1.0,
    interval: str = "1it",
    start: str = "10%",
    last: str = "100%",
) -> tuple[Rule, ...]:
    """Soft movement pruning: awake are the weights whose trained score is above a threshold.

    | when                                | who                                            | what  |
    |-------------------------------------|------------------------------------------------|-------|
    | every(`interval`, `start` to `last`) | all that sleep                                | Wake  |
    | the same                            | SoftMovement(revive), Global, below(threshold) | Sleep |

    How many sleep follows from the penalty.

    Source: Sanh, Wolf and Rush 2020 (arXiv:2005.07683).

    >>> [(rule.name, rule.who.amount) for rule in soft_movement(-0.5)]
    [('Wake-Gradient', by(1.0)), ('Sleep-SoftMovement', below(-0.5))]
    """
    when = every(interval, after=start, before=last)
    scorer = SoftMovement(penalty, rate, revive=True)
    return _renewed(when, scorer, Global(), below(threshold), over=None)


def _renewed(
    when: Trigger, scorer: Scorer, pools: Pools, amount: Amount, over: tuple[str, str] | None
) -> tuple[Rule, ...]:
    """Everything wakes and the lowest scores sleep, at one and the same moment."""
    # All sleepers wake, so their order is of no matter; but a rule that reads gradients waits for
    # them, and so neither of the two can act without the other.
    everything = Who(Gradient(), pools=PerTensor(), amount=by(1.0))
    return (
        Rule(when, everything, Wake("parked", "keep")),
        Rule(when, Who(scorer, pools=pools, amount=amount), Sleep(), over=over),
    )
