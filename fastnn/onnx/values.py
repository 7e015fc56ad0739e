"""What flows between nodes: floats as arrays or Tensors, integers and booleans as plain arrays, which also hold shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from fastnn import functional as F
from fastnn.autograd import Tensor
from fastnn.functional import checks

# Bytes that one array may have whose size is written in a file instead of given by its user; set for each run.
ROOM = 2**30
room: ContextVar[int] = ContextVar("fastnn_onnx_room", default=ROOM)


def is_float(value: Any) -> bool:
    """Whether a value holds floats."""
    return value.dtype.kind == "f"


def numbers(value: Any) -> np.ndarray:
    """The plain array of a value; in a plan only of what does not depend on the input."""
    return value.numpy() if isinstance(value, Tensor) else value


def by_numpy(function: Callable[..., Any], *values: Any) -> Any:
    """What NumPy gives for arrays of any kind, without a gradient; in a plan it is computed at each step."""
    symbol = next((value for value in values if checks.is_abstract(value)), None)
    with np.errstate(all="ignore"):
        return np.asarray(function(*map(numbers, values))) if symbol is None else symbol.tracer.computed(function, *values)


def integers(value: Any) -> list[int]:
    """The elements of a value that holds a shape, axes or places."""
    array = numbers(value)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise ValueError(f"expected a list of integers, got {array.dtype} of shape {array.shape}")
    return [int(item) for item in array.reshape(-1)]


def scalar(value: Any) -> Any:
    """The only element of a value, as a Python number."""
    array = numbers(value)
    if array.size != 1:
        raise ValueError(f"expected one element, got shape {array.shape}")
    return array.reshape(()).item()


def check_room(shape: Sequence[int], itemsize: int = 8) -> None:
    """Refuse to make an array that is larger than what the model and its inputs justify."""
    if any(n < 0 for n in shape):
        raise ValueError(f"expected a shape without negative lengths, got {tuple(shape)}")
    if math.prod(shape) * itemsize > room.get():
        raise MemoryError(
            f"an array of shape {tuple(shape)} is larger than the model and its inputs justify ({room.get()} bytes)"
        )


def check_broadcast(*values: Any) -> None:
    """Refuse operands that broadcast to more than there is room for."""
    shapes = [tuple(value.shape) for value in values]
    ndim = max(map(len, shapes), default=0)
    aligned = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    check_room([max(lengths) if 0 not in lengths else 0 for lengths in zip(*aligned, strict=True)])


def by_kind(floating: Callable[..., Any], integral: Callable[..., Any]) -> Callable[..., Any]:
    """A function that computes floats by fastnn and integers by NumPy, whichever its first argument holds."""

    def choose(*values: Any) -> Any:
        check_broadcast(*values)
        return floating(*values) if is_float(values[0]) else by_numpy(integral, *values)

    return choose


def reshape(value: Any, shape: Sequence[int]) -> Any:
    """The same elements in another shape."""
    if checks.is_abstract(value):
        return value.reshape(tuple(shape))
    return F.reshape(value, tuple(shape)) if is_float(value) else numbers(value).reshape(tuple(shape))


def permute(value: Any, dims: Sequence[int]) -> Any:
    """The dimensions in another order."""
    return F.permute(value, tuple(dims)) if is_float(value) else by_numpy(lambda array: array.transpose(dims), value)


def index(value: Any, key: tuple[Any, ...]) -> Any:
    """``value[key]``."""
    return F.index(value, key) if is_float(value) else by_numpy(lambda array: array[key], value)


def cat(values: Sequence[Any], dim: int) -> Any:
    """Values end to end along one dimension."""
    check_room([sum(math.prod(value.shape) for value in values)])
    if is_float(values[0]):
        return values[0] if len(values) == 1 else F.cat(list(values), dim)
    return by_numpy(lambda *arrays: np.concatenate(arrays, dim), *values)


def broadcast_to(value: Any, shape: Sequence[int]) -> Any:
    """The value repeated to a larger shape."""
    check_room(shape)
    if is_float(value):
        return F.broadcast_to(value, tuple(shape))
    return by_numpy(lambda array: np.broadcast_to(array, tuple(shape)), value)


def axis_of(axis: int, ndim: int) -> int:
    """A dimension, made non-negative."""
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis: expected a dimension in [{-ndim}, {ndim - 1}], got {axis}")
    return axis % ndim
