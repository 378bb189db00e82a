"""The user's own loaders in a run: their batches, in an order that the run's seed decides.

An epoch of a loader begins under random states that are a function of (seed, epoch), so that a
`DataLoader` that shuffles gives the same order whenever that epoch is asked for, by whatever
network. A run that goes on in the middle of an epoch reads the batches before it again and drops
them. That is exact for loaders whose order is drawn from PyTorch's, NumPy's or Python's random
state, or from a `generator=` of their own, when they are iterated, and for `ResumableSampler` and
`DistributedSampler`, which are told the epoch; not for a loader that counts its epochs itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from sleepengine.attachment.sampler import ResumableSampler
from sleepengine.errors import SetupError, did_you_mean
from sleepengine.pipeline.problems.bundle import Split
from sleepengine.pipeline.problems.dataset import Batch, Batches, DataSet, Part, Samples
from sleepengine.pipeline.training import random_state

LOOK, EVALUATION = 0, 1  # seeds of passes that are no training


@final
@dataclass(frozen=True)
class Loaders:
    """Loaders of batches (input, target), for `run(config, loader=...)`.

    Attributes:
        train: what is trained on; it must have a length. Its own batch size counts.
        valid, test: what is evaluated on; every pass must give the same samples.
        classes: how many classes, where the model comes from the configuration; else not needed.
        name: what the run folder calls the data.
    """

    train: Iterable[Any]
    valid: Iterable[Any] | None = None
    test: Iterable[Any] | None = None
    classes: int = 0
    name: str = "loader"

    def __post_init__(self) -> None:
        """Refuse what is no loader."""
        for label, loader in (("train", self.train), ("valid", self.valid), ("test", self.test)):
            if loader is None and label != "train":
                continue
            if not isinstance(loader, Iterable) or isinstance(loader, Iterator):
                raise SetupError(
                    f"loader: {label} must be a loader that can be iterated again and again, found "
                    f"{type(loader).__name__}"
                )
        try:
            length = len(self.train) if isinstance(self.train, Sized) else 0
        except TypeError:  # a DataLoader of an IterableDataset
            length = 0
        if length < 1:
            raise SetupError(
                "loader: the training loader has no length, or none but 0; a run needs the number "
                "of batches in an epoch"
            )


@final
class LoaderSamples(Samples):
    """The samples behind a loader."""

    def __init__(self, loader: Iterable[Any], label: str) -> None:
        self._loader = loader
        self._label = label

    def __len__(self) -> int:
        """Samples of the dataset where the loader has one, else its batches."""
        dataset = self._loader.dataset if isinstance(self._loader, DataLoader) else self._loader
        return len(dataset) if isinstance(dataset, Sized) else 1

    def batches(self, size: int) -> Iterator[Batch]:
        """The loader's own batches, whatever size is asked for; random states stay."""
        with random_state.kept():
            random_state.seed(EVALUATION)
            for batch in self._loader:
                yield pair(batch, self._label)


@final
class LoaderBatches(Batches):
    """The batches of a training loader from a position on."""

    def __init__(self, loader: Iterable[Any], sampler: ResumableSampler) -> None:
        self._loader = loader
        self.sampler = sampler

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        """From the position to the end of its epoch."""
        # The sampler is asked now, not at the first batch; it seeds its generator for the epoch.
        places, epoch = self.sampler.index_batches(), self.sampler.position[0]
        return self._read(places, epoch, self.sampler.generator.initial_seed())

    def _read(self, places: Iterator[Tensor], epoch: int, seed: int) -> Iterator[Batch]:
        source: Iterator[Any] | None = None
        for place in places:
            if source is None:
                source, batch = self._begin(epoch, int(place), seed)
            else:
                batch = next(source, None)
            if batch is None:
                raise SetupError(
                    f"loader: the training loader ended after {int(place)} batches, and its "
                    f"length says {len(self)}"
                )
            yield pair(batch, "train")

    def _begin(self, epoch: int, skipped: int, seed: int) -> tuple[Iterator[Any], Any]:
        """A pass over the loader, and its batch number `skipped`.

        The first batch is drawn in here, since samplers draw their order with it. Those that are
        skipped were drawn from random states that are loaded already as they are after them.
        """
        with random_state.kept():
            random_state.seed(seed)
            for generator in generators(self._loader):
                generator.manual_seed(seed)
            left = placed(self._loader, epoch, skipped)
            source = iter(self._loader)
            if skipped == 0:
                return source, next(source, None)
            for _ in range(left):
                next(source, None)
        return source, next(source, None)


