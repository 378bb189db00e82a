"""Signals of batches of their own: right values, no trace, clear words when something lacks."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from saliency import (
    APoZ,
    ExactOBS,
    GraSP,
    HessianGradient,
    InputMoment,
    Snip,
    SparseGPT,
    SynFlow,
    Wanda,
    gather,
)
from schedules import once
from sleepengine import (
    BatchLoss,
    Global,
    NofM,
    PerRow,
    PerTensor,
    ResumableSampler,
    Rule,
    Sleep,
    SleepEngine,
    Wake,
    Who,
    by,
    to,
)

from .probes import engine_of


def test_wanda_end_to_end(net, data):
    model = net()
    params = {n: p for n, p in model.named_parameters() if n.endswith("weight")}
    moments = gather(model, params, InputMoment(), data)
    dense = {n: p.detach().clone() for n, p in params.items()}
    rule = Rule(once("0it"), Who(Wanda(), pools=PerRow(), amount=to(0.5), batches=4), Sleep())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with SleepEngine(model, optimizer, [rule], data=data).attach():  # no loss is needed
        for name, w in dense.items():
            worth = w.abs() * moments[name].sqrt()
            k = int(w.shape[1] * 0.5 + 0.5)
            kept = worth.argsort(dim=1).argsort(dim=1) >= k
            assert torch.equal(params[name], w * kept), name


@pytest.mark.parametrize(
    ("scorer", "pools", "amount"),
    [
        (APoZ(), PerTensor(), by(0.5)),
        (ExactOBS(), PerTensor(), to(0.5)),
        (SparseGPT(fraction=0.5), PerTensor(), to(0.5)),
        (GraSP(), Global(), to(0.5)),
        (SynFlow(), Global(), to(0.5)),
        (Snip(), Global(), to(0.5)),
    ],
    ids=repr,
)
def test_other_scorers_end_to_end(scorer, pools, amount, net, data):
    model = net(norm=True)
    with engine_of(model, Who(scorer, pools=pools, amount=amount, batches=4), data).attach() as e:
        assert e.fraction() == pytest.approx(0.5)
        e.check()


@pytest.mark.parametrize("scorer", [ExactOBS(pattern=(1, 2)), SparseGPT(pattern=(1, 2)), Wanda()])
def test_n_of_m_end_to_end(scorer, batch):
    model = nn.Linear(4, 3)
    data = [(torch.randn(8, 4), torch.randn(8, 3))]
    with engine_of(model, Who(scorer, pools=NofM(1, 2), batches=1), data).attach():
        asleep = model.weight == 0
        assert bool((asleep.unflatten(1, (2, 2)).sum(2) == 1).all())


def test_sparse_gpt_s_own_choice_is_what_sleeps(batch):
    """PerTensor and the same share pick the very weights that the pass would take."""
    torch.manual_seed(0)
    model, scorer = nn.Linear(16, 8), SparseGPT(fraction=0.5, block=4)
    data = [(torch.randn(64, 16) @ torch.randn(16, 16), torch.randn(64, 8))]
    dense = model.weight.detach().clone()
    who = Who(scorer, pools=PerTensor(), amount=to(0.5), batches=1)
    with engine_of(model, who, data, Sleep(compensate=True)).attach():
        gone = model.weight == 0
        assert int(gone.sum()) == 64
        assert [int(g.sum()) for g in gone.split(4, dim=1)] == [16] * 4  # half of each block
        assert not torch.equal(model.weight[~gone], dense[~gone])


class Everything(nn.Module):
    """Dropout, running statistics, a counter; draws from three random states when called."""

    def __init__(self, fails=False):
        super().__init__()
        self.first, self.norm = nn.Linear(5, 6), nn.BatchNorm1d(6)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(6, 3)
        self.register_buffer("calls", torch.zeros(1))
        self.runs, self.fails = 0, fails

    def forward(self, x):
        self.calls = self.calls + 1  # replaced, not written
        random.random()
        np.random.rand()
        self.runs += 1
        if self.fails and self.runs > 1:
            raise RuntimeError("third party")
        return self.last(self.drop(self.norm(self.first(x)).relu()))


def trace(model, optimizer):
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    return {
        "weights": {n: t.clone() for n, t in model.state_dict().items()},
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "grad_ids": [id(p.grad) for p in model.parameters()],
        "buffers": [id(b) for b in model.buffers()],
        "modes": [m.training for m in model.modules()],
        "hooks": hooks,
        "torch": torch.get_rng_state(),
        "python": str(random.getstate()),
        "numpy": str(np.random.get_state()[1].tolist()),
        "grad_mode": torch.is_grad_enabled(),
    }


SCORERS = [Wanda(), APoZ(), ExactOBS(), GraSP(), SynFlow(), Snip()]


@pytest.mark.parametrize("scorer", SCORERS, ids=repr)
@pytest.mark.parametrize("fails", [False, True])
def test_probing_leaves_no_trace(scorer, fails, data, same):
    model = Everything()
    model.norm.eval()  # one part in another mode than the rest
    who = Who(scorer, amount=to(0.5), batches=4)
    engine = engine_of(model, who, data)
    x, y = data[0]
    nn.functional.mse_loss(model(x), y).backward()  # gradients are pending
    model.runs, model.fails = 0, fails
    optimizer = engine.live.optimizers[0]
    before = trace(model, optimizer)
    rule = Rule(once("0it"), who, Wake(), name="measure")  # nothing sleeps: only signals happen
    if fails and not isinstance(scorer, SynFlow):  # that one calls the model once
        with pytest.raises(RuntimeError, match="third party"):
            engine.fire(rule)
    else:
        engine.fire(rule)
    assert same(before, trace(model, optimizer))


def test_a_loss_that_calls_backward_leaves_gradients_alone(net, data):
    model = net()

    def greedy(model, batch):
        nn.functional.mse_loss(model(batch[0]), batch[1]).backward()
        return nn.functional.mse_loss(model(batch[0]), batch[1])

    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    rule = Rule(once("0it"), Who(Snip(), amount=to(0.5), batches=2), Sleep())
    SleepEngine(model, optimizer, [rule], data=data, loss_fn=BatchLoss(greedy)).attach().detach()
    assert all(p.grad is None for p in model.parameters())


def test_batches_of_another_kind(net, data):
    """Activations are those of the loss of (model, batch)."""
    given = [{"x": x, "y": y} for x, y in data]
    loss = BatchLoss(lambda model, b: nn.functional.mse_loss(model(b["x"]), b["y"]))
    masks = []
    for batches, loss_fn in ((data, nn.MSELoss()), (given, loss)):
        for scorer in (Wanda(), GraSP(HessianGradient())):
            model = net()
            rule = Rule(once("0it"), Who(scorer, amount=to(0.5), batches=4), Sleep())
            SleepEngine(model, None, [rule], data=batches, loss_fn=loss_fn).attach().detach()
            masks.append(model[0].weight != 0)
    assert torch.equal(masks[0], masks[2])
    assert torch.equal(masks[1], masks[3])


def test_a_loader_deals_as_if_nobody_had_looked(net):
    x, y = torch.arange(80.0).reshape(16, 5), torch.zeros(16, 3)
    own = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True, generator=own)
    state = own.get_state()
    engine_of(net(), Who(Wanda(), amount=to(0.5), batches=2), loader).attach().detach()
    assert torch.equal(own.get_state(), state)


def test_a_counting_sampler_stays_where_training_is(net):
    x, y = torch.randn(16, 5), torch.zeros(16, 3)
    sampler = ResumableSampler(16, batch_size=4, seed=0)
    loader = DataLoader(TensorDataset(x, y), batch_sampler=sampler)
    next(iter(loader))
    assert sampler.position == (0, 1)
    who = Who(Wanda(), amount=to(0.5), batches=2)
    engine_of(net(), who, loader, sampler=sampler).attach().detach()
    assert sampler.position == (0, 1)
