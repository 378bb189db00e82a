"""Configurations: the keys, their places in errors, settings from outside, dump and load."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schedules import Time
from sleepengine.errors import ConfigError
from sleepengine.pipeline.configuration.config import Config, load

LEAST = """\
model: {mlp: {sizes: [8]}}
train: {length: 2ep}
"""
WHOLE = """\
name: whole
experiment: train
data: {digits: {valid: 0.1}}
model: {mlp: {sizes: [300, 100]}}
train:
  length: 30ep
  batch_size: 32
  optimizer: {SGD: {lr: 0.1, momentum: 0.9}}
  lr_schedule: {CosineAnnealingLR: {T_max: 30ep}}
  evaluate: 50it
seeds: [0, 1, 2]
engine: {params: "fc*", memory: lean}
rules:
  - when: {every: {interval: 100it, after: 1ep, before: 20ep}}
    who: {scorer: Magnitude, pools: {PerTensor: {shares: ERK}}, amount: {by: {cosine: [0.3, 0.0]}}}
    what: Sleep
"""
LOTTERY = """\
experiment: lottery
model: lenet_300_100
train: {length: 2ep}
lottery:
  levels: 3
  each_level:
    - {who: {scorer: Magnitude, amount: {by: 0.2}}, what: Sleep}
    - what: Rewind
