"""Run the model on batches of its own to measure something, and leave no trace of it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from saliency.activation_requests import ActivationRequest
from saliency.activations import check, gather, run_on_input
from saliency.curvature.request import CurvatureRequest
from saliency.problem import Problem
from sleepengine.actions.live import Live
from sleepengine.errors import SetupError
from sleepengine.firing.reread import Reread
from sleepengine.firing.restored import data_order, model_state, other_random_states
from sleepengine.names import canonical
from sleepengine.rules.rule import Rule

_LOG = logging.getLogger(__name__)
Criterion = Callable[[Any, Any], Tensor]

# What a scorer reads of batches of its own -> whether that takes a loss.
_FROM_BATCHES = {"grads": True, "curvature": True, "activations": False}


@dataclass(frozen=True)
class BatchLoss:
    """A loss of (model, batch), for batches that are not pairs of input and target."""

    function: Callable[[nn.Module, Any], Tensor]


class Probe:
    """Measures gradients, curvature and activations on the first batches of the engine's data.

    The weights are those that the running transaction leaves; whatever happens, weights, `.grad`,
    buffers, train and eval modes, hooks, random states and data order are put back.
    """

    def __init__(
        self,
        live: Live,
        data: Iterable[Any] | None,
        loss_fn: Criterion | BatchLoss | None,
    ) -> None:
        self._live = live
        self._data = data
        self._loss_fn = loss_fn

    def problems(self, rule: Rule, names: Sequence[str]) -> list[str]:
        """What is missing for the rule's scorer, each gap in one line."""
        who = rule.who
        if who is None or who.scorer is None:
            return []
        found, scorer = [], type(who.scorer).__name__
        for need in sorted(who.needs & set(_FROM_BATCHES)):
            said = f"rule {rule.name!r}: {scorer} reads {need}"
            if who.batches is None:
                # The training loop itself has gradients and forward passes to look at.
                if need not in ("grads", "activations"):
                    found.append(f"{said} of batches of its own: give Who(batches=4) or so")
                continue
            if self._data is None:
                found.append(f"{said}: batches={who.batches} needs data=")
            if self._loss_fn is None and _FROM_BATCHES[need]:
                found.append(f"{said}: batches={who.batches} needs loss_fn=")
        if "curvature" in who.needs:
            asked = who.scorer.curvature
            if asked is None:
                found.append(f"rule {rule.name!r}: {scorer} does not say which curvature it needs")
            else:
                try:
                    asked.check(self._live.model, self._own(names))
                except (TypeError, ValueError) as error:
                    found.append(f"rule {rule.name!r}: {error}")
        if "activations" in who.needs:
            request = who.scorer.activations
            if request is None:
                found.append(f"rule {rule.name!r}: {scorer} does not say which activations")
            else:
                try:
                    check(self._live.model, self._params(names), request)
                except ValueError as error:
                    found.append(f"rule {rule.name!r}: {error} Name others with Who(params=...).")
        return found

    def gradients(
        self, names: Sequence[str], batches: int, step: int, changed: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Mean gradient of the batches' losses, in the mode that the model is in."""
        params = self._params(names)
        total = {name: torch.zeros_like(p) for name, p in params.items()}
        with self._undisturbed(step, changed, live_mode=True), torch.enable_grad():
            for batch in self._batches(batches):
                loss = self._loss(self._live.model, batch)
                if not bool(torch.isfinite(loss).all()):
                    raise SetupError(f"the loss of a gathered batch is {loss.item()}")
                found = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
                for sum_, grad in zip(total.values(), found, strict=True):
                    if grad is not None:
                        sum_.add_(grad.detach())
        return {name: sum_.div_(batches) for name, sum_ in total.items()}

    def curvature(
        self,
        request: CurvatureRequest,
        names: Sequence[str],
        batches: int,
        step: int,
        changed: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """What the request makes of the loss over the batches."""
        model, loss = self._live.model, self._loss_fn
        with self._undisturbed(step, changed, request.live_mode):
            problem = Problem(
                model,
                self._own(names),
                self._again_and_again(batches),
                loss=None if isinstance(loss, BatchLoss) else loss,
                batch_loss=loss.function if isinstance(loss, BatchLoss) else None,
                seed=_seed(self._live.seed, step),
                progress=Told(),
            )
            return {canonical(raw): value for raw, value in request(problem).items()}

    def activations(
        self,
        request: ActivationRequest,
        names: Sequence[str],
        batches: int,
        step: int,
        changed: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """The statistic that the request names, over the batches, in eval mode."""
        run = self._loss if isinstance(self._loss_fn, BatchLoss) else run_on_input
        with self._undisturbed(step, changed, live_mode=False):
            given = self._batches(batches)
            params, told = self._params(names), Told(batches)
            return gather(self._live.model, params, request, given, run, told)

    # --- inside --------------------------------------------------------------------------------

    def _params(self, names: Sequence[str]) -> dict[str, nn.Parameter]:
        return {name: self._live.params[name] for name in names}

    def _own(self, names: Sequence[str]) -> dict[str, nn.Parameter]:
        """By the names that the model itself has for them."""
        raw = {canonical(name): name for name, _ in self._live.model.named_parameters()}
        return {raw[name]: parameter for name, parameter in self._params(names).items()}

    def _batches(self, batches: int) -> Iterator[Any]:
        seen = 0
        for batch in islice(self._given(), batches):
            seen += 1
            yield batch
        if seen < batches:
            raise SetupError(f"data= gave {seen} batches where {batches} were asked for")

    def _again_and_again(self, batches: int) -> Reread:
        return Reread(self._given(), batches, self._live, self._devices())

    def _given(self) -> Iterable[Any]:
        # Never asked for its truth: a loader of endless data has no length.
        return () if self._data is None else self._data

    def _devices(self) -> list[torch.device]:
        devices = {p.device for p in self._live.params.values() if p.device.type == "cuda"}
        return sorted(devices, key=str)

    def _loss(self, model: nn.Module, batch: Any) -> Tensor:
        if self._loss_fn is None:
            raise SetupError("a loss of own batches needs loss_fn=")
        if isinstance(self._loss_fn, BatchLoss):
            return self._loss_fn.function(model, batch)
        if not isinstance(batch, list | tuple) or len(batch) != 2:
            raise SetupError(
                f"data= gave a batch of type {type(batch).__name__}; give pairs (input, target), "
                "or loss_fn=BatchLoss(function of (model, batch))"
            )
        return self._loss_fn(model(batch[0]), batch[1])

    @contextmanager
    def _undisturbed(
        self, step: int, changed: Mapping[str, Tensor], live_mode: bool
    ) -> Iterator[None]:
        params = self._live.params
        devices = self._devices()
        seed = _seed(self._live.seed, step)
        with (
            torch.random.fork_rng(devices=devices),
            other_random_states(self._data, seed),
            data_order(self._live, self._data),
            model_state(self._live.model),
        ):
            _seed_all(seed, devices)
            before = {name: params[name].detach().clone() for name in changed}
            try:
                _write(params, changed)
                if not live_mode:
                    for module in self._live.model.modules():
                        module.training = False
                yield
            finally:
                _write(params, before)


class Told:
    """Long work says how far it is, at most once a second, to the log of this module (INFO).

    total: what is said to be all where the work itself does not know.
    """

    def __init__(self, total: int = 0) -> None:
        self._last = -math.inf
        self._total = total

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say it, unless something was said just now."""
        if time.monotonic() - self._last >= 1:
            self._last, total = time.monotonic(), total or self._total
            _LOG.info("%s: %d%s", what, done, f" of {total}" if total else "")


def _seed(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) & ((1 << 63) - 1)


def _seed_all(seed: int, devices: Sequence[torch.device]) -> None:
    """torch.manual_seed, which takes milliseconds where it asks for devices that are not there."""
    (torch.manual_seed if devices else torch.default_generator.manual_seed)(seed)


@torch.no_grad()
def _write(params: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        params[name].copy_(value)
    if values:
        torch.clear_autocast_cache()  # a cached low-precision copy would hold other values
