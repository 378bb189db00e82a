"""The page about optimizers says what the verdicts say, and every row of it holds in a run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from sleepengine.enforcement.verdicts import VERDICTS, Verdict
from sleepengine.errors import LeakError

SCRIPT = Path(__file__).parents[1] / "docs" / "make_optimizer_table.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_optimizer_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_optimizer_has_one_row(script):
    assert [case.kind for case in script.CASES] == list(VERDICTS)


def test_the_page_is_as_rendered_and_every_row_holds_in_its_runs(script):
    pytest.importorskip("expecttest", reason="the official configurations need it")
    text = script.PAGE.read_text(encoding="utf-8")
    assert text == script.render(), "out of date: run `make docs`"
    assert "{{" not in text
    for case in script.CASES:
        script.verify(case)


def test_a_wrong_row_would_be_noticed(script, monkeypatch):
    sgd = script.CASES[0]
    assert not script.run(sgd, sgd.shown, script.zero, script.ASLEEP, script.nothing).asleep
    monkeypatch.setitem(VERDICTS, torch.optim.ASGD, Verdict(asleep=True, frozen=True))
    (asgd,) = (case for case in script.CASES if case.kind is torch.optim.ASGD)
    script.sweep.cache_clear()
    with pytest.raises((RuntimeError, LeakError), match=r"ASGD|w: "):
        script.verify(asgd)
    script.sweep.cache_clear()
