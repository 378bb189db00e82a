"""The engine: for each rule that fires, signals -> scores -> choice -> action -> journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from sleepengine.actions.action import Action
from sleepengine.actions.live import Initialiser, Stateful
from sleepengine.attachment.plain_loop import Driver, PlainLoop
from sleepengine.calls import states
from sleepengine.calls.compact_calls import CompactCalls, compaction_of
from sleepengine.enforcement.hooks import Enforcer
from sleepengine.engine import arguments, node_setup, setup, state
from sleepengine.engine.conductor import Conductor
from sleepengine.engine.scaling import grad_scaler
from sleepengine.engine.sentinel import Sentinel
from sleepengine.errors import SetupError
from sleepengine.firing.agenda import Agenda
from sleepengine.firing.gathering import BatchLoss, Criterion, Gatherer
from sleepengine.firing.whole_firing import WholeFiring
from sleepengine.journal import Journal
from sleepengine.masks.choice import Choice
from sleepengine.masks.planes import Changes
from sleepengine.masks.store import MaskStore
from sleepengine.nodes.group import NodeGroup
from sleepengine.rules.happenings import Handler, Happening, happening
from sleepengine.rules.rule import Rule
from sleepengine.rules.timekeeper import Timekeeper

if TYPE_CHECKING:
    from ignite.engine import Engine


class SleepEngine(CompactCalls):
    """Weights sleep, wake, freeze and reset by rules, around an unmodified training loop.

    Args:
        model: any module; its parameters keep identity, order and `state_dict` keys.
        optimizer: one optimizer, or several (the first one's steps are the ticks of a plain loop).
        rules: what happens when; may be empty (direct calls still work).
        params: names or patterns in scope; None = weights of linear, convolution, attention.
        scheduler, sampler: LR scheduler(s) and data sampler(s), when a rule rewinds them.
        scaler: the loop's GradScaler, if it has one: scorers read unscaled gradients.
        data, loss_fn: batches and loss for rules with `batches=`; `loss_fn(output, target)`, or
            `BatchLoss(f)` with `f(model, batch)`.
        seed: of random scores and fresh draws; the global random state is never touched.
        keep: more points to keep than the rules ask for, such as ("500it",).
        initialisers: pattern -> draw in place, for layers without `reset_parameters`.
        memory: "fast" (expanded masks, dense parked values) or "lean" (bits, packed values).
        park_on: device of parked values: None (the parameter's) or "cpu".
        park_state: what of the optimizer state is parked: "auto" (what the rules ask for, at least
            second moments), "none", "second" or "all".
        undo: whether the last transaction can be undone bit for bit (copies what it touches).
        check_every: ticks between two looks of the sentinel; 0 = never.
        keep_records: the most records that the journal holds.
        nodes: node groups written by hand.
        example_inputs: inputs of one forward pass (a tensor, a tuple of arguments or a dict of
            keywords): finds the node groups (needs torch-pruning), and tries `compact()`.
        compact: None (only `compact()` makes tensors smaller) or "auto" (whenever it pays).

    Raises:
        SetupError: everything that cannot work, in one message.

    >>> import torch
    >>> import sleepengine as se
    >>> model = torch.nn.Linear(4, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[4.0, -1.0, 3.0, 2.0]]))
    >>> rule = se.Rule(se.once("0it"), se.Who(se.Magnitude(), amount=se.to(0.5)), se.Sleep())
    >>> with se.SleepEngine(model, torch.optim.SGD(model.parameters(), 0.1), [rule]).attach():
    ...     model.weight.tolist()
    [[4.0, 0.0, 3.0, 0.0]]
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        rules: Sequence[Rule] = (),
        *,
        params: str | Sequence[str] | None = None,
        scheduler: Stateful | Sequence[Stateful] | None = None,
        sampler: Stateful | Sequence[Stateful] | None = None,
        scaler: GradScaler | None = None,
        data: Iterable[Any] | None = None,
        loss_fn: Criterion | BatchLoss | None = None,
        seed: int = 0,
        keep: Sequence[str] = (),
        initialisers: Mapping[str, Initialiser] | None = None,
        memory: str = "fast",
        park_on: str | None = None,
        park_state: str = "auto",
        undo: bool = True,
        check_every: int = 100,
        keep_records: int | None = 10_000,
        nodes: Sequence[NodeGroup] = (),
        example_inputs: Any = None,
        compact: str | None = None,
    ) -> None:
        self.model = model
        self.rules = arguments.named(rules)
        self.live = live = setup.live_things(
            model,
            arguments.as_tuple(optimizer, Optimizer),
            arguments.as_tuple(scheduler, object),
            arguments.as_tuple(sampler, object),
            initialisers or {},
            arguments.Memory(memory, park_on, park_state),
            self.rules,
            seed,
        )
        live.nodes = node_setup.node_masks(live, nodes, example_inputs, self.rules)
        self.scope = setup.scope(model, params)
        self.time, live.scaler = Timekeeper(self.rules), grad_scaler(scaler)
        self.enforcer = Enforcer(live.store, live.state, lean=memory == "lean", buffers=live.held)
        self.journal = Journal({n: p.shape for n, p in live.params.items()}, keep=keep_records)
        gatherer = Gatherer(live, data, loss_fn, model)
        setup.check(live, self.rules, self.scope, self._names, gatherer)
        kept = (self.journal, self._names, self.scope, undo)
        self.firing = WholeFiring(live, self.enforcer, self.time, gatherer, *kept)
        self.conductor = Conductor(
            live,
            self.enforcer,
            self.time,
            Agenda(self.rules, self.time),
            self.firing,
            Sentinel(live, self.enforcer, check_every),
            setup.kept_times(self.rules, keep),
            node_setup.armed(live, self.rules, self.scope),
        )
        self.compaction = compaction_of(model, live, self.enforcer, example_inputs, compact)
        self._driver: Driver | None = None

    def _names(self, rule: Rule) -> tuple[str, ...]:
        """The parameters that a rule scores: its own, or the engine's scope."""
        return node_setup.names_of(self.live, rule, self.scope)

    def attach(
        self,
        trainer: Engine | None = None,
        *,
        steps_per_epoch: int | None = None,
        total_steps: int | None = None,
    ) -> SleepEngine:
        """Begin: with an Ignite trainer its iterations are the ticks, else the optimizer's steps.

        steps_per_epoch and total_steps are for plain loops whose rules use "ep" or "%".
        Returns the engine, a context manager that detaches at the end.

        Raises:
            SetupError: if the engine is attached already, another engine holds these parameters,
                or a rule cannot work with this clock.
        """
        if self._driver is not None:
            raise SetupError("this engine is attached already: detach() first")
        if trainer is None:
            driver: Driver = PlainLoop(self, steps_per_epoch, total_steps)
        else:
            from sleepengine.attachment.ignite_trainer import IgniteTrainer

            driver = IgniteTrainer(self, trainer, steps_per_epoch, total_steps)
        setup.warn(self.live, self.scope, self.rules)
        node_setup.warn(self.live, self.rules)
        driver.attach()
        self._driver = driver
        return self

    def detach(self, *, wake: bool = False) -> None:
        """Leave nothing behind; sleepers stay zero (their values stay here) unless `wake=True`."""
        self.expand()
        if wake:
            self._wake_all()
        if self._driver is not None:
            driver, self._driver = self._driver, None
            driver.detach()

    def __enter__(self) -> SleepEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    @property
    def attached(self) -> bool:
        """Whether the engine is attached."""
        return self._driver is not None

    def fire(self, *rules: Rule) -> Changes:
        """Fire these rules now, as one transaction, whatever their triggers say."""
        return self.conductor.fire(arguments.named(rules))

    def undo(self) -> bool:
        """Take back the last transaction; True when bit for bit (no step was taken since).

        After a step only the masks go back: what it put to sleep wakes with its parked values.
        """
        return self.firing.undo()

    def set_masks(self, masks: MaskStore | Mapping[str, Tensor]) -> Changes:
        """Make the masks equal to a store, or to layer or name -> bool tensor (True = awake)."""
        return self.firing.become(states.as_store(self.model, self.live.store, masks))

    def act(self, action: Action, choice: Choice) -> Changes:
        """Do one action to chosen weights now, as one transaction."""
        return self.firing.at_once(action, choice)

    def parameter(self, name: str) -> nn.Parameter:
        """The live parameter of that name."""
        return self.live.params[name]

    @property
    def store(self) -> MaskStore:
        """The masks."""
        return self.live.store

    def on(self, event: str | Happening, handler: Handler) -> None:
        """Call `handler(news)` after every transaction with this kind of event ("SLEPT", ...)."""
        self.firing.handlers.append((happening(event), handler))

    def metric(self, name: str, value: float) -> None:
        """Tell the triggers a metric that arrived now (plateau and friends)."""
        self.time.metric(name, value)
        self.conductor.outside(metrics=frozenset({name}))

    def happened(self, event: str) -> None:
        """Tell the rules that wait for `on(event)` that it happened now."""
        self.conductor.outside(frozenset({event}))

    def check(self) -> None:
        """Let the sentinel look now.

        Raises:
            LeakError: a sleeping weight is not +0.0, or a frozen one moved.
        """
        self.conductor.sentinel.look()

    def restart(self) -> None:
        """Set the clock back to before the first step (a new level, a new run); masks stay."""
        self.conductor.restart()

    def state_dict(self) -> dict[str, Any]:
        """Masks, parked values, clock, journal, kept points, memories of rules."""
        with self.live.whole():
            return state.of(self)

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Check all of a saved state, then apply it; StateError if anything does not fit."""
        with self.live.whole():
            state.load(self, saved)

    def __repr__(self) -> str:
        names = ", ".join(rule.name for rule in self.rules)
        return (
            f"SleepEngine({type(self.model).__name__}: {len(self.scope)} tensors in scope, "
            f"{self.fraction():.4f} asleep; rules: {names or 'none'})"
        )
