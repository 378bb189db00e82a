"""One step of mask training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.func import vmap
from torch.optim import Optimizer

from sleepengine.distributed import Ranks
from sleepengine.learned.batches import (
    flattened,
    size_of,
    split,
    stacked,
    tensors_of,
    with_tensors,
)
from sleepengine.learned.frozen import FrozenModel
from sleepengine.learned.logits import MaskLogits
from sleepengine.learned.watch import Watch, check_loss

Criterion = Callable[[Any, Any], Tensor]
Prepare = Callable[[Any], tuple[Any, Any]]


@final
class MaskStep:
    """One step of mask training: draw masks, loss, gradients of the logits, penalty, update."""

    def __init__(
        self,
        frozen: FrozenModel,
        loss_fn: Criterion,
        logits: MaskLogits,
        optimizer: Optimizer,
        samples: int,
        alpha: float,
        clip: float | None,
        vectorize: bool,
        prepare: Prepare,
        ranks: Ranks,
    ) -> None:
        self._frozen = frozen
        self._loss_fn = loss_fn
        self._logits = logits
        self._optimizer = optimizer
        self._samples = samples
        self._alpha = alpha
        self._clip = clip
        self._vectorize = vectorize
        self._prepare = prepare
        self._ranks = ranks
        self._watch = Watch(logits.named_parameters(), optimizer)

    def __call__(self, engine: Engine, batch: Any) -> float:
        """The step number, and with it the noise, is the trainer's iteration."""
        self._frozen.check_mode()
        self._optimizer.zero_grad()
        with torch.enable_grad():
            loss, size = self._backward(engine.state.iteration, *self._prepare(batch))
            self._watch.gradients()
            self._average()
            penalty = self._logits.penalty() if self._alpha else None
            if penalty is not None:
                (penalty * (self._alpha / (size * self._ranks.count))).backward()
        self._frozen.check_buffers()
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._logits.parameters(), self._clip)
        self._optimizer.step()
        self._logits.clamp_()
        self._watch.moved()
        return loss

    def _backward(self, step: int, x: Any, y: Any) -> tuple[float, int]:
        """Gradients of the mean loss over the parts; the loss, and the samples in the batch."""
        size = size_of(x)
        first = self._ranks.index * self._samples
        parts = min(self._samples, size)
        if self._vectorize and parts > 1 and size % parts == 0:
            return self._at_once(step, x, y, parts, first), size
        total = 0.0
        pieces = zip(split(x, parts), split(y, parts), strict=True)
        for sample, (xs, ys) in enumerate(pieces):
            output = self._frozen.call(self._logits.draw(step, first + sample), xs)
            loss = self._loss_fn(output, ys)
            check_loss(loss, output)
            share = size_of(xs) / size
            (loss * share).backward()
            total += loss.item() * share
        return total, size

    def _at_once(self, step: int, x: Any, y: Any, parts: int, first: int) -> float:
        draws = [self._logits.draw(step, first + sample) for sample in range(parts)]
        gates = {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}
        inputs = stacked(x, parts)

        def call(gates: dict[str, Tensor], tensors: list[Tensor]) -> Any:
            return self._frozen.call(gates, with_tensors(inputs, iter(tensors)))

        output = flattened(vmap(call)(gates, tensors_of(inputs)))
        loss = self._loss_fn(output, y)
        check_loss(loss, output)
        loss.backward()
        return loss.item()

    def check_ranks(self) -> None:
        """All processes begin with the same logits.

        Raises:
            RanksDisagreeError: naming the ranks that differ.
        """
        remedy = "build them with one seed, or give distributed=False for a mask on each"
        self._ranks.check_same(self._logits.digest, "building MaskLogits", "logits", remedy)

    def _average(self) -> None:
        """Gradients become their mean over all processes, in which each has its own share."""
        if not self._ranks.several:
            return
        own = self._logits.named_parameters()
        found = {k: torch.zeros_like(v) if v.grad is None else v.grad for k, v in own.items()}
        for key, mean in self._ranks.mean(found).items():
            own[key].grad = mean
