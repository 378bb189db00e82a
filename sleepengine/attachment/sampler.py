"""Batches that continue exactly where a run stopped, in the middle of an epoch too.

The position is one number: how many batches were trained on since the start. Batch i of the run is
batch i mod n of epoch i div n. Nothing else is kept, so nothing can come apart. Who counts:

- under Ignite (`attach`), the trainer's own iteration;
- in a plain loop over `track(loader)`, each batch that the loop receives;
- in a plain loop over the loader itself, each batch that the sampler hands out. That is only right
  without workers: DataLoader workers fetch ahead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

import torch
from ignite.engine import Engine
from torch import Tensor
from torch.utils.data import Sampler

from sleepengine.attachment.batch_order import BatchOrder
from sleepengine.attachment.trainer_position import TrainerPosition
from sleepengine.errors import SetupError, StateError

Batch = TypeVar("Batch")

_MUST_MATCH = ("length", "batch_size", "seed", "shuffle", "drop_last", "world_size")


class ResumableSampler(Sampler[list[int]]):
    """Batch i of a run is a pure function of (seed, i); the position can be saved and loaded.

    Use it as `batch_sampler=` of any DataLoader, or as `sampler=` together with `batch_size=None`
    for a dataset that takes lists of indices (`TensorDataset` does). Give the loader
    `generator=sampler.generator` too: without it each `iter(loader)` draws one number from the
    global random state, so that a run resumed in mid-epoch sees other random numbers (dropout).
    Random augmentation inside workers repeats exactly only if it is seeded by sample and epoch.

    Args:
        dataset_or_length: the dataset, or the number of its samples.
        batch_size: samples per batch and process.
        seed: with the epoch it fixes the order; the global random state is never used.
        shuffle: a new order each epoch; False keeps 0, 1, 2, ...
        drop_last: leave out the last batch when it is not full.
        rank, world_size: this process among all; the order is global and dealt out in turn.

    Raises:
        SetupError: a size that is not positive, a wrong rank, or no batch at all.

    >>> sampler = ResumableSampler(5, batch_size=2, seed=0, shuffle=False)
    >>> batches = iter(sampler)
    >>> next(batches), sampler.position
    ([0, 1], (0, 1))
    >>> list(sampler)
    [[2, 3], [4]]
    >>> sampler.position
    (1, 0)
    """

    def __init__(
        self,
        dataset_or_length: Sized | int,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        length = (
            len(dataset_or_length) if isinstance(dataset_or_length, Sized) else dataset_or_length
        )
        self._order = BatchOrder(length, batch_size, seed, shuffle, drop_last, rank, world_size)
        self._generator = torch.Generator()
        self._consumed = 0
        self._was_set = False  # the position was given, not counted
        self._tracked = False
        self._trainer: TrainerPosition | None = None

    def __len__(self) -> int:
        """Batches in a whole epoch, wherever the position is."""
        return len(self._order)

    def __iter__(self) -> Iterator[list[int]]:
        """The batches from the position to the end of its epoch, as lists of indices."""
        return (indices.tolist() for indices in self.index_batches())

    def index_batches(self) -> Iterator[Tensor]:
        """The same batches as int64 tensors."""
        # Not a generator itself: a loader calls iter() now and next() later, when the trainer
        # may have moved on.
        first = self._consumed
        if self._trainer is not None:
            first = self._trainer.first_batch(len(self))
        epoch, done = divmod(first, len(self))
        self._generator.manual_seed(self._order.seed_of(epoch, "loader"))
        size = self._order.batch_size
        batches = self._order.indices(epoch)[done * size :].split(size)
        return self._handed_out(batches, first)

    def _handed_out(self, batches: Iterable[Tensor], first: int) -> Iterator[Tensor]:
        for number, batch in enumerate(batches, first + 1):
            if not self._tracked:
                self._count(number)
            yield batch

    def _count(self, consumed: int) -> None:
        self._consumed = consumed
        self._was_set = False

    @property
    def generator(self) -> torch.Generator:
        """For `DataLoader(generator=...)`: seeded from (seed, epoch) at each pass."""
        return self._generator

    @property
    def position(self) -> tuple[int, int]:
        """(epochs completed, batches trained on in the epoch that comes or runs)."""
        consumed = self._consumed if self._trainer is None else self._trainer.iteration
        epoch, done = divmod(consumed, len(self))
        return epoch, done

    def set_position(self, epoch: int, batches: int = 0) -> None:
        """Continue after `batches` batches of `epoch` (from 0). Under a trainer: only to match it.

        Raises:
            SetupError: a number is negative, `batches` is more than an epoch has, or the trainer
                runs and stands elsewhere.
        """
        if type(epoch) is not int or type(batches) is not int:
            raise SetupError(f"a position is two integers, found {epoch!r} and {batches!r}")
        if epoch < 0 or not 0 <= batches <= len(self):
            raise SetupError(
                f"epoch must not be negative and batches be 0 to {len(self)}, "
                f"found epoch={epoch}, batches={batches}"
            )
        consumed = epoch * len(self) + batches
        if self._trainer is not None and self._trainer.running:
            if consumed != self._trainer.iteration:
                raise SetupError(
                    f"the order of a running trainer's batches cannot be set to {consumed} batches "
                    f"after {self._trainer.iteration} iterations: it follows the trainer. Rewind "
                    "the data between two runs of the trainer, or in a plain loop"
                )
            return
        self._consumed = consumed
        self._was_set = True
        if self._trainer is not None:
            self._trainer.expect(self._consumed)

    def set_epoch(self, epoch: int) -> None:
        """Begin `epoch`; the position inside the epoch is kept if it is the present one."""
        if epoch != self.position[0]:
            self.set_position(epoch)

    def skip(self, batches: int) -> None:
        """Move the position on by so many batches without training on them.

        Raises:
            SetupError: `batches` is negative.
        """
        if batches < 0:
            raise SetupError(f"batches must not be negative, found {batches}")
        epoch, done = self.position
        more, done = divmod(done + batches, len(self))
        self.set_position(epoch + more, done)

    def track(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """One pass over `loader` that counts what the loop receives, whatever workers fetch ahead.

        >>> sampler = ResumableSampler(6, batch_size=2, seed=0)
        >>> for batch in sampler.track(sampler):
        ...     break
        >>> sampler.position
        (0, 1)
        """
        self._tracked = True
        try:
            for number, batch in enumerate(loader, self._consumed + 1):
                self._count(number)
                yield batch
        finally:
            self._tracked = False

    def attach(self, trainer: Engine) -> ResumableSampler:
        """Take the position from the trainer's iteration, also after `trainer.load_state_dict`.

        Other engines may iterate the same loader meanwhile; they see the whole epoch. Loading the
        state of the trainer is enough to resume; if the sampler's state is loaded too, the two
        must agree when the run starts. `trainer.set_data` in mid-epoch begins the epoch anew.

        Raises:
            SetupError: not an Ignite engine, or attached already.
        """
        if not isinstance(trainer, Engine):
            raise SetupError(f"attach needs an ignite Engine, found {type(trainer).__name__}")
        if self._trainer is not None:
            raise SetupError("this sampler is attached already; call detach() first")
        self._trainer = TrainerPosition(trainer, self)
        if self._was_set:
            self._trainer.expect(self._consumed)
        return self

    def detach(self) -> None:
        """Keep the trainer's position and listen to the trainer no more."""
        if self._trainer is not None:
            self._consumed = self._trainer.iteration
            self._trainer.close()
            self._trainer = None

    def state_dict(self) -> dict[str, Any]:
        """Integers and booleans only: the position, and what it is counted in."""
        epoch, batches = self.position
        kept = {name: getattr(self._order, name) for name in _MUST_MATCH}
        return {"epoch": epoch, "batches": batches, **kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at the position of `state`.

        Raises:
            StateError: an entry is missing or wrong, or the order there was another one.
        """
        for name in ("epoch", "batches", *_MUST_MATCH):
            if name not in state:
                raise StateError(f"the sampler's state has no {name!r}")
        for name in _MUST_MATCH:
            here = getattr(self._order, name)
            if state[name] != here:
                raise StateError(
                    f"the sampler was saved with {name}={state[name]!r} and has {here!r} here, "
                    "so its position means other samples"
                )
        try:
            self.set_position(state["epoch"], state["batches"])
        except SetupError as fault:
            raise StateError(f"the sampler's state is wrong: {fault}") from fault
