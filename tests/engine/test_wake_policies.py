"""What a weight and its optimizer state are after waking: every policy in a table."""

from __future__ import annotations

import pytest
import torch
from torch import optim

from sleepengine import Kept, SetupError, SleepEngine, StatePolicy

AT = (0, 0)
LR = 0.5


@pytest.fixture
def slept(row, push):
    """Weight 0 starts at 4, falls asleep after three steps of -0.5, sleeps for two and is woken."""

    def run(value="parked", state="keep", **options):
        layer = row(4.0, 1.0)
        optimizer = optim.SGD(layer.parameters(), LR, momentum=0.0)
        engine = SleepEngine(layer, optimizer, keep=("init", "2it"), **options).attach()
        for _ in range(3):
            push(layer, optimizer, 1.0, 0.0)
        engine.sleep_weights("weight", AT)
        assert layer.weight.tolist() == [[0.0, 1.0]]
        for _ in range(2):
            push(layer, optimizer, 1.0, 0.0)
        assert engine.wake_weights("weight", AT, value=value, state=state) == 1
        return layer

    return run


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("parked", 2.5),  # 4 - 3 * 0.5
        ("zero", 0.0),
        ("original", 4.0),
        (Kept("2it"), 3.0),  # 4 - 2 * 0.5
        (Kept("init"), 4.0),
        ("fresh", 7.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("memory", ["fast", "lean"])
def test_values(value, expected, memory, slept):
    layer = slept(value, initialisers={"*": lambda t: t.fill_(7.0)}, memory=memory)
    assert layer.weight.tolist() == [[expected, 1.0]]


@pytest.mark.parametrize("memory", ["fast", "lean"])
def test_a_parked_value_comes_back_bit_for_bit(memory, row, words):
    values = [-0.0, 1e-45, float("inf"), -float("nan"), 0.1]
    layer = row(*values)
    start = words(layer.weight)
    engine = SleepEngine(layer, memory=memory)
    engine.sleep_weights("weight")
    assert words(layer.weight).tolist() == [[0] * 5]
    engine.wake_weights("weight")
    assert torch.equal(words(layer.weight), start)


def test_a_fresh_value_is_the_layers_own_draw_and_leaves_the_random_state(row):
    layers = [row(4.0, 1.0) for _ in range(3)]
    state = torch.get_rng_state()
    first = [_fresh(layer, seed) for layer, seed in zip(layers, (0, 0, 1), strict=True)]
    assert torch.equal(torch.get_rng_state(), state)
    assert first[0] == first[1] != first[2]
    assert (
        0 < abs(first[0]) <= 1 / 2**0.5
    )  # reset_parameters of Linear(2, 1): U(-1/sqrt 2, 1/sqrt 2)


def _fresh(layer, seed):
    engine = SleepEngine(layer, seed=seed)
    engine.sleep_weights("weight", AT)
    engine.wake_weights("weight", AT, value="fresh")
    return layer.weight[0, 0].item()


def test_fresh_values_of_two_wakings_differ(row):
    layer = row(4.0, 1.0)
    engine = SleepEngine(layer)
    drawn = []
    for _ in range(2):
        engine.sleep_weights("weight", AT)
        engine.wake_weights("weight", AT, value="fresh")
        drawn.append(layer.weight[0, 0].item())
    assert drawn[0] != drawn[1]


# --- optimizer state -------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, LR, momentum=0.9),
    "Adam": lambda p: optim.Adam(p, LR, betas=(0.9, 0.99)),
    "AdamW": lambda p: optim.AdamW(p, LR, betas=(0.9, 0.99)),
    "RMSprop": lambda p: optim.RMSprop(p, LR, alpha=0.99, momentum=0.9, centered=True),
    "Adagrad": lambda p: optim.Adagrad(p, LR, initial_accumulator_value=0.25),
    "Rprop": lambda p: optim.Rprop(p, LR),
    "ASGD": lambda p: optim.ASGD(p, LR, lambd=0.0),
}
VALUE = "the value"  # ASGD: the average starts at the parameter's own value
# After two steps with gradient 1: what each state is on waking (keep), (zero), (parked).
STATE = [
    ("SGD", "momentum_buffer", 0.0, 0.0, 1.9),  # 0.9 * 1 + 1
    ("Adam", "exp_avg", 0.0, 0.0, 0.19),  # 0.9 * 0.1 + 0.1
    ("Adam", "exp_avg_sq", 0.0199, 0.0, 0.0199),  # 0.99 * 0.01 + 0.01
    ("AdamW", "exp_avg", 0.0, 0.0, 0.19),
    ("AdamW", "exp_avg_sq", 0.0199, 0.0, 0.0199),
    ("RMSprop", "square_avg", 0.0199, 0.0, 0.0199),
    ("RMSprop", "grad_avg", 0.0, 0.0, 0.0199),
    # 0.9 / sqrt(0.01 - 0.01^2) + 1 / sqrt(0.0199 - 0.0199^2)
    ("RMSprop", "momentum_buffer", 0.0, 0.0, 0.9 / 0.0099**0.5 + 1 / (0.0199 - 0.0199**2) ** 0.5),
    ("Adagrad", "sum", 2.25, 0.25, 2.25),  # 0.25 + 1 + 1
    ("Rprop", "step_size", 0.6, 0.5, 0.6),  # lr, then 1.2 lr
    ("Rprop", "prev", 0.0, 0.0, 1.0),
    ("ASGD", "ax", VALUE, VALUE, VALUE),
]


