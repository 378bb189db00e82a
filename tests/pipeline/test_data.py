import builtins
import gzip
import struct

import numpy as np
import pytest
import torch

from sleepengine.errors import FileError, SetupError
from sleepengine.pipeline.problems.data import Data, digits, mnist_family
from sleepengine.pipeline.problems.splitting import measure, stratified

RNG = np.random.default_rng(0)
ARRAYS = {
    "x_train": RNG.integers(0, 256, (30, 4, 5), dtype=np.uint8),
    "y_train": (np.arange(30) % 3).astype(np.uint8),
    "x_test": RNG.integers(0, 256, (6, 4, 5), dtype=np.uint8),
    "y_test": (np.arange(6) % 3).astype(np.uint8),
}
NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def write_idx(folder, zipped=False, names=NAMES):
    folder.mkdir(parents=True, exist_ok=True)
    for key, name in names.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(ARRAYS[key])))
        else:
            (folder / name).write_bytes(idx(ARRAYS[key]))


def write_npz(folder, **changes):
    np.savez_compressed(folder / "mnist.npz", **{**ARRAYS, **changes})


# ---- splitting and scaling ---------------------------------------------------------------------


def test_stratified_counts_and_disjoint_parts():
    y = torch.tensor([0] * 10 + [1] * 7 + [2] * 4)
    train, valid, test = stratified(y, 0.25, 0.1, seed=0)
    # floor(.25 n + .5): 3, 2, 1.  floor(.1 n + .5): 1, 1, 0.
    assert torch.bincount(y[valid]).tolist() == [3, 2, 1]
    assert torch.bincount(y[test], minlength=3).tolist() == [1, 1, 0]
    assert torch.cat([train, valid, test]).sort().values.tolist() == list(range(21))


