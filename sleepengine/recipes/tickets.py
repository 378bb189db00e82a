"""Lottery tickets: what happens between two trainings of the same network.

These rules are fired together after each training but the last: `engine.fire(*rules)`, then
`engine.restart()` and train again. A pipeline does so for `experiment: lottery`.
"""

from __future__ import annotations

from saliency import Magnitude, Scorer
from schedules import once
from sleepengine.actions.rewind import Rewind
from sleepengine.actions.sleep import Sleep
from sleepengine.choosing import Global, Pools, by
from sleepengine.rules.rule import Rule, Who


def lottery_ticket(
    to: str = "init",
    *,
    share: float = 0.2,
    scorer: Scorer | None = None,
    pools: Pools | None = None,
) -> tuple[Rule, ...]:
    """Iterative magnitude pruning: the smallest awake weights sleep, the others go back to `to`.

    | when          | who                               | what          |
    |---------------|-----------------------------------|---------------|
    | between levels | Magnitude, Global, by(`share`)   | Sleep         |
    | the same       |                                  | Rewind(`to`)  |

    `to` is "init", or a kept time such as "500it" (late rewinding). The paper prunes small networks
    tensor by tensor, the output at half the rate: `pools=PerTensor(Factors({"fc3*": 0.5}))`.

    Source: Frankle and Carbin 2019 (arXiv:1803.03635); Frankle et al. 2020 (arXiv:1912.05671).

    >>> for rule in lottery_ticket("500it"):
    ...     print(rule.name, rule.who and rule.who.amount, rule.what)
    Sleep-Magnitude by(0.2) Sleep
    Rewind None Rewind
    """
    who = Who(scorer or Magnitude(), pools=pools or Global(), amount=by(share))
    return (
        Rule(once("0it"), who, Sleep()),
        Rule(once("0it"), None, Rewind(to)),
    )


def lr_rewind(
    to: str = "init", *, share: float = 0.2, pools: Pools | None = None
) -> tuple[Rule, ...]:
    """Learning-rate rewinding: the smallest sleep, the others train on with the early schedule.

    | when           | who                            | what                             |
    |----------------|--------------------------------|----------------------------------|
    | between levels | Magnitude, Global, by(`share`) | Sleep                            |
    | the same       |                                | Rewind(`to`), the schedule alone |

    Source: Renda, Frankle and Carbin 2020 (arXiv:2003.02389).

    >>> sorted(lr_rewind()[1].what.parts)
    ['schedule']
    """
    who = Who(Magnitude(), pools=pools or Global(), amount=by(share))
    only_schedule = Rewind(to, weights=False, buffers=False, optimizer=False)
    return (Rule(once("0it"), who, Sleep()), Rule(once("0it"), None, only_schedule))
