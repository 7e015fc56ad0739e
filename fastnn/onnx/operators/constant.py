"""Constants, shapes, types: what depends on no element of a float."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..node import Node, always, implements, like
from ..reading import TYPES, type_name
from ..values import ROOM, by_numpy, check_room, integers, numbers, scalar

_CONSTANTS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def _no_array(node: Node, facts: Any) -> str | None:
    return None if _constant(node) is not None else "Constant of another kind than a dense array of numbers"


def _constant(node: Node) -> np.ndarray | None:
    """The array of a Constant; None for strings and sparse arrays."""
    if isinstance(node.get("value"), np.ndarray):
        return node["value"]
    found = [np.asarray(node[name], dtype) for name, dtype in _CONSTANTS.items() if node.get(name) is not None]
    return found[0] if found else None


def _filler(node: Node) -> np.ndarray:
    """What ConstantOfShape repeats."""
    value: np.ndarray = node.get("value", np.zeros(1, np.float32))
    if value.size != 1:
        raise ValueError(f"value: expected one element, got shape {value.shape}")
    return value.reshape(())


@implements("Constant", lacks=_no_array, results=(lambda node, facts: getattr(_constant(node), "dtype", None),))
def constant(node: Node) -> Any:
    """An array that stands in the file."""
    return _constant(node)


@implements("ConstantOfShape", integers=True, results=(lambda node, facts: _filler(node).dtype,))
def constant_of_shape(node: Node, shape: Any) -> Any:
    """One value everywhere."""
    value, wanted = _filler(node), integers(shape)
    check_room(wanted, value.itemsize)
    return np.full(wanted, value)


@implements("Shape", integers=True, results=(always(np.int64),))
def shape(node: Node, x: Any) -> Any:
    """The lengths of the dimensions, or of some of them."""
    return np.array(x.shape[slice(node.get("start", 0), node.get("end"))], np.int64)


@implements("Size", integers=True, results=(always(np.int64),))
def size(node: Node, x: Any) -> Any:
    """The number of elements."""
    return np.asarray(np.prod(x.shape, dtype=np.int64))


def _eye_dtype(node: Node, given: Any) -> Any:
    return given if node.get("dtype") is None else TYPES.get(node["dtype"], (None,))[0]


def _no_eye(node: Node, facts: Any) -> str | None:
    known = node.get("dtype") is None or node["dtype"] in TYPES
    return None if known else f"EyeLike of type {type_name(node['dtype'])}"


@implements(
    "EyeLike", integers=True, lacks=_no_eye, results=(lambda node, facts: _eye_dtype(node, facts.types.get(node.inputs[0])),)
)
def eye_like(node: Node, x: Any) -> Any:
    """Ones on a diagonal of a matrix of this shape."""
    rows, columns = x.shape
    check_room((rows, columns))
    return np.eye(rows, columns, max(min(node["k"], columns), -rows), _eye_dtype(node, x.dtype))


@implements("Range", integers=True)
def count(node: Node, start: Any, limit: Any, delta: Any) -> Any:
    """Numbers from ``start`` to below ``limit``."""
    first, last, step = scalar(start), scalar(limit), scalar(delta)
    dtype = numbers(start).dtype
    if step == 0 or not abs((last - first) / step) < ROOM:
        raise ValueError(f"Range: {first} to {last} by {step} is no range, or too long a one")
    length = max(int(np.ceil((last - first) / step)), 0)
    check_room((length,), dtype.itemsize)
    return (first + step * np.arange(length)).astype(dtype)


def _dtype(node: Node) -> np.dtype | None:
    return TYPES.get(node["to"], (None,))[0]


def _cannot_cast(node: Node, facts: Any) -> str | None:
    return None if _dtype(node) is not None else f"Cast to {type_name(node['to'])}"


@implements("Cast", integers=True, lacks=_cannot_cast, results=(lambda node, facts: _dtype(node),))
def cast(node: Node, x: Any) -> Any:
    """In another type; where that changes anything the gradient ends."""
    return _cast(x, _dtype(node))


@implements("CastLike", integers=True, results=(like(1),))
def cast_like(node: Node, x: Any, like: Any) -> Any:
    """In the type of another value."""
    return _cast(x, like.dtype)


def _cast(x: Any, dtype: Any) -> Any:
    if x.dtype == dtype:
        return x
    return by_numpy(lambda array: array.astype(dtype), x)
