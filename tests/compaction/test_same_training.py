"""A compacted run is the masked run up to rounding, for every kind of layer and optimizer."""

import pytest
import torch

OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 0.01),
    "Adadelta": lambda p: torch.optim.Adadelta(p),
    "Adam": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    "Adamax": lambda p: torch.optim.Adamax(p, 0.01),
    "ASGD": lambda p: torch.optim.ASGD(p, 0.01),
    "NAdam": lambda p: torch.optim.NAdam(p, 0.01),
    "RAdam": lambda p: torch.optim.RAdam(p, 0.01),
    "Rprop": lambda p: torch.optim.Rprop(p, 0.001),
}
EVERY_KIND = ("SGD", "AdamW", "RMSprop")


def agree(masked, small, case, batches, start, picture, warm):
    for run in (masked, small):
        for batch in batches(case, warm, 4):
            run.step(batch)
    steps = batches(case, 20)
    before = dict(small.model.named_parameters())
    made = small.compact(steps[0])
    assert made.after < made.before
    for batch in steps:
        torch.testing.assert_close(small.step(batch), masked.step(batch), rtol=1e-9, atol=1e-11)
    assert small.engine.compacted
    mine = picture(small)
    small.engine.expand()
    for name, p in small.model.named_parameters():
        assert p is before[name]
    for name, value in picture(masked).items():
        torch.testing.assert_close(mine[name], value, rtol=1e-8, atol=1e-10, msg=name)
    for name, value in picture(small).items():
        assert torch.equal(value, mine[name]), name
    small.engine.check()


@pytest.mark.parametrize("optimizer", EVERY_KIND)
def test_every_kind_of_layer(case, optimizer, start, batches, picture):
    kind = OPTIMIZERS[optimizer]
    agree(start(case, kind), start(case, kind), case, batches, start, picture, warm=2)


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name not in EVERY_KIND])
@pytest.mark.parametrize("warm", [0, 3])
def test_every_optimizer(optimizer, warm, cases, start, batches, picture):
    kind, case = OPTIMIZERS[optimizer], cases["residual"]
    agree(start(case, kind), start(case, kind), case, batches, start, picture, warm)
