"""What is said of a call that is wrong, and where."""

from __future__ import annotations

import pytest

from sleepengine.errors import ConfigError
from sleepengine.pipeline.configuration.config import load

from .rule_texts import HEAD, mistake


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"when": "{evry: 1ep}"}, "4:13: unknown trigger 'evry'. Did you mean 'every'?"),
        ({"when": "{every: 100}"}, "4:20: every(interval): 100 has no unit; write '100it'"),
        (
            {"when": "{every: {interval: 1 epoch}}"},
            "4:31: every(interval): '1 epoch' is not",
        ),
        (
            {"when": "{every: {intervall: 1ep}}"},
            "unknown argument 'intervall' of every. Did",
        ),
        ({"when": "{every: {after: 1ep}}"}, "4:13: every needs 'interval': a time"),
        ({"when": "every"}, "4:12: every needs 'interval': a time"),
        ({"when": "{every: [1ep, 1ep, 1ep, 1ep]}"}, "every was given 4 arguments and takes 3"),
        ({"when": "{every: {interval: 10ep, before: 1ep}}"}, "4:13: every('10ep', before='1ep'): "),
        ({"when": "{at: []}"}, "4:13: at(): give at least one time"),
        ({"when": "{and: [{once: 1ep}]}"}, "4:13: and: give two or more triggers"),
        (
            {"when": "{plateau: [loss, 2, mix]}"},
            "plateau(mode): 'mix' is not known. Did you",
        ),
        ({"when": "3"}, "4:12: rule(when): must be a trigger, found 3"),
        ({"when": "{once: 1ep, after: 2ep}"}, "a trigger is one name with its arguments; found"),
        ({"when": "{}"}, "a trigger is one name with its arguments; found nothing"),
        ({"scorer": "Magnitud"}, "4:39: unknown scorer 'Magnitud'. Did you mean 'Magnitude'?"),
        ({"scorer": "{Magnitude: {p: 3}}"}, "4:40: Magnitude(p=3): p must be 1 or 2."),
        ({"scorer": "{Magnitude: {p: two}}"}, "Magnitude(p): must be a whole number, found 'two'"),
        ({"scorer": "{Gradient: 3}"}, "Gradient was given 1 arguments and takes none"),
        ({"scorer": "{Gradient: {p: 3}}"}, "Gradient takes no arguments, found 'p'"),
        ({"scorer": "{Sum: {a: Magnitude, b: Gradient, weights: [1]}}"}, "a list of 2"),
        ({"scorer": "{Sum: {a: Magnitude, b: Gradiant}}"}, "unknown scorer 'Gradiant'. Did you"),
        ({"pools": "{PerTensor: ERQ}"}, "unknown shares 'ERQ'. Did you mean 'ER'?"),
        ({"pools": "{NofM: [2, 4]}"}, "takes no amount: leave to(0.9) out"),
        (
            {"pools": '{PerTensor: {Factors: {"fc*": half}}}'},
            "must be a number, found 'half'",
        ),
        ({"amount": "{to: 90}"}, "to(90): fractions run from 0 to 1: write 0.9, not 90"),
        ({"amount": '{to: "0.9"}'}, "to(f): must be a number or a curve, found '0.9' (text)"),
        ({"amount": "{to: {cubik: [0, 1]}}"}, "unknown curve 'cubik'. Did you mean 'cubic'?"),
        ({"amount": "{to: {cubic: [0, 90]}}"}, "to(cubic(0, 90)) is "),
        ({"amount": "0.9"}, "who(amount): must be an amount, found 0.9"),
        ({"what": "Slep"}, "unknown action 'Slep'. Did you mean 'Sleep'?"),
        ({"what": "{Wake: {value: zro}}"}, "value='zro' is not known. Did you mean 'zero'?"),
        ({"what": "Rewind"}, "acts on the whole model: leave out who="),
        ({"batches": "0"}, "Who(batches=0): must be at least 1"),
        ({"batches": "1.5"}, "who(batches): must be a whole number, found 1.5"),
        ({"allow_empty": "1"}, "who(allow_empty): must be true or false, found 1"),
        ({"scorrer": "Random"}, "unknown argument 'scorrer' of who. Did you mean 'scorer'?"),
    ],
)
def test_mistakes(parts, message):
    assert message in mistake(**parts)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("- {who: {amount: {to: 0.5}}, what: Sleep}", "4:5: rule needs 'when': a trigger"),
        ("- {when: {once: 1ep}, what: Sleep}", "4:5: Rule(what=Sleep(include_frozen=False"),
        ("- {when: {once: 1ep}, who: 3, what: Sleep}", "rule(who): must be a mapping, found 3"),
        ("- {when: {once: 1ep}, what: Rewind, at: befor_step}", "Did you mean 'before_step'?"),
        ("- {when: {once: 1ep}, what: Rewind, over: [1ep]}", "rule(over): must be a list of 2"),
        ("- Sleep", "4:5: rule must be a mapping, found 'Sleep' (text)"),
        ("- {when: {once: 1ep}, what: Rewind, nam: x}", "unknown argument 'nam' of rule. Did you"),
    ],
)
def test_mistakes_of_whole_rules(line, message):
    with pytest.raises(ConfigError) as error:
        load(f"{HEAD}  {line}\n")
    assert message in str(error.value)


