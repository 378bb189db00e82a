"""An event that is interrupted happens wholly or not at all, and nothing parked is lost."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest
import torch
from torch import optim

from schedules import every
from sleepengine import Reset, Rule, Sleep, SleepEngine, Who, by

from .catalogue import kinds
from .comparing import check, words
from .masks import copied
from .networks import Network
from .operations import OPERATIONS
from .pair import Pair
from .scale import scaled
from .sequences import drawn

NETWORK = Network(sparse=False, bias=True, dtype=torch.float32)
PLACES = scaled(12, 500)  # lines of the engine at which each event is interrupted


class Interrupted(BaseException):
    """As KeyboardInterrupt, which pytest takes for itself."""


class Lines:
    """Counts the lines of the engine that run, and raises at one of them."""

    def __init__(self, at: int | None = None) -> None:
        self.count, self._at = 0, at

    def __call__(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        if "/sleepengine/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.count += 1
            if self.count == self._at:
                sys.settrace(None)
                raise Interrupted
        return self

    def run(self, act: Callable[[], object]) -> bool:
        """Whether it came to its end."""
        tracer = sys.gettrace()
        sys.settrace(self)
        try:
            act()
        except Interrupted:
            return False
        finally:
            sys.settrace(tracer)
        return True


def started() -> SleepEngine:
    """An engine in the middle of a run, with sleepers and frozen weights, between two steps."""
    torch.manual_seed(0)
    model = NETWORK.build(0)
    optimizer = optim.Adam(model.parameters(), 0.05, weight_decay=0.1)
    engine = SleepEngine(
        model, optimizer, params="*", nodes=[NETWORK.group()], keep=("init",), park_state="all"
    ).attach()
    for seed in range(3):
        optimizer.zero_grad()
        NETWORK.loss(model, seed).backward()
        optimizer.step()
        engine.sleep_weights("fc1", (seed, 0))
        engine.sleep_nodes("hidden", 3)
        engine.freeze_weights("fc2", (0, seed))
    NETWORK.loss(model, 9).backward()
    return engine


def picture(engine: SleepEngine) -> dict[str, Any]:
    """Everything that counts, in memory of its own."""
    state = engine.state_dict()
    for part in ("journal", "clock"):  # what was recorded and told of it comes after
        del state[part]
    return copied(
        {
            "model": engine.model.state_dict(),
            "optimizer": engine.live.optimizers[0].state_dict()["state"],
            "engine": state,
        }
    )


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.shape == b.shape and torch.equal(words(a), words(b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def reset() -> Rule:
    return Rule(every("1it"), Who(None, amount=by(0.5), params="fc1.weight"), Reset("original"))


ACTS: dict[str, Callable[[SleepEngine], object]] = {
    "sleep": lambda engine: engine.sleep_weights("fc2"),
    "wake": lambda engine: engine.wake_weights("fc1", value="original", state="parked"),
    "freeze": lambda engine: engine.freeze_weights("fc1"),
    "thaw": lambda engine: engine.thaw_weights("fc2"),
    "sleep nodes": lambda engine: engine.sleep_nodes("hidden", [0, 1]),
    "wake nodes": lambda engine: engine.wake_nodes("hidden"),
    "reset": lambda engine: engine.fire(reset()),
    "undo": lambda engine: engine.undo(),
}


@pytest.mark.parametrize("name", ACTS)
def test_an_interrupted_event_happens_wholly_or_not_at_all(name, figures):
    act = ACTS[name]
    engine = started()
    before = picture(engine)
    lines = Lines()
    assert lines.run(lambda: act(engine))
    after = picture(engine)
    assert not same(before, after)
    stride = max(1, lines.count // PLACES)
    undone = 0
    for at in range(1, lines.count + 1, stride):
        engine = started()
        Lines(at).run(lambda engine=engine: act(engine))
        now = picture(engine)
        assert same(now, before) or same(now, after), f"half done after {at} lines"
        undone += same(now, before)
        engine.check()
        engine.detach(wake=True)
    figures(lines=lines.count, interrupted=len(range(1, lines.count + 1, stride)), undone=undone)


def test_an_interrupt_between_an_event_and_its_handlers(monkeypatch):
    """The event stands, and it is counted."""
    engine = started()
    before = engine.state_dict()["happened"]

    def pressed(*_: object) -> None:
        raise Interrupted

    monkeypatch.setattr(engine.firing, "_tell", pressed)
    with pytest.raises(Interrupted):
        engine.sleep_weights("fc2", (1, slice(None)))
    assert engine.state_dict()["happened"] == {**before, "slept": before["slept"] + 1}


def test_a_handler_that_raises_comes_after_the_event(net_after):
    """The event stands, the journal knows it, undo takes it back, and training goes on."""
    quiet, loud = net_after(raising=False), net_after(raising=True)
    assert same(picture(quiet), picture(loud))
    assert len(quiet.journal) == len(loud.journal)
    quiet.undo()
    loud.undo()
    assert same(picture(quiet), picture(loud))


@pytest.fixture
def net_after():
    def make(raising: bool) -> SleepEngine:
        engine = started()

        def handler(_: object) -> None:
            raise RuntimeError("a user's own mistake")

        if raising:
            engine.on("SLEPT", handler)
            with pytest.raises(RuntimeError, match="own mistake"):
                engine.sleep_weights("fc2", (1, slice(None)))
        else:
            engine.sleep_weights("fc2", (1, slice(None)))
        return engine

    return make


def test_an_error_within_a_rule_leaves_everything_as_it_was():
    class Broken(Sleep):
        def apply(self, context, choice):
            super().apply(context, choice)
            raise RuntimeError("in the middle")

    engine = started()
    before = picture(engine)
    rule = Rule(every("1it"), Who(None, amount=by(0.5)), Broken())
    with pytest.raises(RuntimeError, match="in the middle"):
        engine.fire(reset(), rule)
    assert same(picture(engine), before)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_a_loss_that_is_nan_spares_what_does_not_train(kind):
    """Sleepers stay +0.0 and frozen weights keep their bits; a rewind finds the run again."""
    setting, _ = drawn(kind, 0)
    pair = Pair(setting)
    for name, seed in (("step", 1), ("sleep", 3), ("freeze", 7), ("sleep_nodes", 4), ("step", 2)):
        OPERATIONS[name](pair, seed)
    pair.network = replace(pair.network, factor=math.nan)
    OPERATIONS["step"](pair, 2)
    pair.network = setting.network
    for name, param in pair.model.named_parameters():
        asleep = pair.hand.masks.of("asleep", name)
        stays = pair.hand.masks.of("frozen", name) & ~asleep
        assert not words(param)[asleep].any()
        assert torch.equal(words(param)[stays], words(pair.hand.values[name])[stays])
    for name, seed in (("rewind", 0), ("step", 4), ("wake", 3), ("step", 5)):
        OPERATIONS[name](pair, seed)
        check(pair)
    assert all(bool(p.isfinite().all()) for p in pair.model.parameters())


def test_pictures_tell_apart():
    """What the tests above compare with can fail."""
    engine = started()
    before = picture(engine)
    with torch.no_grad():
        engine.model.fc1.bias[1] += 1e-7
    assert not same(before, picture(engine))
