"""Batches that curvature reads again and again: the same each time, and never all in memory."""

import random
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from saliency import OBD, GraSP, Hutchinson
from schedules import once
from sleepengine import ResumableSampler, Rule, SetupError, Sleep, SleepEngine, Who, to
from sleepengine.firing.reread import Reread
from sleepengine.pipeline.problems.bundle import Split, TensorBatches

X, Y = torch.arange(160.0).reshape(32, 5) / 160, torch.zeros(32, 3)


class Live:
    """As much of the engine as the data know of."""

    def __init__(self, *samplers):
        self.samplers = samplers


class Cropped(Dataset):
    """Draws from three random states for every sample."""

    def __len__(self):
        return 32

    def __getitem__(self, i):
        noise = random.random() + np.random.rand() + float(torch.rand(()))
        return X[i] + noise, Y[i]


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.rand(5), torch.zeros(3)


class Function:
    """Its iter() is a generator function."""

    def __init__(self, keep=None):
        self.alive, self.most = weakref.WeakSet(), 0

    def __iter__(self):
        for _ in range(50):
            x = torch.rand(4, 5)
            self.alive.add(x)
            self.most = max(self.most, len(self.alive))
            yield x, torch.zeros(4, 3)
            del x


def shuffled(**more):
    return DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True, **more)


def own():
    return torch.Generator().manual_seed(3)


DATA = {
    "list": lambda: list(zip(X.split(4), Y.split(4), strict=True)),
    "shuffle": shuffled,
    "generator": lambda: shuffled(generator=own()),
    "sampler's generator": lambda: DataLoader(
        TensorDataset(X, Y),
        batch_sampler=torch.utils.data.BatchSampler(
            torch.utils.data.RandomSampler(range(32), generator=own()), 4, False
        ),
    ),
    "random crops": lambda: DataLoader(Cropped(), batch_size=4, shuffle=True),
    "endless": lambda: DataLoader(Endless(), batch_size=4),
    "generator function": Function,
}


@pytest.mark.parametrize("kind", DATA)
def test_every_pass_is_the_first_one(kind, same):
    """Even with draws between the batches, and after a pass that stopped early."""
    data = DATA[kind]()
    batches = Reread(data, 5, Live())
    expected = list(batches)
    assert not torch.equal(expected[0][0], expected[1][0])
    next(iter(batches))
    for _ in range(2):
        found = []
        for batch in batches:
            found.append(batch)
            torch.rand(7), random.random(), np.random.rand()
        assert same(found, expected)


@pytest.mark.parametrize("kind", DATA)
def test_the_data_do_not_move_the_model_s_draws(kind):
    draws = []
    for batches in (range(5), Reread(DATA[kind](), 5, Live())):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        draws.append([(float(torch.rand(())), random.random(), np.random.rand()) for _ in batches])
    assert draws[0] == draws[1]


def test_a_counting_sampler_starts_again_where_training_is():
    sampler = ResumableSampler(32, batch_size=4, seed=0)
    loader = DataLoader(TensorDataset(X, Y), batch_sampler=sampler)
    next(iter(loader))
    batches = Reread(loader, 3, Live(sampler))
    first, second = ([x for x, _ in batches] for _ in range(2))
    assert all(map(torch.equal, first, second))
    whole = DataLoader(
        TensorDataset(X, Y), batch_sampler=ResumableSampler(32, batch_size=4, seed=0)
    )
    assert torch.equal(first[0], list(whole)[1][0])


def measured(scorer, data, batches, seed=0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.5), nn.Linear(6, 3))
    rule = Rule(once("0it"), Who(scorer, amount=to(0.5), batches=batches), Sleep(), name="rule")
    engine = SleepEngine(model, None, [rule], data=data, loss_fn=nn.MSELoss(), seed=seed)
    torch.manual_seed(1)
    try:
        engine.attach()
    finally:
        engine.detach()
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("scorer", [GraSP(), OBD(Hutchinson(3))], ids=repr)
def test_no_more_batches_are_alive_for_more_of_them(scorer):
    most = []
    for count in (4, 40):
        data = Function()
        measured(scorer, data, count)
        most.append(data.most)
    assert most[0] == most[1] <= 3


@pytest.mark.parametrize("scorer", [GraSP(), OBD(Hutchinson(3))], ids=repr)
def test_a_loader_gives_what_a_list_of_its_batches_gives(scorer, same):
    data = list(zip(X.split(4), Y.split(4), strict=True))
    loader = DataLoader(TensorDataset(X, Y), batch_size=4)
    assert same(measured(scorer, data, 8), measured(scorer, loader, 8))


class Counting:
    """Other batches in every epoch."""

    def __init__(self, change):
        self.epoch, self.change = 0, change

    def __iter__(self):
        self.epoch += 1
        return iter(self.change(self.epoch))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: [(X[:4] + e, Y[:4])] * 4, "gave another batch 1 when it was read again"),
        (lambda e: [(X[:4], Y[:4]), (X[:4], Y[:4] + e)] * 2, "gave another batch 2 when"),
        (lambda e: [(X[:4], Y[:4])] * (5 - e), "gave 3 batches when it was read again, and at lea"),
        (lambda e: [(X[: 5 - e], Y[: 5 - e])] * 4, "gave another batch 1 when"),
    ],
)
def test_data_that_give_other_batches_are_refused(change, said):
    with pytest.raises(SetupError, match=rf"{said}[\s\S]*give a list, or a loader"):
        measured(GraSP(), Counting(change), 4)


def test_an_iterator_is_refused_when_it_is_read_again():
    with pytest.raises(SetupError, match=r"data= is a generator, which gives its batches once"):
        measured(GraSP(), (pair for pair in [(X[:4], Y[:4])] * 9), 4)


def test_one_changed_pixel_column_is_noticed():
    """Entries that are looked at lie in all columns, whatever the shape."""
    images = torch.zeros(128, 784)
    other = images.clone()
    other[:, 301] = 1.0
    passes = iter([[images], [other]])

    class Changed:
        def __iter__(self):
            return iter(next(passes))

    batches = Reread(Changed(), 1, Live())
    list(batches)
    with pytest.raises(SetupError, match="another batch 1"):
        list(batches)


def test_the_training_loops_own_batches_which_count_what_they_hand_out():
    batches = TensorBatches(Split(X, Y), ResumableSampler(32, batch_size=4, seed=0))
    model = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    who = Who(OBD(Hutchinson(4)), amount=to(0.4), batches=3)
    engine = SleepEngine(
        model,
        optimizer,
        [Rule(once("2it"), who, Sleep())],
        data=batches,
        loss_fn=nn.functional.mse_loss,
    )
    seen = []
    with engine.attach():
        for x, y in batches:
            seen.append(x)
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
    plain = TensorBatches(Split(X, Y), ResumableSampler(32, batch_size=4, seed=0))
    assert engine.fraction() == 0.4
    assert all(torch.equal(a, b) for a, (b, _) in zip(seen, plain, strict=True))
