import json
from pathlib import Path

import pytest

from sleepengine.errors import FileError
from sleepengine.report.run_data import RunData


def edit_line(path: Path, number: int, **changes):
    lines = path.read_text().splitlines()
    line = json.loads(lines[number - 1])
    for name, value in changes.items():
        if value is ...:
            del line[name]
        else:
            line[name] = value
    lines[number - 1] = json.dumps(line)
    path.write_text("".join(f"{one}\n" for one in lines))


def test_reads_a_finished_lottery(make_run):
    run = RunData.load(make_run(seeds=(3, 4), levels=2, masks=True))
    assert run.finished
    assert run.meta.data.input_shape == (1, 28, 28)
    assert run.meta.arms == ("ticket", "reinit")
    assert [(r.arm, r.seed, r.level) for r in run.results] == [
        ("ticket", 3, 0),
        ("reinit", 3, 0),
        ("ticket", 3, 1),
        ("reinit", 3, 1),
        ("ticket", 4, 0),
        ("reinit", 4, 0),
        ("ticket", 4, 1),
        ("reinit", 4, 1),
    ]
    assert run.results[2].awake == 0.5
    assert len(run.curves) == 8 * 5
    assert run.curves[0].layers == {"fc1.weight": 1.0, "fc2.weight": 1.0}
    assert run.journal[0].tensors["fc1.weight"].total == 1176
    assert [(m.arm, m.seed, m.level) for m in run.masks][:3] == [
        ("reinit", 3, 0),
        ("reinit", 3, 1),
        ("reinit", 4, 0),
    ]
    assert run.config.startswith("experiment: lottery")


def test_a_run_that_just_started_has_no_lines(make_run):
    path = make_run(status="running", stop_after=0)
    for name in ("results", "curves", "journal"):
        (path / f"{name}.jsonl").unlink()
    run = RunData.load(path)
    assert (run.results, run.curves, run.journal, run.masks) == ((), (), (), ())


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_last_line_cut_short_is_left_out_of_an_unfinished_run(make_run, status):
    path = make_run(status=status, levels=2)
    with (path / "results.jsonl").open("a") as file:
        file.write('{"arm": "tick')
    assert len(RunData.load(path).results) == 12


def test_a_line_cut_short_in_a_finished_run_is_an_error(make_run):
    path = make_run(levels=2)
    whole = (path / "curves.jsonl").read_text()
    (path / "curves.jsonl").write_text(whole[:-1])
    with pytest.raises(FileError, match=r"curves\.jsonl:60: the line is cut short"):
        RunData.load(path)


def test_a_damaged_line_in_the_middle_is_an_error_even_while_running(make_run):
    path = make_run(status="running", levels=2)
    lines = (path / "journal.jsonl").read_text().splitlines()
    lines[2] = lines[2][:30]
    (path / "journal.jsonl").write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(FileError, match=r"journal\.jsonl:3: Invalid JSON"):
        RunData.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"awake": ...}, r"results\.jsonl:4: 'awake' is missing\."),
        ({"seed": "0"}, r"results\.jsonl:4: seed: Input should be a valid integer, found '0'\."),
        ({"test_accuracy": "x" * 99}, r"found 'x{50,56}\.\.\.\."),
        ({"seed": 0, "level": 0}, r"results\.jsonl:4: .*'reinit', seed 0, level 0 .* on line 2"),
    ],
)
def test_a_wrong_value_names_file_line_and_field(make_run, changes, message):
    path = make_run()
    edit_line(path / "results.jsonl", 4, **changes)
    with pytest.raises(FileError, match=message):
        RunData.load(path)


def test_values_that_are_unknown_or_not_finite_are_read(make_run):
    path = make_run()
    edit_line(path / "results.jsonl", 1, test_loss=float("nan"), valid_accuracy=None)
    result = RunData.load(path).results[0]
    assert result.test_loss != result.test_loss
    assert result.valid_accuracy is None


def test_more_keys_than_known_do_no_harm(make_run):
    path = make_run(extra={"host": "somewhere"})
    assert RunData.load(path).meta.name == "digits lottery"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"format": 2}, r"run\.json: format 2; this version reads format 1"),
        ({"status": "done"}, r"run\.json: status: .*'interrupted'.*, found 'done'"),
        ({"data": {"name": "mnist"}}, r"'data\.train' is missing; 'data\.valid' is missing"),
    ],
)
def test_a_wrong_header_is_an_error(make_run, extra, message):
    with pytest.raises(FileError, match=message):
        RunData.load(make_run(extra=extra))


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "results.jsonl"])
def test_a_missing_file_is_named(make_run, name):
    path = make_run()
    (path / name).unlink()
    with pytest.raises(FileError, match=rf"{name}: missing"):
        RunData.load(path)


def test_no_folder(tmp_path):
    with pytest.raises(FileError, match=r"nowhere: no such run folder"):
        RunData.load(tmp_path / "nowhere")


def test_a_config_that_is_not_text(make_run):
    path = make_run()
    (path / "config.yaml").write_bytes(b"name: \xff")
    with pytest.raises(FileError, match=r"config\.yaml: not UTF-8 text \(byte 6\)"):
        RunData.load(path)


def test_a_file_that_cannot_be_read(make_run):
    path = make_run()
    (path / "config.yaml").unlink()
    (path / "config.yaml").mkdir()
    with pytest.raises(FileError, match=r"config\.yaml: cannot be read"):
        RunData.load(path)


def test_a_mask_file_with_a_strange_name(make_run):
    path = make_run(masks=True, levels=1, seeds=(0,))
    (path / "masks" / "ticket.masks").write_bytes(b"")
    with pytest.raises(FileError, match=r"ticket\.masks: a mask file is called ARM-sSEED-lLEVEL"):
        RunData.load(path)


def test_mask_files_are_not_opened_by_load(make_run):
    path = make_run(masks=True, levels=1, seeds=(0,))
    (path / "masks" / "odd-s1-name-s12-l3.masks").write_bytes(b"not masks")
    found = RunData.load(path).masks[0]
    assert (found.arm, found.seed, found.level) == ("odd-s1-name", 12, 3)


def in_parts(make_run, status):
    """A run of seeds 3 and 4 whose workers have written one seed each, the second less far."""
    path = make_run(seeds=(3, 4), levels=2, stop_after=0, status=status)
    for number, (seed, done) in enumerate([(4, 4), (3, 2)]):
        part = make_run(seeds=(seed,), levels=2, status="interrupted", stop_after=done, masks=True)
        (path / "parts").mkdir(exist_ok=True)
        part.rename(path / "parts" / str(number))
    return path


def test_while_workers_train_the_lines_are_those_of_their_parts(make_run):
    run = RunData.load(in_parts(make_run, "interrupted"))
    assert [(r.seed, r.level, r.arm) for r in run.results] == [
        (3, 0, "ticket"),
        (3, 0, "reinit"),
        (4, 0, "ticket"),
        (4, 0, "reinit"),
        (4, 1, "ticket"),
        (4, 1, "reinit"),
    ]
    assert (len(run.curves), len(run.journal), len(run.masks)) == (30, 6, 6)
    assert run.meta.status == "interrupted"
    assert run.meta.seeds == (3, 4)


def test_a_finished_run_has_no_parts(make_run):
    assert RunData.load(in_parts(make_run, "finished")).results == ()
