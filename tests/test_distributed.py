"""Two processes under DistributedDataParallel keep one set of masks."""

import os
import socket

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

import sleepengine as se
from sleepengine.distributed import Ranks, RanksDisagreeError, ranks_of

STEPS = 6


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def small_net() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def rules():
    grow = se.Who(se.Gradient(), amount=se.to(0.5))
    return [
        se.Rule(se.once("1it"), se.Who(se.Random(), amount=se.to(0.5)), se.Sleep()),
        se.Rule(se.every("2it"), se.Who(se.Taylor(), amount=se.by(0.3)), se.Sleep()),
        se.Rule(se.every("2it"), grow, se.Wake(value="zero")),
    ]


def train(model, inputs, targets):
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    engine = se.SleepEngine(model, optimizer, rules())
    with engine.attach(total_steps=STEPS):
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(inputs), targets).backward()
            optimizer.step()
        engine.check()
    return engine


def on_rank(rank: int, world: int, port: str, out: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    try:
        generator = torch.Generator().manual_seed(1)
        inputs = torch.randn(8, 6, generator=generator).chunk(world)[rank]
        targets = torch.randn(8, 3, generator=generator).chunk(world)[rank]
        engine = train(DistributedDataParallel(small_net()), inputs, targets)
        disagree = ""
        try:
            engine.live.ranks.check_same(lambda: f"{rank:02x}" * 32, "a test")
        except RanksDisagreeError as error:
            disagree = str(error)
        torch.save(
            {"digest": engine.store.digest(), "told": disagree, "awake": engine.fraction()},
            f"{out}/{rank}.pt",
        )
        dist.barrier()
    finally:
        dist.destroy_process_group()


def test_masks_are_the_same_on_both_ranks_and_as_on_one(tmp_path):
    mp.spawn(on_rank, args=(2, free_port(), str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{r}.pt", weights_only=True) for r in (0, 1))
    assert first["digest"] == second["digest"]
    assert first["awake"] == 0.5
    assert "ranks [1] differ" in first["told"]
    generator = torch.Generator().manual_seed(1)
    alone = train(
        small_net(),
        torch.randn(8, 6, generator=generator),
        torch.randn(8, 3, generator=generator),
    )
    assert alone.store.digest() == first["digest"]


def test_one_process_needs_no_group():
    ranks = ranks_of(small_net())
    assert ranks == Ranks()
    assert not ranks.several
    tensors = {"w": torch.ones(2)}
    assert ranks.mean(tensors) == tensors
    ranks.check_same(lambda: pytest.fail("not asked for"), "nothing")
