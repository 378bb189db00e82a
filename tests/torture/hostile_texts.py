"""Mutations of YAML texts: bytes, lines, tokens and structure, from all configurations as seeds."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import yaml

from sleepengine.files import strict_yaml

TOKENS = (
    "&a", "*a", "!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!set",
    "!<tag:x>", "<<: ", "<<: *a", "{", "}", "[", "]", "- ", ": ", ",", "? ", "|", ">", "%YAML 1.1",
    "%TAG ! tag:x", "---", "...", "\t", "\ufeff", "\x00", "\x85", "\u2028", '"', "'", '"\\x', "#",
    "~", "null", "true", "no", ".inf", "-.inf", ".nan", "1e999", "1e-400", "0x10", "012", "1_000",
    "1:30", "9" * 19, "9" * 25, "9" * 6000, "-1", "0", "1.5", "2**31", "1e18", "2147483648",
    "99999999999", "-9223372036854775808", "50%", "150%", "-5ep", "3ep50it", "1e9ep", "it", "ep",
    "[" * 40, "{a: " * 40, "- " * 40, "a" * 9000, "__class__", "__init__", "os.system", "eval",
    "../../etc/passwd", "${HOME}", "{{ 7 * 7 }}", "\U0001f600", "é",
)  # fmt: skip
KEYS = (
    "name", "experiment", "data", "model", "train", "seeds", "engine", "rules", "lottery", "when",
    "who", "what", "scorer", "pools", "amount", "units", "length", "batch_size", "optimizer",
    "lr_schedule", "evaluate", "levels", "each_level", "arms", "params", "sizes", "width", "depth",
    "heads", "classes", "_target_", "__import__", "self", "args", "kwargs", "folder", "seed",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 64, 10**6, 10**9, 10**18, -(10**18), 0.0, 0.5, 1.5, -0.1,
    1e-300, 1e300, "", "a", "1ep", "100it", "50%", "0it", "999999999ep", "*", "[", "x" * 80,
    [], {}, [[]], [None], [0] * 50, {"a": {"b": {"c": 1}}}, [1, [2, [3, [4]]]], ["ticket"] * 3,
)  # fmt: skip


def mutated(texts: Sequence[str], names: Sequence[str], chance: random.Random) -> bytes:
    """One hostile file; `names` are words that configurations use."""
    text = chance.choice(texts)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        text = chance.choice(_KINDS)(text, texts, names, chance)
        if len(text) > 300_000:
            text = text[:300_000]
    raw = text.encode("utf-8", errors="surrogatepass")
    if chance.random() < 0.25:
        raw = _bytes(raw, chance)
    return raw


def _bytes(raw: bytes, chance: random.Random) -> bytes:
    made = bytearray(raw or b" ")
    for _ in range(chance.choice((1, 2, 10))):
        at = chance.randrange(len(made))
        what = chance.randrange(4)
        if what == 0:
            made[at] ^= 1 << chance.randrange(8)
        elif what == 1:
            made[at:at] = bytes(chance.randrange(256) for _ in range(chance.choice((1, 3))))
        elif what == 2 and len(made) > 1:
            del made[at : at + chance.choice((1, 5, 50))]
            made = made or bytearray(b" ")
        else:
            made[at] = chance.randrange(256)
    return bytes(made)


def _lines(text: str, texts: Sequence[str], names: Sequence[str], chance: random.Random) -> str:
    lines = text.split("\n")
    at = chance.randrange(len(lines))
    what = chance.randrange(6)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, lines[at])
    elif what == 2:
        lines[at] = " " * chance.randrange(1, 5) + lines[at]
    elif what == 3:
        lines[at] = lines[at].lstrip()
    elif what == 4:
        lines.insert(at, chance.choice(chance.choice(texts).split("\n")))
    else:
        lines[at : at + 1] = [lines[at]] * chance.choice((2, 30, 400))
    return "\n".join(lines)


def _tokens(text: str, texts: Sequence[str], names: Sequence[str], chance: random.Random) -> str:
    parts = re.split(r"(\s+|[\[\]{},:]|-\s)", text)
    at = chance.randrange(len(parts))
    what = chance.randrange(5)
    new = chance.choice(names if chance.random() < 0.4 else TOKENS)
    if what == 0:
        parts[at] = new
    elif what == 1:
        parts.insert(at, new)
    elif what == 2:
        parts.insert(at, f" {new} ")
    elif what == 3:
        parts[at] = ""
    else:
        other = chance.randrange(len(parts))
        parts[at], parts[other] = parts[other], parts[at]
    return "".join(parts)


def _structure(text: str, texts: Sequence[str], names: Sequence[str], chance: random.Random) -> str:
    try:
        data = strict_yaml.load(text, "seed").data
    except ValueError:
        return text
    holders = [data] if isinstance(data, dict | list) else []
    for holder in holders:
        inside = holder.values() if isinstance(holder, dict) else holder
        holders += [one for one in inside if isinstance(one, dict | list)]
    if holders:
        _change(chance.choice(holders), holders, names, chance)
    try:
        return yaml.dump(data, Dumper=_Dumper, width=10**6, allow_unicode=True)
    except (yaml.YAMLError, RecursionError):
        return text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _change(
    holder: Any, holders: Sequence[Any], names: Sequence[str], chance: random.Random
) -> None:
    places = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    value = _value(holders, names, chance)
    what = chance.randrange(5)
    if not places or what == 0:
        if isinstance(holder, dict):
            holder[chance.choice(KEYS if chance.random() < 0.6 else names)] = value
        else:
            holder.append(value)
        return
    place = chance.choice(places)
    if what == 1:
        del holder[place]
    elif what == 2 and isinstance(holder, dict):
        holder[chance.choice(KEYS if chance.random() < 0.5 else names)] = holder.pop(place)
    elif what == 3:
        holder[place] = [_plain(holder[place])] * chance.choice((1, 2, 100))
    else:
        holder[place] = value


def _value(holders: Sequence[Any], names: Sequence[str], chance: random.Random) -> Any:
    kind = chance.randrange(4)
    if kind == 0:
        return chance.choice(names)
    if kind == 1:
        return {chance.choice(names): chance.choice(VALUES)}
    if kind == 2:
        return _plain(chance.choice(holders))
    return _plain(chance.choice(VALUES))


def _plain(value: Any) -> Any:
    """A copy, so that nothing holds itself."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


_KINDS = (_lines, _tokens, _tokens, _structure, _structure)
