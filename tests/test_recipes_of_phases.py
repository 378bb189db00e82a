"""Recipes of phases, tickets and tasks."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from schedules import preview
from sleepengine import recipes
from sleepengine.engine.sleep_engine import SleepEngine
from sleepengine.rules.rule import Rule

from .recipe_runs import SHAPES, TOTAL, Run, nearest, network, trained


class TestPhases:
    def test_acdc_ends_sparse(self):
        sums = trained(recipes.acdc(0.75), 40).sums
        changes = [step for step in range(1, 41) if sums[step] != sums[step - 1]]
        assert changes == [2, 6, 10, 14, 18, 22, 26, 30, 34]
        assert [sums[step] for step in changes] == [240, 0] * 4 + [240]

    def test_dense_sparse_dense_wakes_from_zero(self):
        with Run(recipes.dense_sparse_dense(0.5), 10) as run:
            run.steps(6)
            asleep = run.masks()
            run.steps(1)
            for name, mask in asleep.items():
                assert torch.count_nonzero(run.model.get_parameter(name)[mask]) == 0
            run.steps(3)
        assert run.sums == [0] * 4 + [160] * 3 + [0] * 4
        assert all(torch.count_nonzero(run.model.get_parameter(n)[m]) for n, m in asleep.items())

    def test_prune_regrow_reaches_every_target_both_ways(self):
        rules = recipes.prune_regrow(0.5, 0.9, cycles=1.5, interval="5it", end="30it")
        run = trained(rules, 31)
        rows = [row for row in preview(rules, 31) if row.rule == "Wake-Gradient"]
        assert [row.step for row in rows] == [5, 10, 15, 20, 25, 30]
        # What reads gradients acts with those of its own step.
        reached = [run.sums[row.step] for row in rows if row.step is not None]
        assert reached == [nearest(row.target or 0, TOTAL) for row in rows]
        assert run.sums[-1] == 288


class TestTickets:
    def test_a_level_puts_a_fifth_to_sleep_and_takes_the_rest_back(self):
        model = network()
        first = {n: p.detach().clone() for n, p in model.named_parameters()}
        engine_rules = recipes.lottery_ticket()
        run = Run((), 5, model)
        run.engine = SleepEngine(model, run.optimizer, keep=("init",))
        with run:
            for level, expected in ((1, 64), (2, 115), (3, 156)):  # 320, 256, 205, 164 awake
                run.steps(5)
                run.engine.fire(*engine_rules)
                run.engine.restart()
                run.note()
                assert run.sums[-1] == expected, level
                for name, mask in run.masks().items():
                    weight = model.get_parameter(name)
                    assert torch.equal(weight[~mask], first[name][~mask])
                    assert torch.count_nonzero(weight[mask]) == 0
                assert torch.equal(model.fc1.bias, first["fc1.bias"])

    def test_learning_rate_rewinding_leaves_the_weights(self):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        engine = SleepEngine(model, optimizer, scheduler=schedule, keep=("init",))
        with engine.attach():
            model(torch.ones(2, 16)).sum().backward()
            optimizer.step()
            schedule.step()
            before = model.fc1.bias.detach().clone()
            assert optimizer.param_groups[0]["lr"] == 0.05
            engine.fire(*recipes.lr_rewind())
            assert optimizer.param_groups[0]["lr"] == 0.1
            assert torch.equal(model.fc1.bias, before)
            assert engine.fraction() == 0.2


class TestTasks:
    def test_packnet_gives_each_task_half_of_what_is_left(self):
        rules = recipes.packnet(["2it", "7it", "12it"], ["4it", "9it", "14it"])
        frozen, held = [0], {name: torch.zeros(shape).bool() for name, shape in SHAPES.items()}
        with Run(rules, 15) as run:
            store = run.engine.store
            for _ in range(3):
                values = {n: run.model.get_parameter(n).detach().clone() for n in SHAPES}
                run.steps(5)
                for name, mask in held.items():  # earlier tasks are untouched
                    weight = run.model.get_parameter(name)
                    assert torch.equal(weight[mask], values[name][mask])
                    assert not torch.equal(weight[~mask], values[name][~mask])
                frozen.append(store.frozen_count())
                held = {name: store.frozen(name) for name in SHAPES}
        assert [b - a for a, b in pairwise(frozen)] == [160, 80, 40]
        assert run.sums == [0, 0, 160, 160, 0, 0, 0, 80, 80, 0, 0, 0, 40, 40, 0, 0]

    def test_freeze_holds_still_and_lets_go(self):
        with Run(recipes.freeze("fc1.weight", start="2it", end="4it"), 6) as run:
            values = []
            for _ in range(6):
                values.append(run.model.fc1.weight.detach().clone())
                run.steps(1)
            values.append(run.model.fc1.weight.detach().clone())
        moved = [not torch.equal(a, b) for a, b in pairwise(values)]
        assert moved == [True, True, False, False, True, True]


@pytest.mark.parametrize("name", recipes.__all__)
def test_every_recipe_is_a_tuple_of_rules_with_a_table(name):
    recipe = getattr(recipes, name)
    needed = {"freeze": ("fc1*",), "packnet": (["1ep"], ["2ep"])}
    made = recipe(*needed.get(name, ()))
    assert isinstance(made, tuple)
    assert all(isinstance(rule, Rule) for rule in made)
    text = recipe.__doc__
    assert "| when" in text
    assert text.count("| ") >= len({(repr(rule.when), rule.name) for rule in made})
    assert ">>>" in text
