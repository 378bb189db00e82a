"""One rule of a configuration with parts replaced, and the mistake in it."""

from __future__ import annotations

import pytest

from sleepengine.errors import ConfigError
from sleepengine.pipeline import build
from sleepengine.pipeline.configuration.config import load
from sleepengine.rules.rule import Rule

HEAD = "model: {mlp: {sizes: [8]}}\ntrain: {length: 2ep}\nrules:\n"


RULE = "  - {when: {once: 1ep}, who: {scorer: Magnitude, amount: {to: 0.9}}, what: Sleep}\n"


def rule(**parts: str) -> Rule:
    """The rule with `when`, `scorer`, `units`, `pools`, `amount` or `what` replaced."""
    given = {"when": "{once: 1ep}", "scorer": "Magnitude", "amount": "{to: 0.9}", **parts}
    when, what = given.pop("when"), given.pop("what", "Sleep")
    who = ", ".join(f"{key}: {value}" for key, value in given.items())
    return build.rules(load(f"{HEAD}  - {{when: {when}, who: {{{who}}}, what: {what}}}\n"))[0]


def mistake(**parts: str) -> str:
    with pytest.raises(ConfigError) as error:
        rule(**parts)
    assert str(error.value).startswith("<text>:4:")
    return str(error.value)
