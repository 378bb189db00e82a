"""The slow reference: a plain run whose masks, values and optimizer state are written by hand.

Nothing of the engine is used. Every weight has two bits of its own for each kind of mask, one as a
weight and one through its node, and a kind holds where either is set.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from .masks import KINDS, Masks, Waking, copied, spread

SECOND = {
    "exp_avg_sq",
    "max_exp_avg_sq",
    "exp_inf",
    "square_avg",
    "sum",
    "acc_delta",
    "variance",
}


def rows(like: Tensor, values: Tensor) -> Tensor:
    """A sparse tensor with the same rows and other values."""
    made = torch.sparse_coo_tensor(like.indices(), values, like.shape, check_invariants=True)
    return made.coalesce()


class Hand:
    """A model and its optimizer; masks are turned in place."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler) -> None:
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self.params = dict(model.named_parameters())
        self.masks = Masks(
            {
                kind: {n: torch.zeros_like(p, dtype=torch.bool) for n, p in self.params.items()}
                for kind in KINDS
            }
        )
        self.values = {n: p.detach().clone() for n, p in self.params.items()}  # parked, or frozen
        self.kept: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}  # state, and where it is known
        self.event = 0  # numbers the transactions; fresh draws follow it
        self.init = {n: p.detach().clone() for n, p in self.params.items()}
        self.start = copied((optimizer.state_dict(), scheduler.state_dict()))

    # --- masks ---------------------------------------------------------------------------------

    def change(
        self, layer: str, kind: str, name: str, mask: Tensor, on: bool, waking: Waking
    ) -> None:
        """Set or clear bits of one layer; `name` is a parameter, or ignored for nodes."""
        after = copied(self.masks)
        bits = after.nodes if layer == "nodes" else after.weights[kind]
        key = kind if layer == "nodes" else name
        bits[key] = bits[key] | mask if on else bits[key] & ~mask
        self.turn(after, waking)

    @torch.no_grad()
    def turn(self, after: Masks, waking: Waking) -> None:
        """Make the masks equal to `after`."""
        before, self.masks = self.masks, after
        self.event += 1
        for name, param in self.params.items():
            was, now = before.of("asleep", name), after.of("asleep", name)
            froze, frozen = before.of("frozen", name), after.of("frozen", name)
            slept, woke = now & ~was, was & ~now
            capture = (slept & ~froze) | (frozen & ~froze & ~was)  # else its value is known
            self.values[name][capture] = param[capture]
            param[slept] = 0.0
            self.forget_history(slept & froze)
            values = self.woken(name, waking)
            param[woke] = values[woke]
            self.values[name][woke & frozen] = values[woke & frozen]
            self.rest(name, after.still(name) & ~before.still(name))
            self.rise(name, before.still(name) & ~after.still(name), waking.state)
            self.mask_gradient(name)

    def woken(self, name: str, waking: Waking) -> Tensor:
        """The values that weights of one parameter wake with."""
        word = waking.outgoing if name in ("fc2.weight", "right.weight") else waking.value
        return {
            "parked": self.values[name],
            "zero": torch.zeros_like(self.values[name]),
            "original": self.init[name],
        }[word]

    # --- optimizer state -----------------------------------------------------------------------

    def state(self, name: str) -> dict[str, Tensor]:
        """State tensors with one entry for each weight."""
        param = self.params[name]
        state = self.optimizer.state.get(param, {})
        return {k: v for k, v in state.items() if isinstance(v, Tensor) and v.shape == param.shape}

    def write(self, name: str, key: str, value: Tensor, where: Tensor, new: Tensor | float) -> None:
        """state[where] = new."""
        new = torch.as_tensor(new, dtype=value.dtype).expand(value.shape)
        if value.is_sparse:  # only ever zeros
            value = value.coalesce()
            gone = where[value.indices()[0]]
            values = value.values().masked_fill(gone, 0.0)
            again = torch.sparse_coo_tensor(
                value.indices(), values, value.shape, check_invariants=True
            )
            self.optimizer.state[self.params[name]][key] = again.coalesce()
        else:
            value[where] = new[where]

    def fresh(self, name: str, key: str) -> Tensor | float:
        """What an entry of state is before the first step."""
        (group,) = self.optimizer.param_groups
        if key == "ax":
            return self.params[name].detach()
        if key == "sum":
            return float(group["initial_accumulator_value"])
        return float(group["lr"]) if key == "step_size" else 0.0

    def forget_history(self, where: Tensor) -> None:
        """Curvature pairs of all weights together know no single weight."""
        if bool(where.any()) and any("old_dirs" in s for s in self.optimizer.state.values()):
            self.optimizer.state.clear()

    def rest(self, name: str, where: Tensor) -> None:
        """Weights stopped training: their state is noted, first moments become zero."""
        self.forget_history(where)
        for key, value in self.state(name).items():
            if key == "step_size":
                continue
            if not value.is_sparse:
                noted, known = self.kept.setdefault(
                    (name, key), (torch.zeros_like(value), torch.zeros_like(where))
                )
                noted[where], known[where] = value[where], True
            if key not in SECOND:
                self.write(name, key, value, where, 0.0)

    def rise(self, name: str, where: Tensor, policy: str) -> None:
        """Weights train again."""
        self.forget_history(where)
        for key, value in self.state(name).items():
            noted, known = self.kept.get((name, key), (value, torch.zeros_like(where)))
            if key == "step_size":
                known = torch.ones_like(where)
            if policy == "zero" or (policy == "keep" and key not in SECOND | {"step_size"}):
                known = torch.zeros_like(where)
            self.write(name, key, value, where & ~known, self.fresh(name, key))
            if not value.is_sparse:
                self.write(name, key, value, where & known, noted)
        for key in list(self.kept):
            if key[0] == name:
                self.kept[key][1][where] = False

    # --- the other operations ------------------------------------------------------------------

    def mask_gradient(self, name: str) -> None:
        """No gradient where nothing trains."""
        grad, still = self.params[name].grad, self.masks.still(name)
        if grad is None:
            return
        if not grad.is_sparse:
            grad.masked_fill_(still, 0.0)
            return
        grad = grad.coalesce()
        values = grad.values().masked_fill(still[grad.indices()[0]], 0.0)
        self.params[name].grad = rows(grad, values)

    def mask_gradients(self) -> None:
        for name in self.params:
            self.mask_gradient(name)

    @torch.no_grad()
    def repair(self) -> None:
        """After a step: zeros where weights sleep, kept values where they are frozen."""
        for name, param in self.params.items():
            asleep = self.masks.of("asleep", name)
            param[asleep] = 0.0
            stays = self.masks.of("frozen", name) & ~asleep
            param[stays] = self.values[name][stays]

    @torch.no_grad()
    def reset(self, where: dict[str, Tensor], values: dict[str, str]) -> None:
        """Weights that may train get new values and fresh state."""
        self.event += 1
        for name, mask in where.items():
            here = mask & ~self.masks.still(name)
            self.forget_history(here)
            word = self.woken(name, Waking(values[name], values[name]))
            self.params[name][here] = word[here]
            for key, value in self.state(name).items():
                self.write(name, key, value, here, self.fresh(name, key))

    def nodes(self, mask: Tensor) -> dict[str, Tensor]:
        """Everything that belongs to nodes, by parameter."""
        return {name: spread(mask, name, param) for name, param in self.params.items()}

    @torch.no_grad()
    def rewind(self) -> None:
        """Back to the start, but for masks, parked values and frozen ones."""
        self.event += 1
        for name, param in self.params.items():
            goes = ~self.masks.still(name)
            param[goes] = self.init[name][goes]
        optimizer, scheduler = copied(self.start)
        self.optimizer.load_state_dict(optimizer)
        self.scheduler.load_state_dict(scheduler)
        self.kept = {}
        for name in self.params:
            self.rest(name, self.masks.still(name))

    def load_state(self) -> None:
        """What torch's own loading does to optimizer state, such as its types."""
        self.optimizer.load_state_dict(copied(self.optimizer.state_dict()))

    def remember(self) -> dict[str, Any]:
        """Everything, in memory of its own."""
        (group,) = self.optimizer.param_groups
        return copied(
            {
                "params": {n: p.detach() for n, p in self.params.items()},
                "state": {n: dict(self.optimizer.state.get(p, {})) for n, p in self.params.items()},
                "group": {k: v for k, v in group.items() if k != "params"},
                "scheduler": self.scheduler.state_dict(),
                "own": (self.masks, self.values, self.kept, self.event),
                "grads": {n: p.grad for n, p in self.params.items()},
            }
        )

    @torch.no_grad()
    def go_back(self, before: dict[str, Any], gradients: Collection[str] = ()) -> None:
        """Make everything what it was; other gradients than those named stay, masked."""
        before = copied(before)
        for name in gradients:
            self.params[name].grad = before["grads"][name]
        for name, param in self.params.items():
            param.copy_(before["params"][name])
            self.optimizer.state.pop(param, None)
            if before["state"][name]:
                self.optimizer.state[param] = before["state"][name]
        self.optimizer.param_groups[0].update(before["group"])
        self.scheduler.load_state_dict(before["scheduler"])
        self.masks, self.values, self.kept, self.event = before["own"]
        self.mask_gradients()
