"""The awake network as a graph and as matrices, now or earlier, and the lives of its nodes."""

from sleepengine.structure.awake_network import AwakeNetwork
from sleepengine.structure.lives import Lives
from sleepengine.structure.node_facts import NodeFacts, node_facts
from sleepengine.structure.wiring import Wiring

__all__ = ["AwakeNetwork", "Lives", "NodeFacts", "Wiring", "node_facts"]
