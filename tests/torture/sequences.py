"""Random sequences of operations: drawn from a number, checked after each move, made shorter."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch.optim import Optimizer

from .catalogue import Configuration, configurations, livelier
from .comparing import check
from .networks import Network
from .operations import OPERATIONS, SHARES
from .pair import Pair, Setting

LENGTHS = (5, 24)


class Move(NamedTuple):
    """One operation and the number that decides its details."""

    operation: str
    seed: int


@dataclass
class Figures:
    """What ran."""

    sequences: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    shrunk: int = 0
    refused: int = 0


def settings(kind: type[Optimizer], draw: random.Random, number: int) -> Setting:
    """Official configurations in turn, with livelier ones between them."""
    official, lively = configurations(kind), livelier(kind)
    both: tuple[Configuration, ...] = official + lively
    configuration = both[number % len(both)]
    sparse = not configuration.takes_dense or (
        draw.random() < 0.2 and configuration.takes_sparse and not configuration.needs_closure
    )
    dtype = draw.choice(5 * [torch.float32] + [torch.float64])
    bias = configuration.takes_vectors and draw.random() < 0.8
    sizes = (1, 1) if configuration.options.get("fused") else (3, 2)  # vectors of eight there
    return Setting(
        configuration,
        Network(sparse, bias, dtype, *sizes),
        draw.choice(["fast", "lean"]),
        draw.choice(["auto", "all"]),
    )


def drawn(kind: type[Optimizer], number: int) -> tuple[Setting, list[Move]]:
    """Sequence `number` of a class of optimizers; always the same."""
    draw = random.Random(f"{kind.__name__} {number}")
    setting = settings(kind, draw, number)
    shares = dict(SHARES)
    if setting.network.dtype is not torch.float32 or setting.network.sparse:
        del shares["compact"], shares["expand"]  # sums of other dtypes use vector instructions
    length = draw.randint(*LENGTHS)
    names = draw.choices(list(shares), list(shares.values()), k=length)
    return setting, [Move(name, draw.randrange(1000)) for name in names]


def perform(setting: Setting, moves: list[Move], figures: Figures | None = None) -> None:
    """Do all of it, with a check after every move."""
    with warnings.catch_warnings():  # about Muon and friends, and what cannot be made smaller
        warnings.simplefilter("ignore", UserWarning)
        _perform(setting, moves, figures)


def _perform(setting: Setting, moves: list[Move], figures: Figures | None) -> None:
    torch.manual_seed(0)
    pair = Pair(setting)
    for move in moves:
        OPERATIONS[move.operation](pair, move.seed)
        check(pair)
    pair.engine.detach()
    if figures is not None:
        figures.sequences += 1
        figures.operations.update(move.operation for move in moves)
        figures.shrunk += pair.shrunk
        figures.refused += pair.refused


def failure(setting: Setting, moves: list[Move]) -> Exception | None:
    """What goes wrong, if anything does."""
    try:
        perform(setting, moves)
    except Exception as error:
        return error
    return None


def shortest(setting: Setting, moves: list[Move]) -> list[Move]:
    """Moves without which it goes right are left; the others go, one after the other."""
    at = len(moves) - 1
    while at >= 0:
        fewer = moves[:at] + moves[at + 1 :]
        if failure(setting, fewer) is not None:
            moves = fewer
        at -= 1
    return moves


def run(kind: type[Optimizer], number: int, figures: Figures) -> None:
    """One sequence; an error tells the shortest sequence that still goes wrong."""
    setting, moves = drawn(kind, number)
    try:
        perform(setting, moves, figures)
    except Exception as error:
        few = shortest(setting, moves)
        last = failure(setting, few) or error
        told = f"{setting.configuration}, {setting}\n{few}\n{type(last).__name__}: {last}"
        raise AssertionError(f"sequence {number} of {kind.__name__}: {told}") from last
