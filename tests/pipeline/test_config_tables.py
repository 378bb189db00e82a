"""The tables hold every public name, and nothing that is not spelled out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import saliency
import schedules
from saliency import (
    OBD,
    HessianDiagonal,
    InverseHessian,
    Magnitude,
    Negative,
    Scale,
    Scorer,
    SequentialOBS,
    Wrapper,
)
from sleepengine import choosing
from sleepengine.actions import freeze, reset, rewind, sleep, wake
from sleepengine.actions.action import Action
from sleepengine.choosing import Pools, Reduction, Shares, Units
from sleepengine.errors import SetupError
from sleepengine.pipeline import build
from sleepengine.pipeline.configuration import scorer_tables, tables
from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.configuration.entries import Entry
from sleepengine.pipeline.configuration.plugins import load_plugins
from sleepengine.pipeline.configuration.tables import Plugins
from sleepengine.pipeline.problems.bundle import Data


def concrete(module: Any, base: type) -> set[str]:
    """Names of the classes of a package that can be built."""
    found = {name for name in module.__all__ if inspect.isclass(getattr(module, name))}
    return {
        name
        for name in found
        if issubclass(getattr(module, name), base) and not inspect.isabstract(getattr(module, name))
    }


@pytest.mark.parametrize(
    ("kind", "module", "base"),
    [
        (tables.SCORERS, saliency, Scorer),
        (scorer_tables.SCALES, saliency, Scale),
        (tables.UNITS, choosing, Units),
        (tables.REDUCTIONS, choosing, Reduction),
        (tables.POOLS, choosing, Pools),
        (tables.SHARES, choosing, Shares),
    ],
    ids=lambda one: getattr(one, "noun", ""),
)
def test_every_public_class_has_its_name(kind, module, base):
    missing = concrete(module, base) - set(kind.entries)
    assert not missing, f"put {missing} into sleepengine/pipeline/tables.py"
    assert all(entry.make.__name__ == name for name, entry in kind.entries.items())


def test_every_trigger_and_curve_of_schedules_has_its_name():
    makers = {
        name for name in schedules.__all__ if inspect.isfunction(getattr(schedules, name))
    } - {"as_time", "preview"}
    # when() takes a function, which no file can hold.
    named = set(tables.TRIGGERS.entries) | set(tables.CURVES.entries)
    assert makers - {"when"} == named - {"and", "or", "not"}


def test_every_action_has_its_name():
    found = {
        name
        for module in (freeze, reset, rewind, sleep, wake)
        for name, one in vars(module).items()
        if inspect.isclass(one) and issubclass(one, Action) and not inspect.isabstract(one)
    }
    assert found == set(tables.ACTIONS.entries)


@pytest.mark.parametrize(
    "kind",
    [*tables.tables().kinds.values(), tables.MODELS, tables.DATA, tables.OPTIMIZERS],
    ids=lambda kind: kind.noun,
)
def test_every_argument_of_every_entry_has_a_type_that_is_known(kind):
    for entry in kind.entries.values():
        for argument in entry.arguments.values():
            assert argument.hint is not inspect.Parameter.empty
            assert argument.hint is not Any, f"{entry.name}({argument.name})"


def test_optional_without_default():
    assert not tables.RULE.arguments["who"].required
    assert tables.RULE.required == ("when", "what")
    assert tables.LEVEL_RULE.required == ("what",)


def test_curvature_and_words_of_enumerations():
    text = """
model: lenet_300_100
train: {length: 1ep}
rules:
  - when: {once: 1ep}
    who: {scorer: {OBD: {curvature: {HessianDiagonal: 8}, negative: clamp}}, amount: {to: 0.5}}
    what: Sleep
  - when: {once: 1ep}
    who: {scorer: {SequentialOBS: InverseHessian}, amount: {to: 0.5}}
    what: Sleep
"""
    first, second = build.rules(load(text))
    assert first.who.scorer == OBD(HessianDiagonal(8), Negative.CLAMP)
    assert second.who.scorer == SequentialOBS(InverseHessian())
    with pytest.raises(ValueError, match="'clam' is not known"):
        load(text.replace("clamp", "clam"))
    with pytest.raises(ValueError, match="unknown dense inverse 'Woodbury'"):
        load(text.replace("InverseHessian", "Woodbury"))
    with pytest.raises(ValueError, match=r"\(through\): must be left out"):
        load(text.replace("{SequentialOBS: InverseHessian}", "{MeanActivation: {through: relu}}"))


class Own(Scorer):
    """A user's scorer."""

    def __init__(self, power: int = 1) -> None:
        self.power = power

    def score(self, signals: saliency.Signals) -> Any:
        return Magnitude(self.power).score(signals)


