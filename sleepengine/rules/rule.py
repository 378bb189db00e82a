"""A rule is WHEN, WHO, WHAT: a trigger, a choice of weights, an action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from saliency import CompensatingScorer, Scorer
from schedules import Clock, Trigger
from schedules.time import Time
from sleepengine.actions.action import Action
from sleepengine.choosing.amounts import Amount
from sleepengine.choosing.n_of_m import NofM
from sleepengine.choosing.pools import Global, PerRow, Pools
from sleepengine.choosing.units import Units, Weights
from sleepengine.errors import SetupError
from sleepengine.nodes.units import Nodes
from sleepengine.rules.filters import Filter


@dataclass(frozen=True)
class Who:
    """Which weights: scores, pooled into units, compete in pools for an amount.

    scorer: worth of each weight (higher = keep awake); None scores all alike, so that the
        lowest index goes first (with `by(1.0)`: everything).
    params: names or patterns of parameters; None = the engine's scope.
    where: filters that must all hold for a weight to be eligible, such as `older_than("100it")`.
    batches: None reads the gradients of the training loop itself and, for a scorer that
        accumulates, the activations; a number k takes k batches of the engine's `data` through
        its `loss_fn` instead.
    """

    scorer: Scorer | None = None
    units: Units = field(default_factory=Weights)
    pools: Pools = field(default_factory=Global)
    amount: Amount | None = None
    params: str | Sequence[str] | None = None
    where: Filter | Sequence[Filter] = ()
    batches: int | None = None
    allow_empty: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work together."""
        if self.scorer is not None and not isinstance(self.scorer, Scorer):
            raise SetupError(
                f"Who(scorer={self.scorer!r}): not a Scorer; write an instance, such as Magnitude()"
            )
        for label, value, kind in (
            ("units", self.units, Units),
            ("pools", self.pools, Pools),
        ):
            if not isinstance(value, kind):
                raise SetupError(
                    f"Who({label}={value!r}): not {kind.__name__}; write an instance, with ()"
                )
        if self.amount is not None and not isinstance(self.amount, Amount):
            raise SetupError(f"Who(amount={self.amount!r}): write to(0.9), by(0.2), count(10), ...")
        if self.amount is None and not isinstance(self.pools, NofM):
            raise SetupError(f"Who(pools={self.pools!r}) needs an amount: to(0.9), by(0.2), ...")
        self.pools.check(self.units, self.amount)
        if isinstance(self.units, Nodes) and isinstance(self.pools, PerRow):
            raise SetupError("PerRow() has nothing to compare in a row of nodes: use PerTensor().")
        if self.batches is not None and self.batches < 1:
            raise SetupError(f"Who(batches={self.batches!r}): must be at least 1, or None")

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The filters as a tuple."""
        return (self.where,) if isinstance(self.where, Filter) else tuple(self.where)

    @property
    def patterns(self) -> tuple[str, ...] | None:
        """The name patterns as a tuple, or None for the engine's scope."""
        if self.params is None:
            return None
        return (self.params,) if isinstance(self.params, str) else tuple(self.params)

    @property
    def needs(self) -> frozenset[str]:
        """What the scorer reads."""
        return frozenset() if self.scorer is None else frozenset(self.scorer.needs)


@dataclass(frozen=True)
class Rule:
    """When the trigger fires, the action happens to the chosen weights.

    at: "after_step" (default) acts once the optimizer step is done; "before_step" acts between
        backward and step, on the pending gradients too.
    skip_step: the act replaces the optimizer step of that iteration (RigL); implies before_step.
    over: (start, stop) times between which curves run from 0 to 1; None = the trigger's own span.
    name: shown in the journal and in errors; made up from the parts when empty.
    observe: on which steps an accumulating scorer looks; None = every step.
    """

    when: Trigger
    who: Who | None
    what: Action
    at: Literal["before_step", "after_step"] = "after_step"
    skip_step: bool = False
    over: tuple[str, str] | None = None
    observe: Trigger | None = None
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot work together, and give the rule a name."""
        if not isinstance(self.when, Trigger):
            raise SetupError(
                f"Rule(when={self.when!r}): write a trigger, as every('100it') or once('5ep'); "
                "an Ignite event is written on_event(Events.EPOCH_COMPLETED(every=2))"
            )
        if not isinstance(self.what, Action):
            raise SetupError(f"Rule(what={self.what!r}): write an action, such as Sleep()")
        if self.what.chooses and self.who is None:
            raise SetupError(f"Rule(what={self.what!r}) needs a who=Who(...)")
        if not self.what.chooses and self.who is not None:
            raise SetupError(f"Rule(what={self.what!r}) acts on the whole model: leave out who=")
        if self.who is not None:
            self.who.pools.check(self.who.units, self.who.amount, self.what.highest)
        scored = None if self.who is None else self.who.scorer
        if self.what.compensates and not isinstance(scored, CompensatingScorer):
            raise SetupError(
                f"Rule(what={self.what!r}): {scored!r} gives no update of the survivors; use "
                "ExactOBS(), SparseGPT(), OBS() or another CompensatingScorer"
            )
        if self.at not in ("before_step", "after_step"):
            raise SetupError(f"Rule(at={self.at!r}): valid are 'before_step' and 'after_step'")
        if self.skip_step:
            object.__setattr__(self, "at", "before_step")
        if self.over is not None and len(self.over) != 2:
            raise SetupError(f"Rule(over={self.over!r}): give (start, stop), as ('1ep', '30ep')")
        if not self.name:
            scorer = type(self.who.scorer).__name__ if self.who and self.who.scorer else ""
            object.__setattr__(self, "name", "-".join(p for p in (str(self.what), scorer) if p))

    def span(self, clock: Clock) -> tuple[int, int] | None:
        """First and last iteration of the rule's curves."""
        if self.over is None:
            return self.when.span(clock)
        start, stop = (Time.parse(t).iterations(clock) for t in self.over)
        return start, stop

    def progress(self, clock: Clock) -> float:
        """Where `clock` stands between start (0) and stop (1) of the rule's curves."""
        span = self.span(clock)
        if span is None:
            return 1.0
        start, stop = span
        if stop <= start:
            return 1.0
        return min(1.0, max(0.0, (clock.iteration - start) / (stop - start)))

    def target(self, clock: Clock) -> float | None:
        """The number that the amount names at this moment, for previews."""
        if self.who is None or self.who.amount is None:
            return None
        return self.who.amount.target(self.progress(clock))

    @property
    def why(self) -> str:
        """One line for the journal: trigger, scorer, units, pools, amount."""
        if self.who is None:
            return repr(self.when)
        return (
            f"{self.when!r}: {self.who.scorer!r}, {self.who.units!r}, "
            f"{self.who.pools!r}, {self.who.amount!r}"
        )
