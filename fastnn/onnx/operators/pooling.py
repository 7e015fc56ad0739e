"""Maxima, means and norms over windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import functional as F

from ..node import Node, always, implements, like
from ..values import check_room, numbers, reshape
from .windows import Windows, spatial_rank, windows

MOST_BEYOND = 64  # elements of a window beyond twice the length of the input


def _is_plain(place: Windows) -> bool:
    """Whether the functionals take this padding: the same on both sides, and at most half of the kernel."""
    return place.before == place.after and all(2 * p <= k for p, k in zip(place.before, place.kernel, strict=True))


def _place(node: Node, x: Any) -> Windows:
    """Where the windows stand; a small file cannot ask for windows that are nearly all padding, which would take forever."""
    place = windows(node, x.shape[2:], node["kernel_shape"])
    if any(k > 2 * n + MOST_BEYOND for k, n in zip(place.kernel, x.shape[2:], strict=True)):
        raise ValueError(f"kernel_shape: {list(place.kernel)} is far beyond the input of {list(x.shape[2:])}")
    check_room((*x.shape[:2], *place.size))
    return place


@implements("MaxPool", lacks=spatial_rank, results=(like(0), always(np.int64)))
def max_pool(node: Node, x: Any) -> Any:
    """The maximum of each window, and where it stands in the whole tensor."""
    place = _place(node, x)
    pool: Any = F.max_pool1d if len(x.shape) == 3 else F.max_pool2d
    wanted, inner = node.wants(1), x
    if _is_plain(place):
        padding: Any = place.before
        ceil = bool(node.get("ceil_mode"))
    else:
        inner, padding, ceil = place.padded(x, -math.inf), 0, False
    result = pool(inner, place.kernel, place.stride, padding, place.dilation, ceil, wanted)
    if not wanted:
        return result
    values, places = result
    return values, _places(node, numbers(places), inner.shape[2:], x.shape, place if inner is not x else None)


def _places(node: Node, places: np.ndarray, inner: Any, shape: Any, moved: Windows | None) -> np.ndarray:
    """Positions in one plane as positions in the tensor of all, by rows or by columns (storage_order 1)."""
    coordinates = [c.astype(np.int64) for c in np.unravel_index(places, tuple(inner))]
    if moved is not None:
        coordinates = [c - before for c, before in zip(coordinates, moved.before, strict=True)]
    spatial, storage = tuple(shape[2:]), node.get("storage_order", 0)
    steps = np.cumprod([1, *(spatial[:-1] if storage else spatial[:0:-1])])
    steps = steps if storage else steps[::-1]
    plane = np.arange(math.prod(shape[:2])).reshape(*shape[:2], *[1] * len(spatial)) * math.prod(spatial)
    return np.asarray(plane + sum(c * int(step) for c, step in zip(coordinates, steps, strict=True)), np.int64)


@implements("AveragePool", lacks=spatial_rank)
def average_pool(node: Node, x: Any) -> Any:
    """The mean of each window; the padding counts where count_include_pad says so, what ceil_mode adds beyond it never."""
    place, counted = _place(node, x), bool(node.get("count_include_pad"))
    if _is_plain(place) and max(place.dilation) == 1:
        pool: Any = F.avg_pool1d if len(x.shape) == 3 else F.avg_pool2d
        return pool(x, place.kernel, place.stride, place.before, bool(node.get("ceil_mode")), counted)
    return F.divide(window_sums(x, place), _counts(place, x.shape[2:], counted).astype(x.dtype))


def window_sums(x: Any, place: Windows) -> Any:
    """The sum of each window: a convolution of each plane with ones."""
    inner = place.padded(x, 0.0)
    convolve: Any = F.conv1d if len(x.shape) == 3 else F.conv2d
    planes = reshape(inner, (math.prod(x.shape[:2]), 1, *inner.shape[2:]))
    sums = convolve(planes, np.ones((1, 1, *place.kernel), x.dtype), None, place.stride, 0, place.dilation)
    return reshape(sums, (*x.shape[:2], *sums.shape[2:]))


def _counts(place: Windows, spatial: Any, counted: bool) -> np.ndarray:
    """How many elements of each window count, at least one."""
    result = np.ones(())
    for k, s, d, begin, end, n, size in zip(*place[:5], spatial, place.size, strict=True):
        low, high = (-begin, n + end) if counted else (0, n)
        check_room((size, k))
        places = (np.arange(size) * s - begin)[:, None] + np.arange(k) * d
        result = np.multiply.outer(result, ((places >= low) & (places < high)).sum(1))
    return np.maximum(result, 1)


@implements("LpPool", lacks=spatial_rank)
def lp_pool(node: Node, x: Any) -> Any:
    """The p-norm of each window."""
    place, p = _place(node, x), node["p"]
    powers = F.abs(x) if p == 1 else F.multiply(x, x) if p == 2 else F.power(F.abs(x), p)
    sums = window_sums(powers, place)
    return sums if p == 1 else F.sqrt(sums) if p == 2 else F.power(sums, 1 / p)
