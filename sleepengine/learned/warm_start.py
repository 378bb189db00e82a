"""Start logits in the order of a scorer's scores."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, final

import torch
from torch import Tensor, nn

from saliency import Scorer, Signals
from saliency.activations import gather
from saliency.problem import Problem
from sleepengine.errors import SetupError
from sleepengine.learned.frozen import FrozenModel, scope
from sleepengine.learned.inputs import Inputs
from sleepengine.learned.relaxation import Place, Relaxation, check_number
from sleepengine.names import canonical, named_parameters, unwrap


@final
@dataclass(frozen=True)
class WarmStart:
    """Logits in the order of scores: the higher the score, the higher the first logit.

    Only ranks within a tensor count (r = (rank + 1/2) / n), so any scorer will do. With
    span = 1 logits run from where weights fall asleep to twice the usual first value; with
    span = 2 the lowest quarter starts asleep.

    Args:
        scorer: any saliency scorer.
        span: how far logits spread, above 0.
        signals: what the scorer reads beyond weights: `frozen_signals(..., scorer=scorer)`.

    >>> from saliency import Magnitude
    >>> from sleepengine.learned.stochastic import GumbelSigmoid
    >>> place = Place("w", torch.Size([4]), torch.float32, torch.device("cpu"))
    >>> start = WarmStart(Magnitude())
    >>> start.logits(GumbelSigmoid(), place, torch.tensor([0.1, 4.0, 0.3, 0.2])).tolist()
    [0.5, 3.5, 2.5, 1.5]
    """

    scorer: Scorer
    span: float = 1.0
    signals: Signals | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.scorer, Scorer):
            raise SetupError(f"WarmStart(scorer={self.scorer!r}): give a scorer, as Magnitude()")
        check_number("WarmStart", "span", self.span, lambda s: s > 0, "above 0")

    def scores(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scores of these weights, each in its weight's shape.

        Raises:
            MissingSignal: the scorer needs more than weights, and signals= does not hold it.
            SetupError: scores are missing, or are NaN.
        """
        given = Signals(weights=weights) if self.signals is None else self.signals
        scores = self.scorer.score(given.for_scorer(type(self.scorer).__name__, "warm start"))
        found: dict[str, Tensor] = {}
        for name, weight in weights.items():
            if name not in scores or bool(scores[name].isnan().any()):
                raise SetupError(
                    f"warm start: {self.scorer!r} gives no score, or NaN, for {name!r}"
                )
            found[name] = scores[name].detach().expand(weight.shape)
        return found

    def logits(self, relaxation: Relaxation, place: Place, scores: Tensor) -> Tensor:
        """First logits of one tensor of units; ties go by index."""
        order = scores.flatten().argsort(stable=True)
        ranks = torch.empty_like(order, dtype=place.dtype)
        ranks[order] = torch.arange(len(order), dtype=place.dtype, device=order.device)
        ranks = (ranks + 0.5) / max(len(order), 1)
        return relaxation.warm(place, ranks.view(place.shape), self.span)


def frozen_signals(
    model: nn.Module,
    loss_fn: Callable[[Any, Any], Tensor],
    data: Iterable[Any],
    *,
    batches: int = 1,
    params: str | Sequence[str] | None = None,
    scorer: Scorer | None = None,
) -> Signals:
    """Weights, and gradients of the mean loss over `batches` pairs (x, y), of a frozen model.

    scorer: also gathers the activations or the curvature that it reads. The model keeps its flags,
    gradients and statistics: such things are measured on a copy.

    Raises:
        SetupError: the model is not frozen, or data has fewer batches.
        ValueError: activations of a layer that cannot be watched, curvature that is not finite.

    >>> layer = nn.Linear(1, 1, bias=False).requires_grad_(False).eval()
    >>> batch = (torch.tensor([[3.0]]), torch.tensor([[0.0]]))
    >>> frozen_signals(layer, lambda out, y: (out - y).sum(), [batch]).grads["weight"]
    tensor([[3.]])
    """
    frozen = FrozenModel(model)
    names = scope(model, params)
    pairs = list(islice(data, max(batches, 0)))
    if len(pairs) < batches or batches < 1:
        raise SetupError(f"data gave {len(pairs)} batches, batches={batches} were asked for")
    weights = {name: frozen.weights[name] for name in names}
    # A gate of one that requires a gradient would give w g; weights themselves must be the leaves.
    leaves = {name: w.clone().requires_grad_(True) for name, w in weights.items()}
    frozen.weights.update(leaves)
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    with torch.enable_grad():
        for x, y in pairs:
            loss = loss_fn(frozen.call({}, x), y)
            found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
            for name, grad in zip(leaves, found, strict=True):
                if grad is not None:
                    total[name].add_(grad)
    measured = {} if scorer is None else _measured(scorer, model, names, loss_fn, pairs)
    return Signals(
        weights=weights,
        grads={name: t.div_(batches) for name, t in total.items()},
        activations=measured.get("activations"),
        curvature=measured.get("curvature"),
    )


def _measured(
    scorer: Scorer,
    model: nn.Module,
    names: Sequence[str],
    loss_fn: Callable[[Any, Any], Tensor],
    pairs: list[Any],
) -> dict[str, dict[str, Tensor]]:
    """What the scorer's requests give on a copy of the model that trains."""
    replica = copy.deepcopy(unwrap(model)).requires_grad_(True)
    full = {canonical(raw): raw for raw, _ in replica.named_parameters()}
    known = named_parameters(replica)
    found: dict[str, dict[str, Tensor]] = {}
    if "activations" in scorer.needs and scorer.activations is not None:
        own: dict[str, Tensor] = {name: known[name] for name in names}
        found["activations"] = gather(replica, own, scorer.activations, pairs, _run)
    if "curvature" in scorer.needs and scorer.curvature is not None:
        own = {full[name]: known[name] for name in names}
        if any(isinstance(x, Inputs) for x, _ in pairs):
            problem = Problem(
                replica, own, pairs, batch_loss=lambda net, pair: loss_fn(_run(net, pair), pair[1])
            )
        else:  # some requests change outputs, which takes a loss of (output, target)
            problem = Problem(replica, own, pairs, loss=loss_fn)
        measured = scorer.curvature(problem)
        found["curvature"] = {canonical(raw): value for raw, value in measured.items()}
    return found


def _run(model: nn.Module, pair: Any) -> Any:
    given = Inputs.of(pair[0])
    return model(*given.args, **given.kwargs)
