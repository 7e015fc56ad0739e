"""Elements chosen by integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..node import Node, implements
from ..values import axis_of, check_room, index, numbers, reshape


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
    places = _places(indices, data.shape[axis])
    check_room([*data.shape[:axis], *places.shape, *data.shape[axis + 1 :]])
    return index(data, (*(slice(None),) * axis, places))


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
