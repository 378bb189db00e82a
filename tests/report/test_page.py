import re
import sys
from html.parser import HTMLParser

import pytest

from sleepengine.errors import FileError, SetupError
from sleepengine.report import write_compare, write_report
from sleepengine.report.page import render_page
from sleepengine.report.run_data import RunData

HOSTILE = "<script>alert('x')</script>\"onload=x' {{ 7 * 7 }} ${a} </style></pre></svg><img src=q>"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """Collects tags, attributes and text; notes tags that are closed out of order."""

    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.attributes, self.text = [], [], [], []
        self.open, self.crossed = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def test_the_report_lies_in_the_run_folder(make_run):
    path = make_run(levels=2, masks=True)
    out = write_report(path)
    assert out == path / "report.html"
    page = out.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    for word in ("digits lottery", "lenet-300-100", "torch 2.13.0", "finished", "SHA-256"):
        assert word in page


def test_a_report_elsewhere(make_run, tmp_path):
    path = make_run(levels=1)
    assert write_report(path, tmp_path / "a.html") == tmp_path / "a.html"
    assert write_report(path, tmp_path) == tmp_path / "report.html"
    with pytest.raises(FileError, match=r"no/a\.html: the file was not written"):
        write_report(path, tmp_path / "no" / "a.html")


def test_the_same_run_gives_the_same_page(make_run):
    run = RunData.load(make_run(levels=2, masks=True))
    assert render_page(run) == render_page(run)


@pytest.mark.parametrize("experiment", ["lottery", "train"])
def test_the_page_is_whole_and_asks_for_nothing_outside(make_run, make_train, experiment):
    make = make_run if experiment == "lottery" else make_train
    page = render_page(RunData.load(make(masks=True)))
    reader = read(page)
    assert (reader.open, reader.crossed) == ([], [])
    assert len(reader.ids) == len(set(reader.ids))
    assert not {"script", "link", "iframe", "object"} & set(reader.tags)
    links = [v for _, name, v in reader.attributes if name in ("src", "href", "xlink:href")]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_what_a_screen_reader_needs_is_there(make_run):
    reader = read(render_page(RunData.load(make_run(masks=True))))
    images = [v for tag, name, v in reader.attributes if (tag, name) == ("img", "alt")]
    drawings = [v for tag, name, v in reader.attributes if (tag, name) == ("div", "aria-label")]
    assert len(images) == reader.tags.count("img") > 0
    assert all(images)
    assert reader.tags.count("svg") <= len([text for text in drawings if text])
    scopes = [v for tag, name, v in reader.attributes if (tag, name) == ("th", "scope")]
    assert len(scopes) == reader.tags.count("th") > 0
    labels = {v for _, name, v in reader.attributes if name == "aria-labelledby"}
    assert labels <= set(reader.ids)


def test_the_table_and_the_headline_agree(make_run):
    page = "".join(read(render_page(RunData.load(make_run(levels=2)))).text)
    found = re.search(r"the ticket reaches ([\d.]+)\u00a0±\u00a0([\d.]+)%", page)
    assert found is not None
    assert f"{found[1]} ± {found[2]}" in page


def test_hostile_strings_stay_text(make_run):
    path = make_run(
        name=HOSTILE,
        arms=("ticket", HOSTILE.replace("/", "")),
        tensors=(HOSTILE, "_b"),
        rule=HOSTILE,
        config=HOSTILE,
        levels=2,
        extra={"versions": {HOSTILE: HOSTILE}, "device": HOSTILE},
    )
    page = render_page(RunData.load(path))
    reader = read(page)
    assert (reader.open, reader.crossed) == ([], [])
    assert not {"script", "img", "b", "onload"} & set(reader.tags)
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    text = "".join(reader.text)
    assert text.count(HOSTILE) >= 4
    assert "49" not in re.findall(r"\{\{.*?\}\}|49", page.split("<pre")[1])


def test_the_journal_is_cut_but_counted(make_train):
    run = RunData.load(make_train(seeds=tuple(range(60))))
    reader = read(render_page(run))
    text = "".join(reader.text)
    assert "240 actions, the first 200 shown" in text
    assert text.count("Sleep") == 200


def test_a_run_that_just_started_has_a_page(make_run, make_train):
    for make in (make_run, make_train):
        page = render_page(RunData.load(make(status="running", stop_after=0)))
        assert "No network has been trained to the end yet." in page
        assert "No rule has acted." in page
        assert "<svg" not in page


def test_an_interrupted_run_says_so(make_run):
    page = render_page(RunData.load(make_run(status="interrupted", stop_after=5)))
    assert "The run is interrupted with 5 networks trained" in page


def test_a_damaged_mask_file_is_an_error(make_run):
    path = make_run(masks=True, levels=2)
    (path / "masks" / "ticket-s0-l1.masks").write_bytes(b"damaged")
    with pytest.raises(FileError, match=r"ticket-s0-l1\.masks"):
        write_report(path)
    assert not (path / "report.html").exists()


def test_runs_side_by_side(make_run, make_train, tmp_path):
    runs = [make_run(levels=2), make_train(name=HOSTILE)]
    page = write_compare(runs, tmp_path / "compare.html").read_text(encoding="utf-8")
    reader = read(page)
    assert (reader.open, reader.crossed) == ([], [])
    assert "2 runs compared" in page
    assert HOSTILE in "".join(reader.text)
    assert "script" not in reader.tags
    assert reader.tags.count("svg") == 1


def test_without_jinja_the_error_names_the_extra(make_run, monkeypatch):
    path = make_run(levels=1)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(SetupError, match=r'jinja2.*pip install "sleepengine\[report\]"'):
        write_report(path)
