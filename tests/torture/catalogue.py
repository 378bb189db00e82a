"""Every optimizer of the installed torch.optim, in every configuration that torch itself tests.

Nothing here is a list of names: classes are found, and what they need is found by trying.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, optim
from torch.nn import Parameter
from torch.optim import Optimizer

try:
    from torch.testing._internal.common_optimizers import optim_db
except ImportError:  # it needs expecttest; the default configuration of every class remains
    optim_db = []

IMPLEMENTATIONS = ("foreach", "fused")
LEFT_OUT = {
    "capturable": "replays CUDA graphs; on CPUs torch raises",
    "differentiable": "refused by name: sleep works in place",
}


@dataclass(frozen=True)
class Configuration:
    """A class of optimizers with its options."""

    kind: type[Optimizer]
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, params: Iterable[Tensor]) -> Optimizer:
        """An optimizer with options of its own (a learning rate may be a tensor)."""
        return self.kind(list(params), **copy.deepcopy(self.options))

    @property
    def needs_closure(self) -> bool:
        """Whether step() cannot do without a closure."""
        closure = inspect.signature(self.kind.step).parameters["closure"]
        return closure.default is inspect.Parameter.empty

    @property
    def takes_vectors(self) -> bool:
        """Whether parameters may have other shapes than matrices."""
        return self._goes(torch.zeros(3), torch.ones(3))

    @property
    def takes_dense(self) -> bool:
        """Whether gradients may be dense."""
        return self._goes(torch.zeros(3, 2), torch.ones(3, 2))

    @property
    def takes_sparse(self) -> bool:
        """Whether gradients may be sparse."""
        return self._goes(torch.zeros(3, 2), torch.ones(3, 2).to_sparse(1))

    def _goes(self, value: Tensor, grad: Tensor) -> bool:
        param = Parameter(value)
        with warnings.catch_warnings():  # torch's own, about the sparse tensors that it builds
            warnings.simplefilter("ignore", UserWarning)
            return self._steps(param, grad)

    def _steps(self, param: Parameter, grad: Tensor) -> bool:
        try:
            optimizer = self.build([param])
            for _ in range(2):

                def closure() -> Tensor:
                    param.grad = grad.clone()
                    return torch.zeros(())

                if self.needs_closure:
                    optimizer.step(closure)
                else:
                    closure()
                    optimizer.step()
        except (RuntimeError, ValueError, NotImplementedError):
            return False
        return True

    def __str__(self) -> str:
        told = ", ".join(
            f"{key}={float(v) if isinstance(v, Tensor) else v}" for key, v in self.options.items()
        )
        return f"{self.kind.__name__}({told})"


@cache
def kinds() -> tuple[type[Optimizer], ...]:
    """The classes of optimizers that torch.optim has, whatever they are."""
    found = [one for one in vars(optim).values() if inspect.isclass(one)]
    return tuple(one for one in found if issubclass(one, Optimizer) and one is not Optimizer)


@cache
def official(kind: type[Optimizer]) -> tuple[tuple[dict[str, Any], ...], tuple[str, ...]]:
    """The options that torch tests for CPUs, and the implementations on CPUs beside the plain."""
    for info in optim_db:
        if info.optim_cls is kind:
            inputs = info.optim_inputs_func(device="cpu")
            there = [one for one in IMPLEMENTATIONS if one in info.supported_impls]
            if "cpu" not in info.supports_fused_on:
                there = [one for one in there if one != "fused"]
            return tuple(dict(one.kwargs) for one in inputs), tuple(there)
    return ({},), ()


@cache
def configurations(kind: type[Optimizer]) -> tuple[Configuration, ...]:
    """Every official configuration of a class in every implementation; at least the default."""
    options, implementations = official(kind)
    found: list[Configuration] = []
    for one in options:
        if not any(one.get(key) for key in LEFT_OUT):
            plain = {"foreach": False} if "foreach" in implementations else {}
            found.append(Configuration(kind, {**one, **plain}))
            found += [Configuration(kind, {**one, key: True}) for key in implementations]
    return tuple(found) or (Configuration(kind),)


@cache
def livelier(kind: type[Optimizer]) -> tuple[Configuration, ...]:
    """The same with other options that the constructor knows: more state, larger steps."""
    known = inspect.signature(kind).parameters
    wanted: list[dict[str, Any]] = [
        {"lr": 0.05},
        {"lr": 0.05, "weight_decay": 0.05, "momentum": 0.9, "nesterov": True},
        {"lr": 0.02, "weight_decay": 0.05, "momentum": 0.5, "centered": True},
        {"lr": 0.05, "weight_decay": 0.1, "amsgrad": True, "decoupled_weight_decay": True},
        {"lr": 0.1, "initial_accumulator_value": 0.5, "lambd": 0.05, "t0": 2},
        {"lr": 0.5, "max_iter": 3, "line_search_fn": "strong_wolfe"},
        {"lr": 0.5, "max_iter": 2, "history_size": 2},
        {"lr": 0.05, "eps": 0.0},
        {"lr": 0.05, "maximize": True},
    ]
    found: list[Configuration] = []
    for one in wanted:
        options = {key: value for key, value in one.items() if key in known}
        configuration = Configuration(kind, options)
        if options and configuration not in found and _constructs(configuration):
            found.append(configuration)
    return tuple(found)


def _constructs(configuration: Configuration) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            configuration.build([Parameter(torch.zeros(2, 2))])
    except (TypeError, ValueError, RuntimeError, UserWarning):
        return False
    return True
