"""Named masks as differences: each is the XOR with the older mask that it differs from least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from sleepengine.errors import StateError
from sleepengine.masks import bits as packed
from sleepengine.masks.coded_bits import decode, encode, read_coded
from sleepengine.masks.saved import section


@final
@dataclass(frozen=True)
class _Link:
    """One mask: the older mask it is kept against (None: nothing set), and the coded XOR."""

    base: str | None
    coded: Mapping[str, Tensor]
    numels: Mapping[str, int]


@final
class DeltaChain:
    """Name -> packed bits by parameter; a parameter without a set bit has no entry.

    >>> bits = {"w": torch.tensor([255, 255, 1], dtype=torch.uint8)}
    >>> chain = DeltaChain()
    >>> chain.put("a", bits)
    >>> chain.put("b", bits)
    >>> torch.equal(chain.get("b")["w"], bits["w"]), chain.nbytes()  # "b" costs nothing
    (True, 4)
    """

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}

    def put(self, name: str, bits: Mapping[str, Tensor]) -> None:
        """Keep bits under a name, over an older mask of that name, as the newest."""
        if name in self._links:
            self.drop(name)
        here = {one: value.cpu() for one, value in bits.items() if packed.any_set(value)}
        self._links[name] = self._link(here, list(self._links))

    def drop(self, name: str) -> None:
        """Forget a mask; those kept against it are kept against another."""
        order = list(self._links)
        leaning = {n: self.get(n) for n, link in self._links.items() if link.base == name}
        del self._links[name]
        for other, bits in leaning.items():
            # Only older masks may be a base, so that no circle arises.
            older = [n for n in order[: order.index(other)] if n != name]
            self._links[other] = self._link(bits, older)

    def get(self, name: str) -> dict[str, Tensor]:
        """The bits of one mask, along the chain of its bases."""
        found: dict[str, Tensor] = {}
        at: str | None = name
        while at is not None:
            link = self._links[at]
            for one, coded in link.coded.items():
                bits = decode(coded, link.numels[one], f"mask {at!r}, {one!r}")
                found[one] = packed.bit_xor(found[one], bits) if one in found else bits
            at = link.base
        return {one: bits for one, bits in found.items() if packed.any_set(bits)}

    def __contains__(self, name: object) -> bool:
        return name in self._links

    def __iter__(self) -> Iterator[str]:
        return iter(self._links)

    def __len__(self) -> int:
        return len(self._links)

    def nbytes(self) -> int:
        """Bytes of all coded differences."""
        return sum(c.numel() for link in self._links.values() for c in link.coded.values())

    def state_dict(self) -> dict[str, Any]:
        """Name -> {"base": name or None, "coded": {parameter: uint8 tensor}}, oldest first."""
        return {
            name: {"base": link.base, "coded": {n: c.clone() for n, c in link.coded.items()}}
            for name, link in self._links.items()
        }

    def _link(self, bits: Mapping[str, Tensor], among: list[str]) -> _Link:
        base, best = None, dict(bits)
        fewest = sum(packed.count(one) for one in bits.values())
        for name in among:
            differs = _xor(bits, self.get(name))
            count = sum(packed.count(one) for one in differs.values())
            if count < fewest:
                base, best, fewest = name, differs, count
        # A packed length does not tell how many entries there are; whole bytes will do here.
        return _Link(
            base,
            {name: encode(one) for name, one in best.items()},
            {name: 8 * one.numel() for name, one in best.items()},
        )


def read_chain(state: object, shapes: Mapping[str, torch.Size]) -> DeltaChain:
    """A chain from its saved state, checked in every point; the state is only read.

    Raises:
        StateError: a name, base or bits do not fit.
    """
    if not isinstance(state, Mapping):
        raise StateError(f"masks must be a dict, got {type(state).__name__}")
    chain = DeltaChain()
    for name, entry in state.items():
        where = f"mask {name!r}"
        fields = section(entry, ["base", "coded"], where)
        base = fields["base"]
        known = base is None or (isinstance(base, str) and base in chain)
        if not isinstance(name, str) or not known:
            raise StateError(f"{where} differs from {base!r}, which does not come before it")
        coded = read_coded(fields["coded"], shapes, where)
        numels = {one: 8 * packed.byte_length(shapes[one].numel()) for one in coded}
        chain._links[name] = _Link(base, coded, numels)
    return chain


def _xor(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The bits that differ, by parameter; what is the same has no entry."""
    found = {name: bits for name, bits in a.items() if name not in b}
    found |= {name: bits for name, bits in b.items() if name not in a}
    for name in a.keys() & b.keys():
        found[name] = packed.bit_xor(a[name], b[name])
    return {name: bits for name, bits in sorted(found.items()) if packed.any_set(bits)}
