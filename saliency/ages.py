"""How many observed steps an entry has behind it, where some have started again since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor


@final
class Ages:
    """Steps observed by parameter name, and from which of them on single entries count.

    >>> ages = Ages("Utility()")
    >>> ages.tick("w"); ages.tick("w")
    >>> ages.restart("w", torch.tensor([True, False]), step=7)
    >>> ages.tick("w")
    >>> ages.of("w", torch.device("cpu"))
    tensor([1, 3], dtype=torch.int32)
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._steps: dict[str, int] = {}
        self._since: dict[str, Tensor] = {}
        self._skip: dict[str, tuple[int, Tensor]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._steps

    def tick(self, name: str) -> None:
        """One more step was observed."""
        self._steps[name] = self._steps.get(name, 0) + 1

    def restart(self, name: str, where: Tensor, step: int) -> None:
        """These entries begin anew; what `step` itself shows of them is of those they were."""
        if name in self._steps:
            self.leave_out(name, where)
        before = self._skip.get(name)
        if before is not None and before[0] == step:
            where = where | before[1].to(where.device)
        self._skip[name] = (step, where)

    def stale(self, name: str, step: int) -> Tensor | None:
        """The entries that this step shows as they were before they began anew."""
        skip = self._skip.pop(name, None)
        return None if skip is None or skip[0] != step else skip[1]

    def leave_out(self, name: str, where: Tensor) -> None:
        """All steps so far do not count for these entries."""
        since = self._since.get(name)
        if since is None:
            since = torch.zeros(where.shape, dtype=torch.int32, device=where.device)
        self._since[name] = since.to(where.device).masked_fill(where, self._steps[name])

    def of(self, name: str, device: torch.device) -> int | Tensor:
        """Steps behind each entry: one number, or a tensor where they differ."""
        steps, since = self._steps.get(name, 0), self._since.get(name)
        return steps if since is None else steps - since.to(device)

    def reset(self) -> None:
        """Forget all steps."""
        self._steps, self._since, self._skip = {}, {}, {}

    def state_dict(self) -> dict[str, Any]:
        """Copies; `since` is there only if something has started again."""
        since = {name: value.clone() for name, value in self._since.items()}
        return {"steps": dict(self._steps), **({"since": since} if since else {})}

    def load_state_dict(self, state: Mapping[str, Any], names: set[str]) -> None:
        """Take over a saved state of these parameters, after checking it.

        Raises:
            ValueError: It does not fit; nothing was changed.
        """
        steps, since = state["steps"], state.get("since", {})
        if not isinstance(steps, Mapping) or set(steps) != names:
            raise ValueError(f"{self._owner}: its counts are not of the same names as its means.")
        for name, count in steps.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(f"{self._owner}: {name!r} was observed on {count!r} steps.")
        if not isinstance(since, Mapping) or not set(since) <= names:
            raise ValueError(f"{self._owner}: its ages are not of the names of its means.")
        for name, value in since.items():
            if not isinstance(value, Tensor) or value.dtype != torch.int32:
                raise ValueError(f"{self._owner}: the ages of {name!r} are not int32.")
            if value.numel() and not 0 <= int(value.min()) <= int(value.max()) <= steps[name]:
                raise ValueError(f"{self._owner}: ages of {name!r} are not from 0 to its steps.")
        self._steps = dict(steps)
        self._since = {name: value.detach().clone() for name, value in since.items()}
        self._skip = {}
