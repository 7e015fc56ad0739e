"""Data sets: splits, scaling, and files that are not what they say."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest

from fastnn.data import load_dataset, read_idx, split


def idx_bytes(array, code=0x08):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def mnist_folder(tmp_path, rng):
    """A folder like MNIST's with 40 training and 10 test images of 6 x 5; raw and gzipped files are mixed."""
    for part, count in (("train", 40), ("t10k", 10)):
        images = rng.integers(0, 256, (count, 6, 5), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 4
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return tmp_path


def test_split_is_stratified_disjoint_and_a_quarter(rng):
    y = np.repeat([0, 1, 2], [100, 40, 20])
    train, test = split(y[:, None], y, seed=3)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(160))
    np.testing.assert_array_equal(np.bincount(y[test]), [25, 10, 5])
    assert np.array_equal(split(y[:, None], y, seed=3)[1], test)
    assert not np.array_equal(split(y[:, None], y, seed=4)[1], test)


def test_split_needs_four_rows():
    with pytest.raises(ValueError, match="at least 4 rows"):
        split(np.zeros((3, 1)), np.zeros(3, int))


@pytest.mark.parametrize(
    "name, shape, outputs",
    [("digits", (1, 8, 8), 10), ("iris", (4,), 3), ("wine", (13,), 3), ("breast-cancer", (30,), 2), ("diabetes", (10,), 1)],
)
def test_sklearn_sets_are_scaled_by_the_training_part(name, shape, outputs):
    pytest.importorskip("sklearn")
    data = load_dataset(name, seed=1)
    assert data.x_train.shape[1:] == data.x_test.shape[1:] == shape
    assert data.outputs == outputs
    assert data.x_train.dtype == np.float32
    assert len(data.x_test) == -(-(len(data.x_train) + len(data.x_test)) // 4)
    axis = None if data.has_images else 0
    np.testing.assert_allclose(data.x_train.mean(axis, dtype=np.float64), 0, atol=1e-4)
    np.testing.assert_allclose(data.x_train.std(axis, dtype=np.float64), 1, atol=1e-4)
    assert abs(data.x_test.mean(dtype=np.float64)) > 1e-6


def test_regression_targets_return_to_their_unit():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    data = load_dataset("diabetes")
    targets = np.concatenate([data.y_train, data.y_test]).astype(np.float64) * data.target_scale + data.target_mean
    np.testing.assert_allclose(np.sort(targets.ravel()), np.sort(sklearn_datasets.load_diabetes().target), rtol=1e-5)


def test_missing_sklearn_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'fastnn\[train\]'"):
        load_dataset("iris")


def test_mnist_folder(mnist_folder):
    data = load_dataset(mnist_folder)
    assert data.x_train.shape == (40, 1, 6, 5)
    assert data.x_test.shape == (10, 1, 6, 5)
    assert data.classes == ("0", "1", "2", "3")
    np.testing.assert_array_equal(data.y_test, np.arange(10) % 4)


def test_missing_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match="names? are digits|name are digits"):
        load_dataset("mnits")
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        load_dataset(tmp_path)
    (tmp_path / "table.csv").write_text("1,2")
    with pytest.raises(ValueError, match="npz"):
        load_dataset(tmp_path / "table.csv")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no IDX file"),
        (b"\x89PNG1234", "no IDX file"),
        (b"\0\0\x08\x03\0\0", "cut short"),
        (struct.pack(">BBBBI", 0, 0, 8, 1, 5) + b"abc", "needs 5 bytes"),
        (struct.pack(">BBBBI", 0, 0, 8, 1, 2) + b"abc", "needs 2 bytes"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "bytes of data"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_malformed_idx(tmp_path, content, message, compressed):
    path = tmp_path / ("file.gz" if compressed else "file")
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(ValueError, match=message):
        read_idx(path)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:20] + b"\xff" * 20 + b[40:], lambda b: b"nothing"])
def test_damaged_gzip(tmp_path, damage):
    path = tmp_path / "file.gz"
    path.write_bytes(damage(gzip.compress(idx_bytes(np.arange(200, dtype=np.uint8)))))
    with pytest.raises(ValueError, match="file.gz"):
        read_idx(path)


def test_idx_dtypes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(np.array([[1, -2, 300]], ">i2"), 0x0B))
    result = read_idx(path)
    np.testing.assert_array_equal(result, [[1, -2, 300]])
    assert result.dtype == np.int16


def test_npz_with_own_split_and_strings(tmp_path, rng):
    path = tmp_path / "set.npz"
    y = np.array(["no", "yes"])[np.arange(20) % 2]
    x = rng.standard_normal((20, 3)) * 5 + 2
    np.savez(path, x_train=x, y_train=y, x_test=x[:6], y_test=y[:6])
    data = load_dataset(path)
    assert data.classes == ("no", "yes")
    np.testing.assert_array_equal(data.y_test, [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(data.x_test, data.x_train[:6])


def test_npz_without_split(tmp_path, rng):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, x=rng.integers(0, 255, (40, 5, 5), dtype=np.uint8), y=rng.standard_normal(40))
    data = load_dataset(path)
    assert data.has_images
    assert data.x_train.shape == (30, 1, 5, 5)
    assert data.y_train.shape == (30, 1)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"z": np.zeros(3)}, "found z"),
        ({"x": np.zeros((8, 2)), "y": np.zeros(7, int)}, "8 rows"),
        ({"x": np.zeros((8, 2)), "y": np.array([None] * 8)}, "objects"),
        ({"x": np.full((8, 2), np.nan), "y": np.zeros(8, int)}, "NaN"),
        ({"x": np.zeros((8, 2), complex), "y": np.zeros(8, int)}, "complex"),
        ({"x": np.zeros((2, 2)), "y": np.zeros(2, int)}, "at least 4"),
        ({"x": np.float64(3), "y": np.zeros(2, int)}, "shape"),
        (
            {"x_train": np.zeros((4, 2)), "y_train": np.zeros(4, int), "x_test": np.zeros((4, 3)), "y_test": np.zeros(4, int)},
            "differ",
        ),
        (
            {"x_train": np.zeros((4, 2)), "y_train": np.zeros(4, int), "x_test": np.zeros((1, 2)), "y_test": np.ones(1, int)},
            "class 1",
        ),
        (
            {"x_train": np.zeros((4, 2)), "y_train": np.zeros(4, int), "x_test": np.zeros((0, 2)), "y_test": np.ones(0, int)},
            "rows in both",
        ),
    ],
)
def test_npz_errors(tmp_path, arrays, message):
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message):
        load_dataset(path)


def test_npz_that_claims_too_much(tmp_path):
    path = tmp_path / "set.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())
    with pytest.raises(ValueError, match="does not fit"):
        load_dataset(path)
    path.write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match="npz"):
        load_dataset(path)
