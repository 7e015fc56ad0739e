"""Other shapes of the same elements, joins, parts and repetitions."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from fastnn import functional as F

from ..node import Node, implements
from ..values import (
    axis_of,
    broadcast_to,
    by_numpy,
    cat,
    check_room,
    index,
    integers,
    is_float,
    permute,
    reshape,
    scalar,
)


@implements("Reshape", integers=True)
def to_shape(node: Node, x: Any, shape: Any) -> Any:
    """Another shape; 0 keeps a dimension (unless allowzero), -1 is what remains."""
    wanted = integers(shape)
    if not node.get("allowzero"):
        wanted = [x.shape[i] if n == 0 and i < len(x.shape) else n for i, n in enumerate(wanted)]
    return reshape(x, wanted)


@implements("Flatten", integers=True)
def flatten(node: Node, x: Any) -> Any:
    """Two dimensions, cut before ``axis``."""
    axis = len(x.shape) if node["axis"] == len(x.shape) else axis_of(node["axis"], len(x.shape))
    return reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@implements("Squeeze", integers=True)
def squeeze(node: Node, x: Any, axes: Any = None) -> Any:
    """Without the dimensions of length one that are named, or any."""
    chosen = node.get("axes") if axes is None else integers(axes)
    dims = [i for i, n in enumerate(x.shape) if n == 1] if chosen is None else [axis_of(a, len(x.shape)) for a in chosen]
    if any(x.shape[d] != 1 for d in dims):
        raise ValueError(f"axes: expected dimensions of length 1, got {chosen} for shape {tuple(x.shape)}")
    return reshape(x, [n for i, n in enumerate(x.shape) if i not in dims])


@implements("Unsqueeze", integers=True)
def unsqueeze(node: Node, x: Any, axes: Any = None) -> Any:
    """With new dimensions of length one, which stand at ``axes`` of the result."""
    chosen = node["axes"] if axes is None else integers(axes)
    ndim = len(x.shape) + len(chosen)
    dims = {axis_of(axis, ndim) for axis in chosen}
    if len(dims) != len(chosen) or ndim > 64:
        raise ValueError(f"axes: expected distinct dimensions, got {chosen[:65]}")
    rest = iter(x.shape)
    return reshape(x, [1 if i in dims else next(rest) for i in range(ndim)])


@implements("Transpose", integers=True)
def transpose(node: Node, x: Any) -> Any:
    """Dimensions in the order ``perm``, or reversed."""
    return permute(x, node.get("perm") or range(len(x.shape))[::-1])


@implements("Identity", integers=True)
def identity(node: Node, x: Any) -> Any:
    """The value itself."""
    return x


@implements("Concat", integers=True)
def concat(node: Node, *values: Any) -> Any:
    """Values end to end."""
    return cat(values, axis_of(node["axis"], max(len(values[0].shape), 1)))


@implements("Split", integers=True)
def split(node: Node, x: Any, sizes: Any = None) -> Any:
    """Parts along a dimension: of given sizes, or equal ones, of which the last may be smaller."""
    axis = axis_of(node["axis"], len(x.shape))
    parts = node.get("split") if sizes is None else integers(sizes)
    if parts is None:
        count = len(node.outputs)
        if node.get("num_outputs", count) != count:
            raise ValueError(f"num_outputs: expected {count}, got {node['num_outputs']}")
        step = -(-x.shape[axis] // count)
        parts = [max(min(step, x.shape[axis] - i * step), 0) for i in range(count)]
    if sum(parts) != x.shape[axis] or any(n < 0 for n in parts) or len(parts) != len(node.outputs):
        raise ValueError(f"split: expected {len(node.outputs)} lengths that add up to {x.shape[axis]}, got {parts}")
    places = np.cumsum([0, *parts]).tolist()
    along = (slice(None),) * axis
    return tuple([index(x, (*along, slice(*ends))) for ends in itertools.pairwise(places)])


@implements("Slice", integers=True)
def cut(node: Node, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    """A part of every dimension named: attributes before version 10, inputs since."""
    first = node["starts"] if starts is None else integers(starts)
    last = node["ends"] if ends is None else integers(ends)
    dims = node.get("axes", list(range(len(first)))) if axes is None else integers(axes)
    by = [1] * len(first) if steps is None else integers(steps)
    key = [slice(None)] * len(x.shape)
    for start, end, axis, step in zip(first, last, dims, by, strict=True):
        d = axis_of(axis, len(x.shape))
        key[d] = _slice(start, end, step, x.shape[d])
    return index(x, tuple(key))


def _slice(start: int, end: int, step: int, size: int) -> slice:
    """A slice by ONNX's rules, where a start or end beyond either side means that side."""
    if step == 0:
        raise ValueError("steps: expected numbers other than 0")
    start, end = (n + size if n < 0 else n for n in (start, end))
    if step > 0:
        return slice(min(max(start, 0), size), min(max(end, 0), size), step)
    end = min(max(end, -1), size - 1)
    return slice(min(max(start, 0), size - 1), None if end == -1 else end, step) if size else slice(None)


