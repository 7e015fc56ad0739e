"""Elements chosen by integers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import functional as F
from fastnn.autograd import tape
from fastnn.functional import checks

from ..node import Node, implements, like
from ..values import axis_of, by_numpy, check_room, index, is_float, numbers, permute, reshape, scalar


def _places(indices: Any, size: int) -> np.ndarray:
    """Checked integers of places in a dimension, negative ones counted from its end."""
    places = np.asarray(numbers(indices))
    if places.dtype.kind not in "iu":
        raise TypeError(f"indices: expected integers, got dtype {places.dtype}")
    if places.size and not (-size <= places.min() and places.max() < size):
        raise IndexError(f"indices: expected numbers in [{-size}, {size - 1}], got {places.min()} to {places.max()}")
    return places.astype(np.int64)


@implements("Gather", integers=True)
def gather(node: Node, data: Any, indices: Any) -> Any:
    """Whole slices along a dimension."""
    axis = axis_of(node["axis"], len(data.shape))
    check_room([*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]])
    if checks.is_abstract(indices):
        return _gather_later(data, indices, axis)
    places = _places(indices, data.shape[axis])
    return index(data, (*(slice(None),) * axis, places))


def _gather_later(data: Any, indices: Any, axis: int) -> Any:
    """By indices that a plan gets at each step: where a gradient is wanted, a product with rows of the identity matrix."""
    if not (is_float(data) and tape.is_recording() and getattr(data, "requires_grad", False)):
        return by_numpy(lambda array, places: np.take(array, places, axis), data, indices)
    n, dtype = data.shape[axis], data.dtype
    check_room((*indices.shape, n))
    rows = reshape(by_numpy(lambda places: np.eye(n, dtype=dtype)[places], indices), (math.prod(indices.shape), n))
    others = [d for d in range(len(data.shape)) if d != axis]
    table = reshape(permute(data, (axis, *others)), (n, math.prod(data.shape[d] for d in others)))
    found = reshape(F.matmul(rows, table), (*indices.shape, *(data.shape[d] for d in others)))
    ndim = len(indices.shape)
    order = (*range(ndim, ndim + axis), *range(ndim), *range(ndim + axis, ndim + len(others)))
    return permute(found, order)


@implements("GatherElements", integers=True)
def gather_elements(node: Node, data: Any, indices: Any) -> Any:
    """One element for each index, the other coordinates being its own."""
    axis = axis_of(node["axis"], len(data.shape))
    places = _places(indices, data.shape[axis])
    if places.ndim != len(data.shape):
        raise ValueError(f"indices: expected {len(data.shape)} dimensions, got shape {places.shape}")
    if any(n > m for d, (n, m) in enumerate(zip(places.shape, data.shape, strict=True)) if d != axis):
        raise ValueError(f"indices: expected a shape within {tuple(data.shape)}, got {places.shape}")
    key = [np.arange(n).reshape([-1 if d == e else 1 for e in range(places.ndim)]) for d, n in enumerate(places.shape)]
    key[axis] = places
    return index(data, tuple(key))


@implements("OneHot", integers=True, results=(like(2),))
def one_hot(node: Node, indices: Any, depth: Any, values: Any) -> Any:
    """The second of two values at each index, along a new dimension, and the first elsewhere, for indices out of range everywhere."""
    n = int(scalar(depth))
    axis = axis_of(node["axis"], len(indices.shape) + 1)
    check_room((*indices.shape, max(n, 0)))

    def mark(places: np.ndarray, off_on: np.ndarray) -> np.ndarray:
        column = np.expand_dims(np.where(places < 0, places + n, places), axis)
        line = np.arange(n).reshape([-1 if d == axis else 1 for d in range(column.ndim)])
        return np.where(column == line, off_on[1], off_on[0])

    return by_numpy(mark, indices, values)


@implements("GatherND", integers=True)
def gather_nd(node: Node, data: Any, indices: Any) -> Any:
    """Slices by coordinates in the first dimensions after those of the batch."""
    batch, places = node.get("batch_dims", 0), np.asarray(numbers(indices))
    if not 0 <= batch < min(places.ndim, len(data.shape)) or places.shape[-1] > len(data.shape) - batch:
        raise ValueError(f"indices: shape {places.shape} does not fit data of shape {tuple(data.shape)}")
    if tuple(places.shape[:batch]) != tuple(data.shape[:batch]):
        raise ValueError(f"indices: expected the batch {tuple(data.shape[:batch])}, got shape {places.shape}")
    coordinates = [_places(places[..., i], data.shape[batch + i]) for i in range(places.shape[-1])]
    ndim = places.ndim - 1
    own = [np.arange(n).reshape([-1 if d == e else 1 for e in range(ndim)]) for d, n in enumerate(places.shape[:batch])]
    check_room([*places.shape[:-1], *data.shape[batch + places.shape[-1] :]])
    if not own and not coordinates:
        return reshape(data, data.shape)
    return index(data, (*own, *coordinates))
