"""The loss of a problem as a pure function of its parameters, for torch.func."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

from saliency.problem import Problem, batch_size, change_tensors, tensors_in

Params = dict[str, Tensor]


def live(problem: Problem) -> Params:
    """The parameters, cut off from their graph."""
    return {name: tensor.detach() for name, tensor in problem.params.items()}


def output_of(problem: Problem, params: Params, inputs: Any) -> Any:
    """model(inputs) with these parameters; buffers are copies, made anew at every call."""
    # Made here, inside of all transforms, so that train mode may write to them.
    buffers = {name: b.clone() for name, b in problem.model.named_buffers()}
    return functional_call(problem.model, (params, buffers), (inputs,))


def loss_of(problem: Problem, params: Params, batch: Any) -> Tensor:
    """The mean loss of one batch with these parameters; a scalar."""
    if problem.batch_loss is not None:
        whole = _Whole(problem.model, problem.batch_loss)
        inner = {f"model.{name}": tensor for name, tensor in params.items()}
        buffers = {name: b.clone() for name, b in whole.named_buffers()}
        loss = functional_call(whole, (inner, buffers), (batch,))
    else:
        inputs, target = pair(batch)
        assert problem.loss is not None  # checked when the problem was built
        loss = problem.loss(output_of(problem, params, inputs), target)
    if not isinstance(loss, Tensor) or loss.dim():
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"The loss must be one number, the mean over the batch; got {got}.")
    return loss


def pair(batch: Any) -> tuple[Any, Any]:
    """Input and target."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise ValueError(
            f"A batch must be a pair (input, target) for loss=, got {type(batch).__name__}; "
            "for other batches give batch_loss= of (model, batch)."
        )
    return batch[0], batch[1]


def pieces(batch: Any, size: int) -> Iterator[Any]:
    """The batch cut into runs of at most `size` samples."""
    for start in range(0, batch_size(batch), size):
        yield change_tensors(batch, lambda t: t[start : start + size])  # noqa: B023


def sample_gradients(problem: Problem, params: Params, piece: Any) -> Params:
    """Gradient of each sample's own loss; tensors [n, *shape]."""
    refuse_mixing(problem)

    tensors = list(tensors_in(piece))

    def one(params: Params, *parts: Tensor) -> Tensor:
        left = iter(parts)
        return loss_of(problem, params, change_tensors(piece, lambda _: next(left).unsqueeze(0)))

    where = (None, *(0 for _ in tensors))
    each: Callable[..., Params] = vmap(grad(one), in_dims=where, randomness="different")
    return each(params, *tensors)


def pullback(function: Callable[[Params], Any], params: Params) -> tuple[Any, Callable[[Any], Any]]:
    """The value of `function`, and the map from its gradient to that of the parameters."""
    found: Any = vjp(function, params)
    return found[0], lambda cotangent: found[1](cotangent)[0]


def refuse_mixing(problem: Problem) -> None:
    """Raise if the samples of a batch have no gradients of their own."""
    for name, module in problem.model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            module.training or not module.track_running_stats
        ):
            raise ValueError(
                f"{name!r} ({type(module).__name__}) mixes the samples of a batch, so that none "
                "has a gradient of its own: call model.eval(), or take gradients of whole "
                "batches, BatchGradients()."
            )


class _Whole(nn.Module):
    """Model and loss as one module, so that any loss of (model, batch) sees the parameters."""

    def __init__(self, model: nn.Module, function: Callable[[nn.Module, Any], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, batch: Any) -> Tensor:
        return self.function(self.model, batch)


def check_loss(loss: Tensor) -> None:
    """Raise ValueError if a batch has no finite loss."""
    if not bool(torch.isfinite(loss)):
        raise ValueError(f"The loss of a batch is {float(loss)}; curvature needs a finite loss.")
