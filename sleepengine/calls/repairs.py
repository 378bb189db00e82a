"""Put right what others wrote over sleeping and frozen entries, and say how much it was."""

from __future__ import annotations

import torch

from sleepengine.actions.live import Live
from sleepengine.enforcement.hooks import Enforcer
from sleepengine.enforcement.leaks import Leak, find_leak
from sleepengine.masks import bits


@torch.no_grad()
def repair(live: Live, enforcer: Enforcer) -> dict[str, int]:
    """+0.0 at sleepers, kept values at frozen entries, held statistics; name -> entries put right.

    Frozen values are known while the engine is attached. Parked values are not touched.
    """
    with live.whole():
        statistics = _moved_statistics(live)
        if enforcer.is_attached:
            leaks = enforcer.leaks()
            enforcer.repair()
        else:
            leaks = _clear_sleepers(live)
        live.held.repair()
    torch.clear_autocast_cache()  # a cached low-precision copy would still hold the other values
    return {**{leak.name: leak.asleep + leak.frozen for leak in leaks}, **statistics}


def _clear_sleepers(live: Live) -> list[Leak]:
    """What the store alone knows, while no hook keeps anything."""
    leaks: list[Leak] = []
    for name in live.store.entries():
        asleep, parameter = live.store.asleep_bits(name), live.params[name]
        leak = find_leak(name, parameter, asleep, None)
        if leak is not None and asleep is not None:
            parameter.masked_fill_(bits.unpack(asleep, parameter.shape), 0)
            leaks.append(leak)
    return leaks


def _moved_statistics(live: Live) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, (mask, values) in live.held.kept().items():
        buffer = live.held.buffer(name)
        differs = (buffer != values.to(buffer)) & mask.to(buffer.device)
        if bool(differs.any()):
            found[name] = int(differs.sum())
    return found
