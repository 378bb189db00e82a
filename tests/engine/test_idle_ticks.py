"""Ticks on which nothing can be due do nothing; whatever makes one due is seen at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import sleepengine as se


def _run(rules: list[se.Rule], steps: int, check_every: int, full: bool) -> tuple[Any, ...]:
    """Train, and tell what was asleep after each step, the weights, and what is planned next."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    engine = se.SleepEngine(model, optimizer, rules, check_every=check_every).attach()
    generator, seen = torch.Generator().manual_seed(1), []
    for _ in range(steps):
        if full:
            engine.conductor._quiet_until = 0
        optimizer.zero_grad()
        model(torch.randn(4, 6, generator=generator)).square().sum().backward()
        optimizer.step()
        seen.append((engine.time.iteration, engine.store.digest()))
    agenda, conductor = engine.conductor.agenda, engine.conductor
    plan = (agenda.looked, agenda.window, agenda.waiting, conductor._stepped, conductor._since_step)
    engine.detach()
    return seen, plan, [p.detach().view(torch.int32).tolist() for p in model.parameters()]


def _sleep(when: object, share: float, name: str) -> se.Rule:
    return se.Rule(when, se.Who(se.Magnitude(), amount=se.to(share)), se.Sleep(), name=name)


@pytest.mark.parametrize("check_every", [0, 3])
def test_idle_and_full_ticks_train_the_same_bits(check_every: int) -> None:
    rules = [
        _sleep(se.every("4it", before="12it"), 0.5, "often"),
        se.Rule(se.once("9it"), se.Who(se.Magnitude(), amount=se.to(0.2)), se.Wake(), name="once"),
    ]
    assert _run(rules, 15, check_every, full=False) == _run(rules, 15, check_every, full=True)


def _engine(rules: list[se.Rule]) -> tuple[nn.Module, torch.optim.Optimizer, se.SleepEngine]:
    torch.manual_seed(0)
    model = nn.Linear(8, 8)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    return model, optimizer, se.SleepEngine(model, optimizer, rules, check_every=0)


def _steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        model(torch.ones(1, 8)).sum().backward()
        optimizer.step()


def test_between_two_due_ticks_no_trigger_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer, engine = _engine([_sleep(se.every("5it"), 0.5, "rule")])
    with engine.attach():
        looked: list[int] = []
        look = engine.conductor.agenda.look
        monkeypatch.setattr(
            engine.conductor.agenda,
            "look",
            lambda: (looked.append(engine.time.iteration), look()),
        )
        _steps(model, optimizer, 12)
    assert looked == [1, 5, 10]


def test_the_sentinel_looks_on_its_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer, engine = _engine([])
    engine.conductor.sentinel.every = 4
    with engine.attach():
        engine.sleep_weights("weight", torch.eye(8, dtype=torch.bool))
        looked: list[int] = []
        monkeypatch.setattr(
            engine.conductor.sentinel, "look", lambda: looked.append(engine.time.iteration)
        )
        _steps(model, optimizer, 10)
    assert looked == [4, 8]


def test_a_restart_ends_the_quiet() -> None:
    model, optimizer, engine = _engine([_sleep(se.once("3it"), 0.5, "rule")])
    with engine.attach():
        _steps(model, optimizer, 6)
        engine.wake_weights("weight")
        engine.restart()
        _steps(model, optimizer, 2)
        assert engine.store.asleep_count() == 0
        _steps(model, optimizer, 1)
        assert engine.store.asleep_count() > 0


def test_a_loaded_clock_ends_the_quiet() -> None:
    model, optimizer, engine = _engine([_sleep(se.once("3it"), 0.5, "rule")])
    with engine.attach():
        _steps(model, optimizer, 1)
        state = engine.state_dict()
        _steps(model, optimizer, 5)
        assert engine.store.asleep_count() > 0
        engine.load_state_dict(state)
        assert engine.store.asleep_count() == 0
        _steps(model, optimizer, 1)
        assert engine.store.asleep_count() == 0
        _steps(model, optimizer, 1)
        assert engine.store.asleep_count() > 0


def test_an_event_between_quiet_ticks_is_acted_on() -> None:
    later = _sleep(se.on("now"), 0.5, "rule")
    model, optimizer, engine = _engine([_sleep(se.once("50it"), 0.2, "never"), later])
    with engine.attach():
        _steps(model, optimizer, 3)
        engine.happened("now")
        assert engine.store.asleep_count() > 0


def test_a_held_step_inside_quiet_ticks_changes_nothing() -> None:
    model, optimizer, engine = _engine([])
    with engine.attach():
        _steps(model, optimizer, 3)
        before = model.weight.detach().clone()
        engine.enforcer.hold_step(optimizer)
        _steps(model, optimizer, 1)
        assert torch.equal(model.weight, before)
        _steps(model, optimizer, 1)
        assert not torch.equal(model.weight, before)
