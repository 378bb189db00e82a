"""A scorer that writes down what it is shown."""

from __future__ import annotations

from saliency import Scorer
from sleepengine import (
    Freeze,
    Rule,
    Who,
    by,
)


class Recorder(Scorer):
    """Scores |w|, and writes down what it is shown."""

    def __init__(self, needs=("weights",), accumulates=False):
        self._needs, self.accumulates = frozenset(needs), accumulates
        self.scored, self.observed, self.resets = [], [], 0

    @property
    def needs(self):
        return self._needs

    def score(self, signals):
        self.scored.append(signals)
        return {name: w.abs() for name, w in signals.weights.items()}

    def observe(self, signals):
        self.observed.append(signals)

    def reset(self):
        self.resets += 1


def freeze(trigger, scorer, **how):
    """Nothing is ever chosen, so that no mask needs a hook."""
    return Rule(trigger, Who(scorer, amount=by(0.0)), Freeze(), **how)