def own_model(input_shape: tuple[int, ...], classes: int, *, width: int) -> Any:
    """A user's model."""
    raise NotImplementedError


def own_data(*, samples: int = 10) -> Data:
    """A user's data."""
    raise NotImplementedError


TEXT = """\
model: {own_model: {width: 3}}
data: {own_data: {samples: 5}}
train: {length: 1ep}
rules:
  - {when: {once: 1ep}, who: {scorer: {Own: {power: 2}}, amount: {to: 0.5}}, what: Sleep}
"""
PLUGINS = Plugins({"Own": Own}, {"own_model": own_model}, {"own_data": own_data})


class TestPlugins:
    def test_own_names_are_known_and_checked_like_others(self):
        config = load(TEXT, plugins=PLUGINS)
        assert config.model.name == "own_model"
        with pytest.raises(ValueError, match=r"Own\(power\): must be a whole number, found 2.5"):
            load(TEXT.replace("power: 2", "power: 2.5"), plugins=PLUGINS)
        with pytest.raises(ValueError, match="own_model needs 'width': a whole number"):
            load(TEXT.replace("{width: 3}", "{}"), plugins=PLUGINS)

    def test_without_them_the_names_are_unknown(self):
        with pytest.raises(ValueError, match="unknown scorer 'Own'") as error:
            load(TEXT)
        assert len(str(error.value).splitlines()) == 3

    def test_names_of_ours_cannot_be_taken(self):
        with pytest.raises(SetupError, match="scorer 'Magnitude' is there already"):
            load(TEXT, plugins=Plugins({"Magnitude": Own}))

    def test_what_cannot_be_called_or_checked_is_refused(self):
        with pytest.raises(SetupError, match="cannot be called"):
            load(TEXT, plugins=Plugins({"Own": 3}))  # type: ignore[dict-item]

        def loose(**options: Any) -> None: ...

        with pytest.raises(SetupError, match=r"takes \*\*options"):
            load(TEXT, plugins=Plugins(models={"own_model": loose}))

    def test_a_file_with_tables(self, tmp_path):
        path = tmp_path / "mine_of_this_test.py"
        path.write_text(
            "from saliency import Magnitude\n"
            "SCORERS = {'Mine': Magnitude}\n"
            "MODELS = {'m': lambda classes: classes}\n"
        )
        found = load_plugins([str(path)])
        assert found.scorers == {"Mine": Magnitude}
        assert list(found.models) == ["m"]
        assert found.data == {}
        with pytest.raises(SetupError, match="SCORERS has 'Mine' once more"):
            load_plugins([str(path), str(path)])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "defines none of SCORERS, MODELS, DATA"),
            ("MODELS = [1]\n", "MODELS must be a dict of names"),
            ("import no_such_module_here\n", "cannot be imported"),
        ],
    )
    def test_faulty_files(self, tmp_path, text, message):
        path = tmp_path / f"faulty_{abs(hash(text))}.py"
        path.write_text(text)
        with pytest.raises(SetupError, match=message):
            load_plugins([str(path)])

    def test_what_is_not_there(self):
        with pytest.raises(SetupError, match="there is no file"):
            load_plugins(["/nowhere/mine.py"])
        with pytest.raises(SetupError, match="cannot be imported"):
            load_plugins(["no_such_module_here"])


def test_an_entry_is_called_with_what_it_asks_for():
    seen: dict[str, Any] = {}

    def make(classes: int, *values: int, factor: float = 1.0) -> None:
        seen.update(classes=classes, values=values, factor=factor)

    call: Callable[..., Any] = make
    entry = Entry("make", call, frozenset({"classes", "seed"}))
    assert list(entry.arguments) == ["values", "factor"]
    entry.call({"factor": 2.0}, {"classes": 3, "seed": 7})
    assert seen == {"classes": 3, "values": (), "factor": 2.0}


def test_wrappers_are_scorers_that_are_named_by_their_own_class():
    assert "Wrapper" not in tables.SCORERS.entries
    assert inspect.isabstract(Wrapper)
