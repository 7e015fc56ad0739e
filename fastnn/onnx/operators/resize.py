"""Other sizes by interpolation: along each dimension a choice of elements, or a product with a matrix of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import functional as F

from ..node import Node, implements
from ..values import axis_of, check_room, index, integers, numbers


def _coordinates(node: Node, n: int, m: int, scale: float, roi: tuple[float, float]) -> np.ndarray:
    """Where each of the m elements lies among the n of the input."""
    i, size, mode = np.arange(m, dtype=float), scale * n, node.get("coordinate_transformation_mode", "asymmetric")
    if mode == "asymmetric":
        return i / scale
    if mode == "align_corners":
        return i * (n - 1) / (size - 1) if size != 1 else 0 * i
    if mode == "tf_crop_and_resize":
        start, end = roi
        along = i / (size - 1) if size != 1 else 0 * i + 0.5
        return (start + along * (end - start)) * (n - 1)
    if mode == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if mode == "pytorch_half_pixel" and size == 1:
        return 0 * i - 0.5
    offset = n / 2 * (1 - m / size) if mode == "half_pixel_symmetric" else 0.0
    return offset + (i + 0.5) / scale - 0.5


def _nearest(node: Node, places: np.ndarray, n: int) -> np.ndarray:
    """The neighbour of each place that nearest_mode prefers."""
    low = np.floor(places)
    rest = places - low
    up = {"floor": rest >= 1, "ceil": rest > 0, "round_prefer_floor": rest > 0.5, "round_prefer_ceil": rest >= 0.5}
    return np.clip(low + up[node.get("nearest_mode", "floor")], 0, n - 1).astype(np.int64)


def _kernel(node: Node, t: np.ndarray) -> np.ndarray:
    """Weights at distances t: a triangle, or Keys's cubic."""
    t = np.abs(t)
    if node["mode"] != "cubic":
        return np.maximum(1 - t, 0)
    a = node["cubic_coeff_a"]
    near, far = ((a + 2) * t - (a + 3)) * t * t + 1, ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def _weights(node: Node, places: np.ndarray, n: int, scale: float) -> np.ndarray:
    """The matrix (n, m) of the weights of input elements for each place; borders are repeated, or left out (exclude_outside)."""
    spread = min(scale, 1.0) if node.get("antialias") else 1.0
    reach = math.ceil((2 if node["mode"] == "cubic" else 1) / spread)
    check_room((n, len(places)))
    check_room((len(places), 2 * reach + 1))
    neighbours = np.floor(places)[:, None] + np.arange(-reach, reach + 2)
    weights = _kernel(node, (neighbours - places[:, None]) * spread)
    outside = (neighbours < 0) | (neighbours >= n)
    weights = np.where(outside, 0, weights) if node.get("exclude_outside") else weights
    weights = weights / weights.sum(1, keepdims=True)
    matrix = np.zeros((len(places), n))
    rows = np.broadcast_to(np.arange(len(places))[:, None], neighbours.shape)
    np.add.at(matrix, (rows, np.clip(neighbours, 0, n - 1).astype(np.int64)), weights)
    return matrix.T


def _sizes(node: Node, x: Any, axes: list[int], scales: Any, sizes: Any) -> tuple[list[int], list[float]]:
    """Lengths and scales along the axes, from whichever of the two is given."""
    lengths = [x.shape[axis] for axis in axes]
    if sizes is None or not numbers(sizes).size:
        factors = [float(s) for s in numbers(scales).reshape(-1)]
        targets = [math.floor(n * s) for n, s in zip(lengths, factors, strict=True)]
    else:
        targets = integers(sizes)
        factors = [m / n for m, n in zip(targets, lengths, strict=True)]
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            factors = [(min if policy == "not_larger" else max)(factors)] * len(axes)
            targets = [math.floor(n * s + 0.5) for n, s in zip(lengths, factors, strict=True)]
    if not all(math.isfinite(s) and s > 0 for s in factors):
        raise ValueError(f"scales: expected positive numbers, got {factors}")
    check_room([*targets, *(n for d, n in enumerate(x.shape) if d not in axes)])
    return targets, factors


@implements("Resize")
def resize(node: Node, x: Any, roi: Any = None, scales: Any = None, sizes: Any = None) -> Any:
    """Nearest, linear or cubic interpolation; version 10 has scales alone."""
    if node.version == 10:
        roi, scales = None, roi
    axes = [axis_of(a, len(x.shape)) for a in node.get("axes") or range(len(x.shape))]
    targets, factors = _sizes(node, x, axes, scales, sizes)
    crop = [0.0] * len(axes) + [1.0] * len(axes)
    if node.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        crop = [float(r) for r in numbers(roi).reshape(-1)]
    return _resized(node, x, axes, targets, factors, crop)


@implements("Upsample")
def upsample(node: Node, x: Any, scales: Any = None) -> Any:
    """Nearest or linear interpolation by scales: an attribute in version 7, an input in 9."""
    axes = list(range(len(x.shape)))
    targets, factors = _sizes(node, x, axes, np.array(node["scales"]) if scales is None else scales, None)
    return _resized(node, x, axes, targets, factors, [0.0] * len(axes) + [1.0] * len(axes))


def _resized(node: Node, x: Any, axes: list[int], targets: Sequence[int], factors: Sequence[float], crop: list[float]) -> Any:
    beyond: Any = np.zeros((1,) * len(x.shape), np.bool_)
    y = x
    for i, (axis, m, scale) in enumerate(zip(axes, targets, factors, strict=True)):
        n = x.shape[axis]
        places = _coordinates(node, n, m, scale, (crop[i], crop[len(axes) + i]))
        if node.get("coordinate_transformation_mode") == "tf_crop_and_resize":
            shape = [-1 if d == axis else 1 for d in range(len(x.shape))]
            beyond = beyond | ((places < 0) | (places > n - 1)).reshape(shape)
        if m == n and (places == np.arange(n)).all():
            continue
        if node["mode"] == "nearest":
            y = index(y, (*(slice(None),) * axis, _nearest(node, places, n)))
        else:
            weights = _weights(node, places, n, scale).astype(x.dtype)
            y = F.transpose(F.matmul(F.transpose(y, axis, -1), weights), axis, -1)
    if not beyond.any():
        return y
    return F.where(np.broadcast_to(beyond, y.shape), node["extrapolation_value"], y)
