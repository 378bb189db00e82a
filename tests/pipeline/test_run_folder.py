"""The run folder: lines, header, checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sleepengine.errors import FileError, SetupError
from sleepengine.files import container, json_text
from sleepengine.masks.choice import Choice
from sleepengine.masks.store import MaskStore
from sleepengine.pipeline.experiments.jobs import Job, lottery_jobs, train_jobs
from sleepengine.pipeline.run_folder import Lines, RunFolder

META = {"name": "a", "status": "running"}


def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", "name: a\r\n", META)


def test_create_writes_the_configuration_byte_for_byte(tmp_path: Path) -> None:
    made = folder(tmp_path)
    assert (made.path / "config.yaml").read_bytes() == b"name: a\r\n"
    assert made.config() == "name: a\r\n"
    header = json.loads((made.path / "run.json").read_text())
    assert header.pop("sha256") == json_text.digest(header)
    assert header == {**META, "format": 1}
    assert [p.name for p in sorted(made.path.iterdir())] == [
        "config.yaml",
        "curves.jsonl",
        "journal.jsonl",
        "masks",
        "nodes.jsonl",
        "results.jsonl",
        "run.json",
    ]


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    made = folder(tmp_path)
    with pytest.raises(SetupError, match="not an empty folder; choose another"):
        folder(tmp_path)
    made.save_checkpoint({})
    with pytest.raises(SetupError, match="to continue it: sleepengine resume"):
        folder(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="not an empty folder"):
        RunFolder.create(tmp_path / "file", "", META)
    with pytest.raises(FileError, match="cannot be made"):
        RunFolder.create(tmp_path / "file" / "run", "", META)


def test_lines_are_appended_and_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    made = folder(tmp_path)
    for step in range(3):
        made.append(Lines.CURVES, {"step": step})
    made.save_checkpoint({"done": 1})
    made.append(Lines.CURVES, {"step": 3})
    made.append(Lines.RESULTS, {"arm": "ä"})
    with open(made.path / "curves.jsonl", "ab") as file:
        file.write(b'{"st')
    counts = {"results.jsonl": 1, "curves.jsonl": 4, "journal.jsonl": 0, "nodes.jsonl": 0}
    assert made.counts() == counts
    again = RunFolder.open(made.path)
    saved = again.load_checkpoint()
    assert saved["done"] == 1
    assert made.counts()["curves.jsonl"] == 4
    again.cut_back(saved)
    assert (made.path / "curves.jsonl").read_bytes() == b'{"step":0}\n{"step":1}\n{"step":2}\n'
    assert made.rows(Lines.RESULTS) == []


def test_lines_refuse_what_json_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        folder(tmp_path).append(Lines.CURVES, {"loss": float("nan")})


def test_missing_lines_are_noticed(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.append(Lines.JOURNAL, {})
    made.save_checkpoint({})
    (made.path / "journal.jsonl").write_bytes(b"")
    with pytest.raises(FileError, match=r"journal.jsonl has 0 lines; .* after 1"):
        made.load_checkpoint()


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "not a run folder"), ("{", "damaged"), ("[]", "format"), ('{"format":2}', "format")],
)
def test_open_refuses(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(FileError, match=words):
        RunFolder.open(tmp_path)


def test_no_checkpoint_to_resume(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"the run is running; there is no checkpoint.run"):
        folder(tmp_path).load_checkpoint()


def test_masks_are_read_back(tmp_path: Path) -> None:
    store = MaskStore({"w": torch.Size([4])})
    store.sleep(Choice({"w": torch.tensor([True, False, False, True])}))
    made = folder(tmp_path)
    made.save_masks(Job("ticket", 3, 2), store)
    other = MaskStore({"w": torch.Size([4])})
    other.load_state_dict(container.read(made.path / "masks" / "ticket-s3-l2.masks", kind="masks"))
    assert other.digest() == store.digest()


def test_jobs_in_order() -> None:
    assert [str(job) for job in train_jobs([4, 2])] == ["train seed 4", "train seed 2"]
    arms = ["dense", "random_mask", "random_reinit"]
    assert [(j.arm, j.seed, j.level) for j in lottery_jobs([1, 0], 1, arms)] == [
        ("ticket", 1, 0),
        ("ticket", 1, 1),
        ("random_reinit", 1, 1),
        ("random_mask", 1, 1),
        ("ticket", 0, 0),
        ("ticket", 0, 1),
        ("random_reinit", 0, 1),
        ("random_mask", 0, 1),
    ]


def test_a_making_that_was_cut_short_may_be_made_again(tmp_path: Path) -> None:
    made = RunFolder.create(tmp_path / "run", "name: a\n", META, {"done": 0})
    (made.path / "run.json").unlink()
    (made.path / ".run.json.host-1-00000000-00000000.tmp").write_bytes(b"{")
    again = RunFolder.create(tmp_path / "run", "name: b\n", META, {"done": 0})
    assert again.config() == "name: b\n"
    (made.path / "run.json").unlink()
    made.append(Lines.CURVES, {"step": 1})
    with pytest.raises(SetupError, match="not an empty folder"):
        RunFolder.create(tmp_path / "run", "name: c\n", META, {"done": 0})


def test_a_folder_with_a_configuration_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine")
    with pytest.raises(SetupError, match="not an empty folder"):
        RunFolder.create(tmp_path, "name: a", META, {})
    assert (tmp_path / "config.yaml").read_text() == "mine"


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    made = folder(tmp_path)
    with made.held(), pytest.raises(FileError, match="another process is writing this run"):  # noqa: SIM117
        with RunFolder.open(made.path).held():
            pass
    with RunFolder.open(made.path).held():
        pass


def test_lines_that_were_changed_after_the_checkpoint_was_made(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.append(Lines.JOURNAL, {"step": 1})
    made.save_checkpoint({})
    (made.path / "journal.jsonl").write_bytes(b'{"step":2}\n')
    with pytest.raises(FileError, match=r"journal\.jsonl: the first 1 lines were changed"):
        made.load_checkpoint()


def test_a_kind_of_lines_that_is_younger_than_the_checkpoint(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.append(Lines.JOURNAL, {"step": 1})
    made.save_checkpoint({})
    state = container.read(made.checkpoint, kind="run")
    del state["lines"]["nodes.jsonl"]
    container.write(made.checkpoint, state, kind="run")
    (made.path / "nodes.jsonl").unlink()
    made.cut_back(made.load_checkpoint())
    assert made.counts()["journal.jsonl"] == 1
    assert (made.path / "nodes.jsonl").read_bytes() == b""


def test_a_damaged_line_has_a_number(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.append(Lines.JOURNAL, {"step": 1})
    for text, words in (("{", "Expecting"), ("3", "not an object"), ("[" * 99_999, "recursion")):
        (made.path / "journal.jsonl").write_text(f'{{"step":1}}\n{text}\n')
        with pytest.raises(FileError, match=f"journal.jsonl:2: damaged: .*{words}"):
            made.rows(Lines.JOURNAL)


def test_a_header_that_was_changed(tmp_path: Path) -> None:
    made = folder(tmp_path)
    text = (made.path / "run.json").read_text()
    (made.path / "run.json").write_text(text.replace("running", "finished"))
    with pytest.raises(FileError, match=r"run\.json is damaged: its sha256"):
        RunFolder.open(made.path)
