"""An Ignite trainer for masks on a frozen network."""

from __future__ import annotations

from collections.abc import Mapping

from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from sleepengine.distributed import Ranks, everyone
from sleepengine.errors import SetupError
from sleepengine.learned.batches import as_pair
from sleepengine.learned.frozen import FrozenModel
from sleepengine.learned.logits import MaskLogits
from sleepengine.learned.step import Criterion, MaskStep, Prepare
from sleepengine.learned.watch import check_optimizer
from sleepengine.names import named_parameters


def create_mask_trainer(
    model: nn.Module,
    loss_fn: Criterion,
    logits: MaskLogits,
    optimizer: Optimizer | None = None,
    *,
    samples: int | None = None,
    alpha: float | None = None,
    clip: float | None = 1.0,
    vectorize: bool = False,
    prepare_batch: Prepare = as_pair,
    verify: bool = True,
    distributed: bool = True,
) -> Engine:
    """Minimise loss + alpha * penalty(logits) / batch size over the logits; the model stays as is.

    Every step cuts its batch into `samples` equal parts and runs each with a mask drawn for it,
    through `torch.func.functional_call`. The result is in `logits` (`masks()`, `store()`).

    Args:
        model: frozen (`model.requires_grad_(False).eval()`); never written to.
        loss_fn: loss_fn(output, target), a mean over samples.
        logits: what trains, and how (`MaskLogits(model, GumbelSigmoid())`).
        optimizer: over `logits.parameters()`; None = Adam with the relaxation's lr.
        samples: masks per batch; None = 4 for relaxations that draw noise, else 1.
        alpha: weight of the penalty; None = the relaxation's own (1e-4, or 0 without noise).
        clip: largest norm of the gradient of all logits together; None = not clipped.
        vectorize: run all samples in one `torch.vmap` call, which holds every masked weight
            `samples` times; False runs one after the other. Batches that do not divide evenly run
            one after the other.
        prepare_batch: batch -> (input, target), where a batch is no pair, or has to be moved; an
            input of several parts is `Inputs(args, kwargs)`.
        verify: check at the end of every run that the model kept every bit.
        distributed: where `torch.distributed` runs several processes, average the gradients of
            logits over them; sample i of process r has the noise of sample r * samples + i, so
            that W processes do what one does with all batches in a row and W * samples. False
            lets every process learn a mask of its own.

    Returns:
        an Ignite engine; its output is the loss without the penalty, and after every epoch
        `state.metrics["asleep"]` is the sleeping share.

    Raises:
        SetupError: the model is not frozen or in train mode, the optimizer holds something else
            than these logits, the logits are another model's, or a number is out of range.
            During the run: a loss detached from the graph or not finite, logits that no gradient
            reaches or that do not move.
        LeakError: the model changed during the run.
        RanksDisagreeError: the logits of two processes differ at the start.

    Source: Csordas, van Steenkiste and Schmidhuber 2021 (arXiv:2010.02066).

    >>> import torch
    >>> model = nn.Linear(2, 1, bias=False).requires_grad_(False).eval()
    >>> model.weight.copy_(torch.tensor([[1.0, -3.0]])).tolist()
    [[1.0, -3.0]]
    >>> logits = MaskLogits(model)
    >>> optimizer = torch.optim.Adam(logits.parameters(), lr=0.1)
    >>> trainer = create_mask_trainer(model, nn.functional.mse_loss, logits, optimizer)
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 8)
    >>> _ = trainer.run([(x, x[:, :1])] * 100)  # the answer is the first input alone
    >>> logits.masks()["weight"].tolist(), model.weight.tolist()
    ([[True, False]], [[1.0, -3.0]])
    """
    frozen = FrozenModel(model)
    _check_model(logits, frozen)
    if optimizer is None:
        optimizer = Adam(logits.parameters(), lr=logits.relaxation.lr)
    check_optimizer(optimizer, logits.named_parameters(), named_parameters(model))
    step = MaskStep(
        frozen,
        loss_fn,
        logits,
        optimizer,
        _samples(samples, logits),
        _alpha(alpha, logits),
        _clip(clip),
        vectorize,
        prepare_batch,
        everyone() if distributed else Ranks(),
    )
    trainer = Engine(step)
    trainer.add_event_handler(Events.STARTED, step.check_ranks)
    if verify:
        trainer.add_event_handler(Events.COMPLETED | Events.TERMINATE, frozen.verify)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, _note_share, logits)
    return trainer


def _note_share(engine: Engine, logits: MaskLogits) -> None:
    engine.state.metrics["asleep"] = logits.fraction()


def _check_model(logits: MaskLogits, frozen: FrozenModel) -> None:
    """The logits were made for a model of these names, shapes and devices."""
    if not isinstance(logits, MaskLogits):
        raise SetupError(f"logits={logits!r}: give MaskLogits(model, GumbelSigmoid())")
    shapes: Mapping[str, Tensor] = frozen.weights
    for name, shape in logits.shapes.items():
        if name not in shapes or shapes[name].shape != shape:
            raise SetupError(f"the logits are of another model: it has no {name!r} {tuple(shape)}")
    devices = {logit.device for logit in logits.parameters()}
    there = {shapes[name].device for name in logits.shapes}
    if devices != there:
        raise SetupError(
            f"logits are on {sorted(map(str, devices))}, the model on {sorted(map(str, there))}: "
            "move the model first, then build MaskLogits"
        )


def _samples(samples: int | None, logits: MaskLogits) -> int:
    if samples is None:
        return 4 if logits.relaxation.draws else 1
    if type(samples) is not int or samples < 1:
        raise SetupError(f"samples={samples!r}: a whole number above 0")
    if samples > 1 and not logits.relaxation.draws:
        raise SetupError(
            f"samples={samples}, but {logits.relaxation!r} draws no noise: all would be the same"
        )
    return samples


def _alpha(alpha: float | None, logits: MaskLogits) -> float:
    if alpha is None:
        return logits.relaxation.alpha
    if not isinstance(alpha, int | float) or not 0 <= alpha < float("inf"):
        raise SetupError(f"alpha={alpha!r}: a number, 0 or more")
    if alpha and logits.penalty() is None:
        raise SetupError(f"alpha={alpha}, but {logits.relaxation!r} has no penalty; give alpha=0")
    return float(alpha)


def _clip(clip: float | None) -> float | None:
    if clip is not None and (not isinstance(clip, int | float) or not clip > 0):
        raise SetupError(f"clip={clip!r}: a number above 0, or None")
    return clip
