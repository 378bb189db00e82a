import copy
import hashlib
import json
import math
import os
import random
import struct
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from sleepengine.errors import FileError
from sleepengine.files import container

HEAD = struct.Struct("<8sIQQ")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.sleep"


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def same(a, b):
    """Equal types, equal bits."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits(a), bits(b))
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    return a == b


def trip(path, state):
    container.write(path, state, kind="test")
    return container.read(path, kind="test")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        1.0,
        -0.0,
        5e-324,
        0.1 + 0.2,
        math.inf,
        -math.inf,
        math.nan,
        struct.unpack("d", struct.pack("Q", 0xFFF8000000000123))[0],
        2**63,
        -(2**63) - 1,
        10**400,
        "",
        "ä\x00\ud800😀",
        b"",
        b"\x00\xff",
        [],
        (),
        {},
        [1, (2, [3.0]), {"a": (None,)}],
        {0: {"step": 3}, 7: {}, "0": "text key", -1: 1},
        {"dict": 1, "tensor": ["0", "x", []], "float": "7ff"},
        Counter({30: 1, 60: 2}),
    ],
    ids=repr,
)
def test_plain_values_come_back_equal(path, value):
    assert same(trip(path, value), value)


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128,
    torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3)], ids=str)
def test_tensors_come_back_bit_for_bit(path, dtype, shape):
    count = math.prod(shape)
    if dtype is torch.bool:
        tensor = (torch.arange(count) % 2 == 1).reshape(shape)
    else:
        raw = torch.arange(count * dtype.itemsize, dtype=torch.uint8) * 37 + 200
        tensor = raw.view(dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)
    back = trip(path, {"t": tensor})["t"]
    assert same(back, tensor)
    assert type(back) is torch.Tensor


def test_views_shared_memory_and_parameters_are_saved_by_value(path):
    base = torch.arange(12.0).reshape(3, 4)
    weight = nn.Parameter(base)
    state = [base.t(), base[1], base[::2, ::2], base, base, weight, torch.ones(1).expand(4)]
    state.append(torch.tensor([1 + 2j]).conj())
    back = trip(path, state)
    assert all(torch.equal(a, b) for a, b in zip(state, back, strict=True))
    assert back[0].is_contiguous()
    assert not back[5].requires_grad
    back[3].zero_()
    assert torch.equal(back[4], base)


def test_model_optimizer_scheduler_and_random_states(path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, amsgrad=True)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])

    def steps(count):
        for _ in range(count):
            optimizer.zero_grad()
            model(torch.randn(8, 3)).square().mean().backward()
            optimizer.step()
            scheduler.step()

    steps(3)
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [np.random.get_state()[0], np.random.get_state()[1].tolist()],
    }
    assert type(state["model"]) is OrderedDict
    container.write(path, state, kind="run", version=3)
    steps(2)
    after = copy.deepcopy(model.state_dict())
    back = container.read(path, kind="run", version=3)
    model.load_state_dict(back["model"])
    optimizer.load_state_dict(back["optimizer"])
    scheduler.load_state_dict(back["scheduler"])
    torch.set_rng_state(back["torch"])
    assert back["python"] == state["python"]
    random.setstate(back["python"])
    steps(2)
    assert all(same(after[name], value) for name, value in model.state_dict().items())


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=9)
    | st.text(st.characters(), max_size=9)
)  # fmt: skip
STATES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STATES)
def test_any_plain_state_comes_back(path, state):
    assert same(trip(path, state), state)


class Sub(torch.Tensor):
    pass


CYCLE: list = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": [1, {2}]}, r"^state\['a'\]\[1\]: builtins.set cannot be saved"),
        ({"a": {3: np.float64(1)}}, r"^state\['a'\]\[3\]: numpy.float64"),
        ({"x": np.zeros(2)}, r"^state\['x'\]: numpy.ndarray"),
        ({(1, 2): 1}, r"^state: the key \(1, 2\) is not text or an integer"),
        ({True: 1}, r"^state: the key True"),
        ([lambda: 0], r"^state\[0\]: builtins.function"),
        ([torch.float32], r"^state\[0\]: torch.dtype"),
        ([2**14_000], r"^state\[0\]: an integer of 14001 bits; the most is 14000"),
        ([torch.zeros(2).to_sparse()], r"^state\[0\]: a torch.sparse_coo tensor"),
        ([torch.zeros(2, device="meta")], r"^state\[0\]: a torch.strided tensor on meta"),
        ([torch.zeros(2).as_subclass(Sub)], r"^state\[0\]: .*Sub cannot be saved"),
        (CYCLE, "nested deeper than 64"),
    ],
)
def test_other_things_are_refused_by_place(path, state, message):
    with pytest.raises(FileError, match=message):
        container.write(path, state, kind="test")
    assert os.listdir(path.parent) == []


def test_kind_and_version(path):
    container.write(path, 1, kind="masks", version=2)
    assert container.inspect(path) == container.Contents("masks", 2, 1)
    with pytest.raises(FileError, match=r"a.sleep: holds 'masks', expected 'run'"):
        container.read(path, kind="run", version=2)
    with pytest.raises(FileError, match="'masks' in version 2, expected version 1"):
        container.read(path, kind="masks")
    with pytest.raises(FileError, match="kind must be text"):
        container.write(path, 1, kind=3)


def test_every_changed_byte_is_found(path):
    container.write(path, {"a": torch.tensor([1.5, 2.0]), "n": [3, None]}, kind="run")
    good = path.read_bytes()
    assert len(good) < 400
    for position in range(len(good)):
        for change in (0x01, 0x80, 0xFF):
            bad = bytearray(good)
            bad[position] ^= change
            path.write_bytes(bad)
            with pytest.raises(FileError, match=r"a\.sleep: "):
                container.read(path, kind="run")


def test_every_cut_and_every_extra_byte_is_found(path):
    container.write(path, {"a": torch.ones(2)}, kind="run")
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(FileError, match=r"a\.sleep: "):
            container.read(path, kind="run")
    path.write_bytes(good + b"\0")
    with pytest.raises(FileError, match=r"damaged: .* bytes long, the header says"):
        container.read(path, kind="run")


def forge(path, text, body=b"\x02\0\0\0\0\0\0\0{}"):
    """A file with a right digest over any contents, as an attacker would make it."""
    head = HEAD.pack(container.MAGIC, container.FORMAT, len(text), len(body))
    path.write_bytes(head + hashlib.sha256(head + text + body).digest() + text + body)


def top(state):
    return json.dumps({"kind": "run", "version": 1, "state": state}).encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[]", "does not have kind"),
        (b"{", "JSON part is wrong"),
        (b"\xff", "JSON part is wrong"),
        (b"[" * 100_000, "JSON part is wrong"),
        (b'{"kind": 1, "version": 1, "state": 1}', "kind must be text"),
        (b'{"kind": "run", "version": true, "state": 1}', "version an integer"),
        (b'{"kind": "run", "version": 1, "state": NaN}', "NaN is not allowed"),
        (b'{"kind": "run", "kind": "run", "version": 1, "state": 1}', "twice"),
        (b'{"kind": "run", "version": 1, "state": 1' + b"0" * 5000 + b"}", "JSON part is wrong"),
        (top({}), "state: an unknown form"),
        (top({"a": 1, "b": 2}), "an unknown form"),
        (top({"set": []}), "the unknown form 'set'"),
        (top({"tensor": ["0", "float32", [1]]}), "a damaged tensor"),
        (top({"tensor": 3}), "a damaged tensor .expected list"),
        (top({"int": "z"}), "a damaged int"),
        (top({"int": 3}), "a damaged int"),
        (top({"int": "0x" + "f" * 9000}), "a damaged int .9002 digits"),
        (top({"float": "00"}), "a damaged float"),
        (top({"float": "zz"}), "a damaged float"),
        (top({"bytes": "*"}), "a damaged bytes"),
        (top({"tuple": "ab"}), "a damaged tuple"),
        (top({"dict": {"a": 1}}), "a damaged dict"),
        (top({"dict": [["a"]]}), "a damaged dict"),
        (top({"dict": [[1.5, 1]]}), "the key 1.5"),
        (top({"dict": [[True, 1]]}), "the key True"),
        (top({"dict": [["a", 1], ["a", 2]]}), "the key 'a' is there twice"),
        (top({"dict": [["a", {"dict": [["b", {"x": 1}]]}]]}), r"state\['a'\]\['b'\]: the unknown"),
        (top(json.loads("[" * 66 + "]" * 66)), "nested deeper"),
    ],
)  # fmt: skip
def test_forged_json_is_refused(path, text, message):
    forge(path, text)
    with pytest.raises(FileError, match=message):
        container.read(path, kind="run")


def body_of(tensors):
    import safetensors.torch

    return safetensors.torch.save(tensors)


@pytest.mark.parametrize(
    ("state", "body", "message"),
    [
        (1, b"x", "the body is wrong"),
        (1, body_of({"0": torch.ones(1)}), "1 tensors belong to nothing"),
        ({"tensor": ["0", "int8", [1]]}, body_of({"0": torch.ones(1)}), "expected int8"),
        ({"tensor": ["0", "float32", [2]]}, body_of({"0": torch.ones(1)}), r"expected float32 \[2"),
        ({"tensor": ["0", "float32", [-1]]}, body_of({"0": torch.ones(1)}), "list of sizes"),
        ({"tensor": ["0", "object", [1]]}, body_of({"0": torch.ones(1)}), "unknown dtype"),
        ({"tensor": ["0", "uint16", [1]]}, body_of({"0": torch.ones(1)}), "the bytes of uint16"),
        (
            [{"tensor": ["0", "float32", [1]]}] * 2,
            body_of({"0": torch.ones(1)}),
            r"state\[1\]: a damaged tensor",
        ),
    ],
)
def test_forged_tensors_are_refused(path, state, body, message):
    forge(path, top(state), body)
    with pytest.raises(FileError, match=message):
        container.read(path, kind="run")


def test_files_that_are_not_ours(path):
    with pytest.raises(FileError, match=r"a.sleep: cannot be read: No such file"):
        container.read(path, kind="run")
    with pytest.raises(FileError, match="Is a directory"):
        container.read(path.parent, kind="run")
    path.write_bytes(b"")
    with pytest.raises(FileError, match="not a file of this library"):
        container.read(path, kind="run")
    path.write_bytes(HEAD.pack(container.MAGIC, 2, 0, 0) + bytes(32))
    with pytest.raises(FileError, match="format version 2 is not known here, only 1"):
        container.read(path, kind="run")
    path.write_bytes(HEAD.pack(container.MAGIC, 1, 2**63, 2**63) + bytes(32))
    with pytest.raises(FileError, match="the header says"):
        container.read(path, kind="run")


def test_the_same_state_gives_the_same_bytes(path):
    state = {"a": torch.arange(3), "b": [1.5, math.nan]}
    container.write(path, state, kind="run")
    first = path.read_bytes()
    container.write(path, state, kind="run")
    assert path.read_bytes() == first
