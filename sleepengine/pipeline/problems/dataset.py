"""What a run needs of data: batches in an order that repeats, samples to evaluate on, a shape."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from enum import Enum
from typing import Any

from torch import Tensor

from sleepengine.attachment.sampler import ResumableSampler

Batch = tuple[Any, Tensor]


class Part(Enum):
    """Which part of the data."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


class Samples(ABC):
    """One part of the data; the same samples at every pass."""

    @abstractmethod
    def __len__(self) -> int:
        """How many samples."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[Batch]:
        """All samples once, in batches of `size` where their number can be chosen."""


class Batches(ABC):
    """Batches to train on; `sampler` holds the position, which can be saved and set."""

    sampler: ResumableSampler

    @abstractmethod
    def __len__(self) -> int:
        """Batches in a whole epoch."""

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]:
        """The batches from the position to the end of its epoch."""


class DataSet(ABC):
    """A named data set in three parts, of which validation and test may be empty.

    Attributes:
        name: what it is.
        input_shape: shape of one input, such as (1, 28, 28).
        classes: how many classes; 0 where that is not known.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: int

    @abstractmethod
    def split(self, part: Part | str) -> Samples:
        """One part."""

    @abstractmethod
    def loader(self, part: Part | str, *, batch_size: int, seed: int = 0) -> Batches:
        """Batches of one part, in an order that is a function of (seed, epoch)."""

    @abstractmethod
    def inputs(self, part: Part, count: int) -> Any:
        """At most `count` inputs of a part, always the same ones."""
