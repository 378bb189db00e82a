"""Nodes: neurons, channels and heads fall asleep, wake or start again, with all their weights.

The engine needs their groups: `SleepEngine(..., example_inputs=x)`, or `nodes=[NodeGroup(...)]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from saliency import Dormancy, Magnitude, Random, Scorer, Taylor, Through, Utility
from schedules import cooldown, cubic, every, once, plateau
from sleepengine.actions.reset import Reset
from sleepengine.actions.sleep import Sleep
from sleepengine.actions.wake import Wake
from sleepengine.choosing import Global, Norm, PerTensor, Total, below, by, rate, to
from sleepengine.nodes.sides import Side
from sleepengine.nodes.units import Nodes
from sleepengine.rules.filters import older_than
from sleepengine.rules.rule import Rule, Who


def redo(
    threshold: float = 0.025,
    *,
    interval: str = "1000it",
    end: str | None = None,
    through: Callable[[Tensor], Tensor] | Through | None = Through.RELU,
    batches: int | None = None,
    params: str | Sequence[str] | None = None,
) -> tuple[Rule, ...]:
    """ReDo: nodes that are hardly used start again, without moving the output.

    | when              | who                                            | what             |
    |-------------------|------------------------------------------------|------------------|
    | every(`interval`) | Dormancy, Nodes, PerTensor, below(`threshold`) | Reset(out: zero) |

    With `end` nothing is reset after that time, so that the last resets can be trained.
    `through` is the activation function of the network. Activations are those of the step itself,
    in the training loop's own forward pass; with `batches`, of so many batches of the engine's
    `data`. The optimizer state of exactly these weights starts again too.

    Source: Sokar et al. 2023 (arXiv:2302.12902): threshold 0.025 or 0.1, every 1000 steps.

    >>> redo()[0].why
    "every('1000it'): Dormancy(through=Through.RELU), Nodes([], Mean(), over=Side.INCOMING), \
PerTensor(shares=Uniform()), below(0.025)"
    """
    who = Who(
        Dormancy(through), Nodes(), PerTensor(), below(threshold), params=params, batches=batches
    )
    return (Rule(every(interval, before=end), who, Reset()),)


def continual_backprop(
    replace: float = 1e-4,
    *,
    maturity: str = "100it",
    end: str | None = None,
    decay: float = 0.99,
    adaptable: bool = False,
    transfer: bool = False,
    batches: int | None = None,
    params: str | Sequence[str] | None = None,
) -> tuple[Rule, ...]:
    """Continual backprop: a small share of the old nodes, the least useful, starts again.

    | when       | who                                                       | what             |
    |------------|-----------------------------------------------------------|------------------|
    | every(1it) | Utility, Nodes(OUTGOING), PerTensor, rate(`replace`), old | Reset(out: zero) |

    "old" is older_than(`maturity`).

    The utility of a node is its contribution, mean |w_out| mean |h|, averaged over the steps of the
    training loop (or over `batches` batches of `data` at each of them); shares of a node that are
    due are carried over to the next step. `adaptable` takes mean |h - m| in place of mean |h|, with
    m the slow mean of h, and divides by mean |w_in|. `transfer` adds what a node gave on average,
    w_out m, to the biases of its readers when it starts again.

    Source: Dohare et al. 2024 (Nature 632): maturity 100, decay 0.99; with `adaptable` and
    `transfer` as in Dohare, Sutton and Mahmood 2021 (arXiv:2108.06325).

    >>> continual_backprop()[0].who.filters, continual_backprop()[0].who.amount
    ((older_than('100it'),), rate(0.0001))
    """
    who = Who(
        Utility(decay, centred=adaptable, means=transfer),
        Nodes(over=Side.OUTGOING, against=Side.INCOMING if adaptable else None),
        PerTensor(),
        rate(replace),
        params=params,
        where=older_than(maturity),
        batches=batches,
    )
    return (Rule(every("1it", before=end), who, Reset(transfer=transfer)),)


def neuron_gradual(
    share: float = 0.5,
    *,
    interval: str = "100it",
    start: str = "10%",
    end: str = "80%",
    params: str | Sequence[str] | None = None,
) -> tuple[Rule, ...]:
    """The nodes with the smallest incoming weights fall asleep, along a cubic curve.

    | when                                | who                                          | what  |
    |-------------------------------------|----------------------------------------------|-------|
    | every(`interval`, `start` to `end`) | Magnitude, Nodes(Norm), PerTensor, to(cubic) | Sleep |

    Source: the norm of Li et al. 2017 (arXiv:1608.08710), on the curve of Zhu and Gupta 2017
    (arXiv:1710.01878).

    >>> from schedules import preview
    >>> rules = neuron_gradual(0.5, interval="50%", start="0%", end="100%")
    >>> [(row.step, row.target) for row in preview(rules, total_steps=100)]
    [(0, 0.0), (50, 0.4375), (100, 0.5)]
    """
    who = Who(Magnitude(), Nodes(reduce=Norm(2)), PerTensor(), to(cubic(0.0, share)), params=params)
    return (Rule(every(interval, after=start, before=end), who, Sleep()),)


def channel_gradual(
    share: float = 0.5,
    *,
    interval: str = "100it",
    start: str = "10%",
    end: str = "80%",
    params: str | Sequence[str] | None = None,
) -> tuple[Rule, ...]:
    """The channels with the smallest factor in their normalisation fall asleep, all layers as one.

    | when                                | who                                        | what  |
    |-------------------------------------|--------------------------------------------|-------|
    | every(`interval`, `start` to `end`) | Magnitude, Nodes(SCALE), Global, to(cubic) | Sleep |

    Nodes without a normalisation are left out. The paper adds an L1 penalty on these factors to
    the loss, which is the training loop's to do.

    Source: Liu et al. 2017 (arXiv:1708.06519), network slimming, in steps instead of at once.

    >>> channel_gradual()[0].who.units
    Nodes([], Mean(), over=Side.SCALE)
    """
    who = Who(Magnitude(), Nodes(over=Side.SCALE), Global(), to(cubic(0.0, share)), params=params)
    return (Rule(every(interval, after=start, before=end), who, Sleep()),)


def head_sleep(
    share: float = 0.5,
    *,
    when: str = "25%",
    params: str | Sequence[str] = "*attention",
    scorer: Scorer | None = None,
    batches: int | None = 8,
) -> tuple[Rule, ...]:
    """The attention heads that the loss depends on least fall asleep, all layers as one.

    | when         | who                                                | what  |
    |--------------|----------------------------------------------------|-------|
    | once(`when`) | Taylor, Nodes(Total, OUTGOING), Global, to(`share`) | Sleep |

    `params` names the attention layers. A head's score is the sum of |w dL/dw| over the weights
    that read it, on `batches` batches of the engine's `data`; it bounds the gradient of a gate on
    the head.

    Source: after Michel, Levy and Neubig 2019 (arXiv:1905.10650), who take the gate's gradient.

    >>> head_sleep(0.25)[0].who.amount, head_sleep()[0].who.patterns
    (to(0.25), ('*attention',))
    """
    units = Nodes(reduce=Total(), over=Side.OUTGOING)
    who = Who(scorer or Taylor(), units, Global(), to(share), params=params, batches=batches)
    return (Rule(once(when), who, Sleep()),)


def grow(
    reserve: float = 0.5,
    *,
    share: float = 0.25,
    metric: str = "valid_loss",
    patience: int = 2,
    pause: str = "5%",
    params: str | Sequence[str] | None = None,
) -> tuple[Rule, ...]:
    """Begin small, with a reserve of nodes asleep; some wake when the metric stands still.

    | when                            | who                                     | what            |
    |---------------------------------|-----------------------------------------|-----------------|
    | once(0it)                       | Random, Nodes, PerTensor, to(`reserve`) | Sleep           |
    | plateau(`metric`) and no `pause` | Random, Nodes, PerTensor, by(`share`)  | Wake(out: zero) |

    Nodes wake with the incoming weights that they had and nothing reads them yet, so that the
    output does not jump. Every wake takes `share` of what is left asleep.

    >>> [(rule.name, rule.who.amount) for rule in grow()]
    [('Sleep-Random', to(0.5)), ('Wake-Random', by(0.25))]
    """
    asleep = Who(Random(), Nodes(), PerTensor(), to(reserve), params=params)
    more = Who(Random(), Nodes(), PerTensor(), by(share), params=params)
    when = plateau(metric, patience) & cooldown(pause)
    return (
        Rule(once("0it"), asleep, Sleep()),
        Rule(when, more, Wake("parked", "keep", "zero")),
    )
