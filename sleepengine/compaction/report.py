"""What a compaction did, and what it had to leave as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final


@final
@dataclass(frozen=True, repr=False)
class Compacted:
    """Node groups that are physically smaller, those that are not, and entries before and after.

    Args:
        groups: group name -> (awake nodes, all nodes).
        left: group name -> why its sleeping nodes stay where they are, as zeros.
        before: entries of all parameters of the full model.
        after: entries of all parameters as they are now.

    >>> Compacted({"fc1": (2, 8)}, {}, 100, 25)
    Compacted(fc1 2/8 awake; 25 of 100 parameters)
    """

    groups: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)
    before: int = 0
    after: int = 0

    def __bool__(self) -> bool:
        """Whether anything is smaller."""
        return bool(self.groups)

    def __repr__(self) -> str:
        """Counts and names."""
        made = ", ".join(f"{name} {a}/{n} awake" for name, (a, n) in self.groups.items())
        kept = f"; as they were: {', '.join(self.left)}" if self.left else ""
        return f"Compacted({made or 'nothing'}; {self.after} of {self.before} parameters{kept})"

    def reasons(self) -> str:
        """One line for each group that stays as it was."""
        return "\n".join(f"nodes of {name!r}: {reason}" for name, reason in self.left.items())
