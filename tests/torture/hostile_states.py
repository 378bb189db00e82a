"""Mutations of saved states and of container files, each with a right sha256 over what it says."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import struct
from typing import Any

import torch
from torch import Tensor

from sleepengine.files import container

HEAD = struct.Struct("<8sIQQ")
LEAVES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 2**31, 2**62, -(2**63), 10**30, 0.0, -0.5, 1e308, float("nan"),
    float("inf"), "", "w", "fc1.weight", "x" * 3000, b"", b"\x00", [], {}, (), [[]], [None],
    {"a": 1}, {0: {}}, [0] * 100,
)  # fmt: skip
DTYPES = (torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool, torch.complex64,
          torch.float16, torch.int32)  # fmt: skip


def mutated(state: Any, chance: random.Random) -> Any:
    """A copy of a saved state with something changed at random places."""
    state = copy.deepcopy(state)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        holder, place = _somewhere(state, chance)
        what = chance.randrange(6)
        value = holder[place]
        if isinstance(value, Tensor) and chance.random() < 0.8:
            holder[place] = _tensor(value, chance)
        elif what == 0 and isinstance(holder, dict):
            del holder[place]
        elif what == 1 and isinstance(holder, dict):
            holder[chance.choice(("x", "", "fc1.weight", 0, -1, 10**20))] = value
        elif what == 2 and isinstance(holder, dict):
            holder[f"{place}x" if isinstance(place, str) else place + 1] = holder.pop(place)
        elif what == 3:
            other, there = _somewhere(state, chance)
            holder[place] = copy.deepcopy(other[there])
        elif type(value) in (int, float) and chance.random() < 0.6:
            holder[place] = value + chance.choice((-1, 1, 0.5, 10**6, -(10**6)))
        else:
            holder[place] = copy.deepcopy(chance.choice(LEAVES))
    return state


def _somewhere(state: Any, chance: random.Random) -> tuple[Any, Any]:
    """A dict or list inside the state, and a place in it; deep places are as likely as others."""
    while True:
        holder = state
        while True:
            places = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not places:
                break
            place = chance.choice(places)
            inner = holder[place]
            if not isinstance(inner, dict | list) or not inner or chance.random() < 0.15:
                return holder, place
            holder = inner


def _tensor(value: Tensor, chance: random.Random) -> Tensor:
    what = chance.randrange(7)
    flat = value.reshape(-1)
    if what == 0:
        return value.to(chance.choice(DTYPES))
    if what == 1:
        return flat
    if what == 2:
        return flat[: chance.randrange(value.numel() + 1)]
    if what == 3:
        return torch.cat([flat, flat[:1]])
    if what == 4:
        return value.unsqueeze(0)
    if value.numel() == 0:
        return torch.zeros(chance.choice((1, 3)), dtype=value.dtype)
    made = flat.clone()
    raw = made.view(torch.uint8) if value.dtype is not torch.bool else made
    at = chance.randrange(raw.numel())
    raw[at] = raw[at] ^ (1 if value.dtype is torch.bool else 1 << chance.randrange(8))
    return made.reshape(value.shape)


def forged(good: bytes, chance: random.Random) -> bytes:
    """A container whose parts or lengths are changed, with a right digest of what is there."""
    _, form, texts, bodies = HEAD.unpack(good[: HEAD.size])
    start = HEAD.size + 32
    text, body = good[start : start + texts], good[start + texts :]
    what = chance.randrange(7)
    if what == 0:
        text = _raw(text, chance)
    elif what == 1:
        body = _raw(body, chance)
    elif what == 2:
        text = _json(text, chance)
    elif what == 3:
        body = _header(body, chance)
    elif what == 4:
        form = chance.choice((0, 2, 2**31, form))
        text = text.replace(b'"version":1', b'"version":' + chance.choice((b"2", b"-1", b"1e9")))
    elif what == 5:
        texts = chance.choice((0, texts - 1, texts + 1, 2**63, 2**64 - 1))
        head = HEAD.pack(container.MAGIC, form, texts, chance.choice((bodies, 0, 2**64 - 1)))
        return head + hashlib.sha256(head + text + body).digest() + text + body
    else:
        deep = chance.choice((70, 2000, 100_000))
        text = chance.choice((b"[" * deep + b"]" * deep, b'{"dict":' * deep, b'{"a":1,"a":1}',
                              b"9" * 5000, b'{"kind":"run","version":1,"state":' + b"[" * deep
                              + b"]" * deep + b"}"))  # fmt: skip
    head = HEAD.pack(container.MAGIC, form, len(text), len(body))
    return head + hashlib.sha256(head + text + body).digest() + text + body


def _raw(part: bytes, chance: random.Random) -> bytes:
    made = bytearray(part)
    for _ in range(chance.choice((1, 2, 20))):
        if made:
            made[chance.randrange(min(len(made), 4000))] = chance.randrange(256)
    return bytes(made[: chance.choice((len(made), chance.randrange(len(made) + 1)))])


def _json(text: bytes, chance: random.Random) -> bytes:
    """The JSON part with one of its values changed."""
    top = json.loads(text)
    for _ in range(chance.choice((1, 3))):
        holder, place = _somewhere(top, chance)
        holder[place] = chance.choice(
            (None, -1, 10**25, 1e300, "x", [], {}, {"tensor": ["0", "float32", [2**62, 4]]},
             {"tensor": ["0", "complex64", [2**62, 2**62]]},
             {"tensor": ["1", "float8_e5m2", [0, 2**63]]},
             {"bytes": "===="}, {"int": "0x" + "f" * 9000}, {"dict": [[1, 2], [1, 2]]},
             {"tuple": {}}, {"float": "7ff8000000000000"}, {"counter": [["a", {"dict": []}]]})
        )  # fmt: skip
    return json.dumps(top).encode()


def _header(body: bytes, chance: random.Random) -> bytes:
    """A safetensors body whose header lies."""
    size = struct.unpack("<Q", body[:8])[0]
    header, data = json.loads(body[8 : 8 + size]), body[8 + size :]
    names = list(header)
    if names:
        entry = header[chance.choice(names)]
        what = chance.randrange(6)
        if what == 0:
            entry["dtype"] = chance.choice(
                ("F32", "F64", "I64", "BOOL", "F8_E4M3", "F4", "X", "C64")
            )
        elif what == 1:
            entry["shape"] = chance.choice(
                ([], [0], [2**62, 4], [-1], [2**64], [1.5], "x", [1] * 70)
            )
        elif what == 2:
            entry["data_offsets"] = chance.choice(([0, 0], [0, 2**63], [8, 4], [], [-1, 4], "x"))
        elif what == 3:
            header[chance.choice(("", "x", "__metadata__", "0"))] = chance.choice((entry, {}, "x"))
        elif what == 4:
            del header[names[0]]
        else:
            header = {"__metadata__": {"format": "pt", "x": "y" * 5000}, **header}
    text = json.dumps(header).encode()
    size = len(text) if chance.random() < 0.7 else chance.choice((0, 2**63, len(text) - 1, 10**9))
    return struct.pack("<Q", size) + text + data
