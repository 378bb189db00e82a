"""Removing variables from quadratics, given blocks of the inverse of their matrix.

Shapes throughout: `inverse` [k, B, B] holds k symmetric blocks V = H^-1; `values` and the bool
`chosen` are [k, B].
"""

from __future__ import annotations

import torch
from torch import Tensor


def only(inverse: Tensor, chosen: Tensor) -> Tensor:
    """The chosen rows and columns of each block; the identity elsewhere."""
    both = chosen[:, :, None] & chosen[:, None, :]
    eye = torch.eye(chosen.shape[1], dtype=inverse.dtype, device=inverse.device)
    return torch.where(both, inverse, eye)


def without(inverse: Tensor, asleep: Tensor) -> Tensor:
    """V - V_S (V_SS)^-1 V_S': the inverse of H without the rows and columns S.

    The rows and columns S themselves become those of the identity, so that nothing divides by 0.
    Blocks without S are taken over; if there are no others, so is the tensor itself.

    >>> v = torch.linalg.inv(torch.tensor([[[2.0, 1.0], [1.0, 4.0]]]))
    >>> without(v, torch.tensor([[True, False]]))
    tensor([[[1.0000, 0.0000],
             [0.0000, 0.2500]]])
    """
    some = asleep.any(1).nonzero()[:, 0]
    if not len(some):
        return inverse
    found = inverse.clone()
    for part in some.split(at_once(inverse)):
        found[part] = _without(inverse[part], asleep[part])
    return found


def _without(inverse: Tensor, asleep: Tensor) -> Tensor:
    rows = inverse * asleep[:, :, None]
    rest = inverse - rows.mT @ torch.linalg.solve(only(inverse, asleep), rows)
    keep = ~(asleep[:, :, None] | asleep[:, None, :])
    eye = torch.eye(asleep.shape[1], dtype=inverse.dtype, device=inverse.device)
    return torch.where(keep, rest, eye * asleep[:, :, None])


def remove(inverse: Tensor, values: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Loss 1/2 w_Q' (V_QQ)^-1 w_Q and survivors' update -V_Q (V_QQ)^-1 w_Q, of each block.

    Returns: losses [k], and updates [k, B] that are 0 where chosen.

    >>> v = torch.linalg.inv(torch.tensor([[[2.0, 1.0], [1.0, 4.0]]]))
    >>> remove(v, torch.tensor([[1.0, 1.0]]), torch.tensor([[True, False]]))
    (tensor([0.8750]), tensor([[0.0000, 0.2500]]))
    """
    losses, updates = values.new_zeros(len(values)), torch.zeros_like(values)
    for part in chosen.any(1).nonzero()[:, 0].split(at_once(inverse)):
        losses[part], updates[part] = _remove(inverse[part], values[part], chosen[part])
    return losses, updates


def _remove(inverse: Tensor, values: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    w = values.masked_fill(~chosen, 0)
    x = torch.linalg.solve(only(inverse, chosen), w[..., None])
    update = -(inverse @ x).squeeze(-1)
    return 0.5 * (w * x.squeeze(-1)).sum(-1), update.masked_fill(chosen, 0)


def at_once(blocks: Tensor) -> int:
    """How many blocks stay in cache, with what is made of them.

    >>> at_once(torch.empty(1000, 64, 64))
    64
    """
    return max(1, (1 << 18) // max(1, blocks.shape[1:].numel()))


def single_losses(diagonal: Tensor, values: Tensor) -> Tensor:
    """w_q^2 / (2 V_qq), entry by entry."""
    return values.square() / (2 * diagonal)
