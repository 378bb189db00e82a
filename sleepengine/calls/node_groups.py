"""Which node group a call means, and what is said of groups that are read without weights."""

from __future__ import annotations

import warnings

from sleepengine.errors import SetupError, UnknownNameError, did_you_mean
from sleepengine.nodes.group import NodeGroup
from sleepengine.nodes.node_masks import NodeMasks

_NONE = (
    "This engine has no node groups: give it example_inputs= (needs torch-pruning) or "
    "nodes=[NodeGroup(...)]."
)


def warn_of(group: NodeGroup, who: str = "", stacklevel: int = 3) -> None:
    """Say who reads the nodes of a group without weights."""
    if group.read_by:
        warnings.warn(
            f"{who}nodes of {group.name!r} are read by {', '.join(group.read_by)} without weights: "
            "there a sleeping node counts as zero, it does not vanish",
            stacklevel=stacklevel,
        )


def group_of(nodes: NodeMasks, layer: str) -> NodeGroup:
    """The group that a direct call means: by its name, or by the layer that makes the nodes.

    Raises:
        SetupError: there is none, or several.
    """
    if layer in nodes.groups:
        return nodes.groups[layer]
    wanted = layer.removesuffix(".weight")
    hits = [group for group in nodes.groups.values() if wanted in group.layers]
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise SetupError(
            f"{layer!r} makes the nodes of several groups; name one of "
            f"{', '.join(repr(group.name) for group in hits)}"
        )
    if wanted in nodes.left_out:
        raise SetupError(f"{layer!r} makes no nodes that can sleep: {nodes.left_out[wanted]}")
    known = [*nodes.groups, *(one for group in nodes.groups.values() for one in group.layers)]
    raise UnknownNameError(
        f"{layer!r} is no node group, and makes the nodes of none. "
        + (did_you_mean(layer, dict.fromkeys(known)) if known else _NONE)
    )
