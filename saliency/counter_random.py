"""Random numbers that are a function of their place: no generator, no order, no process count.

The i-th entry of the tensor `name` gets output i of the splitmix64 stream whose start is a
digest of (seed, step, name, use). A shard of a tensor computes its own entries from their place in
the whole tensor, so one process and many agree to the bit, and so do CPU and GPU.

Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Blocks bound the int64 scratch space to 4 MiB and keep it in cache.
_BLOCK = 1 << 18
_BITS = {torch.float32: 24, torch.float64: 53}


def _signed(value: int) -> int:
    """The int64 with the same 64 bits as `value`: torch wraps on overflow, Python does not."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def stream_key(seed: int, step: int, name: str, use: str = "") -> int:
    """The 64 bits that a stream starts from: a digest, hence the same in every process.

    `use` tells streams apart that agree in all else, such as those of two rules.

    >>> stream_key(0, 0, "fc.weight") == stream_key(0, 0, "fc.weight")
    True
    >>> stream_key(0, 1, "fc.weight") == stream_key(0, 0, "fc.weight")
    False
    >>> stream_key(0, 0, "fc.weight", "grow") == stream_key(0, 0, "fc.weight", "drop")
    False
    """
    text = f"{seed}\x1f{step}\x1f{name}" + (f"\x1f{use}" if use else "")
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _shift_right(z: Tensor, bits: int) -> Tensor:
    """Logical shift: int64 shifts copy the sign bit, which is masked off here."""
    return (z >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def splitmix64(key: int, first: int, count: int, device: torch.device) -> Tensor:
    """Outputs `first` to `first + count - 1` of the stream that starts at `key`.

    Returns: int64 tensor of shape [count] that carries the 64 bits of each output.

    >>> hex(splitmix64(0, 0, 1, torch.device("cpu")).item() & (2**64 - 1))
    '0xe220a8397b1dcdaf'
    """
    z = torch.arange(first + 1, first + count + 1, dtype=torch.int64, device=device)
    z.mul_(_GOLDEN).add_(_signed(key))
    z.bitwise_xor_(_shift_right(z, 30)).mul_(_FIRST)
    z.bitwise_xor_(_shift_right(z, 27)).mul_(_SECOND)
    return z.bitwise_xor_(_shift_right(z, 31))


def counter_uniform(
    seed: int,
    *,
    step: int,
    name: str,
    shape: Sequence[int],
    device: torch.device | str = "cpu",
    offset: int = 0,
    dtype: torch.dtype = torch.float32,
    use: str = "",
) -> Tensor:
    """u[i] = top bits of splitmix64(key(seed, step, name, use), offset + i), in [0, 1).

    Args:
        seed: Any integer.
        step: Any integer; another step gives other numbers.
        name: The parameter's name; another name gives other numbers.
        shape: Shape of the result; i counts its entries in row-major order.
        device: Where the result lives; the numbers do not depend on it.
        offset: Place of the first entry in the whole tensor, for a shard along the first axis.
        dtype: float32 (24 random bits) or float64 (53); the first is the second, truncated.
        use: What the numbers are for; another use gives other numbers.

    Raises:
        ValueError: `dtype` is another one, or `offset` is negative.

    >>> whole = counter_uniform(7, step=0, name="fc.weight", shape=(4, 3))
    >>> lower = counter_uniform(7, step=0, name="fc.weight", shape=(2, 3), offset=6)
    >>> torch.equal(whole[2:], lower)
    True
    >>> bool((whole >= 0).all() and (whole < 1).all())
    True
    """
    if dtype not in _BITS:
        raise ValueError(
            f"counter_uniform(dtype={dtype}): dtype must be torch.float32 or torch.float64."
        )
    if offset < 0:
        raise ValueError(f"counter_uniform(offset={offset}): offset must be 0 or more.")
    bits = _BITS[dtype]
    key = stream_key(seed, step, name, use)
    place = torch.device(device)
    count = math.prod(shape)
    out = torch.empty(count, dtype=dtype, device=place)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        z = splitmix64(key, offset + start, stop - start, place)
        out[start:stop] = _shift_right(z, 64 - bits)
    return out.mul_(2.0**-bits).reshape(tuple(shape))
