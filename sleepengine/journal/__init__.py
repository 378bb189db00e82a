"""What the engine did: an append-only record, the masks at every step, and their replay."""

from sleepengine.journal.journal import Journal, JournalSize
from sleepengine.journal.record import Record, TensorCounts
from sleepengine.journal.replay import Replay

__all__ = ["Journal", "JournalSize", "Record", "Replay", "TensorCounts"]
