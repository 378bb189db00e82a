"""Tasks one after another, and layers that are held still."""

from __future__ import annotations

from collections.abc import Sequence

from saliency import Magnitude
from schedules import at, once
from sleepengine.actions.freeze import Freeze, Thaw
from sleepengine.actions.sleep import Sleep
from sleepengine.actions.wake import Wake
from sleepengine.choosing import PerTensor, by
from sleepengine.rules.rule import Rule, Who


def packnet(
    trained: Sequence[str], retrained: Sequence[str], *, share: float = 0.5
) -> tuple[Rule, ...]:
    """PackNet: a task keeps its largest weights, frozen; the others are free for the next task.

    | when            | who                               | what             |
    |-----------------|-----------------------------------|------------------|
    | at(`trained`)   | Magnitude, PerTensor, by(`share`) | Sleep            |
    | at(`retrained`) | all that train                    | Freeze           |
    | the same        | all that sleep                    | Wake(value=zero) |

    `trained` and `retrained` hold a time per task: when it was trained, and when it was trained
    again without its small weights. Weights of earlier tasks are frozen, so that a task gives up
    weights of its own only. Keep each task's masks with `engine.store.snapshot("task1")`.

    Source: Mallya and Lazebnik 2018 (arXiv:1711.05769).

    >>> for rule in packnet(["5ep", "12ep"], ["7ep", "14ep"]):
    ...     print(rule.when, rule.who.amount, rule.what)
    at('5ep', '12ep') by(0.5) Sleep
    at('7ep', '14ep') by(1.0) Freeze
    at('7ep', '14ep') by(1.0) Wake
    """
    small = Who(Magnitude(), pools=PerTensor(), amount=by(share))
    everything = Who(amount=by(1.0))
    return (
        Rule(at(*trained), small, Sleep()),
        Rule(at(*retrained), everything, Freeze()),
        Rule(at(*retrained), everything, Wake("zero", "zero")),
    )


def freeze(
    params: str | Sequence[str], *, start: str = "0it", end: str | None = None
) -> tuple[Rule, ...]:
    """Hold parameters still from `start` on, and train them again from `end` on.

    | when          | who                    | what   |
    |---------------|------------------------|--------|
    | once(`start`) | all weights of `params` | Freeze |
    | once(`end`)   | the same               | Thaw   |

    >>> [(rule.when, rule.what) for rule in freeze("conv1*", end="2ep")]
    [(once('0it'), Freeze()), (once('2ep'), Thaw())]
    """
    who = Who(params=params, amount=by(1.0))
    held = Rule(once(start), who, Freeze())
    return (held,) if end is None else (held, Rule(once(end), who, Thaw()))
