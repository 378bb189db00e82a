"""Random sets of rules: resumed anywhere, and under Ignite, a run is the same bit for bit.

SLEEPENGINE_EXAMPLES=1000 draws that many sets in place of a few.
"""

from __future__ import annotations

import os
import random

import pytest
import torch
from ignite.engine import Events, create_supervised_trainer
from torch import optim
from torch.nn.functional import mse_loss

from saliency import (
    FirstMoment,
    Gradient,
    GradientChange,
    Magnitude,
    MagnitudeIncrease,
    Momentum,
    Movement,
    Random,
    Smoothed,
    Snip,
    Taylor,
)
from schedules import at, before, every, once, plateau
from sleepengine import (
    Freeze,
    Global,
    PerTensor,
    Reset,
    Rewind,
    Rule,
    ScheduleError,
    Sleep,
    SleepEngine,
    Thaw,
    Wake,
    Who,
    by,
    older_than,
    rate,
    to,
)

EXAMPLES = int(os.environ.get("SLEEPENGINE_EXAMPLES", "12"))
STEPS = 12
OPTIMIZERS = [
    lambda p: optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.05),
    lambda p: optim.Adam(p, 0.02, weight_decay=0.05),
    lambda p: optim.AdamW(p, 0.02),
    lambda p: optim.Adagrad(p, 0.05, initial_accumulator_value=0.1),
    lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    lambda p: optim.ASGD(p, 0.05, t0=2),
    lambda p: optim.Rprop(p, 0.01),
]
SCORERS = [
    Magnitude,
    Random,
    Gradient,
    Taylor,
    Snip,
    Movement,
    lambda: Smoothed(Magnitude()),
    lambda: Smoothed(Gradient()),
    Momentum,
    FirstMoment,
    GradientChange,
    MagnitudeIncrease,
    lambda: None,
]


def trigger(draw):
    return draw.choice(
        [
            every(f"{draw.randint(1, 5)}it"),
            once(f"{draw.randint(0, 10)}it"),
            every(f"{draw.randint(1, 4)}it", after=f"{draw.randint(0, 5)}it"),
            at("0it", f"{draw.randint(1, 9)}it"),
            plateau("loss", draw.randint(1, 3)),
            every("3it") & ~before(f"{draw.randint(1, 8)}it"),
        ]
    )


def action(draw):
    """An action, and an amount that suits it."""
    share = round(draw.random() * 0.6, 2)
    wake = Wake(
        draw.choice(["parked", "zero", "original", "fresh"]),
        draw.choice(["keep", "zero", "parked"]),
    )
    reset = Reset(draw.choice(["fresh", "zero", "original"]), draw.choice(["zero", "keep"]))
    return draw.choice(
        [
            (Sleep(draw.random() < 0.3), draw.choice([to(share), by(0.1), rate(0.03)])),
            (Sleep(), draw.choice([to(share), by(0.1)])),
            (wake, draw.choice([to(share), by(0.3)])),
            (wake, to(share)),
            (Freeze(), draw.choice([to(share), by(0.1), rate(0.02)])),
            (Thaw(), draw.choice([to(share), by(0.3)])),
            (reset, draw.choice([by(0.1), rate(0.03)])),
        ]
    )


def rule(draw):
    how = draw.choice([{}, {}, {"at": "before_step"}, {"skip_step": True}])
    if draw.random() < 0.12:
        parts = {part: draw.random() < 0.5 for part in ("optimizer", "frozen", "parked")}
        rewind = Rewind(to=draw.choice(["init", "fresh"]), schedule=False, **parts)
        return Rule(trigger(draw), None, rewind, **how)
    what, amount = action(draw)
    who = Who(
        draw.choice(SCORERS)(),
        pools=draw.choice([Global(), PerTensor()]),
        amount=amount,
        where=() if draw.random() < 0.7 else older_than(f"{draw.randint(1, 4)}it"),
    )
    return Rule(trigger(draw), who, what, **how)