"""


def mistakes(text: str, overrides: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(text, overrides=overrides)
    return str(error.value).splitlines()


def test_the_least_configuration_has_documented_defaults():
    config = load(LEAST)
    assert config.name == "config"
    assert config.experiment == "train"
    assert config.data.name == "digits"
    assert config.train.batch_size == 64
    assert config.train.optimizer.name == "SGD"
    assert config.train.lr_schedule is None
    assert config.train.evaluate == Time.parse("1ep")
    assert config.seeds == (0,)
    assert config.rules == ()
    assert config.lottery is None


def test_what_is_written_is_read():
    config = load(WHOLE)
    assert config.name == "whole"
    assert config.data.arguments == {"valid": 0.1}
    assert config.train.length == Time(epochs=30)
    assert config.train.evaluate == Time(steps=50)
    assert config.seeds == (0, 1, 2)
    assert config.engine.params == ("fc*",)
    assert config.engine.memory == "lean"
    assert config.engine.model_fields_set == {"params", "memory"}
    assert len(config.rules) == 1


def test_lottery_defaults():
    lottery = load(LOTTERY).lottery
    assert lottery is not None
    assert lottery.levels == 3
    assert lottery.arms == ("ticket",)
    assert len(lottery.each_level) == 2


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load(LEAST).name = "other"


def test_a_file_lends_its_name_and_is_kept_byte_for_byte(tmp_path):
    path = tmp_path / "rigl.yaml"
    text = "# a comment\r\n" + WHOLE.replace("name: whole\n", "")
    path.write_bytes(text.encode())
    config = load(path)
    assert config.name == "rigl"
    assert config.source == str(path)
    assert config.text == text
    assert load(str(path)) == config


@pytest.mark.parametrize("text", [LEAST, WHOLE, LOTTERY])
def test_dump_loads_back_equal(text):
    config = load(text)
    again = load(config.dump())
    assert again == config
    assert again.dump() == config.dump()


def test_equality_is_of_what_is_said():
    assert load(WHOLE) == load(WHOLE.replace("lr: 0.1", "lr: 1e-1"))
    assert load(WHOLE) != load(WHOLE.replace("lr: 0.1", "lr: 0.2"))
    assert load(WHOLE) != load(WHOLE.replace("name: whole", "name: other"))
    assert load(WHOLE) != WHOLE


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("batch_size: 32", "batch_siz: 32", "7:3: train: unknown key 'batch_siz'. Did you mean"),
        ("seeds:", "seads:", "11:1: unknown key 'seads'. Did you mean 'seeds'?"),
        ("length: 30ep", "length: 30", "6:11: train.length: 30 has no unit; write '30it'"),
        ("length: 30ep", "length: 50%", "6:11: train.length: '50%' is a share of the run"),
        ("length: 30ep", "length: 0it", "6:11: train.length: '0it' (text) is no length"),
        ("length: 30ep", "length: 30 epochs", "6:11: train.length: '30 epochs' is not a time. Did"),
        ("  length: 30ep\n", "", "6:3: train: needs 'length': Length of a training"),
        ("batch_size: 32", "batch_size: 0", "7:15: train.batch_size: must be at least 1, found 0"),
        ("batch_size: 32", 'batch_size: "32"', "must be a whole number, found '32' (text)"),
        ("batch_size: 32", "batch_size: 32.0", "must be a whole number, found 32.0"),
        ("batch_size: 32", "batch_size: true", "must be a whole number, found true"),
        ("experiment: train", "experiment: trian", "2:13: experiment: 'trian' is not known. Did"),
        ("experiment: train", "experiment: 3", "2:13: experiment: must be one of train, lottery"),
        ("seeds: [0, 1, 2]", "seeds: [0, 1, 0]", "11:8: seeds: 0 is here twice"),
        ("seeds: [0, 1, 2]", "seeds: []", "11:8: seeds: must hold at least one"),
        ("seeds: [0, 1, 2]", "seeds: 3", "11:8: seeds: must be a list, found 3"),
        ("seeds: [0, 1, 2]", "seeds: [0, -1]", "11:12: seeds[1]: must be at least 0, found -1"),
        ("memory: lean", "memory: loan", "12:33: engine.memory: 'loan' is not known. Did you mean"),
        ("name: whole", "name: a/b", "1:7: name: letters, digits, '_', '-' and '.' only"),
        ("name: whole", "name: ../up", "1:7: name: letters, digits"),
        ("name: whole", "name: 7", "1:7: name: must be text, found 7"),
        ("evaluate: 50it", "evaluate: 0ep", "10:13: train.evaluate: '0ep' (text) is no length"),
    ],
)
def test_mistakes_of_structure_have_places_and_remedies(old, new, line):
    assert old in WHOLE
    (found,) = mistakes(WHOLE.replace(old, new))
    assert found.startswith("<text>:")
    assert line in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n", "a configuration is a mapping"),
        ("- 1\n", "a configuration is a mapping"),
        ("model: lenet_300_100\ntrain: 3\n", "2:8: train: must be a mapping, found 3"),
        ("train: {length: 1ep}\n", "1:1: needs 'model'"),
        (LEAST + "model: x\n", "the key 'model' is here twice"),
        (LEAST + "rules: {}\n", "3:8: rules: must be a list, found a mapping"),
        (LEAST + "lottery: {levels: 2}\n", "lottery: needs 'each_level'"),
        (LOTTERY.replace("levels: 3", "levels: 0"), "5:11: lottery.levels: must be at least 1"),
        (LOTTERY + "  arms: [tickt]\n", "9:10: lottery.arms[0]: 'tickt' is not known. Did you"),
        (LOTTERY + "  arms: [dense, dense]\n", "9:9: lottery.arms: 'dense' is here twice"),
    ],
)
def test_wrong_shapes(text, message):
    assert any(message in line for line in mistakes(text)), mistakes(text)


def test_keys_of_the_other_experiment_are_refused():
    (line,) = mistakes(LOTTERY.replace("experiment: lottery\n", ""))
    assert "lottery: is for experiment: lottery" in line
    (line,) = mistakes("experiment: lottery\n" + LEAST)
    assert line.startswith("<text>:1:13: experiment: lottery needs a key lottery:")
    rule = "rules: [{when: {once: 1ep}, who: {amount: {to: 0.5}}, what: Sleep}]\n"
    (line,) = mistakes(LOTTERY + rule)
    assert line.startswith("<text>:9:1: a lottery has no rules:")


def test_all_mistakes_of_a_file_are_listed_in_the_order_of_its_lines():
    text = WHOLE.replace("whole", "a/b").replace("32", "0").replace("Magnitude", "Magnitud")
    found = mistakes(text.replace("what: Sleep", "what: Slep"))
    assert [line.split(":")[1] for line in found] == ["1", "7", "15", "16"]


class TestOverrides:
    def test_values_are_set_and_written_into_the_text(self):
        said = ("train.length=1ep", "seeds=[7]", "data.digits.valid=0.3", "engine.memory=fast")
        config = load(WHOLE, overrides=said)
        assert config.train.length == Time(epochs=1)
        assert config.seeds == (7,)
        assert config.data.arguments == {"valid": 0.3}
        assert load(config.text) == config
        assert load(WHOLE) != config

    def test_positions_in_lists_and_new_mappings(self):
        config = load(
            WHOLE.replace('engine: {params: "fc*", memory: lean}\n', ""),
            overrides=("rules.0.who.amount={to: 0.5}", "engine.keep=[5it]"),
        )
        assert config.rules[0]["who"]["amount"] == {"to": 0.5}
        assert config.engine.keep == ("5it",)

    @pytest.mark.parametrize(
        ("said", "message"),
        [
            ("train.lenght=1ep", "--set train.lenght=1ep: train: unknown key 'lenght'. Did you"),
            ("train.length=0it", "--set train.length=0it: train.length: '0it' (text) is no length"),
            ("rules.0.what=Slep", "--set rules.0.what=Slep: unknown action 'Slep'. Did you mean"),
            ("rules.1.what=Sleep", "rules is a list of 1. Valid: '0'"),
            ("rules.first.what=Sleep", "rules is a list of 1. Valid: '0'"),
            ("name.x=1", "name is 'whole', which holds nothing by name"),
            ("train.length", "write path=value, as train.length=1ep"),
            ("=3", "write path=value"),
            ("seeds=[1", "--set seeds=[1:1:"),
            ("rules.0.who.amount.by.cosine=[0, 2]", "by(cosine(0, 2)) is "),
        ],
    )
    def test_mistakes_name_the_setting(self, said, message):
        (line,) = mistakes(WHOLE, (said,))
        assert message in line

    def test_a_mistake_elsewhere_keeps_its_line(self):
        found = mistakes(WHOLE.replace("32", "0"), ("seeds=[]",))
        assert found[0].startswith("<text>:7:15: train.batch_size")
        assert found[1].startswith("--set seeds=[]: seeds: must hold")


def test_a_file_that_is_not_there():
    with pytest.raises(ConfigError, match=r"no\.yaml:1:1: the file cannot be read"):
        load("no.yaml")


def test_config_is_the_type_that_pipelines_take():
    assert isinstance(load(LEAST), Config)
