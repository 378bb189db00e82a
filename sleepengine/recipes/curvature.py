"""Pruning by what the loss or a layer's output would make of a removal."""

from __future__ import annotations

from saliency import (
    OBD,
    BatchGradients,
    DiagonalRequest,
    ExactOBS,
    Fisher,
    FisherDiagonal,
    GaussNewtonDiagonal,
    GraSP,
    InverseFisher,
    InverseHessian,
    SequentialOBS,
    SparseGPT,
    SynFlow,
    Wanda,
    synaptic_flow_steps,
)
from schedules import cubic, every, linear, once
from sleepengine.actions.sleep import Sleep
from sleepengine.choosing import Global, PerRow, PerTensor, Pools, to
from sleepengine.rules.rule import Rule, Who


def obd(
    sparsity: float = 0.9,
    *,
    interval: str = "5%",
    start: str = "20%",
    end: str = "80%",
    curvature: DiagonalRequest | None = None,
    batches: int = 8,
) -> tuple[Rule, ...]:
    """Optimal Brain Damage: train, delete the lowest h w^2 / 2, train on, and again.

    | when                                | who                            | what  |
    |-------------------------------------|--------------------------------|-------|
    | every(`interval`, `start` to `end`) | OBD, Global, to(linear to `s`) | Sleep |

    The Hessian's diagonal is that of Gauss-Newton, which is the exact one for networks that are
    piecewise linear, such as those of ReLU.

    Source: LeCun, Denker and Solla 1990.

    >>> obd(0.8, interval="100it", start="0it", end="200it")[0].who.scorer
    OBD(curvature=GaussNewtonDiagonal(rows=GaussNewtonColumns(chunk=8)), negative=Negative.KEEP)
    """
    scorer = OBD(curvature or GaussNewtonDiagonal())
    who = Who(scorer, amount=to(linear(0.0, sparsity)), batches=batches)
    return (Rule(every(interval, after=start, before=end), who, Sleep()),)


def obs(
    sparsity: float = 0.5,
    *,
    when: str = "80%",
    curvature: InverseFisher | InverseHessian | None = None,
    batches: int = 8,
) -> tuple[Rule, ...]:
    """Optimal Brain Surgeon: weights go one by one, and the survivors make up for each.

    | when         | who                                     | what              |
    |--------------|-----------------------------------------|-------------------|
    | once(`when`) | SequentialOBS, Global, to(`sparsity`)   | Sleep(compensate) |

    The inverse is dense, for some thousand weights; `InverseFisher(block=50)` is for many.

    Source: Hassibi and Stork 1993.

    >>> obs(0.3)[0].what
    Sleep(include_frozen=False, compensate=True)
    """
    scorer = SequentialOBS() if curvature is None else SequentialOBS(curvature)
    who = Who(scorer, amount=to(sparsity), batches=batches)
    return (Rule(once(when), who, Sleep(compensate=True)),)


def obs_layerwise(
    sparsity: float = 0.5,
    *,
    when: str = "80%",
    scorer: ExactOBS | SparseGPT | None = None,
    pools: Pools | None = None,
    batches: int = 8,
) -> tuple[Rule, ...]:
    """Layer by layer: the outputs of each are to change least, on the inputs of `batches` batches.

    | when         | who                                | what              |
    |--------------|------------------------------------|-------------------|
    | once(`when`) | ExactOBS, PerTensor, to(`sparsity`) | Sleep(compensate) |

    Other scorers: `SparseGPT(fraction=sparsity)` for wide layers; with `pattern=(2, 4)` and
    `pools=NofM(2, 4)` (and without an amount, so by a rule of your own) for N:M.

    Source: Frantar, Singh and Alistarh 2022 (arXiv:2208.11580).

    >>> obs_layerwise(0.6)[0].who.scorer, obs_layerwise(0.6)[0].who.amount
    (ExactOBS(), to(0.6))
    """
    who = Who(
        scorer or ExactOBS(), pools=pools or PerTensor(), amount=to(sparsity), batches=batches
    )
    return (Rule(once(when), who, Sleep(compensate=True)),)


