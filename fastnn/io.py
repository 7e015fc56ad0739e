"""Weights in files: safetensors, written whole or not at all, never unpickled."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.autograd import Tensor
from fastnn.functional import checks

DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "safetensors":
            raise
        raise ImportError("saving and loading needs the package safetensors: pip install 'fastnn[io]'") from None
    return safetensors


def save(tensors: Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays under their names to a safetensors file.

    The file is written beside ``path`` and renamed, so that a crash leaves the old one whole.

    Parameters
    ----------
    tensors : mapping of str to array or Tensor
        For example ``model.state_dict()``. Floats, integers and booleans of any shape.
    path : path-like
    metadata : mapping of str to str, optional

    Raises
    ------
    TypeError, ValueError
        Where a key is no string or a reserved one, or a value is no array of numbers; nothing is written.
    ImportError
        Where the package safetensors is not installed.

    Examples
    --------
    >>> import numpy as np, fastnn, tempfile, os
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fastnn.save({"w": np.eye(2)}, os.path.join(folder, "w.safetensors"))
    ...     fastnn.load(os.path.join(folder, "w.safetensors"))["w"].shape
    (2, 2)
    """
    if not isinstance(tensors, Mapping):
        raise TypeError(f"tensors: expected a mapping of names to arrays, got {type(tensors).__name__}")
    target = Path(os.path.realpath(os.fspath(path)))  # a link stays one
    arrays = {_checked_name(name): _checked_array(name, value) for name, value in tensors.items()}
    content = _safetensors().numpy.save(arrays, metadata=_checked_metadata(metadata))
    write_atomically(target, content)


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"tensors: expected names that are strings, got {name!r}")
    if name == "__metadata__":
        raise ValueError("tensors: the name '__metadata__' is reserved by the file format")
    return name


def _checked_array(name: str, value: Any) -> np.ndarray:
    array = value.numpy() if isinstance(value, Tensor) else checks.to_numpy(name, value)
    if array.dtype.name not in DTYPES:
        raise TypeError(f"{name}: expected floats, integers or booleans, got dtype {array.dtype}")
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=None)


def _checked_metadata(metadata: Any) -> dict[str, str] | None:
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping) or not all(isinstance(item, str) for pair in metadata.items() for item in pair):
        raise TypeError(f"metadata: expected a mapping of strings to strings, got {metadata!r}")
    return dict(metadata)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside ``path`` and rename it, so that a crash leaves the old one whole."""
    temporary = path.with_name(f".fastnn-{secrets.token_hex(8)}.tmp")  # in the same folder: only there is a rename atomic
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # keep the permissions of the old file
            os.chmod(temporary, path.stat().st_mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, by name; fresh memory that may be written to.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where it is malformed or holds a type that NumPy lacks, such as bfloat16.
    ImportError
        Where the package safetensors is not installed.
    """
    module = _safetensors()
    content = Path(path).read_bytes()
    try:
        return {name: np.array(array) for name, array in module.numpy.load(content).items()}
    except KeyError as error:
        raise ValueError(f"path: {os.fspath(path)} holds a tensor of type {error.args[0]}, which NumPy lacks") from None
    except (module.SafetensorError, ValueError, TypeError, OverflowError) as error:
        raise _malformed(path, error) from None


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The texts that ``save`` was given as ``metadata``; raises as ``load`` does."""
    module = _safetensors()
    with open(path, "rb"):  # a missing or unreadable file is told as by load
        pass
    try:
        with module.safe_open(os.fspath(path), framework="numpy") as file:
            return dict(file.metadata() or {})
    except (module.SafetensorError, ValueError) as error:
        raise _malformed(path, error) from None


def _malformed(path: str | os.PathLike[str], error: Exception) -> ValueError:
    return ValueError(f"path: {os.fspath(path)} is no valid safetensors file ({error})")
