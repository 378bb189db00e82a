"""A loss of a model over batches: what curvature is a property of."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from saliency.switches import switched_off

Progress = Callable[[str, int, int], None]
"""Called with (what is computed, steps done, steps in all; 0 = not known)."""


@final
@dataclass(frozen=True, eq=False)
class Problem:
    """L(params) = sum_b n_b loss_b / sum_b n_b over batches b of n_b samples.

    The model is used as it is: in train mode, BatchNorm sees each batch as a whole and dropout
    draws from a generator seeded with `seed`. Buffers, gradients and the global random state
    stay as they are.

    Args:
        model: The module; its other parameters are constants.
        params: The parameters that curvature is asked for, by their name in the model. A tied
            parameter goes by any of its names and is one variable.
        batches: Read several times, hence no iterator. For `loss`, pairs (input, target); for
            `batch_loss`, tensors or tuples, lists and dicts of them. Their first dimension is
            that of the samples.
        loss: Loss of (output, target), the mean over the batch.
        batch_loss: Instead of `loss`: loss of (model, batch), the mean over the batch.
        seed: Seed for dropout and for random probes.
        progress: Called now and then on long work.

    Raises:
        TypeError: `model` is no module, or `batches` can be read only once.
        ValueError: No loss or both, no parameters, a name that the model does not have, or an
            entry that is of another shape than the model's parameter.

    >>> layer = nn.Linear(2, 1)
    >>> batch = (torch.ones(4, 2), torch.zeros(4, 1))
    >>> problem = Problem(layer, {"weight": layer.weight}, [batch], nn.MSELoss())
    >>> problem.samples()
    4
    """

    model: nn.Module
    params: Mapping[str, Tensor]
    batches: Iterable[Any]
    loss: Callable[[Any, Any], Tensor] | None = None
    batch_loss: Callable[[nn.Module, Any], Tensor] | None = None
    seed: int = 0
    progress: Progress | None = field(default=None)

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise TypeError(f"Problem(model={self.model!r}): model must be a torch.nn.Module.")
        if (self.loss is None) == (self.batch_loss is None):
            given = "neither" if self.loss is None else "both"
            raise ValueError(
                f"Problem: {given} of loss= and batch_loss= was given; curvature needs exactly "
                "one: loss= of (output, target), such as torch.nn.CrossEntropyLoss(), or "
                "batch_loss= of (model, batch)."
            )
        if self.batches is None:
            raise ValueError("Problem(batches=None): curvature needs batches to average over.")
        if isinstance(self.batches, Iterator) or not isinstance(self.batches, Iterable):
            raise TypeError(
                f"Problem(batches={type(self.batches).__name__}): batches are read several times; "
                "give a list or a DataLoader, no iterator."
            )
        _check_params(self.model, self.params)

    def samples(self) -> int:
        """How many samples all batches hold together."""
        return sum(batch_size(batch) for batch in self.each())

    def each(self) -> Iterator[Any]:
        """The batches in order.

        Raises:
            ValueError: There is none, or one that holds no samples.
        """
        found = False
        for batch in self.batches:
            found = True
            if batch_size(batch) == 0:
                raise ValueError("Problem: a batch of batches= holds no samples.")
            yield batch
        if not found:
            raise ValueError("Problem: batches= gave no batch; curvature needs at least one.")

    def report(self, what: str, done: int, total: int = 0) -> None:
        """Tell the caller how far the work is."""
        if self.progress is not None:
            self.progress(what, done, total)

    @contextmanager
    def calm(self) -> Iterator[None]:
        """Own random numbers, no outer graph, and layers that can be differentiated twice."""
        devices = sorted({p.device for p in self.params.values() if p.is_cuda}, key=str)
        with (
            torch.random.fork_rng(devices=devices),
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            _plain_recurrence(self.model),
        ):
            torch.manual_seed(self.seed)
            yield


@contextmanager
def _plain_recurrence(model: nn.Module) -> Iterator[None]:
    """Recurrent layers step by step: the fused ones of MKL-DNN and cuDNN have one derivative."""
    if not any(isinstance(module, nn.RNNBase) for module in model.modules()):
        yield
        return
    with switched_off(torch.backends.mkldnn), switched_off(torch.backends.cudnn):
        yield


def batch_size(batch: Any) -> int:
    """Length of the first tensor in a batch.

    >>> batch_size({"x": (torch.zeros(3, 2), torch.zeros(3))})
    3
    """
    for tensor in tensors_in(batch):
        if tensor.dim():
            return len(tensor)
    raise ValueError(f"A batch of type {type(batch).__name__} holds no tensor with a dimension.")


def tensors_in(batch: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dicts, in order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for item in batch.values():
            yield from tensors_in(item)
    elif isinstance(batch, (tuple, list)):
        for item in batch:
            yield from tensors_in(item)


def change_tensors(batch: Any, change: Callable[[Tensor], Any]) -> Any:
    """The same nest with `change(tensor)` in place of each tensor.

    >>> change_tensors((torch.zeros(2), {"k": 1}), len)
    (2, {'k': 1})
    """
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {key: change_tensors(item, change) for key, item in batch.items()}
    if isinstance(batch, (tuple, list)):
        items = [change_tensors(item, change) for item in batch]
        # A named tuple takes its fields one by one.
        return type(batch)(items) if type(batch) in (tuple, list) else type(batch)(*items)
    return batch


def _check_params(model: nn.Module, params: Mapping[str, Tensor]) -> None:
    known = dict(model.named_parameters(remove_duplicate=False))
    if not params:
        raise ValueError("Problem(params={}): there is no parameter to ask curvature for.")
    for name, tensor in params.items():
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"Problem(params={{{name!r}: ...}}): the model has no parameter of this name.{hint}"
            )
        if tensor.shape != known[name].shape:
            raise ValueError(
                f"Problem(params={{{name!r}: ...}}): it has shape {tuple(tensor.shape)}, but the "
                f"model's parameter has shape {tuple(known[name].shape)}."
            )
        if not tensor.is_floating_point():
            raise TypeError(f"Problem(params={{{name!r}: ...}}): dtype {tensor.dtype} is no float.")