@pytest.mark.parametrize("memory", ["fast", "lean"])
@pytest.mark.parametrize("policy", [0, 1, 2], ids=["keep", "zero", "parked"])
@pytest.mark.parametrize(("kind", "key", "keep", "zero", "parked"), STATE)
def test_state(kind, key, keep, zero, parked, policy, memory, row, push):
    layer = row(40.0, 1.0)
    optimizer = OPTIMIZERS[kind](layer.parameters())
    engine = SleepEngine(layer, optimizer, memory=memory, park_state="all").attach()
    for _ in range(2):
        push(layer, optimizer, 1.0, 1.0)
    engine.sleep_weights("weight", AT)
    for _ in range(3):
        push(layer, optimizer, -1.0, 1.0)
    engine.wake_weights("weight", AT, state=("keep", "zero", "parked")[policy])
    expected = (keep, zero, parked)[policy]
    if expected is VALUE:
        expected = layer.weight[0, 0].item()
    assert optimizer.state[layer.weight][key][AT].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", list(OPTIMIZERS))
def test_the_neighbours_state_is_untouched(kind, row, push, same):
    states = []
    for asleep in (False, True):
        layer = row(40.0, 1.0)
        optimizer = OPTIMIZERS[kind](layer.parameters())
        engine = SleepEngine(layer, optimizer).attach()
        for i in range(6):
            if asleep and i == 2:
                engine.sleep_weights("weight", AT)
            if asleep and i == 4:
                engine.wake_weights("weight", AT, value="zero", state="zero")
            push(layer, optimizer, 1.0, 0.5 - i)
        state = optimizer.state[layer.weight].items()
        states.append({k: v[0, 1] if v.dim() else v for k, v in state if torch.is_tensor(v)})
    assert same(*states)


def test_parked_state_that_was_not_kept_changes_nothing(row, push):
    layer = row(4.0, 1.0)
    optimizer = optim.SGD(layer.parameters(), LR, momentum=0.9)
    engine = SleepEngine(layer, optimizer).attach()
    push(layer, optimizer, 1.0, 1.0)
    engine.sleep_weights("weight", AT)
    with pytest.raises(SetupError, match=r"PARKED needs ParkState\.ALL"):
        engine.wake_weights("weight", AT, state=StatePolicy.PARKED)
    assert engine.is_sleeping("weight").tolist() == [[True, False]]
    assert layer.weight[AT].item() == 0.0
    assert engine.wake_weights("weight", AT) == 1
    assert layer.weight[AT].item() == 3.5


# --- no spike --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "most", "least"), [("keep", 1.12, 0.2), ("parked", 1.12, 0.2), ("zero", 10.0, 3.0)]
)
def test_steps_after_waking_late_under_adam(state, most, least, row, push):
    """About the learning rate; with zeroed second moments and a late step count, several times."""
    lr = 1e-3
    layer = row(1.0, 1.0)
    optimizer = optim.Adam(layer.parameters(), lr)
    engine = SleepEngine(layer, optimizer, park_state="all").attach()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1500, generator=generator).tolist()
    largest = 0.0
    for i, g in enumerate(noise):
        if i == 900:
            engine.sleep_weights("weight", AT)
        if i == 1200:
            engine.wake_weights("weight", AT, state=state)
        before = layer.weight[AT].item()
        push(layer, optimizer, 1.0 + 0.05 * g, 1.0)
        if i >= 1200:
            largest = max(largest, abs(layer.weight[AT].item() - before) / lr)
    assert least < largest <= most
