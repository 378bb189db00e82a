"""Signals moved about, cut in two, or lacking a part: what the contract test compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from saliency.counter_random import counter_uniform
from saliency.signals import Signals


def _has_entry_per_weight(signals: Signals, name: str, tensor: Tensor) -> bool:
    weights = signals.weights
    return name in weights and tensor.shape == weights[name].shape


def _order(name: str, w: Tensor) -> Tensor:
    """The permutation that `permuted` applies to the entries of this weight."""
    return counter_uniform(0, step=0, name=name, shape=(w.numel(),), device=w.device).argsort()


def permuted(signals: Signals) -> Signals:
    """The entries of each weight in another order, and those of its signals alike."""

    def move(need: str, name: str, tensor: Tensor) -> Tensor:
        if not _has_entry_per_weight(signals, name, tensor):
            return tensor
        return tensor.reshape(-1)[_order(name, tensor)].reshape(tensor.shape)

    return signals.rebuilt(move)


def restored(signals: Signals, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scores of permuted signals, back in the places of the entries that they belong to."""
    out = {}
    for name, w in signals.weights.items():
        whole = scores[name].expand(w.shape).reshape(-1)
        out[name] = torch.empty_like(whole)
        out[name][_order(name, w)] = whole
        out[name] = out[name].reshape(w.shape)
    return out


def split(signals: Signals) -> tuple[Signals, Signals]:
    """The upper and lower rows of each weight as two processes would hold them."""
    cut = {name: len(w) // 2 for name, w in signals.weights.items() if w.dim()}

    def upper(need: str, name: str, tensor: Tensor) -> Tensor:
        shared = name not in cut or not _has_entry_per_weight(signals, name, tensor)
        return tensor if shared else tensor[: cut[name]]

    def lower(need: str, name: str, tensor: Tensor) -> Tensor:
        shared = name not in cut or not _has_entry_per_weight(signals, name, tensor)
        return tensor if shared else tensor[cut[name] :]

    offsets = {
        name: signals.offsets.get(name, 0) + signals.weights[name][:rows].numel()
        for name, rows in cut.items()
    }
    return signals.rebuilt(upper), signals.rebuilt(lower, offsets=offsets)


def joined(signals: Signals, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Scores of both halves as one; a weight without rows is in each half."""
    return {
        name: torch.cat([part[name] for part in parts]) if w.dim() else parts[0][name]
        for name, w in signals.weights.items()
    }


def without_gradients(signals: Signals, of: str) -> Signals:
    """As on a step that did not use the parameter `of`."""

    def drop(need: str, name: str, tensor: Tensor) -> Tensor | None:
        return None if name == of and need in ("grads", "moments") else tensor

    return signals.rebuilt(drop)
