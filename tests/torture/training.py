"""Training, done to both runs of a pair."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim import Optimizer

from .pair import Pair


def backward(pair: Pair, seed: int) -> None:
    pair.written = True
    for model, _, _ in pair.runs():
        pair.network.loss(model, seed).backward()
    pair.hand.mask_gradients()
    if pair.network.sparse:
        for model, _, _ in pair.runs():
            for param in model.parameters():
                if param.grad is not None:
                    param.grad = param.grad.coalesce()


def clip(pair: Pair, seed: int) -> None:
    if pair.network.sparse or seed % 4 == 0:
        return
    for model, _, _ in pair.runs():
        if all(param.grad is None for param in model.parameters()):
            return  # torch raises for a bound of single values
        if seed % 4 == 1:
            nn.utils.clip_grad_value_(model.parameters(), 0.3)
        else:  # a sum of squares over fewer weights may be added in another order
            norm = 2.0 if seed % 4 == 2 and not pair.engine.compacted else float("inf")
            nn.utils.clip_grad_norm_(model.parameters(), 0.5, norm)


def zero_grad(pair: Pair, seed: int) -> None:
    pair.written = True
    for _, optimizer, _ in pair.runs():
        optimizer.zero_grad(set_to_none=seed % 2 == 0)


def finish(pair: Pair, seed: int) -> None:
    """The step itself, and the schedule's now and then."""
    for _, optimizer, _ in pair.runs():
        optimizer.step()
    after_step(pair, seed)


def after_step(pair: Pair, seed: int) -> None:
    pair.hand.repair()
    pair.before = None
    if seed % 5 == 0:
        for _, _, scheduler in pair.runs():
            scheduler.step()


def step(pair: Pair, seed: int) -> None:
    if pair.closures:
        closure(pair, seed)
        return
    zero_grad(pair, seed)
    backward(pair, seed)
    clip(pair, seed)
    finish(pair, seed)


def accumulate(pair: Pair, seed: int) -> None:
    if pair.closures:
        closure(pair, seed)
        return
    for micro in range(3):
        backward(pair, seed + micro)
    clip(pair, seed)
    finish(pair, seed)
    zero_grad(pair, seed)


def late(pair: Pair, seed: int) -> None:
    """Clip and step on whatever gradients wait."""
    if not pair.closures:
        clip(pair, seed)
        finish(pair, seed)
        zero_grad(pair, seed)


def idle(pair: Pair, seed: int) -> None:
    """A step without gradients, or on zeros."""
    zero_grad(pair, seed)
    if not pair.closures:
        finish(pair, seed)


def closure(pair: Pair, seed: int) -> None:
    """The loss is computed within the step."""
    for model, optimizer, _ in pair.runs():

        def evaluate(model: nn.Module = model, optimizer: Optimizer = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = pair.network.loss(model, seed)
            loss.backward()
            if model is pair.hand.model:
                pair.hand.mask_gradients()
            return loss

        optimizer.step(evaluate)  # type: ignore[arg-type]
    after_step(pair, seed)
    zero_grad(pair, seed)
