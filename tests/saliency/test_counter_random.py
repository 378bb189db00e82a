import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency import Random, Signals, counter_uniform
from saliency.counter_random import _BLOCK, splitmix64

BITS = (1 << 64) - 1


def slow_splitmix64(key, count):
    """The published algorithm, in Python integers."""
    out, state = [], key
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & BITS
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & BITS
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & BITS
        out.append(z ^ (z >> 31))
    return out


def slow_uniform(seed, step, name, count):
    text = f"{seed}\x1f{step}\x1f{name}".encode()
    key = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    return [(z >> 11) / 2**53 for z in slow_splitmix64(key, count)]


def test_published_outputs_of_seed_0():
    z = splitmix64(0, 0, 3, torch.device("cpu")).tolist()
    assert [v & BITS for v in z] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@settings(deadline=None)
@given(key=st.integers(0, BITS), first=st.integers(0, 50), count=st.integers(0, 50))
def test_equals_the_slow_reference(key, first, count):
    z = splitmix64(key, first, count, torch.device("cpu")).tolist()
    assert [v & BITS for v in z] == slow_splitmix64(key, first + count)[first:]


@settings(deadline=None)
@given(
    seed=st.integers(-(2**70), 2**70),
    step=st.integers(0, 10**9),
    name=st.text(max_size=20).filter(lambda text: text.isprintable()),
)
def test_uniform_equals_the_slow_reference(seed, step, name):
    u = counter_uniform(seed, step=step, name=name, shape=(2, 3), dtype=torch.float64)
    assert u.reshape(-1).tolist() == slow_uniform(seed, step, name, 6)


def test_another_use_is_another_stream():
    args = {"step": 4, "name": "w", "shape": (6,), "dtype": torch.float64}
    assert counter_uniform(9, **args, use="").tolist() == slow_uniform(9, 4, "w", 6)
    assert counter_uniform(9, **args, use="grow").tolist() == slow_uniform(9, 4, "w\x1fgrow", 6)


def test_numbers_are_pinned():
    """A change here changes every seeded run."""
    u = counter_uniform(0, step=0, name="fc1.weight", shape=(3,), dtype=torch.float64)
    assert u.tolist() == [0.20069822331755494, 0.7211355920824177, 0.28567543033953546]


def test_float32_is_float64_truncated():
    args = {"step": 1, "name": "w", "shape": (1000,)}
    wide = counter_uniform(5, **args, dtype=torch.float64)
    assert torch.equal(counter_uniform(5, **args).double(), (wide * 2**24).floor() / 2**24)


@pytest.mark.parametrize("rows", [1, 2, 5, 7])
def test_shards_are_parts_of_the_whole(rows):
    whole = counter_uniform(3, step=2, name="w", shape=(10, 3, 2))
    parts = [
        counter_uniform(3, step=2, name="w", shape=(min(rows, 10 - r), 3, 2), offset=6 * r)
        for r in range(0, 10, rows)
    ]
    assert torch.equal(whole, torch.cat(parts))


def test_blocks_join_without_a_seam():
    n = _BLOCK + 10
    u = counter_uniform(0, step=0, name="w", shape=(n,))
    assert torch.equal(u[-20:], counter_uniform(0, step=0, name="w", shape=(20,), offset=n - 20))
    assert u.unique().numel() > 0.98 * n


def test_looks_uniform_and_uncorrelated():
    n = 1 << 16
    streams = torch.stack(
        [
            counter_uniform(seed, step=step, name=name, shape=(n,), dtype=torch.float64)
            for seed, step, name in [(0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b")]
        ]
    )
    assert ((streams >= 0) & (streams < 1)).all()
    assert (streams.mean(1) - 0.5).abs().max() < 4 * (1 / 12 / n) ** 0.5
    for stream in streams:
        expected = n / 64
        counts = torch.histc(stream, bins=64, min=0, max=1)
        # chi-square with 63 degrees of freedom exceeds 117 once in 30,000.
        assert ((counts - expected) ** 2 / expected).sum() < 117
    off_diagonal = torch.corrcoef(streams) - torch.eye(4, dtype=torch.float64)
    assert off_diagonal.abs().max() < 4 / n**0.5
    lagged = torch.corrcoef(torch.stack([streams[0, 1:], streams[0, :-1]]))[0, 1]
    assert lagged.abs() < 4 / n**0.5


def test_empty_and_scalar_shapes():
    assert counter_uniform(0, step=0, name="w", shape=(0, 3)).shape == (0, 3)
    assert counter_uniform(0, step=0, name="w", shape=()).dim() == 0


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"dtype=torch.bfloat16.*float32 or torch.float64"):
        counter_uniform(0, step=0, name="w", shape=(1,), dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"offset=-1.*0 or more"):
        counter_uniform(0, step=0, name="w", shape=(1,), offset=-1)


def test_random_scorer_takes_its_seed_or_that_of_the_signals():
    signals = Signals(weights={"w": torch.zeros(5)}, seed=3)
    assert torch.equal(Random().score(signals)["w"], Random(seed=3).score(signals)["w"])
    assert not torch.equal(Random().score(signals)["w"], Random(seed=4).score(signals)["w"])


def test_random_scorers_of_two_rules_are_uncorrelated():
    n = 1 << 14
    one, other = (
        Random(seed=5).score(Signals(weights={"w": torch.zeros(n)}, rule=rule))["w"]
        for rule in ("drop", "grow")
    )
    assert torch.corrcoef(torch.stack([one, other]))[0, 1].abs() < 4 / n**0.5


def test_random_scorer_counts_logically_whatever_the_memory_layout():
    w = torch.zeros(4, 3)
    flat = Random().score(Signals(weights={"w": w}))["w"]
    turned = Random().score(Signals(weights={"w": torch.zeros(3, 4).t()}))["w"]
    assert torch.equal(flat, turned)


@pytest.mark.parametrize("seed", [1.0, "1", True])
def test_random_scorer_refuses_other_seeds(seed):
    with pytest.raises(TypeError, match=r"Random\(seed=.*must be an integer or None"):
        Random(seed=seed)
