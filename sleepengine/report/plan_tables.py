"""A plan in the terminal: the parameters in scope, and what every event does to them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from sleepengine.pipeline.plan import Plan, PlannedFiring
from sleepengine.report.tables import Cells
from sleepengine.report.terminal import Fitted, Sheet
from sleepengine.report.words import MISSING, count, plain, share, short

MOST_LAYERS = 8
FIRST_EVENTS, LAST_EVENTS = 10, 4
FIRST_TENSORS, LAST_TENSORS = 16, 4
MORE = "…"
Event = tuple[PlannedFiring, ...]


def plan_words(plan: Plan) -> tuple[str, ...]:
    """What is trained, in two lines."""
    networks = "1 network" if plan.networks == 1 else f"{count(plan.networks)} networks"
    return (
        f"{plain(plan.name)} ({plan.experiment}): {plain(plan.model)}, {count(plan.parameters)} "
        f"parameters, {count(plan.maskable)} may sleep",
        f"{networks} of {count(plan.total_steps)} steps, {count(plan.steps_per_epoch)} per epoch",
    )


def tensor_table(plan: Plan) -> Fitted:
    """The parameters that rules may touch, with the count and share asleep at the end."""
    if not plan.firings and plan.experiment != "train":
        return _scope_table(plan)
    header = ("#", "name", "shape", "weights", "asleep", "share")
    known = [firing.layers for firing in plan.firings if firing.layers is not None]
    last = known[-1] if known else {}
    rows = []
    for number, tensor in enumerate(plan.tensors, start=1):
        shape = " × ".join(str(size) for size in tensor.shape)
        asleep = last.get(tensor.name, 0.0)
        sleeping = count(round(asleep * tensor.weights))
        row = (plain(tensor.name), shape, count(tensor.weights), sleeping, share(asleep))
        rows.append((str(number), *row))
    total = sum(round(last.get(tensor.name, 0.0) * tensor.weights) for tensor in plan.tensors)
    part = share(total / max(1, plan.maskable))
    cells = (header, *_folded(rows), ("", "all", "", count(plan.maskable), count(total), part))
    return Fitted(
        [[Sheet("Parameters in scope, and how many sleep at the end", cells, words=(1,))]]
    )


def _scope_table(plan: Plan) -> Fitted:
    """Where the experiment makes its masks itself, nothing is known of the end."""
    rows = [
        (str(i), plain(one.name), " × ".join(map(str, one.shape)), count(one.weights))
        for i, one in enumerate(plan.tensors, start=1)
    ]
    cells = (
        ("#", "name", "shape", "weights"),
        *_folded(rows),
        ("", "all", "", count(plan.maskable)),
    )
    note = "No rules: the experiment makes its masks itself."
    return Fitted([[Sheet("Parameters in scope", cells, words=(1,), note=note)]])


def _folded(rows: Sequence[Cells]) -> list[Cells]:
    """The rows, those in the middle in one where there are many."""
    hidden = len(rows) - FIRST_TENSORS - LAST_TENSORS
    if hidden <= 1:
        return list(rows)
    fold = (MORE, f"{hidden} more", *[""] * (len(rows[0]) - 2))
    return [*rows[:FIRST_TENSORS], fold, *rows[-LAST_TENSORS:]]


def event_table(plan: Plan) -> Fitted:
    """Every event with its rules, then the shares asleep once all of them have acted.

    Events in the middle are folded where there are many. Layers are columns, as many as fit.
    """
    lottery = plan.experiment == "lottery"
    events = [
        tuple(found)
        for _, found in groupby(plan.firings, key=lambda firing: (firing.step, firing.level))
    ]
    names = [tensor.name for tensor in plan.tensors]
    whole = _sheet(events, lottery, names, [short(name) for name in names])
    ways = [[whole]] if len(names) <= MOST_LAYERS else []
    for most in range(min(MOST_LAYERS, len(names)), -1, -1):
        shown = _busiest(plan, names, most)
        heads = [f"#{names.index(name) + 1}" for name in shown]
        left = len(names) - len(shown)
        note = f"{len(shown)} of {len(names)} layers are shown." if left else ""
        ways.append([_sheet(events, lottery, shown, heads, note)])
    return Fitted(ways, _notes(plan))


def _busiest(plan: Plan, names: Sequence[str], most: int) -> list[str]:
    """In their order, the layers of which the largest share ever sleeps."""
    peak = {n: max([f.layers[n] for f in plan.firings if f.layers], default=0.0) for n in names}
    kept = sorted(names, key=lambda name: -peak[name])[:most]
    return [name for name in names if name in kept]


def _sheet(
    events: Sequence[Event],
    lottery: bool,
    shown: Sequence[str],
    heads: Sequence[str],
    note: str = "",
) -> Sheet:
    header = ("level" if lottery else "step", "rule", "amount", "asleep", *heads)
    hidden = len(events) - FIRST_EVENTS - LAST_EVENTS
    if hidden > 1:
        rows = _rows(events[:FIRST_EVENTS], lottery, shown)
        rows.append((MORE, f"{count(hidden)} more events", *[""] * (2 + len(shown))))
        rows += _rows(events[-LAST_EVENTS:], lottery, shown)
    else:
        rows = _rows(events, lottery, shown)
    title = "Events, and the shares asleep afterwards"
    return Sheet(title, (header, *rows), words=(1, 2), note=note)


def _rows(events: Sequence[Event], lottery: bool, shown: Sequence[str]) -> list[Cells]:
    return [row for event in events for row in _event_rows(event, lottery, shown)]


def _event_rows(event: Event, lottery: bool, shown: Sequence[str]) -> list[Cells]:
    """One row per rule; the time stands in the first, the shares in the last."""
    rows = []
    for i, firing in enumerate(event):
        time = firing.level if lottery else firing.step
        first = ("later" if time is None else count(time)) if i == 0 else ""
        if firing is event[-1]:
            asleep = MISSING if firing.asleep is None else share(firing.asleep)
            shares = (asleep, *(_layer(firing, name) for name in shown))
        else:
            shares = ("",) * (1 + len(shown))
        rows.append((first, plain(firing.rule), plain(firing.amount), *shares))
    return rows


def _layer(firing: PlannedFiring, name: str) -> str:
    return MISSING if firing.layers is None else share(firing.layers[name])


def _notes(plan: Plan) -> tuple[str, ...]:
    one = len(plan.firings) == 1
    notes = ["1 firing in all." if one else f"{count(len(plan.firings))} firings in all."]
    if any(firing.step is None for firing in plan.firings):
        notes.append('"later": when the rule fires is not known before training.')
    if not plan.spread_is_exact:
        notes.append(
            "How many of each layer sleep depends on the scores; shown: as the first weights' size "
            "would have it."
        )
    return tuple(notes)
