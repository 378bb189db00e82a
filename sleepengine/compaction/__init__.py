"""Compaction: while nodes sleep, the tensors that hold them are physically smaller."""

from sleepengine.compaction.compaction import Compaction
from sleepengine.compaction.report import Compacted

__all__ = ["Compacted", "Compaction"]
