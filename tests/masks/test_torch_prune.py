import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sleepengine.errors import SetupError, UnknownNameError
from sleepengine.masks.choice import Choice
from sleepengine.masks.store import MaskStore
from sleepengine.masks.torch_prune import (
    masks_from_torch_prune,
    originals_from_torch_prune,
    remove_torch_prune,
    to_torch_prune,
)


def pruned() -> tuple[nn.Sequential, dict[str, nn.Parameter]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Conv1d(1, 2, 3))
    parameters = dict(net.named_parameters())
    prune.l1_unstructured(net[0], "weight", amount=5)
    prune.random_unstructured(net[0], "weight", amount=2)  # a second one makes a container
    prune.l1_unstructured(net[2], "bias", amount=1)
    return net, parameters


def test_masks_are_read_under_plain_names_and_nothing_changes():
    net, parameters = pruned()
    keys = list(net.state_dict())
    masks = masks_from_torch_prune(nn.DataParallel(net))
    assert {name: int((~mask).sum()) for name, mask in masks.items()} == {
        "0.weight": 7,
        "2.bias": 1,
    }
    originals = originals_from_torch_prune(net)
    assert all(originals[name] is parameters[name] for name in masks)
    assert list(net.state_dict()) == keys


def test_removal_gives_back_the_same_parameter_with_its_values():
    net, parameters = pruned()
    before = {name: p.detach().clone() for name, p in parameters.items()}
    expected = masks_from_torch_prune(net)
    masks = remove_torch_prune(net)
    assert all(torch.equal(masks[name], expected[name]) for name in expected)
    after = dict(net.named_parameters())
    assert after.keys() == parameters.keys()
    assert all(after[name] is parameters[name] for name in after)
    assert all(torch.equal(after[name], before[name]) for name in after)
    assert not list(net.buffers())
    assert not net[0]._forward_pre_hooks
    net(torch.ones(2, 1, 4)[..., :4])
    assert remove_torch_prune(net) == {}


def test_round_trip_through_a_store():
    net, _ = pruned()
    masks = remove_torch_prune(net)
    store = MaskStore({name: p.shape for name, p in net.named_parameters()})
    store.sleep(Choice({name: ~mask for name, mask in masks.items()}))
    assert to_torch_prune(net, store) == ("0.weight", "2.bias")
    back = masks_from_torch_prune(net)
    assert all(torch.equal(back[name], masks[name]) for name in masks)
    assert prune.is_pruned(net)
    assert not net[0].weight[~masks["0.weight"]].any()


def test_mistakes_change_nothing():
    net, _ = pruned()
    net[2].bias_mask[0] = 0.5
    keys = list(net.state_dict())
    with pytest.raises(SetupError, match=r"'2\.bias' holds other values than 0 and 1"):
        remove_torch_prune(net)
    assert list(net.state_dict()) == keys
    plain = nn.Sequential(nn.Linear(2, 2))
    ones = torch.ones(2, 2, dtype=torch.bool)
    store = MaskStore({"0.weight": ones.shape, "1.weight": ones.shape})
    store.sleep(Choice({"0.weight": ones, "1.weight": ones}))
    with pytest.raises(UnknownNameError, match=r"no parameter '1\.weight'\. Did you mean"):
        to_torch_prune(plain, store)
    store = MaskStore({"0.weight": torch.Size([2, 3])})
    store.sleep(Choice({"0.weight": torch.ones(2, 3, dtype=torch.bool)}))
    with pytest.raises(SetupError, match=r"'0\.weight' has shape \(2, 2\), its mask \(2, 3\)"):
        to_torch_prune(plain, store)
    assert not prune.is_pruned(plain)
