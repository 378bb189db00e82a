"""Masks learned by two processes are those that one learns with all their batches."""

import os
import socket

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing as mp
from torch import nn

import sleepengine as se
from sleepengine.distributed import RanksDisagreeError

BATCHES, STEPS = 5, 15


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def net() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    return model.requires_grad_(False).eval()


def batches(part: slice) -> list[tuple[torch.Tensor, torch.Tensor]]:
    drawn = torch.Generator().manual_seed(5)
    x = torch.randn(BATCHES, 8, 4, generator=drawn, dtype=torch.float64)
    y = torch.randint(3, (BATCHES, 8), generator=drawn)
    return [(one[part], two[part]) for one, two in zip(x, y, strict=True)]


def learn(part: slice, samples: int, seed: int = 3, distributed: bool = True) -> se.MaskLogits:
    model = net()
    logits = se.MaskLogits(model, se.GumbelSigmoid(init=0.5), seed=seed)
    trainer = se.create_mask_trainer(
        model,
        nn.functional.cross_entropy,
        logits,
        torch.optim.SGD(logits.parameters(), lr=0.5),
        samples=samples,
        alpha=0.1,
        distributed=distributed,
    )
    trainer.run(batches(part), max_epochs=STEPS // BATCHES)
    return logits


def on_rank(rank: int, port: str, out: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    own = slice(4 * rank, 4 * rank + 4)
    try:
        together = learn(own, samples=2)
        alone = learn(own, samples=2, seed=rank, distributed=False)
        told = ""
        try:
            learn(own, samples=2, seed=rank)
        except RanksDisagreeError as error:
            told = str(error)
        found = {"logits": together.state_dict(), "alone": alone.state_dict(), "told": told}
        torch.save(found, f"{out}/{rank}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(on_rank, args=(free_port(), str(folder)), nprocs=2)
    return [torch.load(folder / f"{r}.pt", weights_only=True) for r in (0, 1)]


def test_two_processes_learn_the_same_bits(both):
    for name, logits in both[0]["logits"]["logits"].items():
        assert torch.equal(logits, both[1]["logits"]["logits"][name])


def test_and_what_one_learns_from_all_samples(both):
    whole = learn(slice(None), samples=4)
    start = se.MaskLogits(net(), se.GumbelSigmoid(init=0.5)).named_parameters()
    for name, logits in whole.named_parameters().items():
        there = both[0]["logits"]["logits"][name]
        assert (logits - start[name]).abs().max() > 0.1
        torch.testing.assert_close(there, logits.detach(), rtol=1e-12, atol=1e-12)


def test_each_may_learn_its_own(both):
    one, two = (found["alone"]["logits"]["0.weight"] for found in both)
    assert not torch.equal(one, two)


def test_logits_that_differ_at_the_start_are_refused(both):
    assert "logits of ranks [1] differ from those of rank 0" in both[0]["told"]
    assert "distributed=False" in both[1]["told"]
