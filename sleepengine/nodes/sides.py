"""The sides of a node: what makes it, what reads it, what scales it."""

from __future__ import annotations

from enum import Enum
from typing import final


@final
class Side(Enum):
    """Which of a node's entries are meant."""

    INCOMING = "incoming"
    """Weights of the layers that make the node."""
    OUTGOING = "outgoing"
    """Weights of the layers that read the node."""
    SCALE = "scale"
    """Factors of the normalisation that follows (the gamma of BatchNorm)."""
    SHIFT = "shift"
    """Biases, and shifts of the normalisation (the beta of BatchNorm)."""
    ALL = "all"
    """Everything that belongs to the node."""
