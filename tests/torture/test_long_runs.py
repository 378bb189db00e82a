"""Long runs: memory and time per event stay flat, the journal stays bounded, no hook is left."""

from __future__ import annotations

import gc
import io
import statistics
import time
import tracemalloc

import psutil
import pytest
import torch
from ignite.engine import Events, create_supervised_trainer
from torch import nn, optim
from torch.nn.functional import mse_loss

from saliency import Magnitude, Random
from schedules import every
from sleepengine import Rule, Sleep, SleepEngine, Wake, Who, by, to

from .networks import Network
from .scale import SHARE, scaled

EVENTS = scaled(400, 100_000)
ATTACHMENTS = scaled(60, 10_000)
KEPT = 100  # records in the journal


def resident() -> int:
    """Bytes of this process in memory, once garbage is collected."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def hooks(thing: object) -> int:
    """How many hooks a module, parameter or optimizer carries, whatever they are called."""
    dicts = {key: value for key, value in vars(thing).items() if "hook" in key}
    if isinstance(thing, torch.Tensor):
        dicts["backward"] = thing._backward_hooks
        dicts["accumulated"] = thing._post_accumulate_grad_hooks
    return sum(len(value) for value in dicts.values() if isinstance(value, dict))


def all_hooks(model: nn.Module, optimizer: optim.Optimizer) -> int:
    return sum(hooks(one) for one in (*model.modules(), *model.parameters(), optimizer))


def saved_size(engine: SleepEngine) -> int:
    file = io.BytesIO()
    torch.save(engine.state_dict(), file)
    return len(file.getbuffer())


def events(engine: SleepEngine, network: Network, first: int, count: int) -> None:
    """Direct calls, undo and training steps in turn; every one of the calls is an event."""
    optimizer = engine.live.optimizers[0]
    for i in range(first, first + count):
        mask = torch.rand(4, 3, generator=torch.Generator().manual_seed(i)) < 0.5
        (
            lambda mask: engine.sleep_weights("fc1", mask),
            lambda mask: engine.freeze_weights("fc1", mask),
            lambda mask: engine.sleep_nodes("hidden", mask[:, 0]),
            lambda mask: engine.undo(),
            lambda mask: engine.wake_weights("fc1", mask),
            lambda mask: engine.thaw_weights("fc1", mask),
            lambda mask: engine.wake_nodes("hidden", mask[:, 0]),
        )[i % 7](mask)
        if i % 5 == 0:
            optimizer.zero_grad()
            network.loss(engine.model, i % 50).backward()
            optimizer.step()


@pytest.fixture
def network() -> Network:
    return Network(sparse=False, bias=True, dtype=torch.float32)


@pytest.fixture
def engine(network) -> SleepEngine:
    model = network.build(0)
    rules = [
        Rule(every("3it"), Who(Magnitude(), amount=to(0.5)), Sleep()),
        Rule(every("7it"), Who(Random(), amount=by(0.3)), Wake()),
    ]
    return SleepEngine(
        model,
        optim.AdamW(model.parameters()),
        rules,
        nodes=[network.group()],
        keep_records=KEPT,
        check_every=1,
    ).attach()


def test_many_events(engine, network, figures):
    """A tenth to warm up, then nothing grows; times are only looked at in the full run."""
    tenth = EVENTS // 10
    sizes, seconds, saved = [], [], []
    for part in range(10):
        start = time.perf_counter()
        events(engine, network, part * tenth, tenth)
        seconds.append(time.perf_counter() - start)
        sizes.append(resident())
        saved.append(saved_size(engine))
    journal = engine.journal.size()
    assert len(engine.journal) <= KEPT
    assert engine.journal.next_index > EVENTS
    assert max(saved[2:]) < 1.2 * saved[1], saved
    engine.check()
    if SHARE is not None:
        assert sizes[-1] - sizes[1] < 2**22, sizes
        assert statistics.median(seconds[-3:]) < 2 * statistics.median(seconds[1:4]), seconds
    figures(
        events=engine.journal.next_index,
        growth=f"{(sizes[-1] - sizes[1]) / 1024:.0f} KiB",
        journal=journal,
        first=f"{1e3 * seconds[1] / tenth:.2f} ms",
        last=f"{1e3 * seconds[-1] / tenth:.2f} ms",
    )


def test_no_object_is_kept(engine, network):
    """With a full journal, Python's own count of objects stays, and so do their bytes."""
    events(engine, network, 0, 210)
    objects, before = live_objects(), 0
    if SHARE is not None:
        tracemalloc.start()
        events(engine, network, 210, 700)
        before = tracemalloc.get_traced_memory()[0]
    events(engine, network, 910, 280)
    if SHARE is not None:
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 64 * 280, f"{grown} bytes more after 280 events"
    assert live_objects() - objects < 140


def live_objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def test_attach_and_detach_leave_nothing(network, figures):
    model = network.build(0)
    optimizer = optim.AdamW(model.parameters())
    network.loss(model, 0).backward()
    optimizer.step()
    bare = all_hooks(model, optimizer)
    sizes = []
    engine = SleepEngine(model, optimizer, nodes=[network.group()])
    for i in range(ATTACHMENTS):
        if i % 10 == 0:
            engine = SleepEngine(model, optimizer, nodes=[network.group()])
        engine.attach()
        engine.sleep_nodes("hidden", i % 4)
        engine.freeze_weights("fc2", (0, i % 4))
        if i % 7 == 0:
            engine.compact(example_inputs=network.batch(0))
        assert all_hooks(model, optimizer) > bare
        engine.detach(wake=i % 2 == 0)
        assert all_hooks(model, optimizer) == bare, i
        if i % 7 == 0:
            assert [tuple(p.shape) for p in model.parameters()] == [(4, 3), (4,), (2, 4), (2,)]
        if i % (ATTACHMENTS // 10) == 0:
            sizes.append(resident())
    if SHARE is not None:
        assert sizes[-1] - sizes[1] < 2**22, sizes
    figures(attachments=ATTACHMENTS, growth=f"{(sizes[-1] - sizes[1]) / 1024:.0f} KiB")


def test_attach_and_detach_leave_nothing_on_a_trainer(network):
    model = network.build(0)
    optimizer = optim.SGD(model.parameters(), 0.1)
    trainer = create_supervised_trainer(model, optimizer, mse_loss)
    batch = (network.batch(1), torch.zeros(2, 2))
    trainer.add_event_handler(Events.STARTED, lambda: None)
    trainer.run([batch], max_epochs=1)

    def handlers() -> int:
        return sum(map(len, trainer._event_handlers.values()))

    bare, before = all_hooks(model, optimizer), handlers()
    for i in range(scaled(20, 1000)):
        engine = SleepEngine(model, optimizer, nodes=[network.group()])
        engine.attach(trainer)
        engine.sleep_weights("fc1", (i % 4, 0))
        if i % 10 == 0:
            trainer.run([batch], max_epochs=1)
        engine.detach(wake=True)
        assert (all_hooks(model, optimizer), handlers()) == (bare, before), i


def test_a_hook_that_stays_would_be_counted(network):
    """The counts above can fail."""
    model = network.build(0)
    optimizer = optim.SGD(model.parameters(), 0.1)
    bare = all_hooks(model, optimizer)
    weight = next(model.parameters())
    handles = [
        model.register_forward_hook(lambda *_: None),
        weight.register_post_accumulate_grad_hook(lambda _: None),
        weight.register_hook(lambda _: None),
        optimizer.register_step_pre_hook(lambda *_: None),
        optimizer.register_state_dict_post_hook(lambda *_: None),
    ]
    assert all_hooks(model, optimizer) == bare + len(handles)
