import math

import pytest
import torch

from sleepengine.enforcement.state_table import (
    TABLE,
    StateKind,
    fresh_value,
    refill_after,
    rule_for,
)

pytest.importorskip("expecttest")
from torch.testing._internal.common_optimizers import optim_db


def test_every_state_of_every_torch_optimizer_is_listed():
    """A new optimizer in torch, or a new state, must be looked at before it is trusted."""
    flat = {"d", "t", "old_stps", "ro", "H_diag", "prev_loss", "al", "n_iter", "func_evals"}
    for info in optim_db:
        for config in info.optim_inputs_func(device="cpu"):
            if config.kwargs.get("capturable") or config.kwargs.get("differentiable"):
                continue
            w = torch.nn.Parameter(torch.randn(3, 2))
            b = torch.nn.Parameter(torch.randn(3))
            params = [w] if info.optim_cls is torch.optim.Muon else [w, b]
            optimizer = info.optim_cls(params, **config.kwargs)
            for param in params:
                grad = torch.randn_like(param)
                sparse = info.optim_cls is torch.optim.SparseAdam
                param.grad = grad.to_sparse(1) if sparse else grad
            optimizer.step(lambda params=params: sum((p**2).sum() for p in params))
            for param in params:
                unknown = set(optimizer.state.get(param, {})) - set(TABLE) - flat
                assert unknown == set(), info.optim_cls


@pytest.mark.parametrize(
    ("key", "kind", "fill"),
    [
        ("exp_avg", StateKind.FIRST, 0.0),
        ("momentum_buffer", StateKind.FIRST, 0.0),
        ("exp_avg_sq", StateKind.SECOND, 1.0),
        ("max_exp_avg_sq", StateKind.SECOND, 1.0),
        ("sum", StateKind.SECOND, 1.0),
        ("acc_delta", StateKind.SECOND, 0.0),
        ("step_size", StateKind.SECOND, None),
        ("ax", StateKind.FIRST, 0.0),
        ("unheard_of", StateKind.FIRST, 0.0),
    ],
)
def test_rules(key, kind, fill):
    rule = rule_for(key, torch.zeros(2, 3), torch.zeros(2, 3))
    assert rule is not None
    assert (rule.kind, rule.fill) == (kind, fill)


@pytest.mark.parametrize("key", ["step", "eta", "mu", "mu_product", "row_var", "col_var"])
def test_shared_state_is_left_alone_even_in_the_parameter_s_shape(key):
    assert rule_for(key, torch.zeros(()), torch.zeros(())) is None
    assert rule_for(key, torch.zeros(2, 1), torch.zeros(2, 1)) is None


def test_other_shapes_and_types_are_left_alone():
    w = torch.zeros(2, 3)
    assert rule_for("exp_avg", torch.zeros(6), w) is None
    assert rule_for("exp_avg", torch.zeros(2, 3, dtype=torch.int64), w) is None
    assert rule_for("exp_avg", None, w) is None
    assert rule_for("exp_avg", 3.0, w) is None


def test_fresh_values_come_from_the_group():
    assert fresh_value(TABLE["step_size"], {"lr": torch.tensor(0.5)}) == 0.5
    assert fresh_value(TABLE["sum"], {"initial_accumulator_value": 0.25}) == 0.25
    assert fresh_value(TABLE["ax"], {"lr": 1.0}) is None
    assert fresh_value(TABLE["exp_avg"], {}) == 0.0


@pytest.mark.parametrize(
    ("key", "group", "dtype", "beta"),
    [
        ("exp_avg_sq", {"betas": (0.9, 0.95)}, torch.float32, 0.95),
        ("exp_inf", {"betas": (0.9, torch.tensor(0.999))}, torch.float64, 0.999),
        ("square_avg", {"alpha": 0.99}, torch.bfloat16, 0.99),
        ("square_avg", {"rho": 0.9}, torch.float16, 0.9),
    ],
)
def test_refill_comes_before_denormals_and_not_much_before(key, group, dtype, beta):
    steps = refill_after(TABLE[key], group, dtype)
    assert steps is not None
    tiny = math.log(torch.finfo(dtype).tiny)
    assert tiny < steps * math.log(beta) <= 0.6 * tiny


@pytest.mark.parametrize(
    ("key", "group", "steps"),
    [
        ("exp_avg_sq", {"betas": (0.9, 1.0)}, None),
        ("exp_avg_sq", {"betas": (0.9, 0.0)}, 1),
        ("sum", {}, None),
        ("exp_avg", {"betas": (0.9, 0.999)}, None),
    ],
)
def test_refill_edges(key, group, steps):
    assert refill_after(TABLE[key], group, torch.float32) == steps
