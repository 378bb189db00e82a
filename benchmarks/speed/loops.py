"""Training loops of the models in benchmarks/models.py: dense, under an engine, under the peers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.optim import Optimizer

import sleepengine as se
from benchmarks.models import STEPS

Make = Callable[[Iterable[nn.Parameter]], Optimizer]
OPTIMIZERS: Mapping[str, Make] = {
    "SGDm": lambda params: torch.optim.SGD(params, 0.01, momentum=0.9),
    "AdamW": lambda params: torch.optim.AdamW(params, 1e-4),
    "AdamW fused": lambda params: torch.optim.AdamW(params, 1e-4, fused=True),
}


class Loop:
    """A model in training: one call is one step."""

    def __init__(self, name: str, make: Make, model: nn.Module | None = None) -> None:
        torch.manual_seed(0)
        build, batch = STEPS[name]
        self.model = (build() if model is None else model).train()
        self.optimizer = make(self.model.parameters())
        self.x, self.y = batch()

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        output = self.model(self.x)
        F.cross_entropy(output.flatten(0, -2), self.y.flatten()).backward()
        self.optimizer.step()


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """What sleeps: weights of 2 and more dimensions, but for embeddings."""
    embedded = {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    named = model.named_parameters()
    return {n: p for n, p in named if p.dim() > 1 and p not in embedded}


def drawn(param: Tensor, share: float) -> Tensor:
    """Which entries sleep: this share, drawn at random."""
    generator = torch.Generator().manual_seed(param.numel())
    return torch.rand(param.shape, generator=generator) < share


class Engined(Loop):
    """The same loop with an engine attached, and this share asleep or frozen."""

    def __init__(
        self, name: str, make: Make, asleep: float = 0.0, frozen: float = 0.0, **options: Any
    ) -> None:
        super().__init__(name, make)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.engine = se.SleepEngine(self.model, self.optimizer, undo=False, **options).attach()
        self(), self()
        for param, p in weights(self.model).items():
            if asleep:
                self.engine.sleep_weights(param, drawn(p, asleep))
            if frozen:
                self.engine.freeze_weights(param, drawn(p, frozen))


class TorchPruned(Loop):
    """The same loop under torch.nn.utils.prune, after two dense steps."""

    def __init__(self, name: str, make: Make, share: float) -> None:
        super().__init__(name, make)
        self(), self()
        for module, tensor in _owners(self.model):
            prune.custom_from_mask(module, tensor, ~drawn(getattr(module, tensor), share))


class Parametrized(Loop):
    """The same loop under torch.ao.pruning's mask, a parametrization with a float mask."""

    def __init__(self, name: str, make: Make, share: float) -> None:
        from torch.ao.pruning.sparsifier.utils import FakeSparsity
        from torch.nn.utils import parametrize

        super().__init__(name, make)
        self(), self()
        for module, tensor in _owners(self.model):
            mask = (~drawn(getattr(module, tensor), share)).float()
            parametrize.register_parametrization(module, tensor, FakeSparsity(mask))


def _owners(model: nn.Module) -> list[tuple[nn.Module, str]]:
    wanted = set(weights(model))
    return [
        (module, tensor)
        for prefix, module in model.named_modules()
        for tensor, _ in module.named_parameters(recurse=False)
        if (f"{prefix}.{tensor}" if prefix else tensor) in wanted
    ]