def test_stratified_depends_on_the_seed_alone():
    y = torch.arange(40) % 4
    before = torch.get_rng_state()
    first = stratified(y, 0.3, 0.3, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert all(map(torch.equal, first, stratified(y, 0.3, 0.3, seed=1)))
    assert not torch.equal(first[0], stratified(y, 0.3, 0.3, seed=2)[0])


@pytest.mark.parametrize(
    ("valid", "test", "message"),
    [(1.0, 0.0, "valid is a share"), (0.2, -0.1, "test is a share"), (0.5, 0.5, "leave nothing")],
)
def test_stratified_errors(valid, test, message):
    with pytest.raises(SetupError, match=message):
        stratified(torch.tensor([0, 0, 1, 1]), valid, test, seed=0)


def test_measure_is_exact_and_scales():
    raw = torch.from_numpy(ARRAYS["x_train"])
    scaling = measure(raw, 255.0)
    slow = raw.double() / 255
    assert scaling.mean == pytest.approx(slow.mean().item(), abs=1e-12)
    assert scaling.std == pytest.approx(slow.std(correction=0).item(), abs=1e-12)
    assert torch.allclose(
        scaling.apply(raw), ((slow - slow.mean()) / slow.std(correction=0)).float()
    )
    with pytest.raises(SetupError, match="all input values are the same"):
        measure(torch.full((4,), 7), 255.0)


# ---- digits ------------------------------------------------------------------------------------


def test_digits():
    data = digits()
    assert (len(data.train), len(data.valid), len(data.test)) == (1079, 359, 359)
    assert data.input_shape == (1, 8, 8)
    assert data.classes == 10
    assert data.train.x.dtype is torch.float32
    assert data.train.x.shape == (1079, 1, 8, 8)
    assert data.train.x.mean().abs() < 1e-6
    assert abs(data.train.x.std(correction=0) - 1) < 1e-6
    raw = (data.train.x.double() * data.scaling.std + data.scaling.mean) * 16
    assert torch.allclose(raw, raw.round(), atol=1e-4)
    again = digits()
    assert torch.equal(again.train.x, data.train.x)
    assert torch.equal(again.test.y, data.test.y)
    assert not torch.equal(digits(seed=1).test.y, data.test.y)


def test_digits_without_scikit_learn(monkeypatch):
    original = builtins.__import__

    def blocked(name, *args):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(SetupError, match=r"pip install 'sleepengine\[data\]'"):
        digits()


# ---- MNIST-like files --------------------------------------------------------------------------


def check(data, valid=5):
    assert isinstance(data, Data)
    assert data.input_shape == (1, 4, 5)
    assert data.classes == 3
    scaling = measure(torch.from_numpy(ARRAYS["x_train"][: 30 - valid]), 255.0)
    assert data.scaling == scaling
    everything = torch.cat([data.train.x, data.valid.x]).squeeze(1)
    assert torch.equal(everything, scaling.apply(torch.from_numpy(ARRAYS["x_train"])))
    assert data.valid.y.tolist() == ARRAYS["y_train"][30 - valid :].tolist()
    assert torch.equal(data.test.x.squeeze(1), scaling.apply(torch.from_numpy(ARRAYS["x_test"])))
    assert data.test.y.tolist() == ARRAYS["y_test"].tolist()
    assert data.test.y.dtype is torch.int64


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("place", ["", "mnist", "mnist/raw", "MNIST/raw", "MNIST"])
def test_idx_files(tmp_path, place, zipped):
    write_idx(tmp_path / place, zipped)
    check(mnist_family(tmp_path, valid=5))


def test_idx_files_with_dots_in_their_names(tmp_path):
    write_idx(tmp_path, names={k: v.replace("-idx", ".idx") for k, v in NAMES.items()})
    check(mnist_family(str(tmp_path), valid=5))


def test_npz(tmp_path):
    write_npz(tmp_path, y_train=ARRAYS["y_train"].astype(np.int64))
    check(mnist_family(tmp_path, valid=5))
    assert len(mnist_family(tmp_path, valid=0).valid) == 0


def test_what_was_looked_for_is_listed(tmp_path):
    with pytest.raises(
        SetupError, match=r"no data set 'kmnist' here.*kmnist.npz.*t10k-labels"
    ) as e:
        mnist_family(tmp_path, "kmnist")
    assert str(tmp_path / "KMNIST" / "raw") in str(e.value)
    with pytest.raises(SetupError, match="does not exist"):
        mnist_family(tmp_path / "none")
    write_idx(tmp_path, names={k: v for k, v in NAMES.items() if k != "y_test"})
    with pytest.raises(SetupError, match=r"but not: t10k-labels-idx1-ubyte \(or .gz\)"):
        mnist_family(tmp_path)


@pytest.mark.parametrize("valid", [-1, 30])
def test_valid_must_leave_training_images(tmp_path, valid):
    write_npz(tmp_path)
    with pytest.raises(SetupError, match=f"valid must be 0 to 29 .* found {valid}"):
        mnist_family(tmp_path, valid=valid)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-1], "need 600 bytes, found 599"),
        (lambda b: b + b"\0", "need 600 bytes, found more"),
        (lambda b: b[:10], "cut short inside its sizes"),
        (lambda b: b"", "not an IDX file"),
        (lambda b: b"\0\0\x09" + b[3:], "not an IDX file of unsigned bytes"),
        (lambda b: b[:3] + b"\x01" + b[4:], "has 1 dimensions, expected 3"),
        (lambda b: b[:4] + b"\xff" * 12 + b[16:], "which is too much"),
        (lambda b: gzip.compress(b)[:-9], "cannot be read"),
        (lambda b: gzip.compress(b)[:30] + b"\xff" * 99, "cannot be read"),
    ],
)
def test_damaged_idx_files(tmp_path, damage, message):
    write_idx(tmp_path)
    path = tmp_path / NAMES["x_train"]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FileError, match=message):
        mnist_family(tmp_path, valid=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": ARRAYS["x_train"].astype(np.float32)}, "x_train has dtype float32"),
        ({"x_train": np.array([{}], dtype=object)}, "cannot be read: Object arrays"),
        ({"y_test": np.zeros(6)}, "y_test has dtype float64, expected integers"),
        ({"x_train": ARRAYS["x_train"][:9]}, r"x_train \[9, 4, 5\] and y_train \[30\]"),
        ({"x_test": ARRAYS["x_test"][0]}, r"x_test \[4, 5\]"),
        ({"x_test": ARRAYS["x_test"][:, 1:]}, r"images of \[4, 5\] for training, of \[3, 5\]"),
        ({"y_train": np.arange(30) * 2}, "labels must be 0, 1, 2"),
        ({"y_test": np.arange(6)}, "a test label is not one of the 3"),
        ({"y_test": np.arange(6) - 1}, "a test label is not one of the 3"),
    ],
)
def test_npz_that_does_not_fit(tmp_path, changes, message):
    write_npz(tmp_path, **changes)
    with pytest.raises(FileError, match=message):
        mnist_family(tmp_path)


def test_npz_damaged_or_incomplete(tmp_path):
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=ARRAYS["x_train"])
    with pytest.raises(FileError, match=r"has no y_train, x_test, y_test; found \['x_train'\]"):
        mnist_family(tmp_path)
    path.write_bytes(b"not a zip")
    with pytest.raises(FileError, match="cannot be read"):
        mnist_family(tmp_path)
    write_npz(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[200:220] = bytes(20)
    path.write_bytes(raw)
    with pytest.raises(FileError, match="cannot be read"):
        mnist_family(tmp_path)


# ---- loaders -----------------------------------------------------------------------------------
