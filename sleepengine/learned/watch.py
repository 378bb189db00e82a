"""What goes wrong when masks are learned, found early and said in plain words."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sleepengine.errors import SetupError
from sleepengine.learned.batches import connected
from sleepengine.learned.frozen import name_some

LOOKS = 10
"""Steps after which logits must have moved."""


def check_optimizer(
    optimizer: Optimizer, logits: Mapping[str, nn.Parameter], weights: Mapping[str, nn.Parameter]
) -> None:
    """The optimizer holds all the logits and nothing else.

    Raises:
        SetupError: it holds weights of the model or foreign tensors, or lacks logits.
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    wrong = [name for name, p in weights.items() if id(p) in held]
    remedy = "build it as torch.optim.Adam(logits.parameters(), lr=1e-2)"
    if wrong:
        raise SetupError(
            f"the optimizer holds weights of the model ({name_some(wrong)}), but the model is "
            f"frozen and only logits train: {remedy}"
        )
    missing = [key for key, logit in logits.items() if id(logit) not in held]
    if missing:
        raise SetupError(
            f"the optimizer lacks the logits of {name_some(missing)}; they would never change: "
            f"{remedy} from this MaskLogits"
        )
    if len(held) > len(logits):
        raise SetupError(
            f"the optimizer holds {len(held) - len(logits)} tensors that are not these logits "
            f"(of another MaskLogits?): {remedy}"
        )


def check_loss(loss: Any, output: Any) -> None:
    """The loss is one finite number and hangs on the output, and the output on the masks.

    Raises:
        SetupError: it is not, with the likely reason.
    """
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise SetupError(f"loss_fn must return one number as a tensor, found {found}")
    if not connected(output):
        raise SetupError(
            "the output of the model does not depend on the masks: its forward runs under "
            "torch.no_grad(), calls .detach(), .item(), .numpy() or argmax, or wraps a weight in "
            "a new nn.Parameter, each of which cuts the graph"
        )
    if loss.grad_fn is None:
        raise SetupError(
            "the loss is detached from the graph, so no gradient can reach the logits: loss_fn "
            "must not use torch.no_grad(), .detach(), .item() or argmax (calling "
            "requires_grad_(True) on a detached loss mends nothing)"
        )
    if not bool(torch.isfinite(loss).all()):
        raise SetupError(f"the loss is {loss.item()}; no mask can be learned from it")


@final
class Watch:
    """Looks at the first steps: does a gradient reach every tensor of logits, and do they move?"""

    def __init__(self, logits: Mapping[str, nn.Parameter], optimizer: Optimizer) -> None:
        self._logits = dict(logits)
        self._optimizer = optimizer
        self._start: dict[str, Tensor] = {}
        self._reached: set[str] = set()
        self._steps = 0

    def gradients(self) -> None:
        """Look at the gradients of the loss alone, before a penalty is added.

        Raises:
            SetupError: at the first step no gradient reaches any logits.
        """
        if self._steps >= LOOKS:
            return
        if not self._steps:
            self._start = {key: logit.detach().clone() for key, logit in self._logits.items()}
            if all(logit.grad is None for logit in self._logits.values()):
                raise SetupError(
                    f"no gradient reaches the logits: the forward pass uses none of "
                    f"{name_some(list(self._logits))}"
                )
        for key, logit in self._logits.items():
            if key not in self._reached and logit.grad is not None and bool(logit.grad.any()):
                self._reached.add(key)

    def moved(self) -> None:
        """Look after the optimizer's step; after some steps say what stood still.

        Raises:
            SetupError: not one logit moved.
        """
        if self._steps >= LOOKS:
            return
        self._steps += 1
        if self._steps < LOOKS:
            return
        still = [k for k, v in self._logits.items() if torch.equal(v.detach(), self._start[k])]
        self._start = {}
        rates = sorted({float(group["lr"]) for group in self._optimizer.param_groups})
        if len(still) == len(self._logits):
            raise SetupError(
                f"not one logit moved in {LOOKS} steps; the optimizer's lr is {rates}, and the "
                f"gradient of the loss was zero for {len(self._logits) - len(self._reached)} of "
                f"{len(self._logits)} tensors"
            )
        blind = [key for key in self._logits if key not in self._reached]
        if still or blind:
            warnings.warn(
                f"in {LOOKS} steps the loss gave no gradient to the logits of "
                f"{name_some(blind) if blind else 'none'}, and those of "
                f"{name_some(still) if still else 'none'} did not move: a layer that is not used "
                "or dead, or logits far out where the relaxation is flat (temperature, init)",
                stacklevel=2,
            )
