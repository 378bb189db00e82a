import math

import pytest
import torch
from torch import nn

from sleepengine.errors import SetupError, UnknownNameError
from sleepengine.pipeline.problems.models import ACTIVATIONS, conv_small, lenet_300_100, mlp

BUILDERS = {
    "mlp": lambda seed: mlp((1, 8, 8), 10, sizes=(20, 20), seed=seed),
    "lenet": lambda seed: lenet_300_100((1, 8, 8), 10, seed=seed),
    "conv": lambda seed: conv_small((1, 8, 8), 10, seed=seed),
}


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_seed_alone_decides_and_the_global_state_is_untouched(build):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(0).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second, other = build(0).state_dict(), build(1).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["fc1.weight"], other["fc1.weight"])


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_every_value_is_set_and_learns(build):
    model = build(0)
    for name, value in model.state_dict().items():
        assert value.device.type == "cpu"
        assert torch.isfinite(value).all()
        if name.endswith("bias") or name.endswith(("running_mean", "num_batches_tracked")):
            assert not value.any()
        elif value.dim() == 1:
            assert (value == 1).all()  # BatchNorm's weight and variance
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(32, 1, 8, 8, generator=draw), torch.arange(32) % 10
    losses = []
    for _ in range(20):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_lenet_shapes_and_spread():
    model = lenet_300_100((1, 28, 28), 10)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes == {
        "fc1.weight": (300, 784),
        "fc1.bias": (300,),
        "fc2.weight": (100, 300),
        "fc2.bias": (100,),
        "fc3.weight": (10, 100),
        "fc3.bias": (10,),
    }
    assert model.fc1.weight.std().item() == pytest.approx(math.sqrt(2 / 1084), rel=0.01)
    assert model.fc2.weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.03)
    assert isinstance(model.act2, nn.ReLU)


def test_mlp_activations_and_spread():
    for name, kind in ACTIVATIONS.items():
        model = mlp((4,), 2, sizes=[3], activation=name)
        assert [type(m) for m in model] == [nn.Flatten, nn.Linear, kind, nn.Linear]
    wide = mlp((1, 20, 20), 10, sizes=(500,))
    assert wide.fc1.weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.01)
    assert [type(m) for m in mlp((4,), 2, sizes=[])] == [nn.Flatten, nn.Linear]


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 5, 7)])
def test_conv_small_takes_images_of_any_size(shape):
    model = conv_small(shape, 7).eval()
    assert model(torch.zeros(2, *shape)).shape == (2, 7)
    assert model.conv1.bias is None


def test_errors():
    with pytest.raises(UnknownNameError, match=r"unknown activation 'rleu'. Did you mean 'relu'\?"):
        mlp((4,), 2, sizes=[3], activation="rleu")
    with pytest.raises(SetupError, match=r"sizes: sizes must be positive integers, found \[3, 0\]"):
        mlp((4,), 2, sizes=[3, 0])
    with pytest.raises(SetupError, match="classes"):
        lenet_300_100((4,), 0)
    for shape in ((8, 8), (1, 3, 8)):
        with pytest.raises(SetupError, match=r"conv_small needs inputs of \(channels"):
            conv_small(shape, 10)
