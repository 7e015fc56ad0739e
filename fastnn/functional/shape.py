"""Views and joins. On arrays they return views where NumPy does, on Tensors they record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from fastnn.kernels.shape import operators

from ..dispatch import call
from . import checks


def reshape(input: Any, shape: int | Sequence[int]) -> Any:
    """The same elements in another shape; one dimension may be -1 and is worked out.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.reshape(np.arange(6.0), (2, -1))
    array([[0., 1., 2.],
           [3., 4., 5.]])
    """
    x = checks.array("input", input)
    wanted = checks.new_shape("shape", shape, -1)
    size = math.prod(x.shape)
    if wanted.count(-1) == 1:
        known = math.prod(n for n in wanted if n != -1)
        if known == 0 or size % known:
            raise ValueError(f"shape: {size} elements of shape {tuple(x.shape)} do not fit into {wanted}")
        wanted = tuple(size // known if n == -1 else n for n in wanted)
    if -1 in wanted or math.prod(wanted) != size:
        raise ValueError(f"shape: {size} elements of shape {tuple(x.shape)} do not fit into {wanted}")
    if wanted == tuple(x.shape):
        return x
    return call(operators.reshape, x, wanted)


def permute(input: Any, dims: Sequence[int]) -> Any:
    """Reorder the dimensions: dimension i of the result is dimension ``dims[i]`` of the input."""
    x = checks.array("input", input)
    if not isinstance(dims, Iterable):
        raise TypeError(f"dims: expected a sequence of {len(x.shape)} ints, got {dims!r}")
    order = tuple([checks.axis("dims", d, len(x.shape)) for d in dims])
    if sorted(order) != list(range(len(x.shape))):
        raise ValueError(f"dims: expected each of the {len(x.shape)} dimensions once, got {tuple(dims)}")
    return call(operators.permute, x, order)


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Exchange two dimensions."""
    ndim = len(checks.array("input", input).shape)
    order = list(range(ndim))
    first, second = checks.axis("dim0", dim0, ndim), checks.axis("dim1", dim1, ndim)
    if ndim:
        order[first], order[second] = order[second], order[first]
    return permute(input, order)


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Join the dimensions from ``start_dim`` to ``end_dim`` (both included) into one."""
    x = checks.array("input", input)
    first = checks.axis("start_dim", start_dim, len(x.shape))
    last = checks.axis("end_dim", end_dim, len(x.shape))
    if first > last:
        raise ValueError(f"start_dim: expected at most end_dim {end_dim}, got {start_dim} for shape {tuple(x.shape)}")
    return reshape(x, (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


def broadcast_to(input: Any, shape: Sequence[int]) -> Any:
    """Repeat along new or one-element dimensions to the given shape; on an array, a read-only view."""
    x = checks.array("input", input)
    shape = checks.new_shape("shape", shape)
    if shape == tuple(x.shape):
        return x
    if checks.broadcast_shapes("shape", x.shape, shape) != shape:
        raise ValueError(f"shape: {tuple(x.shape)} does not broadcast to {shape}")
    return call(operators.broadcast_to, x, shape)


def index(input: Any, key: Any) -> Any:
    """``input[key]`` with slices, None, Ellipsis, ints, lists, integer and boolean arrays; on an array, a view where NumPy gives one."""
    x = checks.array("input", input)
    items = tuple([_key_item(item) for item in (key if isinstance(key, tuple) else (key,))])
    try:
        operators.index.shape(tuple(x.shape), items)
    except (IndexError, OverflowError) as error:
        raise IndexError(f"key: {error} (shape {tuple(x.shape)})") from None
    return call(operators.index, x, items)


def _key_item(item: Any) -> Any:
    if item is None or item is Ellipsis or isinstance(item, slice):
        return item
    if isinstance(item, list):
        import numpy as np

        item = np.array(item, dtype=np.int64) if not item else np.array(item)
    if checks.is_hooked(item) or hasattr(item, "dtype"):
        plain = item.numpy() if checks.is_hooked(item) else item
        if plain.dtype.kind == "b":
            return plain
        return checks.index_array("key", plain)
    return checks.integer("key", item)


def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Join arrays end to end along ``dim``; all other dimensions must agree.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> fastnn.cat([np.zeros((1, 2)), np.ones((2, 2))]).shape
    (3, 2)
    """
    if not isinstance(tensors, Sequence) or not len(tensors):
        raise ValueError(f"tensors: expected a non-empty sequence of arrays, got {tensors!r}")
    first = checks.array("tensors[0]", tensors[0])
    dim = checks.axis("dim", dim, len(first.shape))
    arrays = []
    for i, item in enumerate(tensors):
        x = checks.array(f"tensors[{i}]", item, len(first.shape), first.dtype)
        if not x.shape:
            raise ValueError(f"tensors[{i}]: expected at least one dimension, got shape ()")
        checks.check_shape(f"tensors[{i}]", x, (*first.shape[:dim], x.shape[dim], *first.shape[dim + 1 :]))
        arrays.append(x)
    return call(operators.cat, *arrays, dim, tuple(x.shape[dim] for x in arrays))


def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Join arrays of one shape along a new dimension ``dim``."""
    if not isinstance(tensors, Sequence) or not len(tensors):
        raise ValueError(f"tensors: expected a non-empty sequence of arrays, got {tensors!r}")
    first = checks.array("tensors[0]", tensors[0])
    dim = checks.axis("dim", dim, len(first.shape) + 1)
    rows = []
    for i, item in enumerate(tensors):
        x = checks.array(f"tensors[{i}]", item, dtype=first.dtype)
        checks.check_shape(f"tensors[{i}]", x, first.shape)
        rows.append(reshape(x, (*x.shape[:dim], 1, *x.shape[dim:])))
    return cat(rows, dim)


def squeeze(input: Any, dim: int | Sequence[int] | None = None) -> Any:
    """Drop dimensions of length one: all of them, or those given (where they have length one)."""
    x = checks.array("input", input)
    chosen = checks.axes("dim", dim, len(x.shape))
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if n != 1 or i not in chosen))


def unsqueeze(input: Any, dim: int) -> Any:
    """Insert a dimension of length one at ``dim``."""
    x = checks.array("input", input)
    position = checks.axis("dim", dim, len(x.shape) + 1)
    return reshape(x, (*x.shape[:position], 1, *x.shape[position:]))
