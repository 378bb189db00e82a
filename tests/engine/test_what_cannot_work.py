"""What cannot work, or works with a difference, is said by name when the engine is attached."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn, optim
from torch.nn.utils import parametrizations

from sleepengine import (
    Magnitude,
    Momentum,
    Movement,
    Rule,
    SetupError,
    Sleep,
    SleepEngine,
    Snip,
    UnknownNameError,
    Wake,
    Who,
    by,
    once,
    to,
)

HALF = Rule(once("0it"), Who(Magnitude(), amount=to(0.5)), Sleep())
BACK = Rule(once("3it"), Who(amount=by(1.0)), Wake())


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def train(model, optimizer, steps, dead=False):
    torch.manual_seed(1)
    for _ in range(steps):
        x, y = torch.randn(12, 6), torch.arange(12) % 3
        if dead:
            x[:, 2] = 0
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


DIVIDES = (
    (optim.Adam, 0.0),
    (optim.AdamW, 0.0),
    (optim.NAdam, 0.0),
    (optim.RAdam, 0.0),
    (optim.Adamax, 0.0),
    (optim.RMSprop, 0.0),
    (optim.Adagrad, 0.0),
    (optim.Adadelta, 0.0),
)
ids = [kind.__name__ for kind, _ in DIVIDES]


@pytest.mark.parametrize(("kind", "eps"), DIVIDES, ids=ids)
def test_eps_of_zero_is_warned_about_and_what_is_said_is_true(kind, eps):
    model = net()
    optimizer = kind(model.parameters(), eps=eps)
    engine = SleepEngine(model, optimizer, [HALF], check_every=1)
    words = rf"{kind.__name__} group 0 has eps=0\.0.*0 by 0.*NaN.*0\.weight, 2\.weight; use eps="
    with pytest.warns(UserWarning, match=words):
        engine.attach()
    train(model, optimizer, 7, dead=True)  # input 2 is always zero: its weights get no gradient
    engine.check()
    asleep = engine.is_sleeping("0")
    assert bool((model[0].weight[asleep] == 0).all())
    awake = ~asleep[:, 2]
    assert bool(model[0].weight[awake, 2].isnan().all())
    assert int(awake.sum()) > 0
    engine.detach()


@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad])
def test_with_an_eps_the_same_is_silent_and_finite(kind):
    model = net()
    optimizer = kind(model.parameters(), eps=1e-8)
    engine = SleepEngine(model, optimizer, [HALF, BACK], check_every=1)
    with warnings.catch_warnings(), engine.attach():
        warnings.simplefilter("error")
        train(model, optimizer, 6, dead=True)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_adafactor_has_two_numbers_of_which_the_first_counts():
    model = net()
    optimizer = optim.Adafactor(model.parameters(), eps=(0.0, 1e-3))
    engine = SleepEngine(model, optimizer, [HALF], check_every=1)
    with pytest.warns(UserWarning, match=r"group 0 has eps=\(0\.0, 0\.001\)|norm of the whole"):
        engine.attach()
    train(model, optimizer, 3, dead=True)
    engine.check()  # NaN in sleepers would be a leak
    engine.detach()


def test_only_the_group_that_divides_is_named():
    model = net()
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "eps": 0.0}]
    engine = SleepEngine(model, optim.Adam(groups), [HALF])
    with pytest.warns(UserWarning, match=r"Adam group 1 has eps=0\.0.*: 2\.weight; use") as told:
        engine.attach()
    assert len(told) == 1
    engine.detach()


@pytest.mark.parametrize(
    ("kind", "warned"), [(optim.Adam, True), (optim.Adagrad, True), (optim.SGD, False)]
)
def test_float16_with_the_default_eps(kind, warned):
    model = net().half()
    engine = SleepEngine(model, kind(model.parameters(), lr=0.01), [HALF])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        engine.attach()
    engine.detach()
    assert [f"{kind.__name__} eps=" in str(one.message) for one in told] == [True] * warned


COMPUTED = {
    "orthogonal": (parametrizations.orthogonal, "original", "Orthogonal"),
    "spectral_norm": (parametrizations.spectral_norm, "original", "SpectralNorm"),
    "weight_norm": (parametrizations.weight_norm, "original1", "WeightNorm"),
}


@pytest.mark.parametrize(("wrap", "behind", "by_whom"), COMPUTED.values(), ids=COMPUTED)
def test_computed_weights_are_refused_by_name_in_every_way(wrap, behind, by_whom):
    model = net()
    wrap(model[0])
    optimizer = optim.SGD(model.parameters(), 0.1)
    name = f"0.parametrizations.weight.{behind}"
    engine = SleepEngine(model, optimizer, [HALF])
    with pytest.warns(UserWarning, match=f"'0.weight' is computed by {by_whom}, so it is not in"):
        engine.attach()
    stands = rf"'{name}' stands behind '0\.weight' \({by_whom}\)"
    mask = torch.zeros_like(model[0].weight, dtype=torch.bool)
    for use in (
        lambda: SleepEngine(model, optimizer, params=name),
        lambda: SleepEngine(model, optimizer, params="*original*"),
        lambda: engine.sleep_weights(name, (0, 0)),
        lambda: engine.set_masks({name: mask}),
        lambda: engine.adopt_zeros(name),
    ):
        with pytest.raises(SetupError, match=stands):
            use()
    for word in ("0", "0.weight"):
        for use in (
            lambda word=word: SleepEngine(model, optimizer, params=word),
            lambda word=word: engine.sleep_weights(word),
            lambda word=word: engine.set_masks({word: mask}),
        ):
            with pytest.raises(UnknownNameError, match=f"'0.weight' is no .* by {by_whom} from"):
                use()
    assert engine.store.asleep_count("2.weight") == 12
    assert engine.store.asleep_count() == 12
    engine.detach()


def test_a_layer_without_a_matrix_is_told_with_its_parameters():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[0].register_parameter("weight", None)
    with pytest.raises(
        UnknownNameError, match=r"'0' has no weight of two dim.*name one of 0\.bias"
    ):
        SleepEngine(model, params="0")


class Words(nn.Module):
    """An embedding with sparse gradients, and a layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.fc = nn.Embedding(20, 4, sparse=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.words(x))


