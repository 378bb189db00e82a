"""The awake network as a networkx graph, as a GraphML file, and masks back from either."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sleepengine.errors import FileError, SetupError, did_you_mean
from sleepengine.masks import bits as packed
from sleepengine.structure.awake_network import AwakeNetwork, awake_mask

_PART = re.compile(r"(?P<param>[^;=]+)=(?P<bits>(?:[0-9a-f]{2})+)")


def to_networkx(network: AwakeNetwork, step: int | None = None) -> Any:
    """A `networkx.DiGraph`: an edge where at least one weight is awake.

    Vertices are named as "fc1:3" and hold `layer`, `index` and `awake`; edges hold `awake` and
    `total`, counts of weights over all parameters that join the two vertices. An edge of several
    weights of which some sleep has a text `bits`, which says which ones, for `from_networkx`.

    Args:
        network: the awake network of an engine.
        step: a step that the journal knows; None = now.

    Raises:
        SetupError: networkx is not installed, or the step is forgotten.

    >>> from torch import nn
    >>> from sleepengine import SleepEngine
    >>> engine = SleepEngine(nn.Sequential(nn.Linear(2, 1)))
    >>> _ = engine.sleep_weights("0", (0, 1))
    >>> graph = to_networkx(AwakeNetwork(engine))
    >>> list(graph.edges), len(graph)
    ([('0.in:0', '0:0')], 3)
    """
    graph = _networkx().DiGraph()
    names, awake = network.wiring.names(), network.awake_vertices(step).tolist()
    for one in network.wiring.vertices:
        for i in range(one.size):
            number = one.first + i
            graph.add_node(names[number], layer=one.layer, index=i, awake=awake[number])
    for edges in network.edges(step):
        columns = (edges.source, edges.target, edges.awake, edges.total)
        for u, v, count, total in zip(*(c.tolist() for c in columns), strict=True):
            data = graph.get_edge_data(names[u], names[v], {"awake": 0, "total": 0})
            graph.add_edge(
                names[u], names[v], awake=data["awake"] + count, total=data["total"] + total
            )
    _note_bits(network, graph, names, step)
    return graph


def from_networkx(network: AwakeNetwork, graph: Any) -> dict[str, Tensor]:
    """Masks of a graph with these vertices: name -> bool, True = awake, for `engine.set_masks`.

    The inverse of `to_networkx`. A missing edge puts all of its weights to sleep, an edge without
    `bits` wakes all of them, and a vertex with `awake=False` puts all that belongs to it to sleep.

    Raises:
        SetupError: a vertex is unknown, or an edge joins two that no weight joins.
    """
    names = network.wiring.names()
    number = {name: i for i, name in enumerate(names)}
    awake = torch.ones(len(names), dtype=torch.bool)
    for name, data in graph.nodes(data=True):
        if name not in number:
            raise SetupError(f"the graph has a vertex {name!r}. {did_you_mean(str(name), names)}")
        awake[number[name]] = bool(data.get("awake", True))
    wired = _Wired(network)
    joined = {n: torch.zeros(s, dtype=torch.bool) for n, s in wired.shapes.items()}
    for u, v, data in graph.edges(data=True):
        key = number[u] * len(names) + number[v]
        places = wired.places.get(key)
        if not places:
            raise SetupError(f"no weight of the model leads from {u!r} to {v!r}")
        given = _read(data.get("bits", ""), u, v)
        for param, at in places.items():
            entries = wired.entries(param, at)
            if param in given:
                mask = packed.unpack(given[param], torch.Size([len(entries)]))
                entries = entries[mask]
            elif given:
                continue
            joined[param].view(-1)[entries] = True
    return network.masks(joined, awake)


def write_graphml(graph: Any, path: str | Path) -> None:
    """Write a graph as GraphML, which Gephi, yEd, igraph and others read."""
    _networkx().write_graphml(graph, path)


def read_graphml(path: str | Path) -> Any:
    """Read a graph that `write_graphml` wrote.

    Raises:
        FileError: it is no GraphML.
    """
    try:
        return _networkx().read_graphml(path)
    except (SyntaxError, KeyError, ValueError, OSError) as error:
        raise FileError(f"{path}: this is no GraphML that can be read: {error}") from error


class _Wired:
    """Where the weights of every pair of vertices stand: pair -> parameter -> places (d0 d1)."""

    def __init__(self, network: AwakeNetwork) -> None:
        self.shapes = {n: network.engine.store.shape(n) for n in network.wiring.params}
        self.places: dict[int, dict[str, list[int]]] = {}
        size = network.wiring.size
        for param in network.wiring.params:
            joint = network.wiring[param]
            keys = (joint.source * size + joint.target).flatten().tolist()
            for place, key in enumerate(keys):
                self.places.setdefault(key, {}).setdefault(param, []).append(place)

    def entries(self, param: str, at: list[int]) -> Tensor:
        """Flat indices of all weights at these places, in ascending order."""
        each = self.shapes[param][2:].numel()
        return (torch.tensor(at)[:, None] * each + torch.arange(each)).flatten()


def _note_bits(network: AwakeNetwork, graph: Any, names: list[str], step: int | None) -> None:
    """Which weights of an edge are awake, where some are not."""
    partly = [(u, v) for u, v, d in graph.edges(data=True) if d["awake"] < d["total"]]
    if not partly:
        return
    wired, number = _Wired(network), {name: i for i, name in enumerate(names)}
    store = network.store(step)
    masks = {name: awake_mask(store, name).flatten() for name in wired.shapes}
    for u, v in partly:
        places = wired.places[number[u] * len(names) + number[v]]
        parts = []
        for param, at in places.items():
            own = packed.pack(masks[param][wired.entries(param, at)])
            parts.append(f"{param}={bytes(own.tolist()).hex()}")
        graph.edges[u, v]["bits"] = ";".join(parts)


def _read(text: str, u: str, v: str) -> Mapping[str, Tensor]:
    found: dict[str, Tensor] = {}
    for part in filter(None, str(text).split(";")):
        match = _PART.fullmatch(part)
        if match is None:
            raise SetupError(f"the edge from {u!r} to {v!r} has bits that cannot be read: {part!r}")
        found[match["param"]] = torch.tensor(list(bytes.fromhex(match["bits"])), dtype=torch.uint8)
    return found


def _networkx() -> Any:
    try:
        import networkx
    except ImportError as error:
        raise SetupError("graphs need networkx: pip install 'sleepengine[graph]'") from error
    return networkx
