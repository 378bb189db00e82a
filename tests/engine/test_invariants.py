"""Random sequences of everything an engine can be asked, against masks written by hand.

SLEEPENGINE_EXAMPLES=1000 runs that many random sequences for each optimizer in place of a few fixed
ones.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from schedules import once
from sleepengine import Reset, Rewind, Rule, SleepEngine, Who, by, where

EXAMPLES = int(os.environ.get("SLEEPENGINE_EXAMPLES", "0"))

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "SGD": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.05),
    "Adam": lambda p: optim.Adam(p, 0.05, amsgrad=True, weight_decay=0.05),
    "AdamW": lambda p: optim.AdamW(p, 0.05),
    "NAdam": lambda p: optim.NAdam(p, 0.05, weight_decay=0.05, decoupled_weight_decay=True),
    "RAdam": lambda p: optim.RAdam(p, 0.05, weight_decay=0.05),
    "Adamax": lambda p: optim.Adamax(p, 0.05, weight_decay=0.05),
    "Adagrad": lambda p: optim.Adagrad(p, 0.1, initial_accumulator_value=0.5, weight_decay=0.05),
    "Adadelta": lambda p: optim.Adadelta(p, 1.0, weight_decay=0.05),
    "RMSprop": lambda p: optim.RMSprop(p, 0.02, momentum=0.9, centered=True, weight_decay=0.05),
    "Rprop": lambda p: optim.Rprop(p, 0.02),
    "ASGD": lambda p: optim.ASGD(p, 0.1, lambd=0.05, t0=2, weight_decay=0.05),
    "Adafactor": lambda p: optim.Adafactor(p, 0.05, weight_decay=0.05),
    "Muon": lambda p: optim.Muon(p, 0.05),
    "LBFGS": lambda p: optim.LBFGS(p, 0.5, max_iter=3),
}
FIRST = {"exp_avg", "momentum_buffer", "grad_avg", "prev", "ax"}
SECOND = {"exp_avg_sq", "max_exp_avg_sq", "exp_inf", "square_avg", "sum", "acc_delta", "variance"}


def test_every_dense_optimizer_is_here():
    known = {n for n, c in vars(optim).items() if isinstance(c, type) and issubclass(c, Optimizer)}
    assert known - {"Optimizer", "SparseAdam"} == set(OPTIMIZERS)


# --- by hand -----------------------------------------------------------------------------------


class Hand:
    """Masks written by hand into a plain run; nothing of the engine is used."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.params = dict(model.named_parameters())
        empty = {n: torch.zeros_like(p, dtype=torch.bool) for n, p in self.params.items()}
        self.asleep, self.frozen = empty, copy.deepcopy(empty)
        self.values = {n: p.detach().clone() for n, p in self.params.items()}  # parked, or frozen
        self.seconds: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}  # values, where known
        self.init = {n: p.detach().clone() for n, p in self.params.items()}
        self.init_state = copy.deepcopy(optimizer.state_dict())

    def still(self, name: str) -> Tensor:
        return self.asleep[name] | self.frozen[name]

    @torch.no_grad()
    def change(self, kind: str, name: str, mask: Tensor, on: bool) -> None:
        param, before = self.params[name], self.still(name).clone()
        which = self.asleep if kind == "asleep" else self.frozen
        new = mask & (~which[name] if on else which[name])
        if kind == "asleep" and on:
            awake_value = new & ~self.frozen[name]  # the value of a frozen one is known already
            self.values[name][awake_value] = param[awake_value]
            param[new] = 0.0
            self.forget_history(new & self.frozen[name])
        if kind == "asleep" and not on:
            param[new] = self.values[name][new]
        if kind == "frozen" and on:
            awake = new & ~self.asleep[name]
            self.values[name][awake] = param[awake]
        which[name] = which[name] | new if on else which[name] & ~new
        self.rest(name, self.still(name) & ~before)
        self.rise(name, before & ~self.still(name))
        self.mask_gradient(name)

    def state(self, name: str) -> dict[str, Tensor]:
        param = self.params[name]
        state = self.optimizer.state.get(param, {})
        return {k: v for k, v in state.items() if isinstance(v, Tensor) and v.shape == param.shape}

    def forget_history(self, where: Tensor) -> None:
        if isinstance(self.optimizer, optim.LBFGS) and bool(where.any()):
            self.optimizer.state.clear()

    def rest(self, name: str, where: Tensor) -> None:
        self.forget_history(where)
        for key, value in self.state(name).items():
            if key in FIRST:
                value[where] = 0.0
            elif key in SECOND:
                kept, known = self.seconds.setdefault(
                    (name, key), (torch.zeros_like(value), torch.zeros_like(where))
                )
                kept[where], known[where] = value[where], True

    def rise(self, name: str, where: Tensor) -> None:
        self.forget_history(where)
        for key, value in self.state(name).items():
            if key in FIRST:
                value[where] = self.params[name][where] if key == "ax" else 0.0
            elif key in SECOND:
                kept, known = self.seconds.get((name, key), (None, torch.zeros_like(where)))
                value[where] = self.fresh_second(key)
                if kept is not None:
                    value[where & known] = kept[where & known]
                    known[where] = False

    def fresh_second(self, key: str) -> float:
        return 0.5 if key == "sum" else 0.0

    def mask_gradient(self, name: str) -> None:
        grad = self.params[name].grad
        if grad is not None:
            grad.masked_fill_(self.still(name), 0.0)

    @torch.no_grad()
    def repair(self) -> None:
        for name, param in self.params.items():
            awake = ~self.asleep[name]
            param[~awake] = 0.0
            stays = self.frozen[name] & awake
            param[stays] = self.values[name][stays]

    @torch.no_grad()
    def reset(self, name: str, mask: Tensor) -> None:
        where = mask & ~self.still(name)
        self.forget_history(where)
        self.params[name][where] = 0.0
        for key, value in self.state(name).items():
            if key in FIRST:
                value[where] = 0.0
            elif key in SECOND:
                value[where] = self.fresh_second(key)
            elif key == "step_size":
                value[where] = self.optimizer.param_groups[0]["lr"]

    @torch.no_grad()
    def rewind(self) -> None:
        for name, param in self.params.items():
            goes = ~self.still(name)
            param[goes] = self.init[name][goes]
        self.optimizer.load_state_dict(copy.deepcopy(self.init_state))
        self.seconds = {}
        for name in self.params:
            self.rest(name, self.still(name))

    def remember(self) -> dict[str, Any]:
        return copy.deepcopy(
            {
                "params": {n: p.detach() for n, p in self.params.items()},
                "state": {n: dict(self.optimizer.state.get(p, {})) for n, p in self.params.items()},
                "own": (self.asleep, self.frozen, self.values, self.seconds),
            }
        )

    @torch.no_grad()
    def go_back(self, before: dict[str, Any]) -> None:
        for name, param in self.params.items():
            param.copy_(before["params"][name])
            self.optimizer.state.pop(param, None)
            if before["state"][name]:
                self.optimizer.state[param] = before["state"][name]
        self.asleep, self.frozen, self.values, self.seconds = before["own"]


