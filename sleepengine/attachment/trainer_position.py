"""Where an Ignite trainer stands in its data: the number of its iterations."""

from __future__ import annotations

import warnings

from ignite.engine import Engine, Events
from torch.utils.data import DataLoader, Sampler

from sleepengine.errors import StateError

# A trainer asks its data for a new pass only after one of the first events and before one of the
# others. Whoever asks at another time is not the trainer (an evaluator on the training data).
_ASKS_AFTER = (
    Events.EPOCH_STARTED,
    Events.DATALOADER_STOP_ITERATION,
    Events.TERMINATE_SINGLE_EPOCH,
)
_ASKED_BEFORE = (Events.GET_BATCH_STARTED, Events.GET_BATCH_COMPLETED, Events.EPOCH_COMPLETED)


class TrainerPosition:
    """Follows one trainer; knows the batch at which a pass over the data has to begin."""

    def __init__(self, trainer: Engine, sampler: Sampler[list[int]]) -> None:
        self._trainer = trainer
        self._sampler = sampler
        self._asking = False
        self._expected: int | None = None
        self._handles = [trainer.add_event_handler(Events.STARTED, self._check)]
        for event in _ASKS_AFTER:
            self._handles.append(trainer.add_event_handler(event, self._begin_asking))
        for event in _ASKED_BEFORE:
            self._handles.append(trainer.add_event_handler(event, self._end_asking))

    @property
    def iteration(self) -> int:
        """Batches that the trainer has taken since the start."""
        return int(self._trainer.state.iteration)

    @property
    def running(self) -> bool:
        """Whether the trainer is in the middle of a pass over its data."""
        # No event tells of a run that an exception ended: handling that one would swallow it.
        return self._trainer._dataloader_iter is not None

    def first_batch(self, per_epoch: int) -> int:
        """The next batch when the trainer asks; the first of its epoch when someone else does."""
        return self.iteration if self._asking else self.iteration // per_epoch * per_epoch

    def expect(self, iteration: int) -> None:
        """Refuse the next run if the trainer does not begin it at `iteration`."""
        self._expected = iteration

    def close(self) -> None:
        """Listen no more."""
        for handle in self._handles:
            handle.remove()

    # Ignite hands the number of batches to the handlers of one of these events.
    def _begin_asking(self, _trainer: Engine, iter_counter: int = 0) -> None:
        self._asking = True

    def _end_asking(self, _trainer: Engine) -> None:
        self._asking = False

    def _check(self, trainer: Engine) -> None:
        expected, self._expected = self._expected, None
        if expected is not None and expected != self.iteration:
            raise StateError(
                f"the sampler stands after {expected} batches, the trainer after "
                f"{self.iteration} iterations; load the trainer's state too"
            )
        loader = trainer.state.dataloader
        if (
            isinstance(loader, DataLoader)
            and (loader.batch_sampler is self._sampler or loader.sampler is self._sampler)
            and loader.generator is None
        ):
            warnings.warn(
                "this DataLoader draws from the global random state at each pass, so a run "
                "resumed in mid-epoch sees other random numbers; "
                "give it generator=sampler.generator",
                UserWarning,
                stacklevel=2,
            )
