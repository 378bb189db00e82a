"""Curvature that cannot be had of a rule's parameters is told before training."""

import logging

import pytest
import torch
from torch import nn

from saliency import OBD, ExactOBS, InverseFisher, KFACDiagonal, SequentialOBS, Woodbury
from schedules import once
from sleepengine import Rule, SetupError, Sleep, SleepEngine, Who, to


def attach(model, data, who):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    rule = Rule(once("1it"), who, Sleep(), name="late")
    engine = SleepEngine(model, optimizer, [rule], data=data, loss_fn=nn.MSELoss())
    engine.attach(total_steps=2)
    engine.detach()


@pytest.mark.parametrize(
    ("scorer", "params", "message"),
    [
        (
            SequentialOBS(InverseFisher(memory=2000)),
            None,
            r"rule 'late': InverseFisher: one dense inverse of 48 weights .*block=10 or less fits",
        ),
        (SequentialOBS(InverseFisher(block=20, memory=2000)), None, r"block=10 or less fits"),
        (ExactOBS(memory=100), None, r"moments of the 5 inputs of .*100 B; 3 inputs or fewer fit"),
        (OBD(KFACDiagonal()), "*bias", "must be the weight of a Linear layer"),
    ],
)
def test_what_does_not_fit_is_told_at_attach(net, batch, scorer, params, message):
    who = Who(scorer, amount=to(0.5), batches=1, params=params)
    with pytest.raises(SetupError, match=message):
        attach(net(), [batch(0)], who)


@pytest.mark.parametrize(
    "scorer",
    [
        SequentialOBS(InverseFisher(block=10, memory=2000)),
        SequentialOBS(InverseFisher(memory=8 * 48**2)),
        SequentialOBS(InverseFisher(block=10, memory=2000, rank=1)),
        OBD(KFACDiagonal()),
    ],
)
def test_what_fits_is_not(net, batch, scorer):
    attach(net(), [batch(0)], Who(scorer, amount=to(0.5), batches=1))


def test_the_rows_of_woodbury_are_checked_too(net):
    model = net()
    weights = {n: p for n, p in model.named_parameters() if n.endswith("weight")}
    with pytest.raises(ValueError, match="count=2 or less fits"):
        Woodbury(count=3, memory=4 * 48 * 2).check(model, weights)


def test_long_work_tells_the_log(net, batch, caplog):
    model, data = net(), [batch(0), batch(1)]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    rule = Rule(once("0it"), Who(OBD(), amount=to(0.5), batches=2), Sleep())
    engine = SleepEngine(model, optimizer, [rule], data=data, loss_fn=nn.MSELoss())
    with caplog.at_level(logging.INFO, logger="sleepengine"), engine.attach(total_steps=2):
        nn.MSELoss()(model(data[0][0]), data[0][1]).backward()
        optimizer.step()
    assert engine.fraction() == 0.5
    assert "diagonal of the Hessian: 24 of 48" in caplog.text
