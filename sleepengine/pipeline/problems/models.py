"""Models for pipelines, built from the input shape and the number of classes under a seed."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from sleepengine.errors import SetupError, UnknownNameError, did_you_mean

Draw = Callable[[Tensor, torch.Generator], Tensor]

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def mlp(
    input_shape: Sequence[int],
    classes: int,
    *,
    sizes: Sequence[int],
    activation: str = "relu",
    seed: int = 0,
) -> nn.Sequential:
    """Flatten, then Linear and activation for each hidden size, then Linear to the classes.

    Layers are `fc1`, `fc2`, ...; weights are He-normal (std = sqrt(2 / fan_in)), biases zero. The
    global random state is neither read nor changed.

    Raises:
        SetupError: a size is not a positive integer.
        UnknownNameError: the activation is unknown.

    >>> [tuple(p.shape) for p in mlp((1, 2, 2), 3, sizes=[5]).parameters()]
    [(5, 4), (5,), (3, 5), (3,)]
    """
    if activation not in ACTIVATIONS:
        near = did_you_mean(activation, ACTIVATIONS)
        raise UnknownNameError(f"unknown activation {activation!r}. {near}")
    _check(input_shape=input_shape, classes=[classes], sizes=sizes)
    widths = [math.prod(input_shape), *sizes, classes]
    with torch.device("meta"):
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        for number, (inputs, outputs) in enumerate(pairwise(widths), 1):
            layers[f"fc{number}"] = nn.Linear(inputs, outputs)
            if number <= len(sizes):
                layers[f"act{number}"] = ACTIVATIONS[activation]()
        model = nn.Sequential(layers)
    return _initialised(model, _he, seed)


def lenet_300_100(input_shape: Sequence[int], classes: int, *, seed: int = 0) -> nn.Sequential:
    """784-300-100-10 with ReLU for MNIST; Glorot-normal weights, zero biases.

    Weights have std = sqrt(2 / (fan_in + fan_out)), as in the first lottery ticket experiments
    (Frankle and Carbin, 2019; the network is by LeCun et al., 1998). The global random state is
    neither read nor changed.

    Raises:
        SetupError: a size is not a positive integer.

    >>> sum(p.numel() for p in lenet_300_100((1, 28, 28), 10).parameters())
    266610
    """
    model = mlp(input_shape, classes, sizes=(300, 100), seed=seed)
    return _initialised(model, _glorot, seed)


def conv_small(input_shape: Sequence[int], classes: int, *, seed: int = 0) -> nn.Sequential:
    """Two times convolution 3x3, BatchNorm, ReLU and pooling by two; Linear 64; Linear.

    16 and 32 channels; layers are `conv1`, `norm1`, `conv2`, `norm2`, `fc1`, `fc2`. Convolutions
    have no bias, as BatchNorm has one. Weights are He-normal, biases zero. The global random state
    is neither read nor changed.

    Args:
        input_shape: (channels, height, width), both sides at least 4.
        classes: outputs.
        seed: of the weights.

    Raises:
        SetupError: another shape.

    >>> conv_small((1, 8, 8), 10).eval()(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    _check(input_shape=input_shape, classes=[classes])
    if len(input_shape) != 3 or min(input_shape[1:]) < 4:
        raise SetupError(
            "conv_small needs inputs of (channels, height, width) with sides of at least 4, "
            f"found {tuple(input_shape)}"
        )
    channels, height, width = input_shape
    with torch.device("meta"):
        model = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, 16, 3, padding=1, bias=False),
                norm1=nn.BatchNorm2d(16),
                act1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(16, 32, 3, padding=1, bias=False),
                norm2=nn.BatchNorm2d(32),
                act2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                flatten=nn.Flatten(),
                fc1=nn.Linear(32 * (height // 4) * (width // 4), 64),
                act3=nn.ReLU(),
                fc2=nn.Linear(64, classes),
            )
        )
    return _initialised(model, _he, seed)


def _he(weight: Tensor, generator: torch.Generator) -> Tensor:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)


def _glorot(weight: Tensor, generator: torch.Generator) -> Tensor:
    return nn.init.xavier_normal_(weight, generator=generator)


def _initialised(model: nn.Sequential, draw: Draw, seed: int) -> nn.Sequential:
    """The model in memory with every value set; built on "meta", so that nothing was drawn yet.

    Where the caller works on "meta" it stays there, and nothing is drawn at all.
    """
    if torch.get_default_device().type == "meta":
        return model
    generator = torch.Generator().manual_seed(seed)
    if any(p.is_meta for p in model.parameters()):
        model.to_empty(device="cpu")
    for layer in model:
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            draw(layer.weight, generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()  # ones and zeros, and fresh running statistics
    return model


def _check(**sizes: Sequence[int]) -> None:
    for name, values in sizes.items():
        if any(type(value) is not int or value < 1 for value in values):
            raise SetupError(f"{name}: sizes must be positive integers, found {list(values)}")
