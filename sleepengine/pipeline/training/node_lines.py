"""What a run writes about nodes, in nodes.jsonl; every line begins with arm, seed, level and step.

{..., "groups": [...], "edges": [...], "depthwise": [...]}
        first of all: the node groups as they are written by hand, the parameters whose weights are
        edges, and those whose every output reads the channel of its own number
{..., "group", "awake": how many are awake afterwards, "slept": [nodes], "woke": ..., "reset": ...}
        what a transaction did to the nodes of a group; of the three only those that happened
{..., "group", "awake", "dormancy": [...] or null, "churn": [...]}
        at the end of a training: two numbers for every node
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, final

from torch import Tensor

from sleepengine.engine.sleep_engine import SleepEngine
from sleepengine.errors import SetupError
from sleepengine.masks.choice import Kind
from sleepengine.pipeline.problems.dataset import DataSet, Part
from sleepengine.pipeline.run_folder import Lines, RunFolder
from sleepengine.rules.happenings import Happening, News
from sleepengine.structure.awake_network import AwakeNetwork

MOST_SAMPLES = 512
DIGITS = 4

_WORDS = {Happening.SLEPT: "slept", Happening.WOKE: "woke", Happening.RESET: "reset"}


@final
class NodeLines:
    """Listens to one engine; `where` says which network it is. Silent where there are no groups."""

    def __init__(self, folder: RunFolder, engine: SleepEngine, where: Mapping[str, Any]) -> None:
        self._folder = folder
        self._where = dict(where)
        self._waiting: dict[tuple[int, str], dict[str, Any]] = {}
        self._network = AwakeNetwork(engine) if engine.live.nodes.groups else None
        if self._network is not None:
            for kind in _WORDS:
                engine.on(kind, self._hear)

    def begin(self, step: int) -> None:
        """Note the groups, and who sleeps before the first step."""
        if self._network is None:
            return
        self._folder.append(Lines.NODES, {**self._where, "step": step, **_groups(self._network)})
        nodes = self._network.engine.live.nodes.nodes(Kind.ASLEEP)
        for name in nodes:
            self._line(step, name)["slept"] = _indices(nodes[name])
        self.write()

    def write(self) -> None:
        """Append what was heard since."""
        for line in self._waiting.values():
            self._folder.append(Lines.NODES, line)
        self._waiting.clear()

    def end(self, step: int, data: DataSet) -> None:
        """Measure every node."""
        if self._network is None:
            return
        self.write()
        part = Part.VALID if len(data.split(Part.VALID)) else Part.TRAIN
        inputs = data.inputs(part, MOST_SAMPLES)
        for name in self._network.wiring.groups:
            line = self._line(step, name)
            try:
                used = self._network.dormancy(name, [inputs])
            except SetupError:  # read by nobody with weights, or inside of an attention
                line["dormancy"] = None
            else:
                line["dormancy"] = _rounded(used)
            line["churn"] = _rounded(self._network.churn(name))
        self.write()

    def _hear(self, news: News) -> None:
        for name in news.nodes:
            found = _indices(news.nodes[name])
            if found:
                line = self._line(news.step, name)
                line[_WORDS[news.happening]] = line.get(_WORDS[news.happening], []) + found

    def _line(self, step: int, name: str) -> dict[str, Any]:
        """The line of a group at a step; rules that act at the same step share it."""
        assert self._network is not None  # nobody else asks
        nodes = self._network.engine.live.nodes.nodes(Kind.ASLEEP)
        size = self._network.wiring.groups[name].size
        awake = size - (int(nodes[name].sum()) if name in nodes else 0)
        line = self._waiting.setdefault(
            (step, name), {**self._where, "step": step, "group": name, "awake": awake}
        )
        line["awake"] = awake
        return line


def _groups(network: AwakeNetwork) -> dict[str, Any]:
    return {
        "groups": [asdict(group) for group in network.wiring.groups.values()],
        "edges": list(network.wiring.params),
        "depthwise": list(network.wiring.depthwise),
    }


def _indices(mask: Tensor) -> list[int]:
    return [int(i) for i in mask.nonzero().flatten()]


def _rounded(values: Tensor) -> list[float]:
    return [round(value, DIGITS) for value in values.tolist()]
