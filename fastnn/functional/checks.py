"""Validation of arguments. Every message names the argument and shows what came and what was expected.

A value that answers ``__fastnn_call__`` (a Tensor) is checked by its ``shape`` and ``dtype`` and passed on as it is; everything
else becomes a NumPy array, without a copy where the memory allows.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
MAX_NDIM = 64  # NumPy's limit


def is_hooked(value: Any) -> bool:
    """Whether ``value`` takes calls over by itself (a Tensor)."""
    return getattr(type(value), "__fastnn_call__", None) is not None


def is_abstract(value: Any) -> bool:
    """Whether ``value`` stands for an array that a plan will have, and has no numbers yet."""
    return getattr(type(value), "abstract", False)


def to_numpy(name: str, value: Any) -> np.ndarray:
    """A NumPy array of whatever holds one: ndarray, buffer, ``__array__`` or ``__dlpack__`` on the CPU, without a copy."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: masked arrays are not supported")
    if isinstance(value, np.number):  # np.float64 is a Python float too
        return np.asarray(value)
    if value is None or isinstance(value, (str, bytes, bytearray, list, tuple, int, float, complex)):
        raise TypeError(f"{name}: expected an array, got {type(value).__name__}")
    try:
        if hasattr(value, "__array__"):
            return np.asarray(value)
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        return np.asarray(memoryview(value))
    except Exception as error:
        raise TypeError(f"{name}: expected an array, got {type(value).__name__} ({error})") from None


def array(name: str, value: Any, ndim: int | tuple[int, ...] | None = None, dtype: Any = None) -> Any:
    """A checked float32 or float64 array (or a Tensor, as it is).

    Parameters
    ----------
    name : str
        The argument, for the message.
    value
        What the user gave.
    ndim : int or tuple of int, optional
        Number(s) of dimensions that are right.
    dtype : dtype, optional
        The dtype that it must have, because another argument has it.
    """
    result = value if is_hooked(value) else to_numpy(name, value)
    if result.dtype not in FLOATS:
        raise TypeError(f"{name}: expected dtype float32 or float64, got {result.dtype}")
    if dtype is not None and result.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype} like the other arguments, got {result.dtype}")
    check_ndim(name, result, ndim)
    return result


def optional_array(name: str, value: Any, shape: tuple[int, ...] | None = None, dtype: Any = None) -> Any:
    """None, or a checked array of exactly that shape."""
    if value is None:
        return None
    result = array(name, value, None, dtype)
    if shape is not None:
        check_shape(name, result, shape)
    return result


def index_array(name: str, value: Any) -> Any:
    """A plain int64 array of integers, from an array or Tensor of any integer dtype; what a tracer is shown stays as it is."""
    if is_abstract(value) and value.dtype == np.int64:
        return value
    result = value.numpy() if is_hooked(value) else to_numpy(name, value)
    if result.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got dtype {result.dtype}")
    if result.dtype == np.uint64 and result.size and result.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: {result.max()} does not fit in int64")
    return result.astype(np.int64, copy=False)


