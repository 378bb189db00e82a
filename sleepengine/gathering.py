"""Gather what scorers read, without leaving a trace in the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from saliency import Signals
from sleepengine.actions.live import Live
from sleepengine.errors import SetupError
from sleepengine.masks.store import MaskStore
from sleepengine.rule import Rule

PROVIDED = frozenset({"weights", "grads", "moments", "anchor", "parked"})
"""The signals that this engine can gather."""

Criterion = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class BatchLoss:
    """A loss of (model, batch), for batches that are not pairs of input and target."""

    function: Callable[[nn.Module, Any], Tensor]


class Gatherer:
    """Builds `Signals` for one rule: the union of what its scorer needs, and nothing else."""

    def __init__(
        self,
        live: Live,
        data: Iterable[Any] | None,
        loss_fn: Criterion | BatchLoss | None,
    ) -> None:
        self._live = live
        self._data = data
        self._loss_fn = loss_fn

    def problems(self, rule: Rule) -> list[str]:
        """What is missing for the rule's scorer."""
        if rule.who is None:
            return []
        found = []
        scorer = type(rule.who.scorer).__name__
        for need in sorted(rule.who.needs - PROVIDED):
            found.append(f"rule {rule.name!r}: {scorer} needs {need}, which cannot be gathered")
        if rule.who.batches is not None and "grads" in rule.who.needs:
            if self._data is None:
                found.append(f"rule {rule.name!r}: batches={rule.who.batches} needs data=")
            if self._loss_fn is None:
                found.append(f"rule {rule.name!r}: batches={rule.who.batches} needs loss_fn=")
        return found

    def signals(
        self,
        rule: Rule,
        names: Iterable[str],
        store: MaskStore,
        captured: Mapping[str, Tensor] | None,
        step: int,
    ) -> Signals:
        """What the rule's scorer reads; weights are the live tensors, sleepers are 0."""
        names = list(names)
        params = self._live.params
        weights = {name: params[name].detach() for name in names}
        who = rule.who
        needs = frozenset() if who is None else who.needs
        scorer = None if who is None else who.scorer
        grads: dict[str, Tensor] | None = None
        if "grads" in needs and who is not None and who.batches is not None:
            grads = self._own_gradients(names, who.batches, step)
        elif "grads" in needs and captured is not None:
            # A parameter that took no part in this step has gradient zero.
            grads = {n: captured.get(n, torch.zeros_like(w)) for n, w in weights.items()}
        if grads is not None:
            grads = self._live.ranks.mean(grads)
        awake = {n: mask for n in names if (mask := store.awake(n)) is not None}
        return Signals(
            weights=weights,
            grads=grads,
            moments=self._moments(names) if "moments" in needs else None,
            anchor=self._anchor(scorer.anchor, names)
            if "anchor" in needs and scorer is not None and scorer.anchor is not None
            else None,
            parked=self._parked(names) if "parked" in needs else None,
            awake=awake,
            seed=self._live.seed,
            step=step,
            scorer=type(scorer).__name__,
            rule=rule.name,
        )

    def _anchor(self, tag: str, names: list[str]) -> dict[str, Tensor]:
        point = self._live.kept[tag]
        return {name: point.weight(name) for name in names}

    def _moments(self, names: list[str]) -> dict[str, Tensor]:
        """First moments as they live in the optimizers; zero before the first step."""
        found = self._live.state.first_moments()
        return {n: found.get(n, torch.zeros_like(self._live.params[n])).detach() for n in names}

    def _parked(self, names: list[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name in names:
            value = torch.zeros_like(self._live.params[name])
            asleep = self._live.store.asleep_bits(name)
            if asleep is not None:
                self._live.parked[name].fill_into(value, asleep)
            found[name] = value
        return found

    def _own_gradients(self, names: list[str], batches: int, step: int) -> dict[str, Tensor]:
        """Mean gradient over `batches` batches of `data`; buffers and random state are put back."""
        model, data, loss_fn = self._live.model, self._data, self._loss_fn
        if data is None or loss_fn is None:
            raise SetupError("gradients of own batches need data= and loss_fn=")
        params = [self._live.params[name] for name in names]
        total = [torch.zeros_like(p) for p in params]
        buffers = {name: buffer.clone() for name, buffer in self._live.buffers().items()}
        devices = sorted({p.device for p in params if p.device.type == "cuda"}, key=str)
        seen = 0
        try:
            with torch.random.fork_rng(devices=devices), torch.enable_grad():
                torch.manual_seed((self._live.seed * 1_000_003 + step) & ((1 << 63) - 1))
                for batch in islice(data, batches):
                    loss = _loss(model, batch, loss_fn)
                    if not bool(torch.isfinite(loss).all()):
                        raise SetupError(f"the loss of a gathered batch is {loss.item()}")
                    found = torch.autograd.grad(loss, params, allow_unused=True)
                    for sum_, grad in zip(total, found, strict=True):
                        if grad is not None:
                            sum_.add_(grad.detach())
                    seen += 1
        finally:
            with torch.no_grad():
                for name, buffer in self._live.buffers().items():
                    buffer.copy_(buffers[name])
        if seen < batches:
            raise SetupError(f"data= gave {seen} batches where {batches} were asked for")
        return {name: sum_.div_(seen) for name, sum_ in zip(names, total, strict=True)}


def _loss(model: nn.Module, batch: Any, loss_fn: Criterion | BatchLoss) -> Tensor:
    if isinstance(loss_fn, BatchLoss):
        return loss_fn.function(model, batch)
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        raise SetupError(
            f"data= gave a batch of type {type(batch).__name__}; give pairs (input, target), or "
            "loss_fn=BatchLoss(function of (model, batch))"
        )
    return loss_fn(model(batch[0]), batch[1])
