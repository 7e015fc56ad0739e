"""Weights in files: safetensors, written whole or not at all, never unpickled."""

from __future__ import annotations

import contextlib
import os
import tempfile
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
    except ModuleNotFoundError:
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
    TypeError
        Where a key is no string or a value is no array of numbers; nothing is written.

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
    arrays = {}
    for name, value in tensors.items():
        if not isinstance(name, str):
            raise TypeError(f"tensors: expected names that are strings, got {name!r}")
        array = value.numpy() if isinstance(value, Tensor) else checks.to_numpy(name, value)
        if array.dtype.name not in DTYPES:
            raise TypeError(f"{name}: expected floats, integers or booleans, got dtype {array.dtype}")
        arrays[name] = np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=None)
    texts = dict(metadata or {})
    if not all(isinstance(item, str) for pair in texts.items() for item in pair):
        raise TypeError("metadata: expected a mapping of strings to strings")
    content = _safetensors().numpy.save(arrays, metadata=texts or None)
    _write_atomically(Path(path), content)


def _write_atomically(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # the permissions of the old file, or of any new one
            os.chmod(temporary, path.stat().st_mode if path.exists() else 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, by name.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where it is malformed or holds a type that NumPy lacks.
    """
    module = _safetensors()
    content = Path(path).read_bytes()
    try:
        return {name: np.array(array) for name, array in module.numpy.load(content).items()}
    except (module.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"path: {os.fspath(path)} is no valid safetensors file ({type(error).__name__}: {error})") from None


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The texts that ``save`` was given as ``metadata``; raises as ``load`` does."""
    module = _safetensors()
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file is called {os.fspath(path)}")
    try:
        with module.safe_open(os.fspath(path), framework="numpy") as file:
            return dict(file.metadata() or {})
    except module.SafetensorError as error:
        raise ValueError(f"path: {os.fspath(path)} is no valid safetensors file ({error})") from None
