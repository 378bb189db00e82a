"""What metrics were when they arrived, as far back as a trigger may still read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, final, overload

from schedules import Trigger
from sleepengine.rules.rule import Rule

Point: TypeAlias = tuple[int, float]
"""An iteration, and the value that arrived there."""
Read: TypeAlias = Callable[[str, Sequence[Point], Mapping[str, int]], Iterable[int]]
"""Metric, its values so far, when rules fired last -> the places that may still be read."""

_FEWEST = 16  # values up to which none is forgotten


@final
class Values(Sequence[Point]):
    """The values up to one moment: a window on a list that only grows."""

    __slots__ = ("_length", "_points")

    def __init__(self, points: list[Point]) -> None:
        self._points, self._length = points, len(points)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> Point: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Point, ...]: ...
    def __getitem__(self, place: int | slice) -> Point | tuple[Point, ...]:
        if isinstance(place, slice):
            return tuple(self._points[i] for i in range(*place.indices(self._length)))
        return self._points[range(self._length)[place]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(tuple(self))


@final
class Histories:
    """The values of each metric; adding one takes constant time on average.

    read: what may still be read; the rest is forgotten whenever as much again has arrived. What it
        keeps of what was kept before must be what it keeps of all. None = nothing is forgotten.

    >>> last = Histories(lambda name, values, fired: [len(values) - 1])
    >>> for step in range(1000):
    ...     last.add("loss", (step, 0.5), {})
    >>> len(last.shown()["loss"]) <= 17, last.state({})
    (True, {'loss': [[999, 0.5]]})
    """

    def __init__(self, read: Read | None = None) -> None:
        self._read = read
        self._points: dict[str, list[Point]] = {}
        self._shown: dict[str, Values] = {}
        self._most: dict[str, int] = {}  # the length at which a history is looked through again

    def add(self, name: str, point: Point, last_fired: Mapping[str, int]) -> None:
        """One more value."""
        points = self._points.setdefault(name, [])
        points.append(point)
        if self._read is not None and len(points) > self._most.get(name, _FEWEST):
            points = self._points[name] = self._kept(name, last_fired)
            self._most[name] = max(_FEWEST, 2 * len(points))
        self._shown = {**self._shown, name: Values(points)}

    def shown(self) -> Mapping[str, Values]:
        """The values as triggers see them now; later ones do not appear in it."""
        return self._shown

    def clear(self) -> None:
        """Forget everything."""
        self._points, self._shown, self._most = {}, {}, {}

    def state(self, last_fired: Mapping[str, int]) -> dict[str, Any]:
        """What may still be read, as plain values, whenever it was looked through last."""
        return {n: [list(p) for p in self._kept(n, last_fired)] for n in self._points}

    def load(self, saved: Mapping[str, Iterable[Any]]) -> None:
        """Take saved values."""
        points = {name: [(int(i), float(v)) for i, v in one] for name, one in saved.items()}
        self._points, self._most = points, {}
        self._shown = {name: Values(one) for name, one in points.items()}

    def _kept(self, name: str, last_fired: Mapping[str, int]) -> list[Point]:
        points = self._points[name]
        if self._read is None:
            return points
        return [points[place] for place in sorted(set(self._read(name, points, last_fired)))]


def read_by(rules: Sequence[Rule]) -> Read:
    """What the triggers of these rules may still read; rules are known by their names."""
    asking: list[tuple[str, Trigger]] = []
    for rule in rules:
        asking += [(rule.name, one) for one in (rule.when, rule.observe) if one is not None]

    def read(name: str, values: Sequence[Point], last_fired: Mapping[str, int]) -> set[int]:
        places: set[int] = set()
        for rule, trigger in asking:
            places.update(trigger.still_read(name, values, last_fired.get(rule)))
        return places

    return read
