"""Hooks: where they are, what they repair, and that nothing is left behind."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from sleepengine.errors import StateError, UnknownNameError

HALF = torch.tensor([[True, False, True], [False, True, False]])


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def train(model, optimizer, steps=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(torch.randn(5, 3, generator=generator)) ** 2).sum().backward()
        optimizer.step()


def test_hooks_only_where_something_is_inactive(net, rig):
    params = dict(net.named_parameters())
    engine = rig(params, [torch.optim.AdamW(params.values(), weight_decay=0.1)])
    assert engine.enforcer.watched == ()
    assert not net.weight._post_accumulate_grad_hooks
    engine.sleep("weight", HALF)
    engine.freeze("bias", torch.tensor([True, False]))
    assert engine.enforcer.watched == ("weight", "bias")
    assert len(net.weight._post_accumulate_grad_hooks) == 1
    engine.wake("weight", HALF)
    engine.thaw("bias", torch.tensor([True, False]))
    assert engine.enforcer.watched == ()
    assert not net.weight._post_accumulate_grad_hooks
    assert engine.enforcer.nbytes == 0


@pytest.mark.parametrize("lean", [False, True])
def test_write_from_outside_is_repaired(lean, net, rig):
    params = dict(net.named_parameters())
    optimizer = torch.optim.SGD(params.values(), lr=0.1)
    engine = rig(params, [optimizer], lean=lean)
    engine.sleep("weight", HALF)
    frozen = torch.tensor([[False, True, False], [False, False, False]])
    engine.freeze("weight", frozen)
    kept = net.weight.detach().clone()
    train(net, optimizer)
    net.load_state_dict({"weight": torch.full((2, 3), 5.0), "bias": torch.zeros(2)})
    train(net, optimizer)
    assert torch.equal(net.weight[HALF].view(torch.int32), torch.zeros(3).int())
    assert torch.equal(net.weight[frozen], kept[frozen])
    net.load_state_dict({"weight": torch.full((2, 3), 5.0), "bias": torch.zeros(2)})
    engine.enforcer.repair()
    assert net.weight.tolist() == [[0.0, float(kept[0, 1]), 0.0], [5.0, 0.0, 5.0]]
    if lean:
        # One frozen value and its packed bits; one byte for each mask that has bits of its own.
        assert engine.enforcer.nbytes in (4 + 1 + 1, 4 + 1 + 2)


def test_no_repair_where_the_optimizer_is_known(net, rig):
    """A verified optimizer costs no write to the parameter after its step."""
    params = dict(net.named_parameters())
    for kind, writes in ((torch.optim.SGD, 1), (type("MySGD", (torch.optim.SGD,), {}), 2)):
        optimizer = kind(list(params.values()), lr=0.1, foreach=False)
        engine = rig(params, [optimizer])
        engine.sleep("weight", HALF)
        before = net.weight._version
        train(net, optimizer)
        assert net.weight._version - before == writes
        engine.enforcer.detach()


def test_accept_takes_new_frozen_values(net, rig):
    params = dict(net.named_parameters())
    optimizer = torch.optim.AdamW(params.values(), lr=0.1, weight_decay=0.5)
    engine = rig(params, [optimizer])
    engine.freeze("weight", HALF)
    with torch.no_grad():
        net.weight.fill_(2.0)
    engine.enforcer.accept(["weight"])
    train(net, optimizer, 3)
    assert torch.equal(net.weight[HALF], torch.full((3,), 2.0))


def test_callbacks_run_between_our_hooks(net, rig):
    params = dict(net.named_parameters())
    optimizer = torch.optim.AdamW(params.values(), lr=0.1, weight_decay=0.5)
    engine = rig(params, [optimizer])
    engine.freeze("weight", HALF)
    kept = net.weight.detach().clone()
    seen = []

    def before(given):
        assert given is optimizer
        seen.append(bool(net.weight.grad[HALF].any()))
        if len(seen) > 2:
            engine.enforcer.hold_step(given)

    def after(given):
        seen.append(torch.equal(net.weight[HALF], kept[HALF]))

    engine.enforcer.attach(before, after)
    train(net, optimizer)
    assert seen == [False, True]
    moved = net.weight.detach().clone()
    train(net, optimizer, 2)
    assert seen == [False, True] * 3
    assert torch.equal(net.weight, moved)


def test_detach_leaves_nothing(net, rig):
    params = dict(net.named_parameters())
    optimizer = torch.optim.Adam(params.values())
    hooks = [len(v) for k, v in vars(optimizer).items() if k.endswith("_hooks")]
    engine = rig(params, [optimizer])
    engine.sleep("weight", HALF)
    engine.enforcer.detach()
    engine.state.detach()
    assert [len(v) for k, v in vars(optimizer).items() if k.endswith("_hooks")] == hooks
    assert not net.weight._post_accumulate_grad_hooks
    train(net, optimizer)
    assert bool(net.weight[HALF].all())


def test_copies_and_files_carry_no_hooks(net, rig):
    params = dict(net.named_parameters())
    optimizer = torch.optim.Adam(params.values())
    engine = rig(params, [optimizer])
    engine.sleep("weight", HALF)
    train(net, optimizer)
    other = copy.deepcopy(net)
    assert not other.weight._post_accumulate_grad_hooks
    twin = pickle.loads(pickle.dumps(optimizer))
    assert not twin._optimizer_step_pre_hooks
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(loaded.weight, net.weight)
    both = copy.deepcopy((net, optimizer))
    train(*both)
    assert bool(both[0].weight[HALF].isfinite().all())
    train(net, optimizer)
    assert torch.equal(net.weight[HALF], torch.zeros(3))


def test_two_optimizers_late_groups_and_a_scheduler(rig):
    torch.manual_seed(0)
    first, second = nn.Linear(3, 3), nn.Linear(3, 2)
    params = {"a": first.weight, "b": second.weight, "c": second.bias}
    sgd = torch.optim.SGD([first.weight], lr=0.1, momentum=0.9)
    adam = torch.optim.AdamW([second.weight], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(sgd, 1)
    engine = rig(params, [sgd, adam])
    masks = {name: torch.rand(p.shape) < 0.5 for name, p in params.items()}
    masks["c"][0] = True
    for name, mask in masks.items():
        engine.sleep(name, mask)
    adam.add_param_group({"params": [second.bias], "weight_decay": 1.0})
    for seed in range(4):
        for optimizer in (sgd, adam):
            optimizer.zero_grad()
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(4, 3, generator=generator)
        (second(first(x).tanh()) ** 2).sum().backward()
        sgd.step()
        adam.step()
        scheduler.step()
        for name, mask in masks.items():
            assert torch.equal(params[name][mask].view(torch.int32), torch.zeros(mask.sum()).int())
    assert bool((adam.state[second.bias]["exp_avg_sq"][masks["c"]] > 0.9).all())


# An engine of another test that was not detached may watch all forward passes until it is gone.
@pytest.mark.filterwarnings("ignore:Using .torch.compile.*global hooks:UserWarning")
@pytest.mark.parametrize("frozen", [False, True])
def test_compiled_step_and_model(frozen, net, rig):
    params = dict(net.named_parameters())
    optimizer = torch.optim.AdamW(params.values(), lr=torch.tensor(0.1), weight_decay=0.5)
    engine = rig(params, [optimizer])
    change = engine.freeze if frozen else engine.sleep
    change("weight", HALF)
    kept = net.weight.detach().clone()
    model = torch.compile(net, backend="aot_eager")
    step = torch.compile(optimizer.step, backend="aot_eager")
    for seed in range(3):
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(seed)
        (model(torch.randn(5, 3, generator=generator)) ** 2).sum().backward()
        assert torch.equal(net.weight.grad[HALF], torch.zeros(3))
        step()
        assert torch.equal(net.weight[HALF], kept[HALF])
    assert bool((net.weight != kept)[~HALF].all())
    torch._dynamo.reset()


def test_errors_name_the_object(net, rig):
    params = dict(net.named_parameters())
    engine = rig(params, [torch.optim.SGD(params.values())])
    with pytest.raises(UnknownNameError, match=r"'wieght'.*'weight'"):
        engine.enforcer.arm(["wieght"])
    with pytest.raises(UnknownNameError, match="not one of the 1 optimizers"):
        engine.state.roster.index(torch.optim.SGD(net.parameters()))
    with pytest.raises(StateError, match="must be a dict, got list"):
        engine.enforcer.load_state_dict({"frozen_values": []})
    with pytest.raises(StateError, match=r"are of \['weight'\], the masks freeze \[\]"):
        engine.enforcer.load_state_dict({"frozen_values": {"weight": {}}})
