"""Arguments of the engine and of its calls: names of layers, empty lists, seeds, kept points."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sleepengine import SetupError, SleepEngine, UnknownNameError


def make(**options):
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("fc1", nn.Linear(3, 2))
    model.add_module("fc2", nn.Linear(2, 2))
    return SleepEngine(model, torch.optim.SGD(model.parameters(), 0.1), **options)


def mask():
    return torch.tensor([[True, False, True], [False, False, True]])


@pytest.mark.parametrize("name", ["fc1", "fc1.weight", "module.fc1"])
def test_set_masks_takes_a_layer_for_its_weight(name):
    engine = make()
    engine.set_masks({name: mask()})
    assert torch.equal(engine.get_sleep_state("fc1").awake, mask())
    assert (engine.model.fc1.weight != 0).tolist() == mask().tolist()
    assert engine.store.asleep_count() == 3


@pytest.mark.parametrize(
    ("masks", "error", "words"),
    [
        ({"fc11": mask()}, UnknownNameError, "no layer or parameter 'fc11'. Did you mean 'fc1'"),
        ({"fc2": mask()}, SetupError, r"masks\['fc2'\] has shape \(2, 3\), fc2.weight \(2, 2\)"),
        ({"fc1": mask().float()}, SetupError, r"masks\['fc1'\]: give a bool tensor"),
        ({"fc1": mask(), "fc1.weight": mask()}, SetupError, "'fc1' and 'fc1.weight' are both"),
    ],
    ids=["name", "shape", "dtype", "twice"],
)
def test_masks_that_do_not_fit_change_nothing(masks, error, words):
    engine = make()
    with pytest.raises(error, match=words):
        engine.set_masks({"fc1.bias": torch.tensor([True, False]), **masks})
    assert engine.store.asleep_count() == 0


@pytest.mark.parametrize("seed", ["a", 1.5, None, True])
def test_a_seed_is_an_integer(seed):
    with pytest.raises(SetupError, match=rf"seed={seed!r} is no integer"):
        make(seed=seed)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ([], r"params=\[\] names no parameter; leave params out"),
        ((), r"params=\(\) names no parameter"),
        (3, "params=3 is no list of names"),
        ([3], "params: 3 is not the name or pattern of a parameter"),
        (torch.zeros(3), r"params=tensor\(\[0., 0., 0.\]\) is no list of names"),
        ([torch.zeros(99)], r"params: tensor\(\[0., .{0,50}\.\.\. is not the name"),
    ],
    ids=["list", "tuple", "number", "numbers", "tensor", "tensors"],
)
def test_params_are_names_and_at_least_one(params, words):
    with pytest.raises(SetupError, match=words):
        make(params=params)


def test_the_names_of_a_single_layer_are_told_once():
    with pytest.raises(UnknownNameError, match=r"no parameter\. Valid: 'weight', 'bias'\.$"):
        SleepEngine(nn.Linear(2, 2), params="xyzzy")


def test_a_point_that_was_not_kept_is_told_with_what_to_write():
    engine = make()
    engine.sleep_weights("fc1")
    with pytest.raises(SetupError) as told:
        engine.wake_weights("fc1", value="original")
    assert 'SleepEngine(..., keep=("init",))' in str(told.value)
    assert engine.store.asleep_count() == 6


def test_and_what_it_says_works():
    engine = make(keep=("init",))
    before = engine.model.fc1.weight.detach().clone()
    with engine.attach():
        engine.sleep_weights("fc1")
        engine.wake_weights("fc1", value="original")
    assert torch.equal(engine.model.fc1.weight, before)
