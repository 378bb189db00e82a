"""Nodes: neurons, channels, heads and units that sleep with all that belongs to them."""

from sleepengine.nodes.group import NodeGroup
from sleepengine.nodes.node_masks import NodeMasks
from sleepengine.nodes.sides import Side
from sleepengine.nodes.slices import Slice
from sleepengine.nodes.units import Nodes

__all__ = ["NodeGroup", "NodeMasks", "Nodes", "Side", "Slice"]