def test_rules_of_a_level_have_no_when():
    text = (
        "experiment: lottery\nmodel: lenet_300_100\ntrain: {length: 1ep}\nlottery:\n  levels: 1\n"
    )
    with pytest.raises(ConfigError, match="unknown argument 'when' of rule"):
        load(f"{text}  each_level: [{{when: {{once: 1ep}}, what: Rewind}}]\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("optimizer: {SDG: {lr: 0.1}}", "unknown optimizer 'SDG'. Did you mean 'SGD'?"),
        ("optimizer: {SGD: {lr: -1}}", "Invalid learning rate"),
        ("optimizer: {SGD: {momentun: 1}}", "unknown argument 'momentun' of SGD. Did you mean"),
        ("optimizer: {SGD: {params: []}}", "'params' is filled in by the pipeline; leave it out"),
        ("optimizer: {Adam: {betas: [0.9]}}", "Adam(betas): must be a list of 2"),
        ("optimizer: [SGD]", "train.optimizer: must be one name or {name: arguments}"),
        ("lr_schedule: {CosineAnnealingLR: {T_max: 30}}", "30 has no unit; write '30it' or '30ep'"),
        ("lr_schedule: CosineAnnealingLR", "CosineAnnealingLR needs 'T_max': a time"),
        ("lr_schedule: {MultiStepLR: {milestones: [5]}}", "5 has no unit"),
        ("lr_schedule: {StepLR: {step_size: 1ep, last_epoch: 3}}", "unknown argument 'last_epoch'"),
        ("lr_schedule: {LinearLR: {total_iters: 1ep, start_factor: 7}}", "Starting multiplicative"),
    ],
)
def test_mistakes_of_optimizers_and_schedules(line, message):
    with pytest.raises(ConfigError) as error:
        load(f"model: lenet_300_100\ntrain: {{length: 1ep, {line}}}\n")
    assert message in str(error.value)
    assert str(error.value).startswith("<text>:2:")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("model: {mlp: {sizes: [8, 0]}}", "1:9: sizes: sizes must be positive integers"),
        ("model: {mlp: {sizes: [8], activation: rellu}}", "unknown activation 'rellu'. Did you"),
        ("model: {mlp: {sizes: [8], seed: 3}}", "'seed' is filled in by the pipeline"),
        ("model: {mlp: [[8]]}", "mlp was given 1 arguments and takes none without a name"),
        ("model: mlp", "1:8: mlp needs 'sizes': a list of a whole number"),
        ("model: lenet_300_10", "unknown model 'lenet_300_10'. Did you mean 'lenet_300_100'?"),
        ("model: lenet_300_100\ndata: {digits: {valid: 0.1, seeds: 3}}", "'seeds' of digits"),
        ("model: lenet_300_100\ndata: mnst", "unknown data set 'mnst'. Did you mean 'mnist'?"),
        ("model: lenet_300_100\ndata: {mnist: {folder: /etc}}", "'folder' is filled in by the"),
    ],
)
def test_mistakes_of_models_and_data(line, message):
    with pytest.raises(ConfigError) as error:
        load(f"{line}\ntrain: {{length: 1ep}}\n")
    assert message in str(error.value)