@final
class LoaderData(DataSet):
    """Loaders as a data set."""

    def __init__(self, loaders: Loaders) -> None:
        self.name, self.classes = loaders.name, loaders.classes
        empty = Split(torch.zeros(0, 1), torch.zeros(0))
        self._train = loaders.train
        self._parts: dict[Part, Samples] = {
            part: empty if loader is None else LoaderSamples(loader, part.value)
            for part, loader in (
                (Part.TRAIN, loaders.train),
                (Part.VALID, loaders.valid),
                (Part.TEST, loaders.test),
            )
        }
        first = self.inputs(Part.TRAIN, 1)
        self.input_shape = tuple(first.shape[1:]) if isinstance(first, Tensor) else ()

    def split(self, part: Part | str) -> Samples:
        """One part; `SetupError` for an unknown name."""
        names = {member.value: member for member in Part}
        if isinstance(part, str):
            if part not in names:
                raise SetupError(f"unknown split {part!r}. {did_you_mean(part, names)}")
            part = names[part]
        return self._parts[part]

    def loader(self, part: Part | str, *, batch_size: int, seed: int = 0) -> LoaderBatches:
        """The training loader's batches; its own batch size counts."""
        length = len(self._train) if isinstance(self._train, Sized) else 0
        places = ResumableSampler(length, batch_size=1, seed=seed, shuffle=False)
        return LoaderBatches(self._train, places)

    def inputs(self, part: Part, count: int) -> Any:
        """The inputs of the first batch, at most `count` where they are a tensor."""
        with random_state.kept():
            random_state.seed(LOOK)
            for batch in self.split(part).batches(count):
                x, _ = batch
                return x[:count] if isinstance(x, Tensor) else x
        raise SetupError(f"loader: {part.value} gives no batch at all")


def pair(batch: Any, label: str) -> Batch:
    """The batch as (input, target).

    Raises:
        SetupError: it is something else.
    """
    if isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[1], Tensor):
        return batch[0], batch[1]
    found = type(batch).__name__
    if isinstance(batch, tuple | list):
        found = f"a {found} of {', '.join(type(one).__name__ for one in batch)}"
    raise SetupError(
        f"loader: a batch of {label} must be two: input, and target as a tensor; found {found}. "
        "Give the DataLoader a collate_fn that makes it so"
    )


def samplers(loader: Iterable[Any]) -> list[Any]:
    """The samplers of a DataLoader, also the one inside a batch sampler."""
    if not isinstance(loader, DataLoader):
        return []
    found = [loader.sampler, loader.batch_sampler]
    if isinstance(loader.batch_sampler, BatchSampler):
        found.append(loader.batch_sampler.sampler)
    return [one for i, one in enumerate(found) if all(one is not other for other in found[:i])]


def generators(loader: Iterable[Any]) -> list[torch.Generator]:
    """The generators that a DataLoader and PyTorch's samplers were given."""
    drawing = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
    found = [one.generator for one in samplers(loader) if isinstance(one, drawing)]
    if isinstance(loader, DataLoader):
        found.append(loader.generator)
    return [one for one in found if one is not None]


def placed(loader: Iterable[Any], epoch: int, batches: int) -> int:
    """Tell samplers that know of epochs where to begin; how many batches are left to skip."""
    for sampler in samplers(loader):
        if isinstance(sampler, ResumableSampler):
            sampler.set_position(epoch, batches)
            return 0
        if isinstance(sampler, DistributedSampler):
            sampler.set_epoch(epoch)
    return batches
