"""Measured tables in a page of the documentation, between two marks."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch


def machine(threads: int) -> str:
    """What a table says about where it was made."""
    cores = f"{threads} of {os.cpu_count()} cores, CPU"
    return f"{cores}, torch {torch.__version__}, {platform.machine()}"


def replace_block(page: Path, mark: str, lines: Sequence[str]) -> None:
    """Put the lines between `<!-- mark -->` and `<!-- end mark -->`, which the page must have.

    Raises:
        ValueError: The page has not exactly one such pair.
    """
    text = page.read_text(encoding="utf-8")
    first, last = f"<!-- {mark} -->", f"<!-- end {mark} -->"
    if text.count(first) != 1 or text.count(last) != 1:
        raise ValueError(f"{page} must have {first!r} and {last!r} once each.")
    before, after = text.split(first)[0], text.split(last)[1]
    body = "\n".join(lines).strip()
    page.write_text(f"{before}{first}\n\n{body}\n\n{last}{after}", encoding="utf-8")
