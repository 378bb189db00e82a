"""Several processes, one set of masks: the only file that knows torch.distributed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from sleepengine.errors import SleepError


class RanksDisagreeError(SleepError, RuntimeError):
    """The processes of one run have different masks."""


@dataclass(frozen=True)
class Ranks:
    """The processes that train one model together; `group` None is a single process.

    Every process must make the same calls in the same order, as for any collective.
    """

    group: Any = None

    @property
    def several(self) -> bool:
        """Whether there is more than one process."""
        return self.count > 1

    @property
    def count(self) -> int:
        """How many processes."""
        return 1 if self.group is None else dist.get_world_size(self.group)

    @property
    def index(self) -> int:
        """Which of them this is."""
        return 0 if self.group is None else dist.get_rank(self.group)

    def mean(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean of every tensor over the processes; the same bits on each of them.

        The gradient that a backward pass leaves before data-parallel averaging is local, and masks
        chosen from it would differ.
        """
        if not self.several:
            return dict(tensors)
        world = dist.get_world_size(self.group)
        result: dict[str, Tensor] = {}
        for name in sorted(tensors):
            total = tensors[name].detach().clone()
            dist.all_reduce(total, group=self.group)
            result[name] = total.div_(world)
        return {name: result[name] for name in tensors}

    def check_same(
        self,
        digest: Callable[[], str],
        what: str,
        things: str = "masks",
        remedy: str = "scorers and direct calls must be the same on every process",
    ) -> None:
        """All processes hold the same digest (only computed when there are several).

        Raises:
            RanksDisagreeError: naming the ranks that differ from the first.
        """
        if not self.several:
            return
        raw = torch.tensor(list(bytes.fromhex(digest())), dtype=torch.uint8)
        if dist.get_backend(self.group) == "nccl":
            raw = raw.cuda()
        gathered = [torch.empty_like(raw) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(gathered, raw, group=self.group)
        odd = [rank for rank, other in enumerate(gathered) if not torch.equal(other, gathered[0])]
        if odd:
            raise RanksDisagreeError(
                f"after {what} the {things} of ranks {odd} differ from those of rank 0: {remedy}"
            )


def everyone() -> Ranks:
    """All processes of the default group, or this one alone when none was set up."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.group.WORLD)
    return Ranks()


def ranks_of(model: nn.Module) -> Ranks:
    """The processes of a DistributedDataParallel model, compiled or not; else this one alone."""
    while True:
        if isinstance(model, DistributedDataParallel):
            return Ranks(model.process_group)
        if "_orig_mod" not in model._modules:
            return Ranks()
        model = model.get_submodule("_orig_mod")


def is_sharded(parameter: nn.Parameter) -> bool:
    """Whether it is a DTensor. A model that has one has imported them; importing costs 0.5 s."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(parameter, module.DTensor)
