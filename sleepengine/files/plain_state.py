"""Nested state as JSON and a flat dict of tensors, and back, without loss and without pickle.

JSON null, true, false, text, integers, floats and arrays stand for themselves (lists). All else is
an object with one key that says what it is: dict, counter, tuple, tensor, bytes, int, float.
"""

from __future__ import annotations

import base64
import math
import struct
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor

from sleepengine.errors import FileError
from sleepengine.files.tensor_bytes import is_dense, pack, unpack

MAX_DEPTH = 64
# Python prints no integer of more than 4,300 decimal digits, so that no message could show it.
MAX_BITS = 14_000
_JSON_INTEGERS = range(-(2**63), 2**63)


def encode(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """A JSON value for `state`, with its tensors moved into a dict that it refers to.

    Taken: dict, OrderedDict and Counter (text or integer keys, order kept), list, tuple, str, int,
    float (nan and infinities too), bool, None, bytes, dense tensors and parameters of any dtype and
    layout (saved by value, from any device). OrderedDict comes back as dict, Parameter as Tensor.

    Raises:
        FileError: anything else, with its place inside the state.

    >>> encode({"lr": 0.1, "betas": (0.9, 0.999)})[0]
    {'dict': [['lr', 0.1], ['betas', {'tuple': [0.9, 0.999]}]]}
    """
    tensors: dict[str, Tensor] = {}
    return _encode(state, "state", MAX_DEPTH, tensors), tensors


def decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The state for which `encode` gave `value` and `tensors`.

    Raises:
        FileError: an unknown form, or a tensor that is missing, left over, or of another kind.

    >>> decode({"dict": [["lr", 0.1], [3, {"float": "7ff0000000000000"}]]}, {})
    {'lr': 0.1, 3: inf}
    """
    left = dict(tensors)
    state = _decode(value, "state", MAX_DEPTH, left)
    if left:
        raise FileError(f"{len(left)} tensors belong to nothing in the state")
    return state


def _encode(value: Any, where: str, depth: int, tensors: dict[str, Tensor]) -> Any:
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        if value.bit_length() > MAX_BITS:
            _refuse(where, f"an integer of {value.bit_length()} bits; the most is {MAX_BITS}")
        return value if value in _JSON_INTEGERS else {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if kind is bytes:
        return {"bytes": base64.b64encode(value).decode("ascii")}
    if kind is Tensor or kind is torch.nn.Parameter:
        if not is_dense(value):
            _refuse(where, f"a {value.layout} tensor on {value.device} cannot be saved")
        key = str(len(tensors))
        tensors[key] = pack(value)
        return {"tensor": [key, str(value.dtype).removeprefix("torch."), list(value.shape)]}
    if depth == 0:
        _refuse(where, f"nested deeper than {MAX_DEPTH} levels, or inside itself")
    if kind is list or kind is tuple:
        items = [_encode(v, f"{where}[{i}]", depth - 1, tensors) for i, v in enumerate(value)]
        return items if kind is list else {"tuple": items}
    if kind is dict or kind is OrderedDict or kind is Counter:
        pairs = []
        for key, item in value.items():
            if type(key) is not str and type(key) is not int:
                _refuse(where, f"the key {key!r} is not text or an integer")
            coded = _encode(key, where, 1, tensors)
            pairs.append([coded, _encode(item, f"{where}[{key!r}]", depth - 1, tensors)])
        return {"counter" if kind is Counter else "dict": pairs}
    name = f"{kind.__module__}.{kind.__qualname__}"
    _refuse(where, f"{name} cannot be saved; use plain values, lists, dicts and tensors")


def _refuse(where: str, message: str) -> NoReturn:
    raise FileError(f"{where}: {message}")


def _decode(value: Any, where: str, depth: int, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, (bool, str, int, float)):
        return value
    if depth < 0:
        _refuse(where, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        return [_decode(v, f"{where}[{i}]", depth - 1, tensors) for i, v in enumerate(value)]
    if not isinstance(value, dict) or len(value) != 1:
        _refuse(where, "an unknown form")
    ((form, body),) = value.items()
    try:
        if form in ("dict", "counter"):
            return _decode_pairs(form, body, where, depth, tensors)
        if form == "tuple":
            return tuple(_decode(_of(list, body), where, depth, tensors))
        if form == "tensor":
            key, dtype, shape = _of(list, body)
            return unpack(tensors.pop(_of(str, key)), _of(str, dtype), _of(list, shape))
        if form == "bytes":
            return base64.b64decode(_of(str, body), validate=True)
        if form == "int":
            return _integer(_of(str, body))
        if form == "float":
            return struct.unpack(">d", bytes.fromhex(_of(str, body)))[0]
    except (ArithmeticError, ValueError, TypeError, KeyError, RuntimeError, struct.error) as fault:
        if isinstance(fault, FileError):
            raise
        raise FileError(f"{where}: a damaged {form} ({fault})") from fault
    _refuse(where, f"the unknown form {form!r}")


def _decode_pairs(
    form: str, body: Any, where: str, depth: int, tensors: dict[str, Tensor]
) -> dict[Any, Any]:
    found: dict[Any, Any] = Counter() if form == "counter" else {}
    for pair in _of(list, body):
        coded, item = _of(list, pair)
        key = _decode(coded, where, 0, tensors)
        if type(key) is not str and type(key) is not int:
            _refuse(where, f"the key {key!r} is not text or an integer")
        if key in found:
            _refuse(where, f"the key {key!r} is there twice")
        found[key] = _decode(item, f"{where}[{key!r}]", depth - 1, tensors)
    return found


def _integer(text: str) -> int:
    if len(text) > MAX_BITS // 4 + 3:
        raise ValueError(f"{len(text)} digits")
    return int(text, 16)


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {type(value).__name__}")
    return value
