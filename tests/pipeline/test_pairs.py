"""Data whose classes are pairs of numbers, and the questions to it."""

import pytest
import torch

from sleepengine.errors import SetupError
from sleepengine.pipeline.problems.data import digits
from sleepengine.pipeline.problems.pairs import pairs
from sleepengine.pipeline.problems.questions import Product, Remainder, Sum, asked


def numbers(x):
    digit = x.view(-1, 4, 10).argmax(2)
    return digit[:, 0] + 10 * digit[:, 1], digit[:, 2] + 10 * digit[:, 3]


def test_every_pair_is_in_one_split():
    data = pairs()
    every = torch.cat([data.train.y, data.valid.y, data.test.y])
    assert torch.equal(every.sort().values, torch.arange(10_000))
    assert (len(data.train), len(data.valid), len(data.test)) == (8000, 1000, 1000)
    assert not torch.equal(data.test.y, pairs(seed=1).test.y)
    assert torch.equal(data.test.y, pairs().test.y)


def test_inputs_are_the_digits_and_answers_are_right():
    data = asked(pairs(), [Sum(), Product()])
    assert (data.input_shape, data.classes) == ((42,), 100)
    a, b = numbers(data.test.x[:, :40])
    half = len(data.test) // 2
    assert torch.equal(data.test.y[:half], (a + b)[:half] % 100)
    assert torch.equal(data.test.y[half:], (a * b)[half:] % 100)
    assert data.test.x[0, 40:].tolist() == [1.0, 0.0]


def test_as_many_classes_as_the_question_with_the_most_answers():
    assert asked(pairs(), [Sum(7), Product(12)]).classes == 12
    assert asked(digits(), [Remainder(3), Remainder(2)]).classes == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: asked(digits(), [Sum()]), r"Sum\(modulo=100\) asks about pairs.*has 10 classes"),
        (lambda: Product(1), "modulo must be at least 2"),
        (lambda: pairs(valid=1.0), "valid is a share of the pairs"),
        (lambda: pairs(valid=0.5, test=0.5), "leave no pairs to train on"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(SetupError, match=message):
        make()
