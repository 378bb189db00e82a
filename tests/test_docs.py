"""Every Python block of the README and of docs/ runs, and every pipeline in them loads.

A block with `>>>` is a doctest. Any other block runs in a namespace of its own that holds what the
pages say the reader has already: `model`, `optimizer`, `loader`, `loss_fn` and `trainer`.
"""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import create_supervised_trainer
from torch import nn

import sleepengine as se
from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.problems.bundle import Split, TensorBatches
from sleepengine.pipeline.problems.models import mlp

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(language: str) -> list[Any]:
    found_blocks = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in FENCE.finditer(text):
            apart = page.name == "schedules.md"  # one doctest over the page, in tests/schedules
            if found[1] == language and not apart:
                line = text[: found.start()].count("\n") + 2
                where = f"{page.relative_to(ROOT)}:{line}"
                found_blocks.append(pytest.param(found[2], where, id=where))
    return found_blocks


def reader() -> dict[str, Any]:
    """A small network, ten batches of 16 samples with random classes, and a trainer."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(160, 1, 8, 8, generator=generator)
    y = torch.randint(10, (160,), generator=generator)
    model = mlp((1, 8, 8), 10, sizes=[20], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss_fn = nn.functional.cross_entropy
    return {
        "__name__": "page",
        "torch": torch,
        "nn": nn,
        "se": se,
        "model": model,
        "optimizer": optimizer,
        "loader": TensorBatches(Split(x, y), se.ResumableSampler(160, batch_size=16, seed=0)),
        "loss_fn": loss_fn,
        "trainer": create_supervised_trainer(model, optimizer, loss_fn),
    }


@pytest.mark.parametrize(("code", "where"), blocks("python"))
def test_python_blocks_run(code, where, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if ">>>" not in code:
        exec(compile(code, where, "exec", dont_inherit=True), reader())
        return
    test = doctest.DocTestParser().get_doctest(code, reader(), where, where, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    complaints: list[str] = []
    runner.run(test, out=complaints.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(complaints)


@pytest.mark.parametrize(("text", "where"), blocks("yaml"))
def test_pipelines_in_pages_load(text, where):
    assert load(text).train.batch_size > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_names_every_recipe_and_every_configuration():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", text))
    assert set(se.recipes.__all__) - named == set()
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} - named == set()


def test_the_readme_leads_to_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert pages - set(LINK.findall(text)) == {"docs/optimizers.template.md"}


def test_contributing_knows_where_things_are():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    inside = ROOT / "sleepengine"
    places = {path.parent.name for path in inside.glob("*/__init__.py")}
    assert {place for place in places if f"{place}/" not in text} == set()
    for named in re.findall(r"`((?:sleepengine|saliency|schedules|configs)/[\w/.]*)`", text):
        assert (ROOT / named).exists(), named


def test_pages_are_found():
    assert len(blocks("python")) > 20


def test_a_broken_block_is_noticed(tmp_path, monkeypatch):
    with pytest.raises(NameError):
        test_python_blocks_run("undefined_name", "page.md:1", tmp_path, monkeypatch)
    with pytest.raises(AssertionError, match="Expected"):
        test_python_blocks_run(">>> 1 + 1\n3\n", "page.md:1", tmp_path, monkeypatch)
