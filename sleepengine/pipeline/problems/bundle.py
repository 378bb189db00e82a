"""A data set in memory: three splits, their shape, and how the inputs were scaled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sleepengine.attachment.sampler import ResumableSampler
from sleepengine.errors import SetupError, did_you_mean
from sleepengine.pipeline.problems.dataset import Batches, DataSet, Part, Samples

__all__ = ["Data", "Part", "Scaling", "Split", "TensorBatches"]


@dataclass(frozen=True)
class Split(Samples):
    """Inputs `x` (float32, first dimension the samples) and classes `y` (int64) of one part."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        """How many samples."""
        return len(self.y)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Pieces of `size` samples, in order."""
        return zip(self.x.split(size), self.y.split(size), strict=True)


@dataclass(frozen=True)
class Scaling:
    """x = (raw / full - mean) / std; mean and std are those of the training split after raw / full.

    >>> Scaling(full=16.0, mean=0.5, std=0.25).apply(torch.tensor([[8.0, 12.0]]))
    tensor([[0., 1.]])
    """

    full: float
    mean: float
    std: float

    def apply(self, raw: Tensor) -> Tensor:
        """The scaled values, float32."""
        return raw.to(torch.float32).div_(self.full).sub_(self.mean).div_(self.std)


class TensorBatches(Batches):
    """Batches cut from two tensors by index: `(x[i], y[i])`, one gather per tensor and batch.

    It goes wherever a loader goes (a `for` loop, an Ignite trainer). `sampler` holds the order and
    the position; attach it to a trainer, or save its state, to resume in mid-epoch.

    >>> batches = TensorBatches(
    ...     Split(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0, 1, 0])),
    ...     ResumableSampler(3, batch_size=2, seed=0, shuffle=False),
    ... )
    >>> [(x.tolist(), y.tolist()) for x, y in batches]
    [([[0.0], [1.0]], [0, 1]), ([[2.0]], [0])]
    """

    def __init__(self, split: Split, sampler: ResumableSampler) -> None:
        self._split = split
        self.sampler = sampler

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches from the position to the end of its epoch."""
        # The sampler is asked now, not at the first batch.
        return self._gather(self.sampler.index_batches())

    def _gather(self, batches: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        device = self._split.x.device
        for indices in batches:
            here = indices.to(device)
            yield self._split.x[here], self._split.y[here]


@dataclass(frozen=True)
class Data(DataSet):
    """A named data set for classification.

    Attributes:
        name: what it is.
        train, valid, test: the splits; no sample is in two of them.
        input_shape: shape of one input, such as (1, 28, 28).
        classes: how many classes; labels are 0 to classes - 1.
        scaling: how raw values became inputs; as they are by default.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    input_shape: tuple[int, ...]
    classes: int
    scaling: Scaling = Scaling(full=1.0, mean=0.0, std=1.0)

    def split(self, part: Part | str) -> Split:
        """One part, by member or by name ("train", "valid", "test").

        Raises:
            SetupError: the name is unknown.
        """
        names = {member.value: member for member in Part}
        if isinstance(part, str):
            if part not in names:
                raise SetupError(f"unknown split {part!r}. {did_you_mean(part, names)}")
            part = names[part]
        return {Part.TRAIN: self.train, Part.VALID: self.valid, Part.TEST: self.test}[part]

    def loader(
        self,
        part: Part | str,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool | None = None,
        drop_last: bool = False,
    ) -> TensorBatches:
        """Batches of one part; by default only the training part is shuffled.

        Raises:
            SetupError: the part is unknown or empty, or a size is wrong.
        """
        split = self.split(part)
        mixed = split is self.train if shuffle is None else shuffle
        sampler = ResumableSampler(
            split, batch_size=batch_size, seed=seed, shuffle=mixed, drop_last=drop_last
        )
        return TensorBatches(split, sampler)

    def inputs(self, part: Part, count: int) -> Tensor:
        """The first `count` inputs of a part."""
        return self.split(part).x[:count]

    def to(self, device: torch.device | str) -> Data:
        """The same data with every tensor on another device."""
        train, valid, test = (
            Split(split.x.to(device), split.y.to(device))
            for split in (self.train, self.valid, self.test)
        )
        return Data(self.name, train, valid, test, self.input_shape, self.classes, self.scaling)
