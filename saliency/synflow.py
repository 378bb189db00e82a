"""SynFlow: how much flow from inputs to outputs passes through a weight, without data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.func import functional_call

from saliency import arguments
from saliency.curvature.functional import live, pair
from saliency.curvature.one_by_one import Inside
from saliency.curvature.request import CurvatureRequest, finite, positive_int
from saliency.problem import Problem, change_tensors, tensors_in
from saliency.scorer import Scorer
from saliency.signals import Signals


@final
@dataclass(frozen=True)
class SynapticFlow(CurvatureRequest):
    """dR / d|w|, with R the sum of the outputs when all weights are |w| and the input is ones.

    Nothing of the data is read but the shape of one sample. The model itself is not changed: it
    is called with the magnitudes of its parameters and buffers, in float64 because the flow grows
    from layer to layer. Eval mode.

    Raises:
        ValueError: Batches are not pairs (input, target) of floats, or R is not finite.

    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> batch = (torch.zeros(8, 2), torch.zeros(8))
    >>> SynapticFlow()(Problem(layer, {"weight": layer.weight}, [batch], torch.nn.MSELoss()))
    {'weight': tensor([[1., 1.]], dtype=torch.float64)}
    """

    def __call__(self, problem: Problem) -> dict[str, Tensor]:
        """One float64 tensor per parameter, of its shape."""
        inputs, _ = pair(next(problem.each()))
        ones = change_tensors(inputs, _ones)
        model, asked = problem.model, {n: _positive(t) for n, t in live(problem).items()}
        others = dict(model.named_parameters())
        tensors = {n: _positive(t.detach()) for n, t in others.items() if n not in asked}
        tensors |= {name: _positive(buffer) for name, buffer in model.named_buffers()}
        inner = {f"model.{name}": tensor for name, tensor in (tensors | asked).items()}
        with problem.calm(), torch.enable_grad():
            for tensor in asked.values():
                tensor.requires_grad_()
            # A checkpointed part runs once more in the backward pass, on the same magnitudes; of
            # the older, reentrant kind, it passes on gradients only if its input has some, and
            # only to backward().
            whole = Inside(model, lambda: _total(model(ones)).backward())
            functional_call(whole, inner, ())
        found = {n: torch.zeros_like(t) if t.grad is None else t.grad for n, t in asked.items()}
        return finite("SynapticFlow()", found)


@final
@dataclass(frozen=True)
class SynFlow(Scorer):
    """s = |w| dR/d|w|: synaptic flow; float64.

    In a network without biases, what flows into a unit is what flows out of it, so that no layer
    is emptied before the others as long as many small steps are taken: see
    `synaptic_flow_steps`.

    Source: Tanaka, Kunin, Yamins and Ganguli 2020 (arXiv:2006.05467).

    >>> signals = Signals(
    ...     weights={"w": torch.tensor([2.0, -1.0])}, curvature={"w": torch.tensor([0.5, 3.0])}
    ... )
    >>> SynFlow().score(signals)
    {'w': tensor([1., 3.], dtype=torch.float64)}
    """

    needs = frozenset({"weights", "curvature"})
    curvature = SynapticFlow()
    elementwise = equivariant = True

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """|w| times the flow's derivative."""
        return {
            name: w.double().abs() * signals.curvature[name].double().to(w.device)
            for name, w in signals.weights.items()
        }


def synaptic_flow_steps(final: float, rounds: int = 100) -> tuple[float, ...]:
    """Shares asleep after each round of SynFlow: 1 - (1 - final)^(k / rounds), k = 1 ... rounds.

    The awake share shrinks by the same factor in every round, and the flow is measured anew. As
    rules: one per share, all at the same time, with `to(share)` over one global pool.

    Args:
        final: Share asleep in the end.
        rounds: 1 or more; the paper takes 100.

    Raises:
        TypeError: An argument is no number.
        ValueError: `final` is not in 0 <= final < 1, or there is no round.

    Source: Tanaka et al. 2020 (arXiv:2006.05467), algorithm 1.

    >>> [round(share, 4) for share in synaptic_flow_steps(0.75, rounds=2)]
    [0.5, 0.75]
    """
    arguments.share("synaptic_flow_steps", "final", final)
    positive_int("synaptic_flow_steps", "rounds", rounds)
    shares = [1 - (1 - final) ** (k / rounds) for k in range(1, rounds)]
    return (*shares, float(final))


def _positive(tensor: Tensor) -> Tensor:
    return tensor.abs().double() if tensor.is_floating_point() else tensor.clone()


def _ones(tensor: Tensor) -> Tensor:
    """The input of one sample."""
    if not tensor.is_floating_point() or not tensor.dim():
        raise ValueError(
            f"SynFlow sends ones through the model, but its inputs have dtype {tensor.dtype} and "
            f"shape {tuple(tensor.shape)}; it needs float inputs with a batch dimension."
        )
    ones = torch.ones_like(tensor[:1], dtype=torch.float64).requires_grad_()
    with torch.enable_grad():
        return ones.clone()  # models may write into their input, but not into a leaf


def _total(output: Any) -> Tensor:
    return torch.stack([tensor.sum() for tensor in tensors_in(output)]).sum()
