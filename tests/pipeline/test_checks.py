"""What only model and length of a run can tell is told at its line, with what would help."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from schedules import Clock, after, at, before, every
from sleepengine.errors import ConfigError
from sleepengine.pipeline import run
from sleepengine.pipeline.checks import first_time
from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.plan import plan
from sleepengine.pipeline.problems.bundle import Data, Scaling, Split

HEAD = """\
model: {mlp: {sizes: [6]}}
train: {length: 40it, batch_size: 8, evaluate: 10it}
"""
RULE = """\
rules:
  - when: {once: 10it}
    who: {scorer: Magnitude, amount: {to: 0.5}}
    what: Sleep
  - when: WHEN
    who: {WHO amount: {to: AMOUNT}}
    what: Sleep
"""
LEVELS = """\
experiment: lottery
model: {mlp: {sizes: [6]}}
train: {length: 40it, batch_size: 8}
lottery:
  levels: 1
  each_level:
    - {who: {scorer: Magnitude, params: [fc1, fx2], amount: {by: 0.2}}, what: Sleep}
    - what: {Rewind: {to: 9ep}}
"""


def data(valid: int = 10) -> Data:
    torch.manual_seed(0)
    split = Split(torch.randn(40, 4), torch.arange(40) % 3)
    held = Split(split.x[:valid], split.y[:valid])
    return Data("mine", split, held, split, (4,), 3, Scaling(1.0, 0.0, 1.0))


def rule(when: str = "{once: 20it}", who: str = "scorer: Magnitude,", amount: str = "0.7") -> str:
    return HEAD + RULE.replace("WHEN", when).replace("WHO", who).replace("AMOUNT", amount)


CURVE = "{linear: [0.5, 0.9]}"
LAYERS = "Valid: 'fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias', 'fc1', 'fc2'."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            rule("{once: 60it}"),
            "<text>:7:11: rule 'Sleep-Magnitude-2': once('60it') never fires in 40 steps; it would "
            "fire first at step 60: give it an earlier time, or train.length at least 60 steps",
        ),
        (
            rule("{and: [{every: 10it}, {before: 5it}]}"),
            "<text>:7:11: rule 'Sleep-Magnitude-2': every('10it') & before('5it') never fires in "
            "40 steps; it would not fire in a longer run either",
        ),
        (
            rule("{every: {interval: 10it, before: 60it}}", amount=CURVE),
            "<text>:7:11: rule 'Sleep-Magnitude-2': every('10it', before='60it') fires last at "
            "step 40 with 0.74, short of its target 0.9; the run has 40 steps; let it end earlier, "
            "or give train.length more steps",
        ),
        (
            rule("{plateau: {metric: val_loss, patience: 1}}"),
            "<text>:7:11: rule 'Sleep-Magnitude-2' waits for the metric 'val_loss', which is never "
            "told. Did you mean 'valid_loss'? Valid: 'train_loss', 'valid_loss', 'valid_accuracy'.",
        ),
        (
            rule("{on: trained}"),
            "<text>:7:11: rule 'Sleep-Magnitude-2' waits for the event 'trained', and a pipeline "
            "has no events; write a time: at, once, every, or a plateau",
        ),
        (
            rule(who="scorer: Magnitude, params: [fc1, fcc2],"),
            "<text>:8:44: params: 'fcc2' matches no parameter. Did you mean 'fc2'? " + LAYERS,
        ),
        (
            rule(who="scorer: Magnitude, params: fcc2,"),
            "<text>:8:38: params: 'fcc2' matches no parameter. Did you mean 'fc2'? " + LAYERS,
        ),
        (
            rule() + "engine: {params: [fc1, conv]}\n",
            "<text>:10:24: params: 'conv' matches no parameter. Valid: 'fc1.weight', 'fc1.bias', "
            "'fc2.weight', 'fc2.bias', 'fc1', 'fc2'.",
        ),
        (LEVELS, "<text>:7:47: params: 'fx2' matches no parameter. Did you mean 'fc2'? " + LAYERS),
        (
            LEVELS.replace("fx2", "fc2"),
            "<text>:7:5: lottery: rewinds to '9ep' (step 45), but training has 40 steps",
        ),
    ],
    ids=[
        *("late", "never", "short", "metric", "event", "in a list", "alone", "scope"),
        *("level", "rewind"),
    ],
)
def test_it_is_told_at_its_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        run(text, data=data(), out=tmp_path / "run")
    assert str(told.value) == words
    with pytest.raises(ConfigError) as planned:
        plan(text, data=data())
    assert str(planned.value) == words
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_too_large_is_told_at_its_line() -> None:
    text = HEAD.replace("[6]", "[1000000000000000]")
    with pytest.raises(ConfigError, match=r"^<text>:1:8: cannot be made: .*"):
        plan(text, data=data())


def test_every_one_of_them_is_told() -> None:
    text = rule("{once: 60it}").replace("10it}\n    who", "50it}\n    who")
    with pytest.raises(ConfigError) as told:
        plan(text, data=data())
    lines = str(told.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["<text>:4:11", "<text>:7:11"]


def test_a_setting_is_named_in_place_of_a_line() -> None:
    config = load(rule(), overrides=["rules.1.who.params=fcc1"])
    with pytest.raises(ConfigError, match=r"^--set rules\.1\.who\.params=fcc1: params: 'fcc1'"):
        plan(config, data=data())


def test_without_a_validation_split_its_metrics_are_not_told() -> None:
    text = rule("{plateau: {metric: valid_loss, patience: 1}}")
    assert plan(text, data=data()).total_steps == 40
    with pytest.raises(ConfigError, match="'valid_loss', which is never told"):
        plan(text, data=data(valid=0))


@pytest.mark.parametrize(
    ("when", "first"),
    [
        (at("7it", "9it"), 7),
        (after("3ep") & every("4it"), 32),
        (every("100it") & before("50it"), None),
    ],
    ids=["at", "and", "never"],
)
def test_the_first_time_of_a_trigger(when, first) -> None:
    assert first_time(when, Clock(steps_per_epoch=10, total_steps=5)) == first
