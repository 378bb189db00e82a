"""Names with arguments: every form of a call, and every mistake in one at its place."""

from __future__ import annotations

import pytest

from saliency import Gradient, Lamp, Magnitude, MeanScale, Normalized, Sum
from schedules import after, before, constant, cubic, every, join, once, staircase
from sleepengine.actions.sleep import Sleep
from sleepengine.actions.values import Kept
from sleepengine.actions.wake import Wake
from sleepengine.choosing import (
    Blocks,
    Factors,
    Global,
    Max,
    NofM,
    PerTensor,
    Rows,
    by,
    count,
    to,
)
from sleepengine.pipeline import build
from sleepengine.pipeline.configuration.config import load
from sleepengine.rules.filters import older_than

from .rule_texts import HEAD, rule


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{once: 1ep}", once("1ep")),
        ("{once: [1ep]}", once("1ep")),
        ("{once: {time: 1ep}}", once("1ep")),
        ("{every: 100it}", every("100it")),
        ("{every: [100it, 1ep]}", every("100it", "1ep")),
        ("{every: {interval: 100it, before: 50%}}", every("100it", before="50%")),
        ("{and: [{every: 1ep}, {after: 2ep}]}", every("1ep") & after("2ep")),
        (
            "{or: [{once: 1ep}, {once: 2ep}, {after: 3ep}]}",
            once("1ep") | once("2ep") | after("3ep"),
        ),
        ("{and: [{every: 1ep}, {not: {before: 2ep}}]}", every("1ep") & ~before("2ep")),
        ("{not: [{before: 2ep}]}", ~before("2ep")),
    ],
)
def test_triggers(written, meant):
    assert rule(when=written).when == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Magnitude", Magnitude()),
        ("{Magnitude: {}}", Magnitude()),
        ("{Magnitude: }", Magnitude()),
        ("{Magnitude: 2}", Magnitude(2)),
        ("{Magnitude: {p: 2}}", Magnitude(2)),
        ("Lamp", Lamp()),
        ("{Lamp: Gradient}", Lamp(Gradient())),
        ("{Lamp: {Magnitude: 1}}", Lamp(Magnitude(1))),
        ("{Lamp: {scorer: {Magnitude: {p: 1}}}}", Lamp(Magnitude(1))),
        ("{Normalized: [Gradient, MeanScale]}", Normalized(Gradient(), MeanScale())),
        (
            "{Sum: {a: Magnitude, b: Gradient, weights: [1, 0.5]}}",
            Sum(Magnitude(), Gradient(), (1, 0.5)),
        ),
    ],
)
def test_scorers(written, meant):
    assert rule(scorer=written).who.scorer == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Global", Global()),
        ("PerTensor", PerTensor()),
        ('{PerTensor: {Factors: {"fc*": 0.5}}}', PerTensor(Factors({"fc*": 0.5}))),
        (
            '{PerTensor: {shares: {Factors: {factors: {"fc*": 0.5}}}}}',
            PerTensor(Factors({"fc*": 0.5})),
        ),
    ],
)
def test_pools(written, meant):
    assert rule(pools=written).who.pools == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{to: 1}", to(1.0)),
        ("{by: 0.2}", by(0.2)),
        ("{count: 3}", count(3)),
        ("{to: {cubic: [0, 0.8]}}", to(cubic(0, 0.8))),
        ("{to: {f: {cubic: {a: 0, b: 0.8}}}}", to(cubic(0, 0.8))),
        ("{to: {staircase: [{cubic: [0, 0.8]}, 4]}}", to(staircase(cubic(0, 0.8), 4))),
        (
            "{to: {join: [[{cubic: [0, 0.8]}, 0.5], [{constant: 0.8}, 1]]}}",
            to(join((cubic(0, 0.8), 0.5), (constant(0.8), 1))),
        ),
    ],
)
def test_amounts_and_curves(written, meant):
    assert rule(amount=written).who.amount == meant


def test_units_filters_values_and_plain_arguments():
    assert rule(units="{Blocks: {shape: [4, 4]}}").who.units == Blocks((4, 4))
    assert rule(units="{Blocks: [[4, 4]]}").who.units == Blocks((4, 4))
    assert rule(units="{Rows: Max}").who.units == Rows(Max())
    assert rule(where="{older_than: 5it}").who.filters == (older_than("5it"),)
    assert rule(where="[{older_than: 5it}]").who.filters == (older_than("5it"),)
    assert rule(params='"fc1*"', batches="2", allow_empty="true").who.patterns == ("fc1*",)
    assert rule(what="{Wake: {value: zero}}").what == Wake("zero")
    assert rule(what="{Wake: {value: {Kept: 5it}}}").what == Wake(Kept("5it"))
    assert rule(what="{Sleep: {include_frozen: true}}").what == Sleep(include_frozen=True)
    text = (
        HEAD
        + "  - {when: {once: 1ep}, who: {scorer: Magnitude, pools: {NofM: [2, 4]}}, what: Sleep}\n"
    )
    assert build.rules(load(text))[0].who.pools == NofM(2, 4)
