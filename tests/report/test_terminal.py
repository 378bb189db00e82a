"""Tables fit the terminal, and no word of them is cut."""

import io

import pytest
from rich.console import Console

from sleepengine.report.run_data import RunData
from sleepengine.report.terminal import Fitted, Sheet, compare_table, show_table

ARMS = ("ticket", "random_reinit", "random_mask", "dense")


def printed(table, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue().splitlines()


def words(lines: list[str]) -> set[str]:
    return {word for line in lines for word in line.split()}


@pytest.fixture
def runs(make_run, make_train):
    lottery = RunData.load(make_run(arms=ARMS, name="lottery_ticket_late_rewind"))
    return lottery, RunData.load(make_train())


@pytest.mark.parametrize("width", [80, 100, 120])
def test_every_line_fits_and_every_number_is_there(runs, width):
    lottery, train = runs
    for table in (show_table(lottery), show_table(train), compare_table(runs)):
        lines = printed(table, width)
        assert max(map(len, lines)) <= width
        assert "…" not in "".join(lines)
        wide = words(printed(table, 300))
        assert {word for word in wide if word[0].isdigit()} <= words(lines)


def test_differences_move_below_when_there_is_no_room(runs):
    lottery, _ = runs
    narrow, wide = printed(show_table(lottery), 80), printed(show_table(lottery), 120)
    assert any(line.startswith("Differences in points") for line in narrow)
    assert not any(line.startswith("Differences") for line in wide)
    assert {"reinit", "mask", "dense"} <= words(narrow)
    assert "re-initialisation" in words(wide)


def test_facts_of_the_runs_move_below_when_there_is_no_room(runs):
    assert "The runs" in [line.strip() for line in printed(compare_table(runs), 80)]
    assert "The runs" not in [line.strip() for line in printed(compare_table(runs), 140)]


def test_the_first_way_that_fits_is_chosen():
    wide, narrow = Sheet("", (("a" * 30,), ("1",))), Sheet("", (("a",), ("1",)))
    both = Fitted([[wide], [narrow]])
    assert (wide.width, narrow.width) == (32, 3)
    assert both.chosen(32) == [wide]
    assert both.chosen(31) == [narrow]
    assert both.chosen(1) == [narrow]


def test_words_of_a_header_stand_below_each_other_and_wide_letters_count_twice():
    assert Sheet("", (("weights left", "重み"), ("1", "2"))).widths == (7, 4)


def test_without_room_words_are_broken_but_nothing_is_left_out():
    lines = printed(Fitted([[Sheet("", (("name",), ("abcdefghij",)))]]), 5)
    assert "".join(line.strip() for line in lines[2:]) == "abcdefghij"
