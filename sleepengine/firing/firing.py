"""Fire rules as one transaction: signals, choice, action, journal, events, undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from sleepengine.actions.action import Action
from sleepengine.actions.live import Live
from sleepengine.actions.values import Parked
from sleepengine.choosing.shares import Carry
from sleepengine.enforcement.hooks import Enforcer
from sleepengine.enforcement.policies import StatePolicy
from sleepengine.errors import SetupError
from sleepengine.firing.gathering import Gatherer
from sleepengine.firing.memories import Memories
from sleepengine.firing.node_picking import bound, pick_nodes
from sleepengine.firing.picking import Picked, pick
from sleepengine.firing.records import Records
from sleepengine.firing.restarts import tell_scorers
from sleepengine.firing.transaction import Transaction
from sleepengine.firing.undo import PreImage
from sleepengine.journal import Journal, Record
from sleepengine.masks.choice import Choice
from sleepengine.masks.planes import Changes
from sleepengine.masks.store import MaskStore
from sleepengine.rules.ages import Restarted, of_nodes, tell_filters
from sleepengine.rules.happenings import Handler, Happening, kinds_of, news_of
from sleepengine.rules.rule import Rule
from sleepengine.rules.timekeeper import Timekeeper


class Firing:
    """Turns rules that are due into one net change, and tells the journal and the handlers."""

    def __init__(
        self,
        live: Live,
        enforcer: Enforcer,
        time: Timekeeper,
        gatherer: Gatherer,
        journal: Journal,
        scope_of: Callable[[Rule], Sequence[str]],
        scope: Sequence[str],
        undo: bool,
    ) -> None:
        self._live = live
        self._enforcer = enforcer
        self._time = time
        self.gatherer = gatherer
        self._journal = journal
        self.scope_of = scope_of
        self.scope = scope
        self._records = Records(live, time, journal, scope)
        self._undoes = undo
        live.gradient_moved = self._gradient_moved
        self._pre_image: PreImage | None = None
        self.done = 0  # transactions, whether or not they were undone
        self.rules: Sequence[Rule] = ()  # all of the engine, whose filters may remember
        self.carries: dict[str, Carry] = {}  # what a rate left over, by rule
        self.handlers: list[tuple[Happening, Handler]] = []
        self.happened: dict[Happening, int] = dict.fromkeys(Happening, 0)  # how often so far

    def fire(self, rules: Sequence[Rule], captured: Mapping[str, Tensor] | None) -> Changes:
        """Fire these rules as one transaction, each seeing the masks the ones before left."""
        transaction = Transaction(self._live, self._enforcer, self._time.iteration)
        drafts: list[Record] = []
        carries = dict(self.carries)
        reset: list[Restarted] = []
        for rule in rules:
            picked = self._pick(rule, transaction, captured, carries)
            carries[rule.name] = picked.carry
            done = rule.what.apply(transaction, picked.choice)
            transaction.compensate(picked.update)
            drafts.append(self._records.draft(rule, picked, done))
            if rule.what.event == Happening.RESET.name:
                reset.append(Restarted(picked.choice, done))
        changes = self._commit(transaction, drafts, rules=rules, reset=reset)
        self.carries = carries
        for rule in rules:
            self._time.fired(rule.name)
        self._tell(drafts, changes, transaction.node_changes, reset)
        return changes

    def at_once(self, action: Action, choice: Choice, name: str = "direct call") -> Changes:
        """Do one action to chosen weights now."""
        transaction = Transaction(self._live, self._enforcer, self._time.iteration)
        done = action.apply(transaction, choice)
        draft = self._records.record(name, str(action), repr(action), done)
        reset = [Restarted(choice, done)] if action.event == Happening.RESET.name else []
        changes = self._commit(transaction, [draft], reset=reset)
        self._tell([draft], changes, transaction.node_changes, reset)
        return changes

    def become(self, masks: MaskStore, name: str = "set masks") -> Changes:
        """Make the masks equal to these; what wakes comes back as it fell asleep."""
        transaction = Transaction(self._live, self._enforcer, self._time.iteration)
        transaction.become(masks, Parked(), StatePolicy.KEEP)
        drafts: list[Record] = []
        changes = self._commit(transaction, drafts, name)
        self._tell(drafts, changes, transaction.node_changes)
        return changes

    def undo(self) -> bool:
        """Take back the last transaction; True when bit for bit."""
        image, self._pre_image = self._pre_image, None
        if image is not None:
            before = self._live.store.fork()
            self._put_back(image)
            self._note_undo(before, "bit for bit")
            return True
        last = self._journal.last()
        if last is None:
            raise SetupError("there is nothing to undo: the journal is empty")
        before = self._live.store.fork()
        transaction = Transaction(self._live, self._enforcer, self._time.iteration)
        transaction.become(self._journal.masks_before(last.transaction), Parked(), StatePolicy.KEEP)
        transaction.commit()
        self._note_undo(before, "masks only: steps were taken since; parked values came back")
        return False

    def _put_back(self, image: PreImage) -> None:
        """Wholly, even if it is interrupted; writing it twice does no harm."""
        try:
            self._bring_back(image)
        except BaseException:
            self._bring_back(image)
            raise

    def _bring_back(self, image: PreImage) -> None:
        touched = image.put_back(self._live)
        self._enforcer.sync(touched)
        self._enforcer.accept(touched)
        image.put_gradients_back()
        if image.memories is not None:
            image.memories.put_back()
            self.carries = image.memories.carries

    def _gradient_moved(self, old: Tensor, new: Tensor) -> None:
        if self._pre_image is not None:
            self._pre_image.moved(old, new)

    def forget_undo(self) -> None:
        """A step is coming: from now on undo restores masks only."""
        self._pre_image = None

    def observe(self, rules: Sequence[Rule], captured: Mapping[str, Tensor] | None) -> None:
        """Let accumulating scorers look at this step, each once even when rules share it."""
        seen: set[int] = set()
        for rule in rules:
            scorer = None if rule.who is None else rule.who.scorer
            if scorer is not None and scorer.accumulates and id(scorer) not in seen:
                seen.add(id(scorer))
                names, store = self.scope_of(rule), self._live.store
                scorer.observe(self.gatherer.signals(rule, names, store, captured, self._time.step))

    # --- inside --------------------------------------------------------------------------------

    def _pick(
        self,
        rule: Rule,
        transaction: Transaction,
        captured: Mapping[str, Tensor] | None,
        carries: Mapping[str, Carry],
    ) -> Picked:
        if rule.who is None:
            return Picked(Choice.empty())
        store = transaction.store
        names = self.scope_of(rule)
        changed, step = transaction.changed(), self._time.step
        signals = self.gatherer.signals(rule, names, store, captured, step, changed)
        clock = self._time.clock(rule.name)
        carry = carries.get(rule.name, 0.0)
        units = bound(rule, transaction.nodes)
        if units is not None:
            nodes = transaction.nodes
            weights = {**self._live.params, **changed}
            return pick_nodes(rule, rule.who, units, signals, store, nodes, clock, weights, carry)
        return pick(rule, names, signals, store, clock, carry)

    def _commit(
        self,
        transaction: Transaction,
        drafts: list[Record],
        name: str | None = None,
        *,
        rules: Sequence[Rule] = (),
        reset: Sequence[Restarted] = (),
    ) -> Changes:
        live = self._live
        before = live.store.fork()
        self._pre_image = None
        image, happened = PreImage(live, transaction), self.happened
        try:
            changes = transaction.commit()
            image.committed()
            both = (changes, transaction.node_changes)
            concerned = (*self.rules, *rules)
            told = bool(reset) or not (changes.woke.is_empty() and both[1].woke.is_empty())
            image.memories = Memories(self.carries, concerned, told)
            tell_filters(concerned, self.scope_of, live, self._time.clock(), both, reset)
            tell_scorers(concerned, self.scope_of, live, both, reset, self._time.step)
            if name is not None:
                drafts += self._records.from_outside(name, changes._asdict())
            live.ranks.check_same(live.store.digest, drafts[0].rule if drafts else "a change")
            kinds = kinds_of(drafts, changes)
            self.happened = {kind: n + (kind in kinds) for kind, n in happened.items()}
            drafts[:] = self._records.append(drafts, before)
        except BaseException:  # a value that cannot be written, an interrupt: all or nothing
            self.happened = happened
            self._put_back(image)
            raise
        self.done += 1
        if self._undoes:
            self._pre_image = image
        return changes

    def _note_undo(self, before: MaskStore, note: str) -> None:
        self._records.append([self._records.undone(before, note)], before)

    def _tell(
        self,
        records: Sequence[Record],
        changes: Changes,
        nodes: Changes,
        reset: Sequence[Restarted] = (),
    ) -> None:
        told = news_of(self._time.iteration, records, changes, (*nodes, of_nodes(reset)))
        for kind, handler in list(self.handlers):
            for news in told:
                if news.happening is kind:
                    handler(news)
