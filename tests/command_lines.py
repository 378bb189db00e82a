"""A small configuration, and the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFIG = """
name: tiny
model: {mlp: {sizes: [6]}}
train: {length: 40it, batch_size: 32, evaluate: 20it}
rules:
  - when: {every: {interval: 10it, before: 30it}}
    who: {scorer: Magnitude, pools: {PerTensor: {}}, amount: {to: {linear: [0.0, 0.6]}}}
    what: Sleep
"""


ROOT = Path(__file__).parents[1]


def fresh(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = ["-c", code] if code else ["-m", "sleepengine", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, check=False
    )
