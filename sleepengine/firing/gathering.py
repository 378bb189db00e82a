"""Gather what scorers read, without leaving a trace in the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from saliency import ActivationRequest, ActivationWatch, Signals
from sleepengine.actions.live import Live
from sleepengine.errors import SetupError
from sleepengine.firing.agenda import reads_passes
from sleepengine.firing.probing import BatchLoss, Criterion, Probe, Told
from sleepengine.masks.store import MaskStore
from sleepengine.rules.rule import Rule, Who

__all__ = ["BatchLoss", "Criterion", "Gatherer"]

PROVIDED = frozenset(
    {"weights", "grads", "moments", "anchor", "parked", "curvature", "activations"}
)
"""The signals that this engine can gather."""


class Gatherer:
    """Builds `Signals` for one rule: the union of what its scorer needs, and nothing else.

    outer: the model as the training loop calls it, with its wrappers.
    """

    def __init__(
        self,
        live: Live,
        data: Iterable[Any] | None,
        loss_fn: Criterion | BatchLoss | None,
        outer: nn.Module | None = None,
    ) -> None:
        self._live = live
        self._probe = Probe(live, data, loss_fn)
        self._passes = ActivationWatch(live.model)
        self._compiled = _compiled(live.model if outer is None else outer)

    def problems(self, rule: Rule, names: Sequence[str]) -> list[str]:
        """What is missing for the rule's scorer."""
        if rule.who is None:
            return []
        scorer = type(rule.who.scorer).__name__
        found = [
            f"rule {rule.name!r}: {scorer} needs {need}, which cannot be gathered"
            for need in sorted(rule.who.needs - PROVIDED)
        ]
        if reads_passes(rule) and self._compiled:
            found.append(
                f"rule {rule.name!r}: {scorer} looks at the training loop's own forward passes, "
                "and compiled forward passes show nothing to look at: give Who(batches=4) or so"
            )
        return found + self._probe.problems(rule, names)

    def watch(self, rules: Iterable[tuple[Rule, Sequence[str]]]) -> None:
        """See what flows through the layers of these parameters, for these rules, until `stop`."""
        asked: dict[str, tuple[ActivationRequest, dict[str, Tensor]]] = {}
        for rule, own in rules:
            scorer = None if rule.who is None else rule.who.scorer
            request = None if scorer is None else scorer.activations
            if request is not None:
                asked[rule.name] = request, {name: self._live.params[name] for name in own}
        self._passes.start(asked)

    def stop(self) -> None:
        """See no more forward passes; what the last ones showed can still be read."""
        self._passes.stop()

    def saw(self, rule: Rule) -> bool:
        """Whether a layer was run since `watch`."""
        return self._passes.saw(rule.name)

    def _passed(self, rule: Rule, names: list[str]) -> dict[str, Tensor]:
        """What flowed through the layers since `watch`; nothing of layers that were not run.

        Raises:
            SetupError: there are several processes, and a layer was not run on this one.
        """
        found = self._passes.means(rule.name, names)
        if self._live.ranks.several and len(found) < len(names):
            missing = [name for name in names if name not in found]
            raise SetupError(
                f"rule {rule.name!r}: the layers of {missing[:5]} were not run on this process, so "
                "that there is no mean over all processes: give Who(batches=4) or so"
            )
        return self._live.ranks.mean(found)

    def signals(
        self,
        rule: Rule,
        names: Iterable[str],
        store: MaskStore,
        captured: Mapping[str, Tensor] | None,
        step: int,
        changed: Mapping[str, Tensor] | None = None,
    ) -> Signals:
        """What the rule's scorer reads; weights are the live tensors, sleepers are 0.

        changed: weights of which the running transaction has made something else already.
        """
        names, changed = list(names), changed or {}
        params = self._live.params
        weights = {n: changed[n] if n in changed else params[n].detach() for n in names}
        who = rule.who
        needs = frozenset() if who is None else who.needs
        scorer = None if who is None else who.scorer
        grads: dict[str, Tensor] | None = None
        if "grads" in needs and who is not None and who.batches is not None:
            with self._passes.paused():
                grads = self._probe.gradients(names, who.batches, step, changed)
        elif "grads" in needs and captured is not None:
            # A parameter that took no part in this step has gradient zero.
            grads = {n: captured.get(n, torch.zeros_like(w)) for n, w in weights.items()}
        if grads is not None:
            grads = self._live.ranks.mean(grads)
        awake = {n: mask for n in names if (mask := store.awake(n)) is not None}
        measured: Mapping[str, Mapping[str, Tensor]] = {}
        if who is not None and who.batches is not None:
            with self._passes.paused():
                measured = self._measured(who, who.batches, names, step, changed)
        elif "activations" in needs and self.saw(rule):
            measured = {"activations": self._passed(rule, names)}
        return Signals(
            weights=weights,
            grads=grads,
            moments=self._moments(names) if "moments" in needs else None,
            anchor=self._anchor(scorer.anchor, names)
            if "anchor" in needs and scorer is not None and scorer.anchor is not None
            else None,
            parked=self._parked(names) if "parked" in needs else None,
            activations=measured.get("activations"),
            curvature=measured.get("curvature"),
            awake=awake,
            seed=self._live.seed,
            step=step,
            scorer=type(scorer).__name__,
            rule=rule.name,
            progress=Told(),
        )

    def _measured(
        self,
        who: Who,
        batches: int,
        names: list[str],
        step: int,
        changed: Mapping[str, Tensor],
    ) -> dict[str, dict[str, Tensor]]:
        """What the scorer's requests give on batches of its own."""
        scorer, probe = who.scorer, self._probe
        if scorer is None:
            return {}
        found: dict[str, dict[str, Tensor]] = {}
        if "activations" in who.needs and scorer.activations is not None:
            found["activations"] = probe.activations(
                scorer.activations, names, batches, step, changed
            )
        if "curvature" in who.needs and scorer.curvature is not None:
            found["curvature"] = probe.curvature(scorer.curvature, names, batches, step, changed)
        return {need: self._live.ranks.mean(tensors) for need, tensors in found.items()}

    def _anchor(self, tag: str, names: list[str]) -> dict[str, Tensor]:
        point = self._live.kept[tag]
        return {name: point.weight(name) for name in names}

    def _moments(self, names: list[str]) -> dict[str, Tensor]:
        """First moments as they live in the optimizers; 0 where nothing trains, and at first."""
        moments: dict[str, Tensor] = {}
        found = self._live.state.first_moments()
        for name in names:
            moment = found.get(name, torch.zeros_like(self._live.params[name])).detach()
            free = self._live.store.trainable(name)  # weight decay moves the moments of the frozen
            moments[name] = moment if free is None else moment.masked_fill(~free, 0.0)
        return moments

    def _parked(self, names: list[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name in names:
            value = torch.zeros_like(self._live.params[name])
            asleep = self._live.store.asleep_bits(name)
            if asleep is not None:
                self._live.parked[name].fill_into(value, asleep)
            found[name] = value
        return found


def _compiled(model: nn.Module) -> bool:
    """Whether the model or a part of it is compiled, by torch.compile or by its own compile()."""
    return any(
        "_orig_mod" in module._modules or module._compiled_call_impl is not None
        for module in model.modules()
    )
