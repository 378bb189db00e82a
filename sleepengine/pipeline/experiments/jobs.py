"""Which networks a run trains, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

TRAIN = "train"
TICKET = "ticket"
DENSE = "dense"
RANDOM_REINIT = "random_reinit"
RANDOM_MASK = "random_mask"
CONTROLS = (RANDOM_REINIT, RANDOM_MASK)


@dataclass(frozen=True)
class Job:
    """One network to train: which arm of the experiment, which seed, which level."""

    arm: str
    seed: int
    level: int = 0

    def seed_of(self, use: str) -> int:
        """A seed for one use in this network alone; 63 bits of a hash, so that none overlap.

        >>> Job("ticket", 0, 1).seed_of("masks") != Job("ticket", 0, 2).seed_of("masks")
        True
        """
        text = f"{use}/{self.arm}/{self.seed}/{self.level}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1

    def __str__(self) -> str:
        """As progress bars show it."""
        level = "" if self.arm == TRAIN else f" level {self.level}"
        return f"{self.arm} seed {self.seed}{level}"


def train_jobs(seeds: Sequence[int]) -> tuple[Job, ...]:
    """One network per seed.

    >>> [str(job) for job in train_jobs([0, 1])]
    ['train seed 0', 'train seed 1']
    """
    return tuple(Job(TRAIN, seed) for seed in seeds)


def lottery_jobs(seeds: Sequence[int], levels: int, arms: Sequence[str]) -> tuple[Job, ...]:
    """Per seed and level the ticket, then its controls; level 0 is the dense network itself.

    The ticket is trained whether it is among the arms or not, since the others need its masks. The
    dense arm is the ticket's level 0, so it needs no network of its own.

    >>> [str(job) for job in lottery_jobs([7], 1, ["ticket", "random_mask", "dense"])]
    ['ticket seed 7 level 0', 'ticket seed 7 level 1', 'random_mask seed 7 level 1']
    """
    jobs: list[Job] = []
    for seed in seeds:
        for level in range(levels + 1):
            jobs.append(Job(TICKET, seed, level))
            if level:
                jobs += [Job(arm, seed, level) for arm in CONTROLS if arm in arms]
    return tuple(jobs)
