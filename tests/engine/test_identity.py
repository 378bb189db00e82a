"""The model stays the user's: same objects, order, keys; copies and files of it work."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn, optim
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from saliency import Gradient, Magnitude
from schedules import every, once
from sleepengine import LeakError, PerTensor, Rule, Sleep, SleepEngine, Wake, Who, by, to


def rules():
    """RigL, so that every kind of hook is in use."""
    who = Who(Gradient(), pools=PerTensor(), amount=to(0.5))
    return [
        Rule(once("0it"), Who(Magnitude(), pools=PerTensor(), amount=to(0.5)), Sleep()),
        Rule(every("2it"), Who(Magnitude(), pools=PerTensor(), amount=by(0.3)), Sleep()),
        Rule(every("2it"), who, Wake(value="zero")),
    ]


@pytest.fixture
def attached(net):
    model = net(norm=True)
    optimizer = optim.Adam(model.parameters(), 0.05)
    return model, optimizer, SleepEngine(model, optimizer, rules()).attach()


def test_parameters_keep_identity_order_and_keys(net, train):
    model = net(norm=True)
    optimizer = optim.Adam(model.parameters(), 0.05)
    objects = [id(p) for p in model.parameters()]
    storages = [p.data_ptr() for p in model.parameters()]
    keys, groups = list(model.state_dict()), [id(p) for p in optimizer.param_groups[0]["params"]]
    engine = SleepEngine(model, optimizer, rules())

    def unchanged():
        assert [id(p) for p in model.parameters()] == objects
        assert [p.data_ptr() for p in model.parameters()] == storages
        assert list(model.state_dict()) == keys
        assert [id(p) for p in optimizer.param_groups[0]["params"]] == groups
        assert not [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
        assert optimizer.step.__func__ is optim.Adam.step

    for act in (
        engine.attach,
        lambda: train(model, optimizer, 5),
        engine.undo,
        lambda: engine.wake_weights("0"),
        lambda: engine.load_state_dict(engine.state_dict()),
        engine.detach,
    ):
        act()
        unchanged()


def test_the_class_of_nothing_changes(attached):
    model, optimizer, _ = attached
    assert type(model[0]) is nn.Linear
    assert type(model[0].weight) is nn.Parameter
    assert type(optimizer) is optim.Adam


def test_a_deep_copy_is_free_of_the_engine(attached, train, words):
    model, optimizer, engine = attached
    train(model, optimizer, 3)
    twin = copy.deepcopy(model)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(words(ours), words(theirs))
        assert not theirs._post_accumulate_grad_hooks
    awake = engine.store.awake("0.weight").clone()
    own = optim.Adam(twin.parameters(), 0.05)
    before = model.state_dict()["0.weight"].clone()
    train(twin, own, 3)  # its sleepers train, ours do not notice
    assert int(twin[0].weight[~awake].count_nonzero()) == int((~awake).sum())
    assert torch.equal(words(model[0].weight), words(before))
    assert engine.time.iteration == 3


def test_pickle_and_torch_save_of_the_whole_model(attached, train, words):
    model, optimizer, _ = attached
    train(model, optimizer, 3)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for twin in (
        pickle.loads(pickle.dumps(model)),
        torch.load(file, weights_only=False),
    ):
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            assert torch.equal(words(ours), words(theirs))
        assert list(twin.state_dict()) == list(model.state_dict())


def test_a_state_dict_loads_into_a_plain_model(attached, train, net, words):
    model, optimizer, _ = attached
    train(model, optimizer, 3)
    plain = net(1, norm=True)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(words(plain[0].weight), words(model[0].weight))


@pytest.mark.parametrize(
    "how", [{}, {"multi_avg_fn": get_ema_multi_avg_fn(0.5)}], ids=["swa", "ema"]
)
def test_averages_of_the_model(how, attached, train):
    """An average is the user's own model: sleepers' history stays in it, masks do not reach it."""
    model, optimizer, engine = attached
    averaged = AveragedModel(model, **how)
    for i in range(4):
        train(model, optimizer, 1, first=i)
        averaged.update_parameters(model)
    assert torch.isfinite(averaged.module[0].weight).all()
    assert not averaged.module[0].weight._post_accumulate_grad_hooks
    engine.check()


def test_detach_keeps_zeros_and_the_optimizer_holds_true_values(net, train, difference):
    """What the optimizer holds after detach is what its state_dict showed before."""
    model = net()
    optimizer = optim.Adam(model.parameters(), 0.05)
    engine = SleepEngine(model, optimizer).attach()
    train(model, optimizer, 3)
    seconds = optimizer.state[model[0].weight]["exp_avg_sq"].clone()
    engine.sleep_weights("0", (slice(None), 1))
    assert optimizer.state[model[0].weight]["exp_avg_sq"][0, 1].item() == 1.0  # at rest
    shown = optimizer.state_dict()
    assert torch.equal(shown["state"][0]["exp_avg_sq"], seconds)
    engine.detach()
    assert difference(optimizer.state_dict(), shown) == ""
    assert torch.equal(optimizer.state[model[0].weight]["exp_avg_sq"], seconds)
    assert int(model[0].weight[:, 1].count_nonzero()) == 0


def test_after_detach_the_sleepers_train_like_any_other(net, train):
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    engine = SleepEngine(model, optimizer).attach()
    engine.sleep_weights("0")
    engine.detach()
    train(model, optimizer, 1)
    assert int(model[0].weight.count_nonzero()) == 30


def test_detach_and_wake(net, words):
    model = net()
    start = model[0].weight.detach().clone()
    engine = SleepEngine(model, optim.SGD(model.parameters(), 0.1)).attach()
    engine.sleep_weights("0", (slice(None), 1))
    engine.detach(wake=True)
    assert torch.equal(words(model[0].weight), words(start))
    assert engine.store.asleep_count() == 0


def test_attach_again_puts_sleepers_back_to_zero_with_their_parked_values(net, train, words):
    model = net()
    start = model[0].weight.detach().clone()
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    engine = SleepEngine(model, optimizer).attach()
    mask = torch.rand(6, 5) < 0.5
    engine.sleep_weights("0", mask)
    engine.detach()
    train(model, optimizer, 2)
    engine.attach()
    assert int(words(model[0].weight)[mask].count_nonzero()) == 0
    train(model, optimizer, 2)
    assert int(words(model[0].weight)[mask].count_nonzero()) == 0
    engine.wake_weights("0")
    assert torch.equal(words(model[0].weight)[mask], words(start)[mask])


def test_direct_calls_while_detached(net, train, difference):
    """Masks change, the optimizer's state is as it is; attach brings it to rest."""
    model = net()
    optimizer = optim.Adam(model.parameters(), 0.05)
    engine = SleepEngine(model, optimizer)
    train(model, optimizer, 2)
    before = copy.deepcopy(optimizer.state_dict())
    engine.sleep_weights("0", (slice(None), 1))
    assert difference(optimizer.state_dict(), before) == ""
    engine.attach()
    assert optimizer.state[model[0].weight]["exp_avg_sq"][0, 1].item() == 1.0
    train(model, optimizer, 2)
    assert int(model[0].weight[:, 1].count_nonzero()) == 0
    engine.detach()
    engine.wake_weights("0")  # as when attached: first moments start again
    assert optimizer.state[model[0].weight]["exp_avg"][:, 1].count_nonzero() == 0
    seconds = before["state"][0]["exp_avg_sq"]
    assert torch.equal(optimizer.state[model[0].weight]["exp_avg_sq"][:, 1], seconds[:, 1])


