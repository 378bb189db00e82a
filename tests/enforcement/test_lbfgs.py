"""LBFGS: one history of all weights."""

import torch
from torch.nn import Parameter

SLEEPER = torch.tensor([True, False, False, True])


def test_lbfgs_history_is_cleared_on_change_only(rig):
    w = Parameter(torch.tensor([3.0, -2.0, 1.0, 0.5]))
    lbfgs = torch.optim.LBFGS([w], lr=0.5, max_iter=2)

    def closure():
        lbfgs.zero_grad()
        loss = ((w - 1) ** 4).sum()
        loss.backward()
        return loss

    lbfgs.step(closure)
    engine = rig({"w": w}, [lbfgs])
    assert len(lbfgs.state) == 1
    engine.sleep("w", SLEEPER)
    assert len(lbfgs.state) == 0
    for _ in range(3):
        lbfgs.step(closure)
        assert len(lbfgs.state) == 1
        assert torch.equal(w[SLEEPER].view(torch.int32), torch.zeros(2).int())
    engine.wake("w", SLEEPER)
    assert len(lbfgs.state) == 0
    assert w[SLEEPER].tolist() != [0.0, 0.0]
