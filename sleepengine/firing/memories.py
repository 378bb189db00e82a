"""What rules remember beside masks, as it was before a transaction told them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

from sleepengine.choosing.shares import Carry
from sleepengine.rules.rule import Rule


class Memories:
    """What rates carry over, and the ages that filters and scorers keep.

    told: whether filters and scorers hear of the transaction (something woke or was reset).
    """

    def __init__(self, carries: Mapping[str, Carry], rules: Iterable[Rule], told: bool) -> None:
        self.carries = dict(carries)
        who = [rule.who for rule in rules if told and rule.who is not None]
        filters = {id(one): one for each in who for one in each.filters}
        scorers = {
            id(each.scorer): each.scorer
            for each in who
            if each.scorer is not None and each.scorer.accumulates
        }
        self._filters = [(one, copy.deepcopy(one.state_dict())) for one in filters.values()]
        self._scorers = [(one, copy.deepcopy(one.state_dict())) for one in scorers.values()]

    def put_back(self) -> None:
        """Filters and scorers remember what they did."""
        for one, state in self._filters:
            one.load_state_dict(state)
        for scorer, kept in self._scorers:
            scorer.load_state_dict(kept)
