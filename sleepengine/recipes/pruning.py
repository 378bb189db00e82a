"""Pruning: weights fall asleep and stay so."""

from __future__ import annotations

from saliency import Magnitude, Random, Scorer, Snip
from schedules import cubic, every, once
from sleepengine.actions.sleep import Sleep
from sleepengine.choosing import Global, NofM, PerTensor, Pools, below, to
from sleepengine.rules.rule import Rule, Who


def one_shot(
    sparsity: float = 0.9,
    *,
    when: str = "5ep",
    scorer: Scorer | None = None,
    pools: Pools | None = None,
) -> tuple[Rule, ...]:
    """Train, put the lowest scores to sleep at once, train on.

    | when         | who                                 | what  |
    |--------------|-------------------------------------|-------|
    | once(`when`) | Magnitude, Global, to(`sparsity`)   | Sleep |

    Source: Han et al. 2015 (arXiv:1506.02626).

    >>> one_shot(0.8)[0].why
    "once('5ep'): Magnitude(p=1), Weights(), Global(), to(0.8)"
    """
    who = Who(scorer or Magnitude(), pools=pools or Global(), amount=to(sparsity))
    return (Rule(once(when), who, Sleep()),)


def random_pruning(
    sparsity: float = 0.9, *, when: str = "0it", pools: Pools | None = None
) -> tuple[Rule, ...]:
    """Put random weights to sleep: the control that a scorer has to beat.

    | when         | who                              | what  |
    |--------------|----------------------------------|-------|
    | once(`when`) | Random, Global, to(`sparsity`)   | Sleep |

    >>> random_pruning(0.8)[0].why
    "once('0it'): Random(seed=None), Weights(), Global(), to(0.8)"
    """
    return one_shot(sparsity, when=when, scorer=Random(), pools=pools)


def gradual(
    sparsity: float = 0.9,
    *,
    start_sparsity: float = 0.0,
    interval: str = "100it",
    start: str = "10%",
    end: str = "80%",
) -> tuple[Rule, ...]:
    """Gradual magnitude pruning (AGP): s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3.

    | when                                     | who                                    | what  |
    |------------------------------------------|----------------------------------------|-------|
    | every(`interval`, `start` to `end`)      | Magnitude, PerTensor, to(cubic s_i s_f) | Sleep |

    Source: Zhu and Gupta 2017 (arXiv:1710.01878).

    >>> from schedules import preview
    >>> rules = gradual(0.8, interval="100it", start="0it", end="200it")
    >>> [(row.step, round(row.target, 4)) for row in preview(rules, total_steps=300)]
    [(0, 0.0), (100, 0.7), (200, 0.8)]
    """
    amount = to(cubic(start_sparsity, sparsity))
    who = Who(Magnitude(), pools=PerTensor(), amount=amount)
    return (Rule(every(interval, after=start, before=end), who, Sleep()),)


def snip(sparsity: float = 0.95, *, batches: int | None = None) -> tuple[Rule, ...]:
    """Prune before training, by the sensitivity |w g| of each connection on one batch.

    | when      | who                          | what  |
    |-----------|------------------------------|-------|
    | once(0it) | Snip, Global, to(`sparsity`) | Sleep |

    The gradients are those of the first batch of training, or of `batches` batches of the
    engine's `data`.

    Source: Lee, Ajanthan and Torr 2019 (arXiv:1810.02340).

    >>> snip()[0].why
    "once('0it'): Snip(), Weights(), Global(), to(0.95)"
    """
    who = Who(Snip(), amount=to(sparsity), batches=batches)
    return (Rule(once("0it"), who, Sleep()),)


def n_of_m(
    n: int = 2, m: int = 4, *, when: str = "5ep", scorer: Scorer | None = None
) -> tuple[Rule, ...]:
    """Of every m consecutive inputs of an output the n largest weights stay awake.

    | when         | who                   | what  |
    |--------------|-----------------------|-------|
    | once(`when`) | Magnitude, NofM(n, m) | Sleep |

    Source: Mishra et al. 2021 (arXiv:2104.08378).

    >>> n_of_m()[0].why
    "once('5ep'): Magnitude(p=1), Weights(), NofM(n=2, m=4), None"
    """
    return (Rule(once(when), Who(scorer or Magnitude(), pools=NofM(n, m)), Sleep()),)


def finetune_sparse() -> tuple[Rule, ...]:
    """Fine-tune a model that is sparse already: every weight that is zero falls asleep.

    | when      | who                         | what  |
    |-----------|-----------------------------|-------|
    | once(0it) | Magnitude, Global, below(0) | Sleep |

    A tensor may be zero throughout. As a rule, the masks of the model are in the journal and in
    saved runs like any others.

    >>> import torch
    >>> from sleepengine import SleepEngine
    >>> model = torch.nn.Linear(4, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.copy_(torch.tensor([[3.0, 0.0, -1.0, 0.0]]))
    >>> with SleepEngine(model, rules=finetune_sparse()).attach() as engine:
    ...     engine.is_sleeping("weight").tolist()
    [[False, True, False, True]]
    """
    who = Who(Magnitude(), amount=below(0.0), allow_empty=True)
    return (Rule(once("0it"), who, Sleep()),)
