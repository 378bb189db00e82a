"""The result of a run in a few sentences, with numbers."""

from __future__ import annotations

from collections.abc import Mapping

from sleepengine.report.mask_results import story_of
from sleepengine.report.rows import (
    LevelRow,
    accuracy_of,
    awake_share,
    by_seed,
    compared,
    level_rows,
    reference,
)
from sleepengine.report.run_data import RunData
from sleepengine.report.statistics import Interval, mean_interval, paired_difference
from sleepengine.report.words import arm_name, digits_for, interval_text, share


def headline(run: RunData) -> tuple[str, ...]:
    """Sentences, the most important first; never empty."""
    if not run.results:
        return ("No network has been trained to the end yet.",)
    story = story_of(run)
    if story is not None:
        body = story.sentences(run)
    else:
        body = _lottery(run) if run.meta.experiment == "lottery" else _train(run)
    return (*body, *_spread(run), *_unfinished(run))


def _percent(run: RunData, interval: Interval | None) -> str:
    return f"{interval_text(interval, digits_for(run))}%" if interval else "an unknown accuracy"


def _train(run: RunData) -> tuple[str, ...]:
    values = [v for r in run.results if (v := accuracy_of(r)) is not None]
    accuracy = mean_interval(values) if values else None
    awake = share(awake_share(run, run.results[0].arm, 0))
    weights = "all weights" if awake == "100%" else f"{awake} of the weights"
    return (
        f"With {weights} awake the network reaches {_percent(run, accuracy)} on the test data.",
    )


def _lottery(run: RunData) -> tuple[str, ...]:
    first, *others = compared(run)
    rows = [row for row in level_rows(run) if first in row.cells]
    if not rows:
        return ("No network has a test accuracy.",)
    last = next(
        (row for row in reversed(rows) if all(arm in row.cells for arm in others)), rows[-1]
    )
    rivals = [f"{arm_name(arm)} {_reached(run, last, arm)}" for arm in others if arm in last.cells]
    reached = ", ".join([f"the {arm_name(first)} reaches {_reached(run, last, first)}", *rivals])
    sentence = f"At {share(last.awake)} of the weights {reached}{_whole(run, first, rows, last)}."
    fixed = reference(run)
    against = others if fixed is None or last.level == 0 else [*others, fixed]
    gaps = {arm: last.differences[arm] for arm in against if arm in last.differences}
    return (sentence, *_smallest(run, first, rows), *_gaps(run, first, gaps, last))


def _reached(run: RunData, row: LevelRow, arm: str) -> str:
    """Accuracy of an arm; with its share of weights where that is not the one of the row."""
    own = share(row.shares.get(arm, row.awake))
    at = "" if own == share(row.awake) else f" (at {own})"
    return f"{_percent(run, row.cells[arm])}{at}"


def _whole(run: RunData, first: str, rows: list[LevelRow], last: LevelRow) -> str:
    """What all weights reach: the reference arm, else the first arm at level 0."""
    fixed = reference(run)
    if last.level == 0:
        return ""
    if fixed is not None and fixed in last.cells:
        return f"; the {arm_name(fixed)} reaches {_percent(run, last.cells[fixed])}"
    if rows[0].level == 0:
        return f"; with all weights the network reaches {_percent(run, rows[0].cells[first])}"
    return ""


def _gaps(run: RunData, first: str, gaps: Mapping[str, Interval], row: LevelRow) -> tuple[str, ...]:
    """All differences in one sentence, with a word on what chance may have done."""
    if not gaps:
        return ()
    digits = digits_for(run)
    points = [
        f"minus {arm_name(arm)} {'' if i else 'is '}{interval_text(gap, digits, signed=True)}"
        + ("" if i else " points")
        for i, (arm, gap) in enumerate(gaps.items())
    ]
    start = f"Seed by seed at {share(row.awake)}, {arm_name(first)} {', '.join(points)}"
    if all(gap.half_width is None for gap in gaps.values()):
        return (f"{start} (one seed, so nothing is said about chance).",)
    around = [arm_name(arm) for arm, gap in gaps.items() if gap.low <= 0.0 <= gap.high]
    if len(gaps) == 1:
        verdict = "the interval includes zero" if around else "the interval leaves out zero"
    elif around:
        some = "the interval of" if len(around) == 1 else "the intervals of"
        verdict = (
            f"{some} {' and '.join(around)} {'includes' if len(around) == 1 else 'include'} zero"
        )
    else:
        verdict = "every interval leaves out zero"
    return (f"{start}: {verdict}.",)


def _smallest(run: RunData, first: str, rows: list[LevelRow]) -> tuple[str, ...]:
    """The sparsest level down to which the first arm is never measurably below the whole network.

    The whole network is the reference arm, else the first arm at level 0. One seed says nothing.
    """
    if rows[0].level != 0 or len({result.seed for result in run.results}) == 1:
        return ()
    dense = by_seed(run, reference(run) or first, 0, accuracy_of)
    best = rows[0]
    for row in rows[1:]:
        gap = paired_difference(by_seed(run, first, row.level, accuracy_of), dense)
        if gap is None or not gap.high >= 0.0:
            break
        best = row
    if best.level == 0:
        return ()
    return (
        f"Down to {share(best.awake)} of the weights the {arm_name(first)} is not measurably worse "
        f"than the whole network ({_percent(run, best.cells[first])}).",
    )


def _spread(run: RunData) -> tuple[str, ...]:
    seeds = len({result.seed for result in run.results})
    if seeds == 1:
        return ("One seed: there is no interval.",)
    return (f"± is half of the 95% interval of the mean (Student's t) over {seeds} seeds.",)


def _unfinished(run: RunData) -> tuple[str, ...]:
    if run.finished:
        return ()
    done = len(run.results)
    networks = "1 network" if done == 1 else f"{done} networks"
    return (f"The run is {run.meta.status} with {networks} trained; the numbers may still change.",)
