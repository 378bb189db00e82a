"""State of sleepers: parked, filled, shown true, given back by policy."""

import pytest
import torch
from torch.nn import Parameter

from sleepengine.enforcement.policies import ParkState, StatePolicy
from sleepengine.errors import SetupError, StateError
from sleepengine.masks.bits import pack

SLEEPER = torch.tensor([True, False, False, True])


def trained(kind=torch.optim.Adam, steps=3, **kwargs):
    torch.manual_seed(0)
    w = Parameter(torch.randn(4))
    optimizer = kind([w], **{"lr": 0.1, **kwargs})
    for _ in range(steps):
        train(w, optimizer)
    return w, optimizer


def train(w, optimizer):
    optimizer.zero_grad()
    ((w - torch.tensor([1.0, 2.0, 3.0, 4.0])) ** 2).sum().backward()
    optimizer.step()


def snapshot(optimizer, w):
    return {
        k: v.clone() for k, v in optimizer.state[w].items() if torch.is_tensor(v) and v.dim() > 0
    }


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize(
    ("policy", "first", "second"),
    [
        (StatePolicy.ZERO, "fresh", "fresh"),
        (StatePolicy.KEEP, "fresh", "was"),
        (StatePolicy.PARKED, "was", "was"),
    ],
)
def test_policies(policy, first, second, lean, rig):
    w, adam = trained()
    engine = rig({"w": w}, [adam], ParkState.ALL, lean)
    was = snapshot(adam, w)
    engine.sleep("w", SLEEPER)
    for _ in range(5):
        train(w, adam)
    engine.wake("w", SLEEPER, policy)
    state = adam.state[w]
    for key, expected in (("exp_avg", first), ("exp_avg_sq", second)):
        value = was[key] if expected == "was" else torch.zeros(4)
        assert torch.equal(state[key][SLEEPER], value[SLEEPER])
        assert bool((state[key] != was[key])[~SLEEPER].all())
    assert engine.state.nbytes == 0


@pytest.mark.parametrize(
    ("kind", "kwargs", "fresh"),
    [
        (torch.optim.Adagrad, {"initial_accumulator_value": 0.5}, {"sum": 0.5}),
        (torch.optim.Rprop, {}, {"prev": 0.0, "step_size": 0.1}),
        (torch.optim.Adadelta, {}, {"square_avg": 0.0, "acc_delta": 0.0}),
        (torch.optim.RMSprop, {"momentum": 0.9, "centered": True}, {"grad_avg": 0.0}),
        (torch.optim.Adamax, {}, {"exp_inf": 0.0, "exp_avg": 0.0}),
    ],
)
def test_fresh_values(kind, kwargs, fresh, rig):
    w, optimizer = trained(kind, **kwargs)
    engine = rig({"w": w}, [optimizer])
    engine.sleep("w", SLEEPER)
    train(w, optimizer)
    engine.wake("w", SLEEPER, StatePolicy.ZERO)
    for key, value in fresh.items():
        expected = torch.full((2,), value)
        assert torch.equal(optimizer.state[w][key][SLEEPER], expected), key


def test_asgd_average_is_the_woken_value(rig):
    w, asgd = trained(torch.optim.ASGD, t0=1.0)
    engine = rig({"w": w}, [asgd])
    value = w.detach().clone()
    engine.sleep("w", SLEEPER)
    train(w, asgd)
    engine.wake("w", SLEEPER)
    assert torch.equal(asgd.state[w]["ax"][SLEEPER], value[SLEEPER])


def test_no_large_step_after_waking_with_kept_second_moments(rig):
    torch.manual_seed(0)
    noise = torch.Generator().manual_seed(1)

    def largest_update(policy):
        w = Parameter(torch.zeros(200))
        adam = torch.optim.Adam([w], lr=1e-3)
        engine = rig({"w": w}, [adam])
        asleep = torch.arange(200) < 100

        def step():
            w.grad = torch.randn(200, generator=noise)
            adam.step()

        for _ in range(300):
            step()
        engine.sleep("w", asleep)
        for _ in range(50):
            step()
        engine.wake("w", asleep, policy)
        largest = 0.0
        for _ in range(12):
            before = w.detach().clone()
            step()
            largest = max(largest, float((w.detach() - before)[asleep].abs().max()) / 1e-3)
        return largest

    assert largest_update(StatePolicy.KEEP) < 2.0
    assert largest_update(StatePolicy.ZERO) > 3.0


@pytest.mark.parametrize("eps", [0.0, 1e-8])
@pytest.mark.parametrize("born", [0, 2])
def test_no_nan_with_eps_zero(eps, born, rig):
    w, adam = trained(steps=born, eps=eps)
    engine = rig({"w": w}, [adam])
    engine.sleep("w", SLEEPER)
    for _ in range(3):
        train(w, adam)
        assert torch.equal(w[SLEEPER].view(torch.int32), torch.zeros(2).int())
        assert bool(w.isfinite().all())
    assert bool((adam.state[w]["exp_avg_sq"][SLEEPER] > 0.9).all())