# --- one run, twice ----------------------------------------------------------------------------


@dataclass
class Pair:
    """The same run under an engine and by hand."""

    make: Callable[..., Optimizer]
    build: Callable[..., nn.Module]
    through_file: Callable[[Any], Any]
    words: Callable[[Tensor], Tensor]
    dtype: torch.dtype
    memory: str

    def __post_init__(self) -> None:
        self.model, by_hand = self.build(0), self.build(0)
        self.optimizer = self.make(self.model.parameters())
        self.engine = self.attached(self.model, self.optimizer)
        self.hand = Hand(by_hand, self.make(by_hand.parameters()))
        self.before: dict[str, Any] | None = None  # the run by hand before the last transaction

    def attached(self, model: nn.Module, optimizer: Optimizer) -> SleepEngine:
        return SleepEngine(
            model, optimizer, keep=("init",), check_every=1, memory=self.memory
        ).attach()

    def mask(self, seed: int) -> tuple[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        names = list(self.hand.params)
        name = names[seed % len(names)]
        shape = self.hand.params[name].shape
        return name, torch.rand(shape, generator=generator) < (seed % 5 + 1) / 6

    def loss(self, model: nn.Module, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        x, y = (torch.randn(4, width, generator=generator).to(self.dtype) for width in (5, 3))
        return ((model(x) - y) ** 2).sum()

    def change(self, kind: str, on: bool, seed: int) -> None:
        name, mask = self.mask(seed)
        self.before = self.hand.remember()
        call = {
            ("asleep", True): self.engine.sleep_weights,
            ("asleep", False): self.engine.wake_weights,
            ("frozen", True): self.engine.freeze_weights,
            ("frozen", False): self.engine.thaw_weights,
        }[kind, on]
        call(name, mask)
        self.hand.change(kind, name, mask, on)

    def backward(self, seed: int) -> None:
        self.loss(self.model, seed).backward()
        self.loss(self.hand.model, seed).backward()
        for name in self.hand.params:
            self.hand.mask_gradient(name)

    def step(self, seed: int, backwards: int = 1) -> None:
        self.before = None
        if isinstance(self.optimizer, optim.LBFGS):
            self.closure_step(seed)
        else:
            for micro in range(backwards):
                self.backward(seed + micro)
            if backwards:
                for model in (self.model, self.hand.model):
                    nn.utils.clip_grad_norm_(model.parameters(), 0.5 + seed % 3)
            self.optimizer.step()
            self.hand.optimizer.step()
            self.hand.repair()
        self.zero_grad()

    def closure_step(self, seed: int) -> None:
        def closure() -> Tensor:
            self.optimizer.zero_grad()
            loss = self.loss(self.model, seed)
            loss.backward()
            return loss

        def by_hand() -> Tensor:
            self.hand.optimizer.zero_grad()
            loss = self.loss(self.hand.model, seed)
            loss.backward()
            for name in self.hand.params:
                self.hand.mask_gradient(name)
            return loss

        self.optimizer.step(closure)
        self.hand.optimizer.step(by_hand)
        self.hand.repair()

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()
        self.hand.optimizer.zero_grad()

    def reset(self, seed: int) -> None:
        chosen, mask = self.mask(seed)
        self.before = self.hand.remember()
        only = where(lambda name, shape: mask)
        who = Who(None, amount=by(1.0), params=chosen, where=only)
        self.engine.fire(Rule(once("0it"), who, Reset(value="zero")))
        self.hand.reset(chosen, mask)

    def rewind(self, seed: int) -> None:
        self.before = self.hand.remember()
        self.engine.fire(Rule(once("0it"), None, Rewind(to="init")))
        self.hand.rewind()

    def undo(self, seed: int) -> None:
        if self.before is None:
            return
        assert self.engine.undo() is True
        self.hand.go_back(self.before)
        self.before = None

    def reload(self, seed: int) -> None:
        """Save all, build all anew, load it in one of the six orders."""
        self.zero_grad()
        saved = self.through_file(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "sleeper": self.engine.state_dict(),
            }
        )
        self.engine.detach()
        self.model = self.build(seed % 7)
        self.optimizer = self.make(self.model.parameters())
        self.engine = self.attached(self.model, self.optimizer)
        parts = {"model": self.model, "optimizer": self.optimizer, "sleeper": self.engine}
        order = sorted(parts, key=lambda part: (seed * len(part)) % 11)
        for part in order:
            parts[part].load_state_dict(saved[part])
        self.before = None

    def detach(self, seed: int) -> None:
        self.engine.detach()
        self.engine.attach()
        self.before = None

    def check(self) -> None:
        params = dict(self.model.named_parameters())
        for name, param in params.items():
            by_hand = self.hand
            awake = self.engine.store.awake(name)
            asleep = torch.zeros_like(param, dtype=torch.bool) if awake is None else ~awake
            assert torch.equal(asleep, by_hand.asleep[name])
            assert int(self.words(param)[asleep].count_nonzero()) == 0
            stays = by_hand.frozen[name] & ~asleep
            assert torch.equal(self.words(param)[stays], self.words(by_hand.values[name])[stays])
            assert torch.equal(self.words(param), self.words(by_hand.params[name])), name
        self.engine.check()


@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop", "Adamax"])
def test_frozen_weights_that_fall_asleep_rest(kind, net, train, words):
    """Weight decay has moved the momentum of a frozen weight; asleep it must not move by it."""
    model = net()
    optimizer = OPTIMIZERS[kind](model.parameters())
    engine = SleepEngine(model, optimizer, park_state="all").attach()
    train(model, optimizer, 1)
    seconds = {k: v.clone() for k, v in optimizer.state[model[0].weight].items() if k in SECOND}
    engine.freeze_weights("0")
    train(model, optimizer, 3)
    engine.sleep_weights("0")  # nothing stays to be repaired after the step
    train(model, optimizer, 2)
    assert int(words(model[0].weight).count_nonzero()) == 0
    engine.thaw_weights("0")
    engine.wake_weights("0")  # the second moments are those of the moment of freezing
    for key, value in seconds.items():
        assert torch.equal(optimizer.state[model[0].weight][key], value)


SEEDS = st.integers(0, 999)
STEPS = st.tuples(st.sampled_from(["step", "accumulated", "backward", "no gradient"]), SEEDS)
CHANGES = st.tuples(st.sampled_from(["sleep", "wake", "freeze", "thaw"]), SEEDS)
OTHERS = st.tuples(st.sampled_from(["reset", "rewind", "undo", "reload", "detach"]), SEEDS)
SEQUENCES = st.lists(st.one_of(STEPS, CHANGES, OTHERS), min_size=4, max_size=16)


def perform(pair: Pair, operation: str, seed: int) -> None:
    lbfgs = isinstance(pair.optimizer, optim.LBFGS)
    if operation == "step" or (lbfgs and operation in ("accumulated", "no gradient")):
        pair.step(seed)
    elif operation == "accumulated":
        pair.step(seed, backwards=3)
    elif operation == "no gradient":
        pair.zero_grad()
        pair.step(seed, backwards=0)
    elif operation == "backward":
        pair.backward(seed)
    elif operation in ("sleep", "wake"):
        pair.change("asleep", operation == "sleep", seed)
    elif operation in ("freeze", "thaw"):
        pair.change("frozen", operation == "freeze", seed)
    else:
        getattr(pair, operation)(seed)


@pytest.fixture
def pair(net, through_file, words):
    def make(kind: str, dtype: torch.dtype = torch.float32, memory: str = "fast") -> Pair:
        def build(seed: int) -> nn.Module:
            model = net(seed, bias=kind != "Muon")
            with torch.no_grad():
                model[0].weight[0, 0] = -0.0
            return model.to(dtype)

        return Pair(OPTIMIZERS[kind], build, through_file, words, dtype, memory)

    return make


@pytest.mark.filterwarnings("ignore:(Adafactor scales|Muon mixes|LBFGS keeps):UserWarning")
@pytest.mark.parametrize(
    ("kind", "dtype", "memory"),
    [
        *((kind, torch.float32, "fast") for kind in OPTIMIZERS),
        ("SGD", torch.float32, "lean"),
        ("Adam", torch.float64, "fast"),
        ("AdamW", torch.bfloat16, "fast"),
        ("RMSprop", torch.bfloat16, "lean"),
        ("Muon", torch.float64, "lean"),
    ],
)
def test_one_long_sequence(kind, dtype, memory, pair):
    """A hundred operations, each kind of them several times at every age of the run."""
    run, draw = pair(kind, dtype, memory), random.Random(kind)
    operations = 4 * ["step"] + ["accumulated", "backward", "no gradient"]
    operations += 3 * ["sleep", "wake"] + 2 * ["freeze", "thaw"]
    operations += ["reset", "rewind", "undo", "reload", "reload", "detach"]
    for _ in range(100):
        perform(run, draw.choice(operations), draw.randrange(1000))
        run.check()


@pytest.mark.filterwarnings("ignore:(Adafactor scales|Muon mixes|LBFGS keeps):UserWarning")
@pytest.mark.parametrize("kind", list(OPTIMIZERS))
@settings(
    max_examples=EXAMPLES or 8,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sequence=SEQUENCES)
def test_random_sequences(kind, sequence, pair):
    run = pair(kind)
    for operation, seed in sequence:
        perform(run, operation, seed)
        run.check()
    run.step(7)
    run.check()
