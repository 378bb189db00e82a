"""What random sequences of operations (tests/torture) are too seldom to meet, by example."""

from __future__ import annotations

import pytest
import torch
from torch import optim

from sleepengine import SleepEngine

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.05),
    "Adam": lambda p: optim.Adam(p, 0.05, amsgrad=True, weight_decay=0.05),
    "RMSprop": lambda p: optim.RMSprop(p, 0.02, momentum=0.9, centered=True, weight_decay=0.05),
    "Adamax": lambda p: optim.Adamax(p, 0.05, weight_decay=0.05),
}
SECOND = {"exp_avg_sq", "max_exp_avg_sq", "exp_inf", "square_avg"}


@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop", "Adamax"])
def test_frozen_weights_that_fall_asleep_rest(kind, net, train, words):
    """Weight decay has moved the momentum of a frozen weight; asleep it must not move by it."""
    model = net()
    optimizer = OPTIMIZERS[kind](model.parameters())
    engine = SleepEngine(model, optimizer, park_state="all").attach()
    train(model, optimizer, 1)
    seconds = {k: v.clone() for k, v in optimizer.state[model[0].weight].items() if k in SECOND}
    engine.freeze_weights("0")
    train(model, optimizer, 3)
    engine.sleep_weights("0")  # nothing stays to be repaired after the step
    train(model, optimizer, 2)
    assert int(words(model[0].weight).count_nonzero()) == 0
    engine.thaw_weights("0")
    engine.wake_weights("0")  # the second moments are those of the moment of freezing
    for key, value in seconds.items():
        assert torch.equal(optimizer.state[model[0].weight][key], value)
