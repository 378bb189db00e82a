"""The comparison of both runs of a pair, without any tolerance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .pair import Pair

WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def words(tensor: Tensor) -> Tensor:
    """The bit pattern, so that -0.0 and NaN payloads count."""
    whole = tensor.detach().clone(memory_format=torch.contiguous_format)
    return whole.view(WORDS[whole.element_size()]) if whole.is_floating_point() else whole


def check(pair: Pair) -> None:
    """Bit for bit: weights, masks, parked zeros, and the optimizer state of what trains."""
    masks, nodes = pair.hand.masks, pair.engine.live.nodes.store
    full = pair.model.state_dict()
    for name, by_hand in pair.hand.params.items():
        asleep, stays = masks.of("asleep", name), masks.of("frozen", name)
        awake, frozen = pair.engine.store.awake(name), pair.engine.store.frozen(name)
        assert torch.equal(_none(awake, asleep, True), ~asleep), f"{name}: masks of sleep"
        assert torch.equal(_none(frozen, stays, False), stays), f"{name}: masks of freezing"
        bits = words(full[name])
        assert not bits[asleep].any(), f"{name}: a sleeper is not +0.0"
        kept = stays & ~asleep
        assert torch.equal(bits[kept], words(pair.hand.values[name])[kept]), f"{name}: frozen"
        assert torch.equal(bits, words(by_hand)), f"{name}: weights"
    for kind, found in (("asleep", nodes.awake("hidden")), ("frozen", nodes.frozen("hidden"))):
        wanted = masks.nodes[kind]
        found = None if found is None else (~found if kind == "asleep" else found)
        assert torch.equal(_none(found, wanted, False), wanted), f"nodes: {kind}"
    assert pair.engine.live.event == pair.hand.event, "number of the last transaction"
    check_states(pair)
    if not pair.engine.compacted:
        pair.engine.check()


def check_states(pair: Pair) -> None:
    """The optimizer's state_dict: equal where weights train, true values where they do not."""
    ours = pair.optimizer.state_dict()["state"]
    theirs = pair.hand.optimizer.state_dict()["state"]
    assert list(ours) == list(theirs), "whose state there is"
    for place, name in enumerate(pair.hand.params):
        if place in ours:
            assert list(ours[place]) == list(theirs[place]), f"{name}: keys of state"
            for key, value in theirs[place].items():
                trains = ~pair.hand.masks.still(name)
                told = f"{name}: state {key!r}"
                assert _same(ours[place][key], value, trains), told


def _none(found: Tensor | None, like: Tensor, value: bool) -> Tensor:
    return torch.full_like(like, value) if found is None else found


def _same(ours: Any, theirs: Any, trains: Tensor) -> bool:
    if isinstance(theirs, (list, tuple)):
        return all(_same(a, b, trains) for a, b in zip(ours, theirs, strict=True))
    if not isinstance(theirs, Tensor):
        return bool(ours == theirs)
    a, b = (one.to_dense() if one.is_sparse else one for one in (ours, theirs))
    if a.shape == trains.shape:
        a, b = a[trains], b[trains]
    return torch.equal(words(a), words(b))
