"""Every file in configs/: it loads, fires what it says, dumps and loads back, equals its recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from schedules import Clock, preview
from sleepengine import recipes
from sleepengine.choosing import Factors, PerTensor
from sleepengine.pipeline import build
from sleepengine.pipeline.configuration.config import load
from sleepengine.rules.rule import Rule

FILES = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
PER_LAYER = PerTensor(Factors({"fc3*": 0.5}))
RECIPES: dict[str, Callable[[], tuple[Rule, ...]]] = {
    "acdc": recipes.acdc,
    "add_multiply": lambda: (),
    "channel_gradual": lambda: recipes.channel_gradual(interval="5%"),
    "continual_backprop": lambda: recipes.continual_backprop(end="95%"),
    "dense_sparse_dense": recipes.dense_sparse_dense,
    "finetune_sparse": recipes.finetune_sparse,
    "fisher": recipes.fisher,
    "gradual_agp": lambda: recipes.gradual(0.95, interval="25it"),
    "grasp": recipes.grasp,
    "grow": lambda: recipes.grow(0.75),
    "head_sleep": recipes.head_sleep,
    "lottery_ticket": lambda: recipes.lottery_ticket(pools=PER_LAYER),
    "lottery_ticket_late_rewind": lambda: recipes.lottery_ticket("20it"),
    "lottery_ticket_mnist": lambda: recipes.lottery_ticket(pools=PER_LAYER),
    "lr_rewind": recipes.lr_rewind,
    "mask_training": lambda: (),
    "movement": lambda: recipes.movement(0.95, interval="5it", last="95%"),
    "n_of_m": recipes.n_of_m,
    "neuron_gradual": lambda: recipes.neuron_gradual(0.75, interval="5%"),
    "obd": recipes.obd,
    "obs": recipes.obs,
    "obs_layerwise": recipes.obs_layerwise,
    "oneshot_magnitude": recipes.one_shot,
    "packnet": lambda: recipes.packnet(("30%", "80%"), ("50%", "95%")),
    "prune_regrow": lambda: recipes.prune_regrow(0.5, 0.95),
    "random_pruning": recipes.random_pruning,
    "redo": lambda: recipes.redo(interval="5%", end="90%"),
    "rigl": lambda: recipes.rigl(0.95, interval="25it"),
    "set": lambda: recipes.set_(0.95),
    "snfs": lambda: recipes.snfs(0.95),
    "snip": recipes.snip,
    "supermask": lambda: (),
    "synflow": lambda: recipes.synflow(0.96875, rounds=5),
    "task_masks": lambda: (),
    "wanda": recipes.wanda,
}
STEPS_PER_EPOCH = 34  # of 1,077 digits in batches of 32

by_name = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_files_and_recipes_are_the_same_set():
    assert {path.stem for path in FILES} == set(RECIPES)


@by_name
def test_it_equals_its_recipe(path):
    config = load(path)
    rules = build.level_rules(config) if config.lottery else build.rules(config)
    assert [repr(rule) for rule in rules] == [repr(rule) for rule in RECIPES[path.stem]()]


@by_name
def test_it_dumps_and_loads_back_equal(path):
    config = load(path)
    assert load(config.dump()) == config
    # A file without a name: lends its own, which its text alone does not have.
    assert load(config.text, overrides=[f"name={path.stem}"]) == config


@by_name
def test_every_rule_fires_and_the_last_target_is_met(path):
    config = load(path)
    if config.lottery:
        assert config.lottery.levels >= 1
        return
    total = config.train.length.iterations(Clock(steps_per_epoch=STEPS_PER_EPOCH))
    rules = build.rules(config)
    rows = preview(rules, total, STEPS_PER_EPOCH)
    assert {row.rule for row in rows} == {rule.name for rule in rules}
    timed = {rule.name for rule in rules if rule.when.time_only}
    assert all(row.rule not in timed or (row.step is not None and row.step < total) for row in rows)


@by_name
def test_it_says_where_it_is_from_and_how_to_run_it(path):
    text = path.read_text()
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert f"sleepengine run configs/{path.name}" in " ".join(head)
    assert 10 <= len(text.splitlines()) <= 30
    assert max(map(len, text.splitlines())) <= 100


@by_name
def test_it_needs_no_files_unless_its_name_says_so(path):
    known = {"add_multiply": "pairs", "lottery_ticket_mnist": "mnist"}
    assert load(path).data.name == known.get(path.stem, "digits")