def flag(name: str, value: Any) -> bool:
    """True or False, given as a bool or as 0 or 1."""
    if not isinstance(value, (bool, np.bool_)) and not (isinstance(value, int) and value in (0, 1)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def check_ndim(name: str, value: Any, ndim: int | tuple[int, ...] | None) -> None:
    """Raise ValueError unless ``value`` has (one of) that many dimensions."""
    if ndim is None:
        return
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if len(value.shape) not in allowed:
        expected = " or ".join(str(n) for n in allowed)
        raise ValueError(f"{name}: expected {expected} dimensions, got shape {tuple(value.shape)}")


def check_shape(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless ``value`` has exactly that shape."""
    if tuple(value.shape) != tuple(shape):
        raise ValueError(f"{name}: expected shape {tuple(shape)}, got {tuple(value.shape)}")


def out(value: Any, shape: tuple[int, ...], dtype: Any, name: str = "out") -> Any:
    """None, or a writeable ndarray of exactly that shape and dtype."""
    if value is None:
        return None
    if type(value) is not np.ndarray:
        raise TypeError(f"{name}: expected a NumPy array, got {type(value).__name__}")
    check_shape(name, value, shape)
    if value.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, got {value.dtype}")
    if not value.flags.writeable:
        raise ValueError(f"{name}: the array is read-only")
    return value


def integer(name: str, value: Any, minimum: int | None = None) -> int:
    """A Python int of any integer (not a bool), at least ``minimum``."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected an int, got {value!r}")
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an int, got {value!r}") from None
    if minimum is not None and result < minimum:
        raise ValueError(f"{name}: expected at least {minimum}, got {result}")
    return result


def new_shape(name: str, value: Any, minimum: int = 0) -> tuple[int, ...]:
    """The lengths of as many dimensions as an array can have, from one int or a sequence."""
    result = integers(name, value, len(value) if isinstance(value, Sequence) else 1, minimum)
    if len(result) > MAX_NDIM:
        raise ValueError(f"{name}: expected at most {MAX_NDIM} dimensions, got {len(result)}")
    return result


def integers(name: str, value: Any, count: int, minimum: int | None = None) -> tuple[int, ...]:
    """``count`` ints of one int (repeated) or of a sequence of exactly that many."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != count:
            raise ValueError(f"{name}: expected an int or {count} of them, got {value!r}")
        return tuple([integer(name, item, minimum) for item in value])
    return (integer(name, value, minimum),) * count


def real(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """A Python float in [low, high]; NaN and everything that is no number is refused."""
    result = number(name, value)
    if not low <= result <= high:
        raise ValueError(f"{name}: expected a number in [{low}, {high}], got {result}")
    return result


def number(name: str, value: Any) -> float:
    """A Python float of any number, infinity and NaN included."""
    if isinstance(value, (str, bytes, complex)):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: expected a number, got {value!r}") from None


def choice(name: str, value: Any, allowed: Iterable[str]) -> str:
    """One of the allowed strings."""
    allowed = tuple(allowed)
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def float_dtype(dtype: Any) -> np.dtype:
    """float32 or float64, however it is named."""
    try:
        result = None if dtype is None else np.dtype(dtype)
    except TypeError:
        result = None
    if result is None or result not in FLOATS:
        raise TypeError(f"dtype: expected float32 or float64, got {dtype!r}")
    return result


def choices(name: str, value: Any, allowed: Iterable[str]) -> tuple[str, ...]:
    """Any number of the allowed strings; one string is no list of its letters."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name}: expected a list of names, got {value!r}")
    return tuple([choice(name, item, allowed) for item in value])


def axis(name: str, value: Any, ndim: int) -> int:
    """A dimension in [-ndim, ndim), made non-negative; a 0-d array counts as having one dimension."""
    result = integer(name, value)
    count = max(ndim, 1)
    if not -count <= result < count:
        raise IndexError(f"{name}: expected a dimension in [{-count}, {count - 1}], got {result}")
    return result % count


def axes(name: str, value: Any, ndim: int) -> tuple[int, ...]:
    """Distinct dimensions of None (all), an int or a sequence, sorted."""
    if value is None:
        return tuple(range(ndim))
    items = value if isinstance(value, Sequence) else (value,)
    result = sorted(axis(name, item, ndim) for item in items)
    if len(set(result)) != len(result):
        raise ValueError(f"{name}: a dimension appears twice in {value!r}")
    return tuple(result)


def broadcast_shapes(name: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape by NumPy's broadcasting rules."""
    ndim = max(map(len, shapes))
    result = []
    for lengths in zip(*[(1,) * (ndim - len(shape)) + tuple(shape) for shape in shapes], strict=True):
        others = {n for n in lengths if n != 1}
        if len(others) > 1:
            listed = " and ".join(str(tuple(shape)) for shape in shapes)
            raise ValueError(f"{name}: shapes {listed} do not broadcast")
        result.append(others.pop() if others else 1)
    return tuple(result)


def deliver(result: Any, out: np.ndarray | None) -> Any:
    """The result itself, or ``out`` with the result copied into it."""
    if out is None:
        return result
    if is_hooked(result):
        raise ValueError("out: cannot be given together with a Tensor that records")
    np.copyto(out, result)
    return out
