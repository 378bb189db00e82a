"""Noise is a pure function of (seed, step, name, sample)."""

from __future__ import annotations

import torch

from sleepengine.learned.noise import uniform


def test_values_are_fixed_for_all_time():
    # 24 top bits of splitmix64 streams that start at blake2b digests: no process can differ.
    drawn = uniform(0, 1, "fc1.weight", (3,))
    assert (drawn * 2**24).tolist() == [13953100.0, 1570454.0, 16418340.0]


def test_every_part_of_the_key_counts():
    base = uniform(0, 1, "w", (50,))
    assert torch.equal(base, uniform(0, 1, "w", (50,)))
    for other in [
        uniform(1, 1, "w", (50,)),
        uniform(0, 2, "w", (50,)),
        uniform(0, 1, "v", (50,)),
        uniform(0, 1, "w", (50,), sample=1),
    ]:
        assert not (base == other).any()


def test_global_random_state_is_untouched():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    uniform(0, 1, "w", (50,))
    assert torch.equal(state, torch.get_rng_state())


def test_zero_is_lifted_so_that_it_has_a_logarithm(monkeypatch):
    monkeypatch.setattr(
        "sleepengine.learned.noise.counter_uniform",
        lambda *args, shape, dtype, **kw: torch.zeros(shape, dtype=dtype),
    )
    assert uniform(0, 0, "w", (1,)).item() == 2.0**-25
    assert uniform(0, 0, "w", (1,), dtype=torch.float64).item() == 2.0**-54
