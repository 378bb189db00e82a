import pytest
import torch
from torch import nn, optim

from sleepengine.enforcement.roster import Roster
from sleepengine.enforcement.verdicts import Severity, needs_repair, problems

W = nn.Parameter(torch.zeros(2, 2))


class Custom(optim.SGD):
    pass


@pytest.mark.parametrize(
    ("optimizer", "asleep", "frozen"),
    [
        (optim.SGD([W], momentum=0.9), False, False),
        (optim.SGD([W], weight_decay=0.1), False, True),
        (optim.SGD([W], maximize=True), False, True),
        (optim.Adam([W]), False, False),
        (optim.AdamW([W]), False, True),
        (optim.AdamW([W], weight_decay=0.0), False, False),
        (optim.AdamW([W], lr=20.0, weight_decay=0.1), True, True),
        (optim.Adam([W], eps=0.0), True, True),
        (optim.Adafactor([W], eps=(0.0, 1e-3)), True, True),
        (optim.ASGD([W]), False, True),
        (optim.ASGD([W], lambd=1.0, lr=2.0), True, True),
        (optim.Rprop([W]), False, False),
        (optim.Muon([W], weight_decay=0.0), True, True),
        (optim.LBFGS([W]), True, True),
        (Custom([W]), True, True),
    ],
)
def test_needs_repair(optimizer, asleep, frozen):
    group = optimizer.param_groups[0]
    assert needs_repair(optimizer, group, frozen=False) is asleep
    assert needs_repair(optimizer, group, frozen=True) is frozen


@pytest.mark.parametrize(
    ("optimizer", "word"),
    [
        (optim.Adafactor([W]), "norm of the whole parameter"),
        (optim.Muon([W]), "mixes rows and columns"),
        (optim.LBFGS([W]), "cleared whenever"),
        (Custom([W]), "Custom is not one of the optimizers that were verified"),
        (optim.Adam([W], capturable=True), "capturable=True"),
    ],
)
def test_warnings(optimizer, word):
    (problem,) = problems(Roster({"w": W}, [optimizer]))
    assert problem.severity is Severity.WARNING
    assert word in problem.message


def test_nothing_to_say_about_the_usual():
    for optimizer in (optim.SGD([W]), optim.AdamW([W]), optim.Adam([W], eps=1e-12)):
        assert problems(Roster({"w": W}, [optimizer])) == []


def test_float16_with_lost_eps_is_named():
    half = nn.Parameter(torch.zeros(2, dtype=torch.float16))
    (problem,) = problems(Roster({"h": half, "w": W}, [optim.Adam([half, W])]))
    assert "eps=1e-08 is 0 in float16" in problem.message
    assert ": h;" in problem.message
    for fine in (optim.Adam([half], eps=1e-4), optim.Adam([half], fused=True), optim.SGD([half])):
        assert problems(Roster({"h": half}, [fine])) == []


def test_errors_come_first():
    complex_ = nn.Parameter(torch.zeros(2, dtype=torch.cfloat))
    idle = {f"idle{n}": nn.Parameter(torch.zeros(1)) for n in range(7)}
    roster = Roster(
        {"z": complex_, "w": W, **idle}, [optim.SGD([complex_, W], differentiable=True)]
    )
    found = problems(roster)
    assert [p.severity for p in found] == [Severity.ERROR, Severity.ERROR, Severity.WARNING]
    assert "differentiable" in found[0].message
    assert "complex parameters cannot sleep: z" in found[1].message
    assert found[2].message.endswith("idle4 and 2 more")
