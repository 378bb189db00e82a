"""With which weights, masks and step the arms of a lottery begin."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.experiments import lottery
from sleepengine.pipeline.experiments.jobs import Job
from sleepengine.pipeline.parts import Given, Parts
from sleepengine.pipeline.training.network import State, make

from .half_and_tickets import EARLY, LATE, blobs


def _begin(config: str, arm: str, level: int) -> tuple[Parts, State, Any]:
    """A ticket that was trained a little, and the network of an arm as it begins on top of it."""
    parts = Parts.of(load(config), None, Given(data=blobs()))
    ticket = make(parts, 0)
    ticket.engine.attach(steps_per_epoch=5, total_steps=10)
    for step, (x, y) in enumerate(parts.batches(0)):
        ticket.optimizer.zero_grad()
        nn.functional.cross_entropy(ticket.model(x), y).backward()
        ticket.optimizer.step()
        if step == 3:
            at_four = {n: p.detach().clone() for n, p in ticket.model.named_parameters()}
    ticket.engine.detach()
    state = ticket.state_dict()
    return parts, {**state, "at_four": at_four}, lottery.begin(parts, Job(arm, 0, level), state)


def test_the_ticket_begins_with_its_first_weights() -> None:
    parts, _, network = _begin(EARLY, "ticket", 1)
    first = dict(parts.model(0).named_parameters())
    for name, parameter in network.model.named_parameters():
        awake = network.engine.store.awake(name)
        kept = torch.ones_like(parameter, dtype=torch.bool) if awake is None else awake
        assert torch.equal(parameter[kept], first[name][kept])
        assert not parameter[~kept].any()
    assert (network.awake_count, network.start, network.optimizer.state_dict()["state"]) == (
        21,
        0,
        {},
    )


def test_controls_have_the_tickets_counts_and_other_weights_or_places() -> None:
    parts, _, ticket = _begin(EARLY, "ticket", 1)
    level = ticket.state_dict()
    wanted = {n: ticket.engine.store.asleep_count(n) for n in ticket.engine.scope}
    assert sum(wanted.values()) == 21
    first = dict(parts.model(0).named_parameters())
    reinit = lottery.begin(parts, Job("random_reinit", 0, 1), level)
    places = lottery.begin(parts, Job("random_mask", 0, 1), level)
    for name in ticket.engine.scope:
        awake = ticket.engine.store.awake(name)
        assert awake is not None
        assert torch.equal(reinit.engine.store.awake(name), awake)
        drawn = dict(reinit.model.named_parameters())[name]
        assert not torch.equal(drawn[awake], first[name][awake])
        assert places.engine.store.asleep_count(name) == wanted[name]
        there = places.engine.store.awake(name)
        assert there is not None
        assert torch.equal(dict(places.model.named_parameters())[name][there], first[name][there])
    assert places.engine.store.digest() != ticket.engine.store.digest()
    again = lottery.begin(parts, Job("random_mask", 0, 1), level)
    assert again.engine.store.digest() == places.engine.store.digest()


@pytest.mark.parametrize("arm", ["ticket", "random_mask"])
def test_a_late_rewind_begins_at_its_step_with_its_weights(arm: str) -> None:
    _, state, network = _begin(LATE, arm, 1)
    assert network.start == network.engine.time.iteration == 4
    for name, parameter in network.model.named_parameters():
        awake = network.engine.store.awake(name)
        kept = torch.ones_like(parameter, dtype=torch.bool) if awake is None else awake
        assert torch.equal(parameter[kept], state["at_four"][name][kept])
    # Adam has taken four steps at the kept point.
    steps = [float(s["step"]) for s in network.optimizer.state_dict()["state"].values()]
    assert steps == [4.0] * 4