def test_saved_state_is_true_and_live_state_is_not_touched(rig):
    w, adam = trained()
    was = snapshot(adam, w)
    engine = rig({"w": w}, [adam])
    engine.sleep("w", SLEEPER)
    live = adam.state[w]["exp_avg_sq"]
    saved = adam.state_dict()["state"][0]
    assert torch.equal(saved["exp_avg_sq"], was["exp_avg_sq"])
    assert torch.equal(saved["exp_avg"], torch.where(SLEEPER, torch.zeros(()), was["exp_avg"]))
    assert adam.state[w]["exp_avg_sq"] is live
    assert live[SLEEPER].tolist() == [1.0, 1.0]
    engine.state.detach()
    assert torch.equal(adam.state[w]["exp_avg_sq"], was["exp_avg_sq"])
    assert not adam._optimizer_state_dict_post_hooks


def test_loading_parks_what_is_loaded_and_leaves_it_alone(rig):
    w, adam = trained()
    engine = rig({"w": w}, [adam])
    engine.sleep("w", SLEEPER)
    _, other = trained(steps=7)
    loaded = other.state_dict()
    copies = {k: v.clone() for k, v in loaded["state"][0].items()}
    adam.load_state_dict(loaded)
    assert adam.state[w]["exp_avg_sq"][SLEEPER].tolist() == [1.0, 1.0]
    assert all(torch.equal(loaded["state"][0][k], v) for k, v in copies.items())
    engine.wake("w", SLEEPER)
    assert torch.equal(adam.state[w]["exp_avg_sq"], copies["exp_avg_sq"])


def test_fill_is_renewed_before_it_decays(rig):
    w, adam = trained(betas=(0.5, 0.5))
    engine = rig({"w": w}, [adam])
    engine.sleep("w", SLEEPER)
    lowest = 1.0
    for _ in range(200):
        train(w, adam)
        lowest = min(lowest, float(adam.state[w]["exp_avg_sq"][SLEEPER].min()))
    assert 1e-30 < lowest < 1e-20
    steps = engine.state.state_dict()["steps_since_fill"]
    assert steps == [200 % 86]


def test_second_sleep_keeps_the_first_value(rig):
    w, adam = trained()
    was = snapshot(adam, w)
    engine = rig({"w": w}, [adam])
    engine.sleep("w", SLEEPER)
    engine.freeze("w", SLEEPER)
    engine.sleep("w", SLEEPER)
    train(w, adam)
    engine.wake("w", SLEEPER)
    assert bool((adam.state[w]["exp_avg_sq"][SLEEPER] > 0.99).all())  # still frozen
    engine.thaw("w", SLEEPER)
    assert torch.equal(adam.state[w]["exp_avg_sq"][SLEEPER], was["exp_avg_sq"][SLEEPER])


def test_unknown_state_is_a_first_moment_and_scalars_are_left(rig):
    w, adam = trained()
    adam.state[w]["lookahead"] = torch.full((4,), 7.0)
    engine = rig({"w": w}, [adam])
    engine.sleep("w", SLEEPER)
    assert adam.state[w]["lookahead"].tolist() == [0.0, 7.0, 7.0, 0.0]
    assert float(adam.state[w]["step"]) == 3
    scalar = Parameter(torch.tensor(2.0))
    sgd = torch.optim.Adam([scalar])
    scalar.grad = torch.tensor(1.0)
    sgd.step()
    engine = rig({"s": scalar}, [sgd])
    engine.sleep("s", torch.tensor(True))
    assert float(sgd.state[scalar]["step"]) == 1
    assert float(sgd.state[scalar]["exp_avg"]) == 0


def test_renew_gives_active_entries_fresh_state(rig):
    w, adam = trained()
    was = snapshot(adam, w)
    engine = rig({"w": w}, [adam])
    engine.sleep("w", torch.tensor([False, False, False, True]))
    engine.state.renew("w", pack(SLEEPER), StatePolicy.KEEP)
    assert adam.state[w]["exp_avg"][0] == 0
    assert adam.state[w]["exp_avg_sq"][0] == was["exp_avg_sq"][0]
    engine.state.renew("w", pack(SLEEPER))
    assert adam.state[w]["exp_avg_sq"].tolist()[::3] == [0.0, 1.0]
    engine.wake("w", SLEEPER)
    assert adam.state[w]["exp_avg_sq"][3] == 0


def test_policy_that_needs_more_than_is_kept():
    from sleepengine.enforcement.optimizer_state import OptimizerState
    from sleepengine.enforcement.roster import Roster

    w, adam = trained()
    state = OptimizerState(Roster({"w": w}, [adam]), ParkState.NONE)
    with pytest.raises(SetupError, match=r"KEEP needs ParkState\.SECOND.*keeps ParkState\.NONE"):
        state.release("w", pack(SLEEPER))
    with pytest.raises(StateError, match="1 non-negative ints"):
        state.load_state_dict({"steps_since_fill": [-1]})


def test_first_moments_by_name(rig):
    w, adam = trained()
    engine = rig({"w": w}, [adam])
    assert engine.state.first_moments()["w"] is adam.state[w]["exp_avg"]
    untrained, sgd = trained(torch.optim.SGD, steps=0, momentum=0.9)
    assert rig({"w": untrained}, [sgd]).state.first_moments() == {}
