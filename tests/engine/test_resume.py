"""A run that is saved, rebuilt from nothing and continued equals one that was never stopped."""

from __future__ import annotations

import pytest
from torch import nn, optim
from torch.nn.functional import mse_loss

from saliency import Gradient
from schedules import every
from sleepengine import (
    Rule,
    Sleep,
    SleepEngine,
    StateError,
    Who,
    count,
)

from .resumed_rules import RULES, cloned, rigl, with_memory

STEPS = 12


class Session:
    """Everything of one run; built from nothing each time."""

    def __init__(self, rules, net):
        self.model = net(norm=True)
        self.optimizer = optim.Adam(self.model.parameters(), 0.02, weight_decay=0.01)
        self.schedule = optim.lr_scheduler.StepLR(self.optimizer, 5)
        self.engine = SleepEngine(
            self.model, self.optimizer, rules(), scheduler=self.schedule, seed=3
        )

    def parts(self):
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "sleeper": self.engine,
        }

    def saved(self):
        return {name: part.state_dict() for name, part in self.parts().items()}

    def loaded(self, states, order):
        for name in order:
            self.parts()[name].load_state_dict(states[name])

    def run(self, batch, first, last):
        for i in range(first, last):
            x, y = batch(i)
            self.optimizer.zero_grad()
            loss = mse_loss(self.model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.engine.metric("loss", i % 4)
            yield


ORDERS = [
    ["model", "optimizer", "schedule", "sleeper"],
    ["sleeper", "schedule", "optimizer", "model"],
    ["optimizer", "sleeper", "model", "schedule"],
]


@pytest.mark.parametrize("kind", list(RULES))
def test_plain_loop_at_every_step(kind, net, batch, difference, through_file):
    whole = Session(RULES[kind], net)
    whole.engine.attach()
    checkpoints = [through_file(whole.saved())]
    for _ in whole.run(batch, 0, STEPS):
        checkpoints.append(through_file(whole.saved()))
    assert len(whole.engine.journal) > 2
    for cut, states in enumerate(checkpoints):
        again = Session(RULES[kind], net)
        again.loaded(states, ORDERS[cut % len(ORDERS)])
        again.engine.attach()
        for step in again.run(batch, cut, STEPS):
            assert step is None
        assert difference(again.saved(), whole.saved()) == "", cut


def test_a_loaded_state_stays_as_it_is(net, batch, difference, through_file):
    whole = Session(with_memory, net)
    whole.engine.attach()
    for _ in whole.run(batch, 0, 6):
        pass
    states = through_file(whole.saved())
    again = Session(with_memory, net)
    again.loaded(states, ORDERS[0])
    again.engine.attach()
    for _ in again.run(batch, 6, STEPS):
        pass
    assert difference(states["sleeper"], through_file(whole.engine.state_dict())) == ""


def test_loading_into_an_attached_engine_plans_the_next_step_anew(net, batch, same):
    """The gradient rule of the next step needs its gradients watched."""

    def rules():
        return [Rule(every("2it"), Who(Gradient(), amount=count(2)), Sleep())]

    whole = Session(rules, net)
    whole.engine.attach()
    for i, _ in enumerate(whole.run(batch, 0, 4)):
        if i == 0:
            states = {name: dict(state) for name, state in whole.saved().items()}
            states["model"] = {n: t.clone() for n, t in states["model"].items()}
            states["optimizer"] = cloned(states["optimizer"])
    again = Session(rules, net)
    again.engine.attach()
    again.loaded(states, ORDERS[0])
    for _ in again.run(batch, 1, 4):
        pass
    assert same(again.saved(), whole.saved())


def test_loading_after_attach_is_refused_where_attach_has_cleared_what_is_needed(net, batch):
    whole = Session(rigl, net)
    whole.engine.attach()
    for _ in whole.run(batch, 0, 4):
        pass
    again = Session(rigl, net)
    again.loaded({name: whole.saved()[name] for name in ("model", "optimizer")}, ["model"])
    again.engine.attach()
    with pytest.raises(StateError, match=r"load_state_dict\(\) before attach\(\)"):
        again.engine.load_state_dict(whole.engine.state_dict())
