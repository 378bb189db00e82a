"""From configurations to things: fresh rules, models, optimizers, schedules, engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from saliency import Momentum
from schedules import once
from sleepengine.actions.rewind import Rewind
from sleepengine.actions.sleep import Sleep
from sleepengine.errors import ConfigError
from sleepengine.pipeline import build
from sleepengine.pipeline.configuration.config import Config, load
from sleepengine.pipeline.configuration.tables import Plugins
from sleepengine.pipeline.problems.bundle import Data
from sleepengine.pipeline.problems.data import digits

DATA = digits()
RULES = """\
rules:
  - when: {every: 5it}
    who: {scorer: Momentum, amount: {to: 0.5}}
    what: Sleep
"""


def config(
    train: str = "length: 2ep", rest: str = "", model: str = "{mlp: {sizes: [8]}}"
) -> Config:
    return load(f"model: {model}\ntrain: {{{train}}}\n{rest}")


def network() -> nn.Module:
    return build.model(config(), DATA, seed=0)


def test_rules_are_new_objects_at_every_call():
    asked = config(rest=RULES)
    first, second = build.rules(asked)[0], build.rules(asked)[0]
    assert repr(first) == repr(second)
    assert first.who is not None
    assert second.who is not None
    # A scorer with a memory must not be shared by two networks.
    assert isinstance(first.who.scorer, Momentum)
    assert first.who.scorer is not second.who.scorer


def test_level_rules_fire_at_the_start_of_a_level():
    asked = load(
        "experiment: lottery\nmodel: lenet_300_100\ntrain: {length: 1ep}\n"
        "lottery: {levels: 2, each_level: [{who: {amount: {by: 0.2}}, what: Sleep}, "
        "{what: {Rewind: {to: 3it}}, name: back}]}\n"
    )
    sleep, back = build.level_rules(asked)
    assert sleep.when == back.when == once("0it")
    assert (sleep.what, back.what) == (Sleep(), Rewind("3it"))
    assert (sleep.name, back.name) == ("Sleep", "back")
    assert build.rules(asked) == ()
    assert build.level_rules(config()) == ()


class TestDataset:
    def test_the_seed_picks_the_split_unless_the_file_does(self):
        default = build.dataset(config())
        assert torch.equal(default.train.x, build.dataset(config(), seed=0).train.x)
        assert not torch.equal(default.train.x, build.dataset(config(), seed=1).train.x)
        fixed = config(rest="data: {digits: {seed: 1}}")
        assert torch.equal(
            build.dataset(fixed, seed=0).train.x, build.dataset(config(), seed=1).train.x
        )

    def test_shares_are_passed_on(self):
        made = build.dataset(config(rest="data: {digits: {valid: 0.1, test: 0.1}}"))
        assert len(made.train) > len(DATA.train)

    def test_its_complaint_has_a_place(self):
        asked = config(rest="data: {digits: {valid: 0.6, test: 0.6}}")
        with pytest.raises(ConfigError, match=r"<text>:3:7: valid=0.6 and test=0.6 leave nothing"):
            build.dataset(asked)

    def test_a_data_set_of_files_needs_a_folder(self, tmp_path):
        asked = config(rest="data: mnist")
        with pytest.raises(ConfigError, match=r"<text>:3:7: mnist is read from files: .*--data"):
            build.dataset(asked)
        with pytest.raises(ConfigError, match=r"<text>:3:7: no data set 'mnist' here"):
            build.dataset(asked, tmp_path)

    def test_own_data_may_ask_for_nothing(self):
        own = Plugins(data={"mine": lambda: DATA, "wrong": lambda: 3})
        head = "model: lenet_300_100\ntrain: {length: 1ep}\ndata: "
        assert build.dataset(load(head + "mine\n", plugins=own), Path(), 3) is DATA
        with pytest.raises(
            ConfigError, match=r"wrong gave int, neither a pipeline\.Data nor Loaders"
        ):
            build.dataset(load(head + "wrong\n", plugins=own))


class TestModel:
    def test_shapes_follow_the_data_and_weights_the_seed(self):
        made = [build.model(config(), DATA, seed) for seed in (0, 0, 1)]
        weights = [dict(one.named_parameters())["fc1.weight"] for one in made]
        assert weights[0].shape == (8, 64)
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])

    def test_own_models_get_what_they_ask_for(self):
        seen: dict[str, Any] = {}

        def mine(classes: int, seed: int, *, width: int = 3) -> nn.Module:
            seen.update(classes=classes, seed=seed, width=width)
            return nn.Linear(width, classes)

        own = Plugins(models={"mine": mine, "wrong": lambda: None})
        head = "train: {length: 1ep}\nmodel: "
        build.model(load(head + "{mine: {width: 5}}\n", plugins=own), DATA, seed=9)
        assert seen == {"classes": 10, "seed": 9, "width": 5}
        with pytest.raises(ConfigError, match=r"<text>:2:8: wrong gave NoneType, not a torch"):
            build.model(load(head + "wrong\n", plugins=own), DATA, seed=0)

    def test_a_complaint_about_the_data_has_a_place(self):
        flat = Data("flat", DATA.train, DATA.valid, DATA.test, (64,), 10, DATA.scaling)
        with pytest.raises(ConfigError, match=r"<text>:1:8: conv_small needs inputs of"):
            build.model(config(model="conv_small"), flat, seed=0)


def test_optimizer_with_its_arguments():
    asked = config("length: 1ep, optimizer: {SGD: {lr: 0.2, momentum: 0.9, nesterov: true}}")
    made = build.optimizer(asked, network())
    assert isinstance(made, torch.optim.SGD)
    assert made.defaults["lr"] == 0.2
    assert made.defaults["nesterov"] is True
    assert len(made.param_groups[0]["params"]) == 4
    assert build.optimizer(config(), network()).defaults["lr"] == 0.1
    adam = build.optimizer(config("length: 1ep, optimizer: Adam"), network())
    assert isinstance(adam, torch.optim.Adam)


class TestSchedule:
    def rates(self, written: str, steps: int) -> tuple[list[float], bool]:
        """Learning rates over calls of `step`, for 10 steps per epoch and 40 in all."""
        asked = config(f"length: 4ep, optimizer: {{SGD: {{lr: 1.0}}}}, lr_schedule: {written}")
        optimizer = build.optimizer(asked, network())
        found = build.lr_schedule(asked, optimizer, 10, 40)
        assert found is not None
        schedule, per_epoch = found
        rates = []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return rates, per_epoch

    def test_none(self):
        assert build.lr_schedule(config(), build.optimizer(config(), network()), 10, 40) is None

    def test_whole_epochs_are_stepped_per_epoch(self):
        rates, per_epoch = self.rates("{MultiStepLR: {milestones: [1ep, 3ep], gamma: 0.5}}", 4)
        assert per_epoch
        assert rates == [1.0, 0.5, 0.5, 0.25]

    @pytest.mark.parametrize("milestones", ["[2it, 1ep]", "[2it, 10it]", "[5%, 25%]", "[5%, 1ep]"])
    def test_any_other_time_makes_all_of_them_iterations(self, milestones):
        rates, per_epoch = self.rates(f"{{MultiStepLR: [{milestones}, 0.5]}}", 12)
        assert not per_epoch
        assert rates == [1.0] * 2 + [0.5] * 8 + [0.25] * 2

    def test_without_times_per_epoch(self):
        rates, per_epoch = self.rates("{ExponentialLR: 0.5}", 3)
        assert per_epoch
        assert rates == [1.0, 0.5, 0.25]

    def test_length_of_the_run_as_a_share(self):
        rates, per_epoch = self.rates("{CosineAnnealingLR: {T_max: 50%}}", 21)
        assert not per_epoch
        assert rates[10] == pytest.approx(0.5)
        assert rates[20] == pytest.approx(0.0)

    def test_its_complaint_has_a_place(self):
        asked = config("length: 4ep, lr_schedule: {OneCycleLR: {max_lr: 1.0, total_steps: 1%}}")
        optimizer = build.optimizer(asked, network())
        with pytest.raises(ConfigError, match=r"<text>:2:35: ValueError: Expected positive"):
            build.lr_schedule(asked, optimizer, 10, 40)


class TestEngine:
    def test_options_and_rules_reach_it(self):
        asked = config(rest=RULES + 'engine: {params: "fc1*", check_every: 7, keep: [3it]}\n')
        model = network()
        engine = build.engine(asked, model, build.optimizer(asked, model), seed=5)
        assert engine.scope == ("fc1.weight", "fc1.bias")
        assert [rule.name for rule in engine.rules] == ["Sleep-Momentum"]
        assert set(engine.conductor.points.kept_times) == {"3it"}
        assert engine.live.seed == 5

    def test_a_pattern_that_matches_nothing_has_a_place(self):
        asked = config(rest='engine: {params: "fc9*"}\n')
        model = network()
        with pytest.raises(ConfigError, match=r"<text>:3:18: "):
            build.engine(asked, model, build.optimizer(asked, model))

    def test_a_lottery_engine_keeps_what_its_levels_ask_for(self):
        asked = load(
            "experiment: lottery\nmodel: {mlp: {sizes: [8]}}\ntrain: {length: 1ep}\n"
            "lottery: {levels: 2, each_level: [{what: {Rewind: {to: 3it}}}]}\n"
        )
        model = network()
        engine = build.engine(asked, model, build.optimizer(asked, model))
        assert engine.rules == ()
        assert set(engine.conductor.points.kept_times) == {"3it"}
