"""Long work says how far it is: what is counted, and that the end is reached."""

import logging

import pytest
import torch
from torch import nn

from saliency import ExactOBS, InputGram, Signals, SparseGPT, gather
from schedules import once
from sleepengine import PerTensor, Rule, Sleep, SleepEngine, Who, to


@pytest.fixture
def said():
    return []


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def signals_of(layer, said, **more):
    x = torch.randn(32, 4)
    params = {"weight": layer.weight}
    return Signals(
        weights={"weight": layer.weight.detach()},
        activations=gather(layer, params, InputGram(), [x]),
        progress=lambda *parts: said.append(parts),
        **more,
    )


def test_gathering_counts_batches(layer, said):
    batches = [torch.randn(2, 4) for _ in range(3)]
    gather(layer, {"weight": layer.weight}, InputGram(), batches, None, lambda *p: said.append(p))
    assert said == [("InputGram() batches", done, 0) for done in (1, 2, 3)]


@pytest.mark.parametrize("scorer", [ExactOBS(), SparseGPT(), ExactOBS(pattern=(2, 4))], ids=repr)
def test_layerwise_scores_and_updates_count_rows(scorer, layer, said):
    signals = signals_of(layer, said)
    name = type(scorer).__name__
    scores = scorer.score(signals)
    assert said[-1] == (f"{name} score, rows", 3, 3)
    said.clear()
    chosen = {"weight": scores["weight"] < scores["weight"].median()}
    scorer.compensate(chosen, signals)
    assert said[-1] == (f"{name} update, rows", 3, 3)


def test_rows_are_counted_as_they_are_done(layer, said, monkeypatch):
    monkeypatch.setattr("saliency.exact_obs.rows_at_once", lambda width: 1)
    ExactOBS().score(signals_of(layer, said))
    assert said == [("ExactOBS score, rows", done, 3) for done in (1, 2, 3)]


def test_changed_signals_say_it_to_the_same_listener(layer, said):
    signals = signals_of(layer, said).at_step(3).only({"weight"}).for_scorer("x", "y")
    signals.report("work", 1, 2)
    assert said == [("work", 1, 2)]
    Signals().report("nobody listens", 1)


def test_an_engine_logs_it(layer, caplog):
    batches = [(torch.randn(8, 4), torch.randn(8, 3)) for _ in range(3)]
    who = Who(ExactOBS(), pools=PerTensor(), amount=to(0.5), batches=3)
    rule = Rule(once("0it"), who, Sleep(compensate=True))
    with caplog.at_level(logging.INFO, "sleepengine"):
        SleepEngine(layer, None, [rule], data=batches).attach().detach()
    lines = [record.getMessage() for record in caplog.records]
    assert "InputGram() batches: 1 of 3" in lines  # at most one line a second, the first at once
    assert "ExactOBS score, rows: 3 of 3" in lines
