"""Undo brings pending gradients back, whatever size tensors had meanwhile."""

from __future__ import annotations

import pytest
import torch


def adamw(params):
    return torch.optim.AdamW(params, 0.01, weight_decay=0.1)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("written", [True, False])
def test_undo_brings_pending_gradients_back(small, written, cases, start, batches):
    """Bit for bit as without compaction; those that were written since stay."""
    case = cases["linear"]
    runs = [start(case, adamw) for _ in range(2)]
    first, second = batches(case, 2)
    grads = []
    for run, compacts in zip(runs, (True, False), strict=True):
        if compacts and small:
            run.compact(first)
        run.model(first).square().mean().backward()
        run.engine.expand()
        before = {n: p.grad.clone() for n, p in run.model.named_parameters()}
        if compacts and small:
            run.compact(first)
            assert run.engine.compacted
        run.engine.sleep_weights("0", [(0, 1), (2, 3)])
        if compacts:
            run.compact(first)
        if written:
            run.model(second).square().mean().backward()
        assert run.engine.undo()
        run.engine.expand()
        now = {n: p.grad for n, p in run.model.named_parameters()}
        assert all(torch.equal(now[n], before[n]) for n in now) is not written
        grads.append(now)
    for name, grad in grads[0].items():
        if written:
            assert torch.allclose(grad, grads[1][name]), name
        else:
            assert torch.equal(grad, grads[1][name]), name
