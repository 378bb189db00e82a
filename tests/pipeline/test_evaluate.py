"""Loss and accuracy of a split."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sleepengine.pipeline.problems.bundle import Split
from sleepengine.pipeline.training.evaluate import Score, evaluate


class Half(nn.Module):
    """Class 0 for the first feature below zero, else class 1."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([-x[:, 0], x[:, 0]], dim=1)


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_evaluate_does_not_depend_on_the_batch(batch: int) -> None:
    split = Split(torch.tensor([[-1.0], [1.0], [2.0]]), torch.tensor([0, 0, 1]))
    model = nn.Sequential(Half(), nn.Dropout(0.5))
    model[1].eval()
    score = evaluate(model, split, nn.functional.cross_entropy, batch_size=batch)
    # -log of 1/(1+e^-2), 1/(1+e^2), 1/(1+e^-4)
    assert score.loss == pytest.approx((0.126928 + 2.126928 + 0.018150) / 3, abs=1e-6)
    assert score.accuracy == 2 / 3
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


def test_evaluate_without_classes() -> None:
    mean: Callable[[Tensor, Tensor], Tensor] = nn.functional.mse_loss
    split = Split(torch.ones(4, 1), torch.zeros(4, 1))
    assert evaluate(nn.Identity(), split, mean) == Score(1.0, None, 4)
    assert evaluate(nn.Identity(), Split(torch.ones(0, 1), torch.zeros(0)), mean).loss is None