@pytest.mark.parametrize(
    ("scorer", "adam"),
    [
        (Magnitude(), False),
        (Snip(), False),
        (Movement(), False),
        (Momentum(), False),
        (Magnitude(), True),
        (Snip(), True),
    ],
    ids=lambda value: "SparseAdam" if value is True else "SGD" if value is False else repr(value),
)
def test_sparse_gradients_work(scorer, adam):
    model = Words()
    optimizers = [optim.SGD(model.parameters(), 0.1, momentum=0.9)]
    if adam:
        optimizers = [optim.Adam(model.fc.parameters()), optim.SparseAdam([model.words.weight])]
    back = Rule(once("5it"), Who(amount=by(1.0)), Wake())
    rules = [Rule(once("2it"), Who(scorer, amount=to(0.5)), Sleep()), back]
    engine = SleepEngine(model, optimizers, rules, params=["words", "fc"], check_every=1)
    dense = []
    with engine.attach():
        for step in range(8):
            x = torch.randint(20, (12,), generator=torch.Generator().manual_seed(step))
            for one in optimizers:
                one.zero_grad()
            nn.functional.cross_entropy(model(x), x % 3).backward()
            assert model.words.weight.grad.is_sparse
            for one in optimizers:
                one.step()
            asleep = engine.is_sleeping("words")
            assert bool((model.words.weight[asleep] == 0).all())
            dense.append(int(asleep.sum()) + int(engine.is_sleeping("fc").sum()))
    assert dense == [0, 46, 46, 46, 0, 0, 0, 0]
