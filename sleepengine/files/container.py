"""Our file format for runs and masks: a checked header, JSON, and a safetensors body.

    8 bytes   magic
    4 bytes   format version, little endian like all numbers here
    8 bytes   length of the JSON part
    8 bytes   length of the body
    32 bytes  sha256 of everything else in the file
    JSON      {"kind": ..., "version": ..., "state": ...}, ASCII; tensors replaced by references
    body      the tensors, as safetensors

Nothing in a file can run code, and nothing is returned before everything was checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass
from typing import Any, NoReturn

import safetensors
import safetensors.torch
from torch import Tensor

from sleepengine.errors import FileError
from sleepengine.files import atomic, json_text, plain_state

MAGIC = b"\x89sleep\r\n"
FORMAT = 1
MAX_JSON = 64 * 1024 * 1024

_NEWER = "; a newer sleepengine wrote this file"

_HEAD = struct.Struct("<8sIQQ")
_DIGEST = 32


@dataclass(frozen=True)
class Contents:
    """A file that was read and checked: what it holds, in which version, and the state."""

    kind: str
    version: int
    state: Any


def write(path: str | os.PathLike[str], state: Any, *, kind: str, version: int = 1) -> None:
    """Save nested plain values and tensors, all or nothing; `read` gives them back bit for bit.

    `kind` says what the state is ("run", "masks") and `version` which layout of it; `read` must
    name both. What a state may hold is listed at `plain_state.encode`. The bytes are made in
    memory first, so that about twice the size of the tensors is needed while writing.

    Raises:
        FileError: the state holds something else (its place inside the state is named), or the
            file cannot be written; a file that was there before is unchanged.
    """
    if type(kind) is not str or type(version) is not int:
        raise FileError(f"kind must be text and version an integer, found {kind!r}, {version!r}")
    coded, tensors = plain_state.encode(state)
    text = json.dumps(
        {"kind": kind, "version": version, "state": coded},
        allow_nan=False,
        separators=(",", ":"),
    ).encode("ascii")
    if len(text) > MAX_JSON:
        raise FileError(f"{len(text)} bytes of plain values; more than {MAX_JSON} need tensors")
    body = safetensors.torch.save(tensors)
    head = _HEAD.pack(MAGIC, FORMAT, len(text), len(body))
    atomic.write(path, [head, _digest(head, text, body), text, body])


def read(path: str | os.PathLike[str], *, kind: str, version: int = 1) -> Any:
    """The state that `write` saved, with every tensor on the CPU.

    Raises:
        FileError: the file cannot be read, is not ours, is damaged or cut short in any byte, or is
            of another kind or version.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/a.sleep", {"step": 3, "w": torch.tensor([0.5])}, kind="run")
    ...     read(f"{folder}/a.sleep", kind="run")
    {'step': 3, 'w': tensor([0.5000])}
    """
    contents = inspect(path)
    if contents.kind != kind:
        _refuse(path, f"holds {contents.kind!r}, expected {kind!r}")
    if contents.version != version:
        newer = _NEWER if contents.version > version else ""
        _refuse(path, f"{kind!r} in version {contents.version}, expected version {version}{newer}")
    return contents.state


def inspect(path: str | os.PathLike[str]) -> Contents:
    """Everything in a file of any kind and version, checked in the same way as by `read`.

    Raises:
        FileError: the file cannot be read, is not ours, or is damaged.
    """
    head, digest, text, body = _parts(path)
    if _digest(head, text, body) != digest:
        _refuse(path, "damaged: the sha256 of the contents is not the one in the header")
    try:
        top = json_text.parse(text)
    except ValueError as fault:
        raise FileError(f"{os.fspath(path)}: damaged: the JSON part is wrong ({fault})") from fault
    if type(top) is not dict or set(top) != {"kind", "version", "state"}:
        _refuse(path, "damaged: the JSON part does not have kind, version and state")
    if type(top["kind"]) is not str or type(top["version"]) is not int:
        _refuse(path, "damaged: kind must be text and version an integer")
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(body)
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as fault:
        raise FileError(f"{os.fspath(path)}: damaged: the body is wrong ({fault})") from fault
    try:
        state = plain_state.decode(top["state"], tensors)
    except FileError as fault:
        raise FileError(f"{os.fspath(path)}: damaged: {fault}") from fault
    return Contents(top["kind"], top["version"], state)


def _parts(path: str | os.PathLike[str]) -> tuple[bytes, bytes, bytes, bytes]:
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD.size)
            digest = file.read(_DIGEST)
            if head[: len(MAGIC)] != MAGIC:
                _refuse(path, "not a file of this library (its first bytes are others)")
            if len(digest) < _DIGEST:
                _refuse(path, "damaged: cut short inside the header")
            _, form, text_length, body_length = _HEAD.unpack(head)
            if form != FORMAT:
                newer = _NEWER if form > FORMAT else ""
                _refuse(path, f"format version {form} is not known here, only {FORMAT}{newer}")
            size = os.fstat(file.fileno()).st_size
            wanted = _HEAD.size + _DIGEST + text_length + body_length
            if size != wanted:
                _refuse(path, f"damaged: {size} bytes long, the header says {wanted}")
            if text_length > MAX_JSON:
                _refuse(path, f"the JSON part has {text_length} bytes; the limit is {MAX_JSON}")
            text, body = file.read(text_length), file.read(body_length)
    except FileError:
        raise
    except (OSError, ValueError) as fault:
        reason = (fault.strerror if isinstance(fault, OSError) else None) or str(fault)
        raise FileError(f"{os.fspath(path)}: cannot be read: {reason}") from fault
    return head, digest, text, body


def _digest(*parts: bytes) -> bytes:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.digest()


def _refuse(path: str | os.PathLike[str], message: str) -> NoReturn:
    raise FileError(f"{os.fspath(path)}: {message}")
