"""Every optimizer in every configuration that torch tests, against a run masked by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

pytest.importorskip("expecttest")
from torch.testing._internal.common_optimizers import optim_db

STEPS, START = 8, 3
FILLS = {
    "exp_avg": 0.0,
    "momentum_buffer": 0.0,
    "grad_avg": 0.0,
    "prev": 0.0,
    "ax": 0.0,
    "acc_delta": 0.0,
    "variance": 0.0,
    "exp_avg_sq": 1.0,
    "max_exp_avg_sq": 1.0,
    "exp_inf": 1.0,
    "square_avg": 1.0,
    "sum": 1.0,
}
LEFT_ALONE = {"step", "eta", "mu", "mu_product", "row_var", "col_var", "step_size"}


def cases() -> Iterator[object]:
    for info in optim_db:
        kind = info.optim_cls
        for n, config in enumerate(info.optim_inputs_func(device="cpu")):
            if config.kwargs.get("capturable") or config.kwargs.get("differentiable"):
                continue
            for impl in ("plain", *info.supported_impls):
                if impl in ("capturable", "differentiable"):
                    continue
                if impl == "fused" and "cpu" not in info.supports_fused_on:
                    continue
                switch = {} if impl == "plain" else {impl: True}
                if impl == "plain" and "foreach" in info.supported_impls:
                    switch = {"foreach": False}
                kwargs = {**config.kwargs, **switch}
                yield pytest.param(kind, kwargs, id=f"{kind.__name__}-{n}-{impl}")


def start(kind: type[Optimizer]) -> dict[str, Parameter]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"w": (6, 5)} if kind is torch.optim.Muon else {"w": (6, 5), "b": (7,)}
    params = {n: Parameter(torch.randn(s, generator=generator)) for n, s in shapes.items()}
    with torch.no_grad():
        params["w"].view(-1)[3] = -0.0  # among the frozen
    return params


def masks(param: Tensor) -> tuple[Tensor, Tensor]:
    index = (torch.arange(param.numel()) ** 2 % 29 + 1).view(param.shape)  # a regular pattern
    return index % 3 == 1, index % 3 == 0  # could be one that mixing rows and columns keeps


def step(optimizer: Optimizer, params: dict[str, Parameter], seed: int, hand: bool) -> None:
    """One step on noisy data; by hand, the gradients are masked inside the closure."""

    def closure() -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        optimizer.zero_grad()
        loss = torch.zeros(())
        for param in params.values():
            target = torch.randn(param.shape, generator=generator)
            loss = loss + ((param - target) ** 2 * (1 + target.abs())).sum()
        loss.backward()
        if optimizer.__class__ is torch.optim.SparseAdam:
            for param in params.values():
                assert param.grad is not None
                param.grad = param.grad.to_sparse(1)
        if hand:
            for param in params.values():
                assert param.grad is not None
                out = masks(param)[0] | masks(param)[1]
                grad = param.grad.to_dense() if param.grad.is_sparse else param.grad
                grad = torch.where(out, torch.zeros_like(grad), grad)
                param.grad = grad.to_sparse(1) if param.grad.is_sparse else grad
        return loss

    if isinstance(optimizer, torch.optim.LBFGS):
        optimizer.step(closure)
    else:
        closure()
        optimizer.step()


def fill_by_hand(optimizer: Optimizer, param: Tensor) -> None:
    if isinstance(optimizer, torch.optim.LBFGS):
        optimizer.state.clear()
        return
    for key, value in optimizer.state.get(param, {}).items():
        if isinstance(value, Tensor) and key not in LEFT_ALONE and value.shape == param.shape:
            out = masks(param)[0] | masks(param)[1]
            value.copy_(torch.where(out, torch.full_like(value, FILLS[key]), value))


@pytest.mark.parametrize("begin", [0, START], ids=["unborn", "trained"])
@pytest.mark.parametrize(("kind", "kwargs"), list(cases()))
def test_inactive_exact_and_awake_as_by_hand(kind, kwargs, begin, rig, words):
    params, oracle = start(kind), start(kind)
    optimizer = kind(list(params.values()), **kwargs)
    hand = kind(list(oracle.values()), **kwargs)
    for seed in range(begin):
        step(optimizer, params, seed, hand=False)
        step(hand, oracle, seed, hand=False)
    engine = rig(params, [optimizer])
    kept = {name: param.detach().clone() for name, param in params.items()}
    for name, param in params.items():
        asleep, frozen = masks(param)
        engine.sleep(name, asleep)
        engine.freeze(name, frozen)
        with torch.no_grad():
            oracle[name][asleep] = 0.0
        fill_by_hand(hand, oracle[name])
    for seed in range(begin, STEPS):
        step(optimizer, params, seed, hand=False)
        step(hand, oracle, seed, hand=True)
        for name, param in params.items():
            asleep, frozen = masks(param)
            with torch.no_grad():  # by hand: repaired after every step, whatever the optimizer
                oracle[name][asleep] = 0.0
                oracle[name][frozen] = kept[name][frozen]
            if seed == begin == 0 and kind is not torch.optim.LBFGS:
                fill_by_hand(hand, oracle[name])
            assert int(words(param)[asleep].count_nonzero()) == 0
            assert torch.equal(words(param)[frozen], words(kept[name])[frozen])
            assert torch.equal(words(param), words(oracle[name]))
