"""Recipes at work: counts, shares and values after every firing."""

from __future__ import annotations

import math

import torch
from torch import nn

from saliency import Lamp
from sleepengine import recipes
from sleepengine.choosing import ERK

from .recipe_runs import SHAPES, TOTAL, Run, nearest, network, trained


def test_one_shot_at_its_moment():
    sums = trained(recipes.one_shot(0.8, when="3it"), 5).sums
    assert sums == [0, 0, 0, 256, 256, 256]


def test_one_shot_takes_any_scorer():
    assert trained(recipes.one_shot(0.5, when="1it", scorer=Lamp()), 2).sums[-1] == 160


def test_random_pruning_is_before_the_first_step():
    assert trained(recipes.random_pruning(0.75), 1).sums == [240, 240]


def test_gradual_follows_the_cubic_curve_in_every_tensor():
    rules = recipes.gradual(0.9, interval="2it", start="2it", end="8it")
    run = trained(rules, 10)
    for step, progress in ((2, 0), (4, 1 / 3), (6, 2 / 3), (8, 1)):
        share = 0.9 * (1 - (1 - progress) ** 3)
        for name, shape in SHAPES.items():
            assert run.asleep[step][name] == nearest(share, math.prod(shape)), (step, name)
    assert run.asleep[10] == run.asleep[8]


def test_snip_reads_the_first_batch_and_prunes_before_the_first_step():
    model = network()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    x = torch.randn(32, 16, generator=torch.Generator().manual_seed(1))
    with Run(recipes.snip(0.9), 2, model) as run:
        assert run.sums == [0]
        run.steps(1)
    assert run.sums == [0, 288]
    # The scores |w g| of that batch, by hand.
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(32, 16, generator=generator)
    y = torch.randint(4, (32,), generator=generator)
    twin = network()
    nn.functional.cross_entropy(twin(x), y).backward()
    scores = {n: (before[n] * twin.get_parameter(n).grad).abs() for n in SHAPES}
    edge = torch.cat([s.flatten() for s in scores.values()]).sort().values[287]
    for name, asleep in run.masks().items():
        assert torch.equal(asleep, scores[name] <= edge)


def test_n_of_m_keeps_two_of_every_four_inputs():
    run = trained(recipes.n_of_m(2, 4, when="1it"), 2)
    for asleep in run.masks().values():
        assert asleep.unflatten(1, (-1, 4)).sum(-1).unique().tolist() == [2]


def test_finetune_sparse_adopts_exactly_the_zeros():
    model = network()
    with torch.no_grad():
        model.fc1.weight[:, ::2] = 0.0
        model.fc1.weight[0, 0] = -0.0
        model.fc3.weight.zero_()  # a tensor may be zero throughout
        model.fc3.bias.zero_()
    with Run(recipes.finetune_sparse(), 3, model) as run:
        run.steps(3)
        assert run.asleep[-1] == {"fc1.weight": 96, "fc2.weight": 0, "fc3.weight": 32}
        assert torch.count_nonzero(model.fc1.weight[:, ::2]) == 0
        assert torch.count_nonzero(model.fc3.bias) == 4  # biases are out of scope and train


def erk(sparsity: float) -> dict[str, int]:
    shares = ERK().fractions(sparsity, SHAPES)
    return {name: nearest(shares[name], math.prod(SHAPES[name])) for name in SHAPES}


class TestDynamic:
    def test_rigl_keeps_the_counts_of_every_tensor_while_connections_move(self):
        with Run(recipes.rigl(0.8, interval="4it"), 40) as run:
            first = run.masks()
            run.steps(40)
            last = run.masks()
        assert run.asleep == [erk(0.8)] * 41
        assert any(not torch.equal(first[name], last[name]) for name in SHAPES)

    def test_rigl_stops_at_three_quarters(self):
        with Run(recipes.rigl(0.8, interval="4it"), 40) as run:
            run.steps(30)
            stopped = run.masks()
            run.steps(10)
            assert all(torch.equal(stopped[n], m) for n, m in run.masks().items())

    def test_rigl_updates_instead_of_stepping_and_new_weights_are_zero(self):
        with Run(recipes.rigl(0.8, interval="4it"), 40) as run:
            run.steps(4)
            asleep = run.masks()
            before = {n: p.detach().clone() for n, p in run.model.named_parameters()}
            run.steps(1)  # due after 4 steps, done in place of the fifth
            woke = 0
            for name, mask in run.masks().items():
                weight = run.model.get_parameter(name)
                grown = asleep[name] & ~mask
                woke += int(grown.sum())
                assert torch.count_nonzero(weight[grown]) == 0
                stayed = ~asleep[name] & ~mask
                assert torch.equal(weight[stayed], before[name][stayed])
            assert torch.equal(run.model.fc1.bias, before["fc1.bias"])
            assert woke > 0

    def test_set_keeps_er_counts_each_epoch_until_the_last(self):
        with Run(recipes.set_(0.8), 40) as run:
            first = run.masks()
            run.steps(10)
            second = run.masks()
            run.steps(26)
            third = run.masks()
            run.steps(4)
            assert all(torch.equal(third[n], m) for n, m in run.masks().items())
        assert len({tuple(counts.values()) for counts in run.asleep}) == 1
        # 30 % of the awake weights fall asleep; a few of them may be drawn again.
        moved = sum(int((second[n] & ~first[n]).sum()) for n in SHAPES)
        assert 0 < moved <= sum(nearest(0.3, math.prod(SHAPES[n])) for n in SHAPES)

    def test_snfs_keeps_the_total_and_moves_weights_between_tensors(self):
        run = trained(recipes.snfs(0.8), 40)
        uniform = {name: nearest(0.8, math.prod(shape)) for name, shape in SHAPES.items()}
        assert run.asleep[0] == uniform
        # From the first update on, one count for all tensors together.
        assert run.sums == [sum(uniform.values())] * 10 + [nearest(0.8, TOTAL)] * 31
        assert run.asleep[-1] != uniform
