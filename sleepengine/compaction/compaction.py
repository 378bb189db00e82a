"""Tensors are small while nodes sleep, and full whenever anything needs them to be."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, final

from torch import Tensor, nn

from sleepengine.actions.live import Live
from sleepengine.compaction.doors import Doors
from sleepengine.compaction.payback import Payback
from sleepengine.compaction.plan import Plan, plan
from sleepengine.compaction.prover import Prover
from sleepengine.compaction.refusals import check_model
from sleepengine.compaction.report import Compacted
from sleepengine.compaction.shrunk import Shrunk
from sleepengine.enforcement.hooks import Enforcer
from sleepengine.errors import SetupError
from sleepengine.masks.choice import Kind


@final
class Compaction:
    """`wanted` says that tensors should be small; they are full inside `whole()`.

    Args:
        given: the model as the engine got it, wrapped or not.
        live: the model and what belongs to it.
        enforcer: holds the masks while the optimizer steps.
        inputs: example inputs, for the trial.
        payback: decides by itself when to be small; None = only when asked.
    """

    def __init__(
        self,
        given: nn.Module,
        live: Live,
        enforcer: Enforcer,
        inputs: Any,
        payback: Payback | None = None,
    ) -> None:
        self._given, self._live, self._enforcer = given, live, enforcer
        self._payback = payback
        self._only: tuple[str, ...] | None = None
        self._shrunk: Shrunk | None = None
        self._wanted = False
        self._paused = False  # the coming backward pass must see the full model
        self._depth = 0
        self._tried: tuple[int, int] | None = None
        self._seen: tuple[int, int] | None = None
        self._warned: set[str] = set()
        self._report = Compacted()
        self._prover = Prover(live, inputs, self._swap, self._expand, payback is not None)
        self._doors = Doors(self._widened, self._expand, self._settle)

    @property
    def report(self) -> Compacted:
        """What is small now."""
        return self._report if self._shrunk is not None else Compacted()

    @property
    def is_small(self) -> bool:
        """Whether tensors are small now."""
        return self._shrunk is not None

    def check(self) -> None:
        """What can be known before anything sleeps.

        Raises:
            SetupError: the model is wrapped or compiled, or there are no example inputs.
        """
        check_model(self._given, self._live)
        if self._prover.inputs is None:
            raise SetupError(
                "compact() tries the smaller model before it is used: give example_inputs=, to it "
                "or to the engine, inputs of one forward pass"
            )

    def compact(self, only: Iterable[str] | None = None, inputs: Any = None) -> Compacted:
        """Be small from now on, as far as possible; returns what is.

        Raises:
            SetupError: the model, or every group asked for, cannot be made smaller; all is as it
                was.
        """
        if inputs is not None:
            self._prover.inputs = inputs
        self.check()
        if not self._enforcer.is_attached and self._live.optimizers:
            raise SetupError("compact(): attach() first, so that the optimizer follows")
        self._expand()
        before, self._only = self._only, None if only is None else tuple(only)
        try:
            made = self._shrink()
            if made.left and (only is not None or not made):
                raise SetupError(f"compact(): {made.reasons()}")
        except BaseException:
            self._expand()
            self._only = before
            self._settle()
            if not self._wanted:
                self._doors.close()
            raise
        self._wanted = True
        self._tell(made)
        if self._paused:
            self._expand()
        return made

    def expand(self) -> None:
        """Be full from now on."""
        self._wanted = False
        self._expand()
        self._doors.close()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Everything has full size in here, and is small again after where it should be."""
        self._depth += 1
        try:
            self._expand()
            yield
        finally:
            self._depth -= 1
            self._tried = None
            self._settle()

    def planned(self, armed: bool) -> None:
        """A step is over; the next backward pass must see the full model if `armed`."""
        self._paused = armed
        if self._payback is not None:
            self._decide(self._payback)
        if armed:
            self._expand()
        else:
            self._settle()
        if not self._wanted and self._shrunk is None:
            self._doors.close()

    # --- inside --------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Small, if that is wanted and possible now."""
        if not self._wanted or self._paused or self._depth or self._shrunk is not None:
            return
        if self._tried == self._stamp():
            return
        try:
            self._tell(self._shrink())
        except SetupError as error:
            self._say(str(error))
        self._tried = self._stamp() if self._shrunk is None else None

    def _shrink(self) -> Compacted:
        """Cut what can be cut, once the trial says that it is the same model."""
        left: dict[str, str] = {}
        while True:
            found = plan(self._live, self._only, left)
            if not found.awake:
                break
            misfits = self._prover.misfits(found)
            if self._payback is not None:
                self._payback.interrupted()
            if not misfits:
                break
            left.update(misfits)
        if self._shrunk is not None:
            self._doors.open(self._live.model.modules(), self._live.optimizers)
        for said in self._prover.remarks:
            self._say(f"compact(): {said}")
        self._report = self._reported(found)
        return self._report

    def _swap(self, found: Plan) -> None:
        start = time.perf_counter()
        shrunk = Shrunk(self._live, self._enforcer, found)
        shrunk.shrink()
        self._shrunk = shrunk
        if self._payback is not None:
            self._payback.moved(time.perf_counter() - start)

    def _expand(self) -> None:
        if self._shrunk is None:
            return
        start = time.perf_counter()
        self._shrunk.expand()
        self._shrunk = None
        if self._payback is not None:
            self._payback.moved(time.perf_counter() - start)

    def _widened(self, tensor: Tensor) -> Tensor | None:
        return None if self._shrunk is None else self._shrunk.full_value(tensor)

    def _stamp(self) -> tuple[int, int]:
        return self._live.event, self._live.nodes.store.asleep_count()

    def _decide(self, payback: Payback) -> None:
        payback.tick(self.is_small)
        if self._seen != self._stamp():
            if self._seen is not None:
                payback.changed()
            self._seen = self._stamp()
        share = self._share()
        self._wanted = payback.wants(share, self._wanted) and share > 0
        if not self._wanted:
            self._expand()

    def _share(self) -> float:
        if self._shrunk is not None:
            return 1 - self._report.after / self._report.before
        store = self._live.nodes.store
        if not store.asleep_count():
            return 0.0
        found = self._live.nodes.covered(Kind.ASLEEP).count()
        return found / sum(self._live.store.numel(n) for n in self._live.store.names())

    def _reported(self, found: Plan) -> Compacted:
        sizes = {n: self._live.store.numel(n) for n in self._live.store.names()}
        after = {n: found.params[n].small.numel() for n in found.params}
        groups = {n: (int(mask.sum()), mask.numel()) for n, mask in found.awake.items()}
        return Compacted(
            groups, dict(found.left), sum(sizes.values()), sum({**sizes, **after}.values())
        )

    def _tell(self, made: Compacted) -> None:
        if made.left and self._payback is None:
            self._say(f"compact() leaves as they were:\n{made.reasons()}")

    def _say(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(message, stacklevel=4)
