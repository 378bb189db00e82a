"""Which rules are due, and which gradients they will want."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from schedules import Clock
from sleepengine.errors import SetupError
from sleepengine.rules.rule import Rule
from sleepengine.rules.timekeeper import Timekeeper

_NEVER = 1 << 62
_LONGEST = 64  # ticks for which gradients are watched ahead while a step's ticks are not known


def reads_gradients(rule: Rule) -> bool:
    """Whether the rule reads the gradients of the training loop itself."""
    return rule.who is not None and "grads" in rule.who.needs and rule.who.batches is None


def reads_passes(rule: Rule) -> bool:
    """Whether the rule reads what flows through layers in the training loop itself."""
    return rule.who is not None and "activations" in rule.who.needs and rule.who.batches is None


def waits_for_passes(rule: Rule) -> bool:
    """Whether it can be fired by a forward pass of the training loop alone, watched from its start.

    A scorer that accumulates has the steps that it has seen.
    """
    return reads_passes(rule) and not observes(rule)


def observes(rule: Rule) -> bool:
    """Whether the rule's scorer looks at steps between firings."""
    return rule.who is not None and rule.who.scorer is not None and rule.who.scorer.accumulates


def observes_early(rule: Rule) -> bool:
    """Whether its scorer looks before the optimizer's step, at the weights the gradients are of."""
    scorer = None if rule.who is None else rule.who.scorer
    return scorer is not None and scorer.before_step and observes(rule) and reads_gradients(rule)


@dataclass
class Agenda:
    """Rules that are due; asked once per tick, and cheap when nothing can be due.

    A rule that is due waits for what it reads: one with at="before_step" for the next step, one
    that reads gradients for a backward pass that was watched from its start.
    """

    rules: Sequence[Rule]
    time: Timekeeper
    waiting: list[Rule] = field(default_factory=list)
    looked: int | None = None  # the tick of the last look: a second start asks no tick twice
    window: int = 1  # ticks that made the last optimizer step (accumulation); 0 = not known yet
    _next: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Who looks at steps between firings; whether any rule reads the training loop's passes."""
        self.observers = [rule for rule in self.rules if observes(rule)]
        self.watches = any(reads_gradients(rule) or reads_passes(rule) for rule in self.rules)
        timed = all(rule.when.time_only for rule in self.rules)
        self._foresees = timed and not self.observers and not self.watches

    def check(self) -> None:
        """Evaluate every trigger once, so that a literal that cannot be read raises at attach.

        Raises:
            SetupError: naming the rule.
        """
        for rule in self.rules:
            try:
                rule.when(self.time.clock(rule.name))
                span = rule.span(self.time.clock(rule.name))
                if rule.who is not None and rule.who.amount is not None:
                    if span is None and rule.who.amount.at(1.0) != rule.who.amount:
                        raise ValueError(
                            "its curve needs an end: give before= to the trigger, over=(start, "
                            "stop) to the rule, or total_steps= at attach"
                        )
                    rule.who.amount.at(rule.progress(self.time.clock(rule.name)))
                for one in () if rule.who is None else rule.who.filters:
                    one.check(self.time.clock(rule.name))
            except ValueError as error:
                raise SetupError(f"rule {rule.name!r}: {error}") from error

    def restart(self) -> None:
        """Forget what was due."""
        self.waiting = []
        self.looked = None
        self._next = {}

    def look(self) -> None:
        """Add the rules that are due now to `waiting`."""
        now = self.looked = self.time.iteration
        for rule in self.rules:
            if self._next.get(rule.name, 0) > now:
                continue
            clock = self.time.clock(rule.name)
            if rule.when(clock) and rule not in self.waiting:
                self.waiting.append(rule)
            if rule.when.time_only:
                self._next[rule.name] = self._after(rule, clock)

    def quiet_until(self) -> int:
        """No tick before this one makes a rule due or is observed; 0 where any tick may.

        Calls and outside events may put rules into `waiting` all the same.
        """
        if not self._foresees:
            return 0
        return min((self._next.get(rule.name, 0) for rule in self.rules), default=_NEVER)

    def happened(self, events: frozenset[str], metrics: frozenset[str]) -> None:
        """Add the rules that wait for one of these, unless the tick itself was their cause."""
        now = self.time.iteration
        for rule in self.rules:
            if rule in self.waiting:
                continue
            clock = self.time.clock(rule.name)
            if rule.when.events & events:
                due = rule.when(clock) and not rule.when(replace(clock, events=frozenset()))
            else:
                due = bool(rule.when.metrics & metrics) and clock.last_fired != now
                due = due and rule.when(clock)
            if due:
                self.waiting.append(rule)

    def _after(self, rule: Rule, clock: Clock) -> int:
        following = rule.when.next_after(clock)
        return _NEVER if following is None else following

    def ready(self, with_gradients: bool, saw: Callable[[Rule], bool]) -> list[Rule]:
        """The waiting rules that act after a step and have what they read.

        `saw` says whether the forward passes that a rule reads were watched.
        """
        return [
            rule
            for rule in self.waiting
            if rule.at == "after_step"
            and (with_gradients or not reads_gradients(rule))
            and (saw(rule) or not waits_for_passes(rule))
        ]

    def take(self, rules: Iterable[Rule]) -> list[Rule]:
        """Remove these from `waiting`, in the order of the engine's rules."""
        wanted = list(rules)
        if not wanted:
            return []
        taken = [rule for rule in self.rules if rule in wanted and rule in self.waiting]
        self.waiting = [rule for rule in self.waiting if rule not in taken]
        return taken

    def give_back(self, rules: Iterable[Rule]) -> None:
        """These did not act: they wait again."""
        back = list(rules)
        self.waiting = [rule for rule in self.rules if rule in back or rule in self.waiting]

    def wants_gradients(self) -> bool:
        """Whether the coming backward pass must be watched."""
        return self.watches and any(
            reads_gradients(rule) and self._reads_next(rule) for rule in self.rules
        )

    def wants_passes(self) -> list[Rule]:
        """The rules for which the coming forward pass must be watched."""
        if not self.watches:
            return []
        return [rule for rule in self.rules if reads_passes(rule) and self._reads_next(rule)]

    def _reads_next(self, rule: Rule) -> bool:
        """Whether the rule acts on the coming step, or its scorer looks at it."""
        if rule in self.waiting:
            return True
        ends = (self.window,) if self.window else range(1, _LONGEST + 1)
        if observes(rule) and any(self.observed(rule, ahead) for ahead in ends):
            return True
        for ahead in range(1, (self.window or _LONGEST) + 1):
            if self._next.get(rule.name, 0) > self.time.iteration + ahead:
                continue
            clock = self.time.clock(rule.name, ahead)
            if rule.when.time_only and rule.at == "after_step" and rule.when(clock):
                return True
        return False

    def observed(self, rule: Rule, ahead: int = 0) -> bool:
        """Whether an accumulating scorer looks at this step."""
        return rule.observe is None or rule.observe(self.time.clock(rule.name, ahead))
