"""Start logits in the order of a scorer's scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, final

import torch
from torch import Tensor, nn

from saliency import Scorer, Signals
from sleepengine.errors import SetupError
from sleepengine.learned.frozen import FrozenModel, scope
from sleepengine.learned.relaxation import Place, Relaxation, check_number


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
        signals: what the scorer reads beyond weights; `frozen_signals` gathers gradients.

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
) -> Signals:
    """Weights, and gradients of the mean loss over `batches` pairs (x, y), of a frozen model.

    The model keeps its flags, gradients and statistics.

    Raises:
        SetupError: the model is not frozen, or data has fewer batches.

    >>> layer = nn.Linear(1, 1, bias=False).requires_grad_(False).eval()
    >>> batch = (torch.tensor([[3.0]]), torch.tensor([[0.0]]))
    >>> frozen_signals(layer, lambda out, y: (out - y).sum(), [batch]).grads["weight"]
    tensor([[3.]])
    """
    frozen = FrozenModel(model)
    names = scope(model, params)
    weights = {name: frozen.weights[name] for name in names}
    # A gate of one that requires a gradient would give w g; weights themselves must be the leaves.
    leaves = {name: w.clone().requires_grad_(True) for name, w in weights.items()}
    frozen.weights.update(leaves)
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    seen = 0
    with torch.enable_grad():
        for x, y in islice(data, batches):
            loss = loss_fn(frozen.call({}, x), y)
            found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
            for name, grad in zip(leaves, found, strict=True):
                if grad is not None:
                    total[name].add_(grad)
            seen += 1
    if seen < batches or batches < 1:
        raise SetupError(f"data gave {seen} batches, batches={batches} were asked for")
    return Signals(weights=weights, grads={name: t.div_(seen) for name, t in total.items()})
