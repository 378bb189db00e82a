"""Rewind: each part goes back alone, exactly, and masks stay."""

from __future__ import annotations

import pytest
import torch
from torch import optim

from saliency import Magnitude
from schedules import once
from sleepengine import (
    Rewind,
    Rule,
    Sleep,
    SleepEngine,
    Who,
    by,
)

from .rewinding import PARTS


@pytest.mark.parametrize("to", ["init", "2it"])
@pytest.mark.parametrize("part", PARTS)
def test_each_part_goes_back_alone(part, to, start, difference):
    run = start(keep=("init", "2it"))
    run.train(4)
    before, then = run.now(), run.history[{"init": 0, "2it": 2}[to]]
    run.rewind(to=to, **{one: one == part for one in PARTS})
    after = run.now()
    for one in PARTS:
        expected = then if one == part else before
        assert difference(after[one], expected[one]) == "", one


def test_everything_at_once_repeats_the_run(start, difference):
    run = start(keep=("init",))
    run.train(5)
    first = run.now()
    run.rewind(to="init", data=True)
    assert difference(run.now(), run.history[0]) == ""
    run.train(5)
    assert difference(run.now(), first) == ""


def test_learning_rate_rewinding(start, difference):
    """Renda et al. 2020: the schedule goes back, the weights go on."""
    run = start(keep=("init",))
    run.train(4)
    before = run.now()
    run.rewind(to="init", weights=False, buffers=False, optimizer=False)
    after = run.now()
    assert after["schedule"] == (0.1, 0)
    for part in ("weights", "buffers", "optimizer", "data"):
        assert difference(after[part], before[part]) == "", part


def test_masks_stay_and_sleepers_stay_zero(start, words):
    run = start(keep=("init",))
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[:, 1] = True
    run.train(2)
    parked = run.model[0].weight.detach().clone()
    run.engine.sleep_weights("0", mask)
    run.train(2)
    run.rewind(to="init")
    weight, init = run.model[0].weight, run.history[0]["weights"]["0.weight"]
    assert torch.equal(run.engine.is_sleeping("0"), mask)
    assert int(words(weight)[mask].count_nonzero()) == 0
    assert torch.equal(words(weight)[~mask], words(init)[~mask])
    run.engine.wake_weights("0")  # the parked values are those of falling asleep
    assert torch.equal(words(weight)[mask], words(parked)[mask])


@pytest.mark.parametrize("parked", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_and_parked_values_go_back_only_when_asked(frozen, parked, start, words):
    run = start(keep=("init",))
    run.train(2)
    asleep, stays = (torch.zeros(6, 5, dtype=torch.bool) for _ in range(2))
    asleep[0], stays[1] = True, True
    kept = run.model[0].weight.detach().clone()
    run.engine.sleep_weights("0", asleep)
    run.engine.freeze_weights("0", stays)
    run.train(2)
    run.rewind(to="init", frozen=frozen, parked=parked)
    init = run.history[0]["weights"]["0.weight"]
    expected = init.clone()
    expected[0] = 0.0
    expected[1] = init[1] if frozen else kept[1]
    assert torch.equal(words(run.model[0].weight), words(expected))
    run.train(2)  # and they are held there
    assert torch.equal(words(run.model[0].weight[:2]), words(expected[:2]))
    run.engine.wake_weights("0", asleep)
    expected[0] = init[0] if parked else kept[0]
    assert torch.equal(words(run.model[0].weight[0]), words(expected[0]))


def test_fresh_draws_anew_and_rewinds_the_rest_to_the_start(start, difference):
    run = start(keep=("init",))
    run.train(3)
    state = torch.get_rng_state()
    run.rewind(to="fresh")
    assert torch.equal(torch.get_rng_state(), state)
    after, init = run.now(), run.history[0]
    for part in ("buffers", "optimizer", "schedule"):
        assert difference(after[part], init[part]) == "", part
    for name in ("0.weight", "0.bias", "2.weight"):
        assert not torch.equal(after["weights"][name], init["weights"][name])
        assert after["weights"][name].std() < 0.5
    assert torch.equal(after["weights"]["1.weight"], torch.ones(6))  # BatchNorm draws ones


def test_fresh_is_a_function_of_the_seed_and_the_event(start, difference):
    drawn = []
    for seed in (1, 1, 2):
        run = start(keep=("init",), seed=seed)
        run.rewind(to="fresh")
        drawn.append(run.now()["weights"])
        run.rewind(to="fresh")
        assert difference(run.now()["weights"], drawn[-1]) != ""
    assert difference(drawn[0], drawn[1]) == ""
    assert difference(drawn[0], drawn[2]) != ""


def test_a_lottery_ticket_by_rules(start, words):
    """Two levels: train, 20 % of the remaining asleep, the rest back to step 1; 48, 38, 30."""
    rules = [
        Rule(once("3it") | once("6it"), Who(Magnitude(), amount=by(0.2)), Sleep()),
        Rule(once("3it") | once("6it"), None, Rewind(to="1it", schedule=False)),
    ]
    run = start(*rules)
    run.train(7)
    counts = [(r.step, r.action, r.changed) for r in run.engine.journal if r.action == "Sleep"]
    assert counts == [(3, "Sleep", 10), (6, "Sleep", 8)]
    for step in (3, 6):
        for name in ("0.weight", "2.weight"):
            now, then = run.history[step]["weights"][name], run.history[1]["weights"][name]
            asleep = now == 0
            assert torch.equal(words(now)[~asleep], words(then)[~asleep])


def test_unfinished_business_of_adam_goes_back_too(net, batch, train):
    """The step count is part of the optimizer's state."""
    model = net()
    optimizer = optim.Adam(model.parameters(), 0.1)
    engine = SleepEngine(model, optimizer, keep=("2it",)).attach()
    train(model, optimizer, 5)
    engine.fire(Rule(once("0it"), None, Rewind(to="2it")))
    assert optimizer.state[model[0].weight]["step"].item() == 2
    engine.fire(Rule(once("0it"), None, Rewind(to="2it", optimizer=False)))
    assert optimizer.state[model[0].weight]["step"].item() == 2