def fisher(
    sparsity: float = 0.9,
    *,
    interval: str = "5%",
    start: str = "20%",
    end: str = "80%",
    batches: int | None = None,
) -> tuple[Rule, ...]:
    """Fisher pruning: the lowest w^2 E[g^2] / 2 go, gradually.

    | when                                | who                            | what  |
    |-------------------------------------|--------------------------------|-------|
    | every(`interval`, `start` to `end`) | Fisher, Global, to(cubic to `s`) | Sleep |

    Without `batches`, g are the gradients of the training loop's own batches, averaged over all
    steps so far at no cost; with them, those of the samples of `batches` batches at each firing.

    Source: Theis et al. 2018 (arXiv:1801.05787).

    >>> fisher()[0].who.scorer.accumulates, fisher(batches=4)[0].who.scorer.accumulates
    (True, False)
    """
    steps = Fisher(FisherDiagonal(BatchGradients()), accumulate=True)
    scorer = steps if batches is None else Fisher()
    who = Who(scorer, amount=to(cubic(0.0, sparsity)), batches=batches)
    return (Rule(every(interval, after=start, before=end), who, Sleep()),)


def wanda(sparsity: float = 0.5, *, when: str = "80%", batches: int | None = 8) -> tuple[Rule, ...]:
    """Wanda: per output, the lowest |w| times root mean square of the input go.

    | when         | who                          | what  |
    |--------------|------------------------------|-------|
    | once(`when`) | Wanda, PerRow, to(`sparsity`) | Sleep |

    Without `batches`, inputs are those of all steps of the training loop so far.

    Source: Sun, Liu, Bair and Kolter 2024 (arXiv:2306.11695).

    >>> wanda()[0].why
    "once('80%'): Wanda(), Weights(), PerRow(), to(0.5)"
    """
    scorer = Wanda(accumulate=batches is None)
    who = Who(scorer, pools=PerRow(), amount=to(sparsity), batches=batches)
    return (Rule(once(when), who, Sleep()),)


def grasp(
    sparsity: float = 0.9, *, batches: int = 8, pools: Pools | None = None
) -> tuple[Rule, ...]:
    """GraSP: before training, the weights go that the gradient's norm needs least.

    | when      | who                         | what  |
    |-----------|-----------------------------|-------|
    | once(0it) | GraSP, Global, to(`sparsity`) | Sleep |

    Source: Wang, Zhang and Grosse 2020 (arXiv:2002.07376).

    >>> grasp()[0].why
    "once('0it'): GraSP(curvature=HessianGradient(temperature=200.0)), Weights(), Global(), to(0.9)"
    """
    who = Who(GraSP(), pools=pools or Global(), amount=to(sparsity), batches=batches)
    return (Rule(once("0it"), who, Sleep()),)


def synflow(sparsity: float = 0.9, *, rounds: int = 100) -> tuple[Rule, ...]:
    """SynFlow: before training and without looking at data, in rounds.

    | when      | who                                                  | what  |
    |-----------|------------------------------------------------------|-------|
    | once(0it) | SynFlow, Global, to(1 - (1 - s)^(k/n)), k = 1 ... n | Sleep |

    One rule per round, all at one moment, each of which measures the flow that is left. The
    engine's `data` gives the shape of a sample.

    Source: Tanaka et al. 2020 (arXiv:2006.05467).

    >>> [round(rule.who.amount.target(1.0), 4) for rule in synflow(0.9375, rounds=4)]
    [0.5, 0.75, 0.875, 0.9375]
    """
    return tuple(
        Rule(once("0it"), Who(SynFlow(), amount=to(share), batches=1), Sleep())
        for share in synaptic_flow_steps(sparsity, rounds)
    )