@implements("Expand", integers=True)
def expand(node: Node, x: Any, shape: Any) -> Any:
    """Repeated to what the shape and the value's own broadcast to."""
    wanted = integers(shape)
    ndim = max(len(wanted), len(x.shape))
    own, other = ((1,) * (ndim - len(s)) + tuple(s) for s in (x.shape, wanted))
    return broadcast_to(x, [a if b == 1 else b for a, b in zip(own, other, strict=True)])


@implements("Tile", integers=True)
def tile(node: Node, x: Any, repeats: Any) -> Any:
    """Repeated along each dimension."""
    times = integers(repeats)
    if len(times) != len(x.shape):
        raise ValueError(f"repeats: expected {len(x.shape)} numbers, got {times}")
    check_room([n * t for n, t in zip(x.shape, times, strict=True)])
    spread = reshape(x, [n for size in x.shape for n in (1, size)])
    spread = broadcast_to(spread, [n for size, t in zip(x.shape, times, strict=True) for n in (t, size)])
    return reshape(spread, [n * t for n, t in zip(x.shape, times, strict=True)])


def _cannot_pad(node: Node, facts: Any) -> str | None:
    return None if node["mode"] in ("constant", "reflect", "edge", "wrap") else f"Pad by {node['mode']!r}"


@implements("Pad", integers=True, lacks=_cannot_pad)
def pad(node: Node, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    """With borders, negative ones cut off: attributes before version 11, inputs since."""
    given = node["pads"] if pads is None else integers(pads)
    fill = (node.get("value", 0.0) if node.version < 11 else 0) if value is None else scalar(value)
    dims = list(range(len(x.shape))) if axes is None else [axis_of(a, len(x.shape)) for a in integers(axes)]
    if len(given) != 2 * len(dims):
        raise ValueError(f"pads: expected {2 * len(dims)} numbers, got {given}")
    for d, before, after in zip(dims, given, given[len(dims) :], strict=False):
        x = pad_dimension(x, d, before, after, node["mode"], fill)
    return x


def pad_dimension(x: Any, d: int, before: int, after: int, mode: str = "constant", fill: float = 0.0) -> Any:
    """With a border on both sides of dimension ``d``: a constant beside it, or elements of it again."""
    size, along = x.shape[d], (slice(None),) * d
    if before < 0 or after < 0:
        x = index(x, (*along, slice(max(-before, 0), size - max(-after, 0))))
        before, after, size = max(before, 0), max(after, 0), x.shape[d]
    if before == after == 0:
        return x
    check_room([*x.shape[:d], size + before + after, *x.shape[d + 1 :]])
    if mode != "constant":
        if not size or (mode == "reflect" and size == 1 and max(before, after)):
            raise ValueError(f"pads: a dimension of length {size} cannot be padded by {mode!r}")
        return index(x, (*along, np.pad(np.arange(size), (before, after), mode=mode)))  # type: ignore[call-overload]
    shapes = [(*x.shape[:d], n, *x.shape[d + 1 :]) for n in (before, after)]
    borders = [np.full(shape, fill, x.dtype) for shape in shapes]
    return cat([part for part in (borders[0], x, borders[1]) if part.shape[d]], d)


@implements("DepthToSpace", integers=True)
def depth_to_space(node: Node, x: Any) -> Any:
    """Channels laid out as blocks of the plane."""
    (N, C, H, W), b = x.shape, node["blocksize"]
    if node.get("mode", "DCR") == "DCR":
        blocks = permute(reshape(x, (N, b, b, C // (b * b), H, W)), (0, 3, 4, 1, 5, 2))
    else:
        blocks = permute(reshape(x, (N, C // (b * b), b, b, H, W)), (0, 1, 4, 2, 5, 3))
    return reshape(blocks, (N, C // (b * b), H * b, W * b))


@implements("SpaceToDepth", integers=True)
def space_to_depth(node: Node, x: Any) -> Any:
    """Blocks of the plane laid out as channels."""
    (N, C, H, W), b = x.shape, node["blocksize"]
    blocks = reshape(x, (N, C, H // b, b, W // b, b))
    order = (0, 3, 5, 1, 2, 4) if node.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return reshape(permute(blocks, order), (N, C * b * b, H // b, W // b))


@implements("Trilu", integers=True)
def triangle(node: Node, x: Any, k: Any = None) -> Any:
    """The upper or lower triangle of each matrix, zeros elsewhere."""
    offset = 0 if k is None else max(min(scalar(k), x.shape[-1]), -x.shape[-2])
    ones = np.ones(x.shape[-2:], np.bool_)
    inside = np.triu(ones, offset) if node["upper"] else np.tril(ones, offset)
    return F.where(inside, x, 0.0) if is_float(x) else by_numpy(lambda array: np.where(inside, array, array.dtype.type(0)), x)
