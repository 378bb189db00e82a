"""The contract of scorers as a test that anyone can run on a scorer of their own."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from saliency.example_signals import example_for
from saliency.scorer import Scorer, check_needs, check_scorer_argument
from saliency.signals import NEEDS, MissingSignal, Signals
from saliency.transformed_signals import joined, permuted, restored, split, without_gradients


class BrokenContract(ValueError):  # noqa: N818  (its name says what happened)
    """A scorer does not keep to the contract; the message names it and the clause."""


def check_scorer(scorer: Scorer, signals: Signals | None = None) -> None:
    """Raise BrokenContract unless the scorer keeps every clause of `Scorer`.

    Keys in order, shapes, device, finite floats, fresh tensors, the same scores when asked twice;
    weights, gradients, grad mode and the global random state untouched; no signal read that is
    not declared, MissingSignal for each declared one that is absent; what `elementwise` and
    `equivariant` promise; observe, reset and the round trip of a plain state.

    Args:
        scorer: The scorer; copies of it are tested, and it stays as it is.
        signals: With all that it needs, on two or more weights. None: made-up ones, in
            float64, float32, bfloat16 and float16.

    Raises:
        BrokenContract: A clause is broken.
        TypeError: `scorer` is no scorer, or its `needs` are malformed.

    >>> from saliency import Magnitude
    >>> check_scorer(Magnitude())
    >>> class Raw(Scorer):
    ...     def score(self, signals):
    ...         return dict(signals.weights)
    >>> check_scorer(Raw())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    saliency.checks.BrokenContract: <...Raw object at ...>: the scores of 'fc.weight' share ...
    """
    check_scorer_argument("check_scorer", "scorer", scorer)
    check_needs(repr(scorer), scorer.needs)
    dtypes = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    cases = [example_for(scorer, dtype) for dtype in dtypes] if signals is None else [signals]
    for case in cases:
        given = case.keeping(scorer.needs | {"weights"}).for_scorer(scorer, "contract")
        _declarations(scorer)
        _scores(scorer, given)
        _purity(scorer, given)
        _needs(scorer, given)
        _places(scorer, given)
        _memory(scorer, given)


def _fresh(scorer: Scorer) -> Scorer:
    clean = copy.deepcopy(scorer)
    clean.reset()
    return clean


def _require(holds: bool, scorer: Scorer, clause: str) -> None:
    if not holds:
        raise BrokenContract(f"{scorer!r}: {clause}.")


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def _declarations(scorer: Scorer) -> None:
    named = isinstance(scorer.anchor, str)
    _require(named or scorer.anchor is None, scorer, f"anchor is {scorer.anchor!r}, not a name")
    _require(
        named == ("anchor" in scorer.needs),
        scorer,
        f"anchor is {scorer.anchor!r}, but needs are {sorted(scorer.needs)}",
    )


def _scores(scorer: Scorer, signals: Signals) -> None:
    scores = _fresh(scorer).score(signals)
    _require(
        list(scores) == list(signals.weights),
        scorer,
        f"the scores are of {list(scores)}, the weights of {list(signals.weights)}",
    )
    taken = _storages(t for need in NEEDS for t in _tensors(signals, need))
    for name, score in scores.items():
        w, said = signals.weights[name], f"the scores of {name!r}"
        try:
            fits = torch.broadcast_shapes(score.shape, w.shape) == w.shape
        except RuntimeError:
            fits = False
        shapes = f"{tuple(score.shape)} do not broadcast to {tuple(w.shape)}"
        _require(fits, scorer, f"{said} of shape {shapes}")
        _require(score.is_floating_point(), scorer, f"{said} have dtype {score.dtype}")
        _require(score.device == w.device, scorer, f"{said} are on {score.device}")
        _require(not score.requires_grad, scorer, f"{said} require a gradient")
        _require(bool(score.isfinite().all()), scorer, f"{said} are not finite")
        _require(not _storages([score]) & taken, scorer, f"{said} share memory with a signal")


def _tensors(signals: Signals, need: str) -> list[Tensor]:
    return list(signals.read(need).values()) if signals.has(need) else []


def _storages(tensors: Iterable[Tensor]) -> set[int]:
    """Where the memory of these tensors starts; empty ones have none."""
    return {tensor.untyped_storage().data_ptr() for tensor in tensors} - {0}


def _purity(scorer: Scorer, signals: Signals) -> None:
    def bits() -> list[Tensor]:
        return [t.clone() for need in sorted(NEEDS) for t in _tensors(signals, need)]

    before, state, mode = bits(), torch.get_rng_state(), torch.is_grad_enabled()
    tested = _fresh(scorer)
    first = {name: score.clone() for name, score in tested.score(signals).items()}
    _require(_same(first, tested.score(signals)), scorer, "asked twice, it scores differently")
    _require(_same(first, _fresh(scorer).score(signals)), scorer, "its copy scores differently")
    tested.observe(signals)
    same = all(torch.equal(a, b) for a, b in zip(before, bits(), strict=True))
    _require(same, scorer, "it wrote into a signal")
    _require(torch.equal(state, torch.get_rng_state()), scorer, "it drew from the global generator")
    _require(mode == torch.is_grad_enabled(), scorer, "it changed the grad mode")


def _needs(scorer: Scorer, signals: Signals) -> None:
    for need in sorted(scorer.needs | {"weights"}):
        without = signals.keeping((scorer.needs | {"weights"}) - {need})
        try:
            _fresh(scorer).score(without)
        except MissingSignal as error:
            _require(repr(need) in str(error), scorer, f"MissingSignal does not name {need!r}")
        else:
            _require(False, scorer, f"it needs {need!r}, but never reads it")


def _places(scorer: Scorer, signals: Signals) -> None:
    scores = _fresh(scorer).score(signals)
    whole = {name: scores[name].expand(w.shape) for name, w in signals.weights.items()}
    if scorer.elementwise:
        parts = [_fresh(scorer).score(part) for part in split(signals)]
        _require(
            _same(whole, joined(signals, parts)),
            scorer,
            "elementwise, but shards score differently",
        )
    if scorer.equivariant:
        moved = restored(signals, _fresh(scorer).score(permuted(signals)))
        # Sums over a tensor may round differently in another order.
        close = all(_close(whole[name], moved[name]) for name in whole)
        _require(close, scorer, "equivariant, but moved entries score differently")


def _close(a: Tensor, b: Tensor) -> bool:
    rtol = min(1e3 * torch.finfo(a.dtype).eps, 1e-2)
    return torch.allclose(a.double(), b.double(), rtol=rtol, atol=0)


def _memory(scorer: Scorer, signals: Signals) -> None:
    """Steps differ in number alone, so that any signals will do; the last lacks one gradient."""
    steps = [signals.at_step(signals.step + i) for i in range(1, 4)]
    tested, unseen = _fresh(scorer), _fresh(scorer)
    for step in steps[:2]:
        if scorer.accumulates:
            tested.observe(step)
    state = tested.state_dict()
    _plain(scorer, state)
    kept = copy.deepcopy(state)
    unseen.load_state_dict(state)
    now = tested.score(steps[2])
    shared = _storages(now.values()) & _storages(tested.score(steps[2]).values())
    _require(not shared, scorer, "it hands out the same memory twice")
    _require(_same(now, unseen.score(steps[2])), scorer, "a loaded state scores differently")
    if scorer.accumulates:
        _keeps_copies(scorer, signals)
        tested.observe(without_gradients(steps[2], next(iter(signals.weights))))
        unseen.observe(steps[2])
    _require(_equal(state, kept), scorer, "observing on changed a saved or loaded state")
    later = signals.at_step(signals.step + 4)
    for name, score in tested.score(later).items():
        _require(bool(score.isfinite().all()), scorer, f"scores of {name!r} are not finite later")
    tested.reset()
    same = _same(tested.score(signals), _fresh(scorer).score(signals))
    _require(same, scorer, "after reset() it does not score like new")


def _keeps_copies(scorer: Scorer, signals: Signals) -> None:
    """What was observed may be overwritten by the next backward pass."""
    borrowed = signals.rebuilt(lambda need, name, tensor: tensor.clone())
    theirs, ours = _fresh(scorer), _fresh(scorer)
    theirs.observe(borrowed)
    ours.observe(signals)
    for need in scorer.needs:
        for tensor in _tensors(borrowed, need):
            tensor.fill_(7)
    later = signals.at_step(signals.step + 1)
    same = _same(ours.score(later), theirs.score(later))
    _require(same, scorer, "it keeps an observed tensor instead of a copy")


def _plain(scorer: Scorer, value: Any) -> None:
    if isinstance(value, dict):
        _require(all(isinstance(key, str) for key in value), scorer, "its state has non-str keys")
        for item in value.values():
            _plain(scorer, item)
    elif isinstance(value, list):
        for item in value:
            _plain(scorer, item)
    else:
        plain = (Tensor, str, int, float, bool, type(None))
        _require(isinstance(value, plain), scorer, f"its state holds a {type(value).__name__}")


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)