def test_loading_weights_while_attached_keeps_masks(attached, net, train, words):
    model, optimizer, engine = attached
    train(model, optimizer, 3)
    asleep = engine.is_sleeping("0")
    model.load_state_dict(net(5, norm=True).state_dict())
    train(model, optimizer, 1)  # the step repairs what was written
    after = engine.is_sleeping("0")
    assert int(words(model[0].weight)[after].count_nonzero()) == 0
    assert bool((asleep & after).any())
    engine.check()


def test_a_replaced_parameter_is_found_out(attached, net):
    model, _, engine = attached
    model.load_state_dict(net(5, norm=True).state_dict(), assign=True)
    with pytest.raises(LeakError, match=r"0\.weight.*another Parameter object"):
        engine.check()


def test_a_write_past_the_hooks_is_found_out(attached, train):
    model, optimizer, engine = attached
    train(model, optimizer, 1)
    engine.freeze_weights("2", (0, slice(None)))
    model[0].weight.data.add_(1.0)
    model[2].weight.data.add_(1.0)
    with pytest.raises(LeakError, match=r"0\.weight: 15 sleeping.*2\.weight.*frozen weights moved"):
        engine.check()


def test_two_engines_on_two_models_share_nothing(net, train):
    models = [net(seed) for seed in (0, 1)]
    optimizers = [optim.SGD(model.parameters(), 0.1) for model in models]
    engines = [SleepEngine(m, o, rules()).attach() for m, o in zip(models, optimizers, strict=True)]
    train(models[0], optimizers[0], 3)
    assert (engines[0].time.iteration, engines[1].time.iteration) == (3, 0)
    assert len(engines[1].journal) == 1
    engines[0].detach()
    train(models[1], optimizers[1], 3)
    engines[1].check()
    assert engines[1].fraction() == 0.5


def test_a_model_in_evaluation_and_inference(attached, batch):
    model, _, engine = attached
    model.eval()
    with torch.inference_mode():
        out = model(batch(0)[0])
    assert torch.isfinite(out).all()
    engine.check()


def test_a_sleeper_contributes_exactly_zero(net, batch):
    """The output is that of a model without the weight."""
    model, without = net(), net()
    engine = SleepEngine(model)
    engine.sleep_weights("0", [(0, 1), (2, 3)])
    with torch.no_grad():
        without[0].weight[0, 1] = 0.0
        without[0].weight[2, 3] = 0.0
    x = batch(0)[0]
    assert torch.equal(model(x), without(x))
