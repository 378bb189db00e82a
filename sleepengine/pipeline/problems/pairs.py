"""Pairs of two-digit numbers, for questions whose answer is computed from both."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sleepengine.errors import SetupError
from sleepengine.pipeline.problems.bundle import Data, Scaling, Split

BELOW = 100


def pairs(*, valid: float = 0.1, test: float = 0.1, seed: int = 0) -> Data:
    """All 10,000 pairs (a, b) of numbers below 100; the class of a pair is 100 a + b.

    Inputs are the four digits, each one of ten: a mod 10, a div 10, b mod 10, b div 10, so that
    the shape is (40,). The splits hold other pairs, floor(10000 f + 1/2) of them in `valid` and in
    `test`; which ones depends on the seed alone. Ask for `Sum` and `Product`.

    Raises:
        SetupError: a share is not in [0, 1), or nothing is left to train on.

    >>> data = pairs()
    >>> len(data.train), len(data.valid), len(data.test), data.input_shape
    (8000, 1000, 1000, (40,))
    >>> x, y = data.train.x[0], int(data.train.y[0])
    >>> x.view(4, 10).argmax(1).tolist() == [y // 100 % 10, y // 1000, y % 10, y // 10 % 10]
    True
    """
    count = BELOW * BELOW
    held, tested = (int(_share(*one) * count + 0.5) for one in (("valid", valid), ("test", test)))
    if held + tested >= count:
        raise SetupError(f"valid={valid} and test={test} leave no pairs to train on")
    mixed = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    parts = mixed.split([held, tested, count - held - tested])
    valid_part, test_part, train = (_split(part.sort().values) for part in parts)
    scaling = Scaling(full=1.0, mean=0.0, std=1.0)
    return Data("pairs", train, valid_part, test_part, (40,), count, scaling)


def _share(name: str, share: float) -> float:
    if not 0 <= share < 1:
        raise SetupError(f"{name} is a share of the pairs from 0 to below 1, found {share}")
    return share


def _split(y: Tensor) -> Split:
    a, b = y // BELOW, y % BELOW
    digits = torch.stack([a % 10, a // 10, b % 10, b // 10], 1)
    return Split(one_hot(digits, 10).flatten(1).to(torch.float32), y)