class Session:
    """Everything of one run, drawn from a seed."""

    def __init__(self, seed, net, check_every=1):
        draw = random.Random(seed)
        self.model = net(norm=True)
        self.optimizer = draw.choice(OPTIMIZERS)(self.model.parameters())
        self.engine = SleepEngine(
            self.model,
            self.optimizer,
            [rule(draw) for _ in range(draw.randint(1, 4))],
            seed=seed,
            check_every=check_every,
            keep=("init",),
            memory=draw.choice(["fast", "lean"]),
        )

    def parts(self):
        return {"model": self.model, "optimizer": self.optimizer, "sleeper": self.engine}

    def saved(self):
        return {name: part.state_dict() for name, part in self.parts().items()}

    def plain(self, batch, first=0):
        for i in range(first, STEPS):
            x, y = batch(i)
            self.optimizer.zero_grad()
            mse_loss(self.model(x), y).backward()
            self.optimizer.step()
            self.engine.metric("loss", i % 4)
            yield

    def ignite(self, batch):
        trainer = create_supervised_trainer(self.model, self.optimizer, mse_loss)
        self.engine.attach(trainer)
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED,
            lambda t: self.engine.metric("loss", (t.state.iteration - 1) % 4),
        )
        trainer.run([batch(i) for i in range(STEPS)], max_epochs=1)


@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_resumed_and_under_ignite(seed, net, batch, difference, through_file):
    whole = Session(seed, net)
    try:
        whole.engine.attach()
        checkpoints = [through_file(whole.saved())]
        for _ in whole.plain(batch):
            checkpoints.append(through_file(whole.saved()))
    except ScheduleError:  # a share of something that is not there
        return
    result = whole.saved()
    for cut in random.Random(seed).sample(range(STEPS + 1), 3):
        again = Session(seed, net)
        names = list(again.parts())
        random.Random(seed + cut).shuffle(names)
        for name in names:
            again.parts()[name].load_state_dict(checkpoints[cut][name])
        again.engine.attach()
        assert difference(again.saved(), checkpoints[cut]) == "", cut
        for _ in again.plain(batch, cut):
            pass
        assert difference(again.saved(), result) == "", cut
    trained = Session(seed, net, check_every=0)  # a rule may be never due in so short a run
    trained.ignite(batch)
    for name in ("model", "optimizer"):
        assert difference(trained.saved()[name], result[name]) == "", name
    assert trained.engine.store.digest() == whole.engine.store.digest()


def test_most_sets_of_rules_do_something(net, batch):
    """Else the test above would show little."""
    busy = 0
    for seed in range(12):
        session = Session(seed, net)
        session.engine.attach()
        try:
            for _ in session.plain(batch):
                pass
        except ScheduleError:
            continue
        busy += sum(record.changed > 0 for record in session.engine.journal) >= 2
    assert busy >= 6


def test_moments_of_weights_that_do_not_train_count_as_zero(row, push):
    """Weight decay moves what the optimizer holds for a frozen weight; no scorer sees it."""
    seen = []

    class Spy(FirstMoment):
        def score(self, signals):
            seen.append(signals.moments["weight"].tolist())
            return super().score(signals)

    layer = row(1.0, 2.0)
    optimizer = optim.SGD(layer.parameters(), 0.1, momentum=0.5, weight_decay=0.5)
    nothing = Rule(once("2it"), Who(Spy(), amount=by(0.0)), Freeze())
    engine = SleepEngine(layer, optimizer, [nothing]).attach()
    engine.freeze_weights("weight", (0, 0))
    push(layer, optimizer, 1.0, 1.0)
    push(layer, optimizer, 1.0, 1.0)
    assert seen[0][0][0] == 0.0 < seen[0][0][1]


def test_a_change_of_gradients_may_be_scored_before_the_step(row, push):
    """|g - g'| of the step at hand and the one before it: 0, 3 and 1."""
    layer = row(1.0, 2.0, 3.0)
    optimizer = optim.SGD(layer.parameters(), 0.0)
    who = Who(GradientChange(), amount=by(0.34))
    engine = SleepEngine(layer, optimizer, [Rule(once("1it"), who, Sleep(), at="before_step")])
    engine.attach()
    push(layer, optimizer, 1.0, 1.0, 1.0)
    push(layer, optimizer, 1.0, 4.0, 2.0)
    assert layer.weight.tolist() == [[0.0, 2.0, 3.0]]


def test_a_saved_engine_does_not_depend_on_the_order_in_which_weights_froze(net, difference):
    states = []
    for layers in (("0", "2"), ("2", "0")):
        engine = SleepEngine(net())
        for layer in layers:
            engine.freeze_weights(layer, (0, slice(None)))
        states.append(engine.state_dict()["frozen"])
    assert difference(*states) == ""
    assert torch.is_tensor(states[0]["frozen_values"]["0.weight"]["values"])
