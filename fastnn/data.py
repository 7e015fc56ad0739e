"""Data sets for the command line and the examples: scikit-learn's small ones, MNIST's IDX files, and ``.npz`` files.

Scaling constants are taken from the training part alone. Every size that a file claims is checked against the file's length
before memory is taken for it, and nothing is ever unpickled.
"""

from __future__ import annotations

import gzip
import math
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

NAMES = ("digits", "iris", "wine", "breast-cancer", "diabetes")

# Deflate cannot shrink data by more than this factor (zlib's technical notes), so a larger claim is a lie.
_DEFLATE_LIMIT = 1032

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True)
class Dataset:
    """Scaled data, with a part held out.

    Attributes
    ----------
    name : str
    x_train, x_test : float32 arrays
        Rows (N, features) or images (N, channels, height, width), standardised with the training part's mean and deviation.
    y_train, y_test : arrays
        Class indices (N,), int64; for regression standardised targets (N, 1), float32.
    classes : tuple of str
        Names of the classes; empty for regression.
    target_mean, target_scale : float
        ``y * target_scale + target_mean`` gives a regression's targets in their own unit.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[str, ...] = ()
    target_mean: float = 0.0
    target_scale: float = 1.0

    @property
    def has_images(self) -> bool:
        """Whether a row is an image (channels, height, width)."""
        return self.x_train.ndim == 4

    @property
    def outputs(self) -> int:
        """How many numbers a network gives for one row."""
        return len(self.classes) or self.y_train.shape[1]


def load_dataset(source: str | os.PathLike[str] = "digits", *, seed: int = 0) -> Dataset:
    """Load a data set by its name or from a path.

    Parameters
    ----------
    source : str or path
        "digits", "iris", "wine", "breast-cancer" or "diabetes" (these need scikit-learn); a folder with MNIST's four IDX files,
        raw or gzipped; or an ``.npz`` file with ``x_train, y_train, x_test, y_test``, or with ``x, y``. Targets of integers,
        booleans or strings are classes, floats are a regression.
    seed : int
        Of the split, where the source has none of its own: a quarter of each class is held out.

    Raises
    ------
    FileNotFoundError, ImportError
        Where the path or scikit-learn is missing.
    ValueError
        Where a file is malformed or shapes do not fit together.

    Examples
    --------
    >>> from fastnn.data import load_dataset
    >>> load_dataset("iris").x_train.shape
    (112, 4)
    """
    if isinstance(source, str) and source in NAMES:
        return _load_sklearn(source, seed)
    path = Path(source)
    if not path.exists():
        hint = "" if os.sep in str(source) or path.suffix else f"; data sets with a name are {', '.join(NAMES)}"
        raise FileNotFoundError(f"no such file or folder: {path}{hint}")
    if path.is_dir():
        return _load_mnist(path)
    if path.suffix != ".npz":
        raise ValueError(f"{path}: expected a folder with IDX files or an .npz file")
    return _load_npz(path, seed)


def _load_sklearn(name: str, seed: int) -> Dataset:
    try:
        from sklearn import datasets
    except ImportError:
        raise ImportError(f"data set {name!r} needs scikit-learn: pip install 'fastnn[train]'") from None
    bunch = getattr(datasets, "load_" + name.replace("-", "_"))()
    x, y = bunch.data, bunch.target
    if name == "digits":
        x = x.reshape(-1, 1, 8, 8)
    if name == "diabetes":
        return _prepare(name, x, y, *split(x, y, seed=seed))
    return _prepare(name, x, y, *split(x, y, seed=seed), names=[str(label) for label in bunch.target_names])


def split(x: np.ndarray, y: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a training part and of a quarter held out at random; classes keep their shares (floats are no classes).

    Raises
    ------
    ValueError
        Where there are fewer than four rows.
    """
    if len(x) < 4:
        raise ValueError(f"x: expected at least 4 rows to hold a quarter out, got {len(x)}")
    shuffled = np.random.default_rng(seed).permutation(len(x))
    if y.dtype.kind != "f":
        shuffled = shuffled[np.argsort(y[shuffled], kind="stable")]  # class by class; every fourth is then a quarter of each
    held_out = np.zeros(len(x), bool)
    held_out[shuffled[::4]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _prepare(name: str, x: np.ndarray, y: np.ndarray, train: Any, test: Any, names: list[str] | None = None) -> Dataset:
    """Check, scale and label rows ``x`` and targets ``y``, given the indices of both parts."""
    _check_rows(name, x, y)
    if x.ndim == 3:
        x = x[:, None]
    # Pixels share one scale, since some of them are always blank; the columns of a table have each their own unit.
    axis = None if x.ndim == 4 else 0
    mean = x[train].mean(axis=axis, dtype=np.float64)
    deviation = x[train].std(axis=axis, dtype=np.float64)
    deviation = np.where(deviation > 1e-12 * np.abs(mean), deviation, 1.0)
    mean, deviation = mean.astype(np.float32), deviation.astype(np.float32)

    def scaled(part: Any) -> np.ndarray:
        rows = x[part].astype(np.float32)
        rows -= mean
        rows /= deviation
        return rows

    if y.dtype.kind == "f":
        y = y.reshape(len(y), -1)
        center, scale = float(y[train].mean()), float(y[train].std()) or 1.0
        y = ((y - center) / scale).astype(np.float32)
        return Dataset(name, scaled(train), y[train], scaled(test), y[test], (), center, scale)
    labels, index = np.unique(y, return_inverse=True)
    missing = np.setdiff1d(index[test], index[train])
    if len(missing):
        raise ValueError(f"{name}: class {labels[missing[0]]} is held out but not among the training targets")
    index = index.astype(np.int64)
    classes = tuple(names or [str(label) for label in labels])
    return Dataset(name, scaled(train), index[train], scaled(test), index[test], classes)


def _check_rows(name: str, x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim not in (2, 3, 4) or x.dtype.kind not in "fiub" or x.size == 0:
        raise ValueError(
            f"{name}: expected x of numbers with 2 (rows), 3 or 4 (images) dimensions, got {x.dtype} of shape {x.shape}"
        )
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: x holds NaN or infinity")
    if y.dtype.kind == "f":
        if y.ndim not in (1, 2) or not np.isfinite(y).all():
            raise ValueError(f"{name}: expected finite targets y of 1 or 2 dimensions, got shape {y.shape}")
    elif y.dtype.kind not in "iubU" or y.ndim != 1:
        raise ValueError(f"{name}: expected y with one class (int, bool or string) a row, got {y.dtype} of shape {y.shape}")
    if len(x) != len(y):
        raise ValueError(f"{name}: x has {len(x)} rows and y has {len(y)}")


def _join(name: str, x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> Dataset:
    """A data set that comes with a held-out part of its own."""
    for part, x, y in (("training", x_train, y_train), ("test", x_test, y_test)):
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
            raise ValueError(f"{name}: the {part} part has x of shape {x.shape} and y of shape {y.shape}")
    if x_train.shape[1:] != x_test.shape[1:] or y_train.shape[1:] != y_test.shape[1:]:
        raise ValueError(f"{name}: training and test rows differ in shape: {x_train.shape[1:]} and {x_test.shape[1:]}")
    if len(x_train) == 0 or len(x_test) == 0:
        raise ValueError(f"{name}: expected rows in both parts, got {len(x_train)} for training and {len(x_test)} for test")
    x, y = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    return _prepare(name, x, y, slice(0, len(x_train)), slice(len(x_train), None))


def _load_mnist(folder: Path) -> Dataset:
    parts = [
        read_idx(_find_idx(folder, f"{part}-{what}", dimensions))
        for part in ("train", "t10k") for what, dimensions in (("images", 3), ("labels", 1))
    ]  # fmt: skip
    return _join(folder.resolve().name, *parts)


def _find_idx(folder: Path, stem: str, dimensions: int) -> Path:
    for name in (f"{stem}-idx{dimensions}-ubyte", f"{stem}.idx{dimensions}-ubyte"):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise FileNotFoundError(f"{folder}: no file {stem}-idx{dimensions}-ubyte or {stem}-idx{dimensions}-ubyte.gz")


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file (the format of MNIST), raw or gzipped by its name's ``.gz``.

    Two zero bytes, a byte for the type, a byte for the number of dimensions, each dimension as a big-endian int32, then the data.

    Raises
    ------
    ValueError
        Where the file is malformed, or shorter or longer than its header says.
    """
    path = Path(path)
    length = path.stat().st_size
    compressed = path.suffix == ".gz"
    try:
        with gzip.open(path) if compressed else path.open("rb") as stream:
            return _read_idx(str(path), stream, length, compressed)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged gzip file ({error})") from None


def _read_idx(name: str, stream: Any, length: int, compressed: bool) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) != 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_DTYPES or magic[3] == 0:
        raise ValueError(f"{name}: no IDX file (it starts with {magic!r})")
    header = stream.read(4 * magic[3])
    if len(header) != 4 * magic[3]:
        raise ValueError(f"{name}: the IDX header is cut short")
    shape = [int.from_bytes(header[i : i + 4], "big") for i in range(0, len(header), 4)]
    dtype = np.dtype(_IDX_DTYPES[magic[2]])
    expected = math.prod(shape) * dtype.itemsize
    present = length - 4 - len(header)
    if expected > length * _DEFLATE_LIMIT if compressed else expected != present:
        raise ValueError(f"{name}: shape {tuple(shape)} needs {expected} bytes of data, the file has {length} in all")
    data = stream.read(expected + 1)
    if len(data) != expected:
        more = "more" if len(data) > expected else f"{len(data)}"
        raise ValueError(f"{name}: shape {tuple(shape)} needs {expected} bytes of data, the file holds {more}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _load_npz(path: Path, seed: int) -> Dataset:
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {name.removesuffix(".npy"): name for name in archive.namelist()}
            for keys in (("x_train", "y_train", "x_test", "y_test"), ("x", "y")):
                if all(key in arrays for key in keys):
                    parts = [_read_member(path, archive, arrays[key]) for key in keys]
                    break
            else:
                found = ", ".join(sorted(arrays)) or "nothing"
                raise ValueError(f"{path}: expected x_train, y_train, x_test, y_test, or x and y; found {found}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path}: no readable .npz file ({error})") from None
    if len(parts) == 4:
        return _join(path.stem, *parts)
    x, y = parts
    _check_rows(path.stem, x, y)
    return _prepare(path.stem, x, y, *split(x, y, seed=seed))


def _read_member(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array of the archive, after its claimed size has been checked."""
    info = archive.getinfo(name)
    with archive.open(info) as stream:
        shape, dtype = _read_npy_header(f"{path}: {name}", stream)
        expected = stream.tell() + math.prod(shape) * dtype.itemsize
    length = path.stat().st_size
    if expected != info.file_size or info.compress_size > length or info.file_size > info.compress_size * _DEFLATE_LIMIT:
        raise ValueError(f"{path}: {name} of shape {shape} and dtype {dtype} does not fit in {length} bytes of file")
    with archive.open(info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _read_npy_header(name: str, stream: BinaryIO | Any) -> tuple[tuple[int, ...], np.dtype]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(stream)
        shape, _, dtype = readers[version](stream)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{name}: no readable array ({error})") from None
    if dtype.hasobject:
        raise ValueError(f"{name}: arrays of objects are not read, since they would have to be unpickled")
    return shape, dtype
