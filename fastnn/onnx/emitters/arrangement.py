"""Shapes, parts, joins and reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.plan.graph import Node, Value

from ..writer import Dims, NotDynamicError, Writer, emits, result
from .layers import folded_axes

REDUCTIONS = {"sum": "ReduceSum", "mean": "ReduceMean", "amax": "ReduceMax", "amin": "ReduceMin"}
LAST = 2**63 - 1  # beyond the end of any dimension


@emits("reshape")
def reshape(writer: Writer, node: Node, twin: Node) -> None:
    """Written where somebody needs the new shape."""
    result(writer, node, *writer.base(node.inputs[0]))  # type: ignore[arg-type]


@emits("permute")
def permute(writer: Writer, node: Node, twin: Node) -> None:
    """Dimensions in another order."""
    result(writer, node, writer.node("Transpose", [writer.name(node.inputs[0])], perm=list(node.attributes[0])))


@emits("broadcast_to")
def broadcast_to(writer: Writer, node: Node, twin: Node) -> None:
    """Repeated; what has its length already keeps it."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None and y is not None
    wanted, own = writer.dims(y), writer.dims(x)
    own = (*((1, 1),) * (len(wanted) - len(own)), *own)
    target = [1 if have == want else want[0] for have, want in zip(own, wanted, strict=True)]
    if any(have != want and want[0] != want[1] for have, want in zip(own, wanted, strict=True)):
        raise NotDynamicError("something is repeated for each example of a batch")
    result(writer, node, writer.node("Expand", [writer.name(x), writer.constant(np.array(target, np.int64))]))


@emits("cat")
def cat(writer: Writer, node: Node, twin: Node) -> None:
    """End to end."""
    result(writer, node, writer.node("Concat", [writer.name(value) for value in node.inputs], axis=node.attributes[0]))


@emits("index")
def index(writer: Writer, node: Node, twin: Node) -> None:
    """NumPy's basic indexing, and one array of integers: Slice, Gather, then another shape."""
    x: Any = node.inputs[0]
    name, axis = writer.name(x), 0
    starts, ends, steps, axes = [], [], [], []
    gathered: list[tuple[int, Any]] = []
    shape = writer.dims(x)
    for item, other in zip(_full(node.attributes[0], len(shape)), _full(twin.attributes[0], len(shape)), strict=True):
        if item is None:
            continue
        if isinstance(item, slice):
            if not _same_slice(item, other, shape[axis]):
                raise NotDynamicError("a slice follows the number of examples")
            if item != slice(None):
                step = 1 if item.step is None else item.step
                starts.append((0 if step > 0 else LAST) if item.start is None else item.start)
                ends.append((LAST if step > 0 else -LAST) if item.stop is None else item.stop)
                steps.append(step)
                axes.append(axis)
        else:
            if not np.array_equal(item, other):
                raise NotDynamicError("an index follows the number of examples")
            gathered.append((axis, np.asarray(item, np.int64)))
        axis += 1
    if axes:
        parts = [writer.constant(np.array(numbers, np.int64)) for numbers in (starts, ends, axes, steps)]
        name = writer.node("Slice", [name, *parts])
    if sum(places.ndim > 0 for _, places in gathered) > 1:
        raise NotImplementedError("index by several arrays")
    for axis, places in reversed(gathered):
        name = writer.node("Gather", [name, writer.constant(places)], axis=axis)
    y: Any = node.outputs[0]
    wanted = writer.dims(y)
    plain = tuple(dims for dims, item in zip(wanted, _results(node.attributes[0], len(shape)), strict=False) if item is not None)
    result(writer, node, name, plain if len(plain) < len(wanted) else None)


def _full(key: tuple[Any, ...], ndim: int) -> list[Any]:
    """A key with an item for every dimension; only what can be exported."""
    if any(getattr(item, "dtype", None) == np.bool_ for item in key):
        raise NotImplementedError("index by booleans")
    used = sum(item is not None and item is not Ellipsis for item in key)
    place = next((i for i, item in enumerate(key) if item is Ellipsis), len(key))
    return [*key[:place], *[slice(None)] * (ndim - used), *key[place + 1 :]]


def _results(key: tuple[Any, ...], ndim: int) -> list[Any]:
    """For each dimension of the result, the item that makes it: None for a new one."""
    found: list[Any] = []
    for item in _full(key, ndim):
        found.extend([item] * (1 if item is None or isinstance(item, slice) else np.ndim(item)))
    return found


def _same_slice(item: slice, other: Any, lengths: tuple[int, int]) -> bool:
    """Whether two slices say the same of dimensions that may follow the batch."""
    return item == other or (item.indices(lengths[0]) == slice(None).indices(lengths[0]) and other == item)


def _reduced(writer: Writer, x: Value) -> tuple[str, Dims, list[int], Dims]:
    """What holds (A, R, B) with the dimensions that are joined in R, and its shape without them."""
    name, dims = writer.base(x)
    found = folded_axes(dims, writer.dims(x))
    if found is None:
        name, dims, found = writer.name(x), writer.dims(x), (1, 2)
    return name, dims, list(range(*found)), (*dims[: found[0]], *dims[found[1] :])


@emits(*REDUCTIONS)
def reduce(writer: Writer, node: Node, twin: Node) -> None:
    """Sums, means and extrema along dimensions."""
    if len(node.outputs) > 1 and node.outputs[1] is not None:
        raise NotImplementedError(f"the indices of {node.operator.name}")
    name, _, axes, rest = _reduced(writer, node.inputs[0])  # type: ignore[arg-type]
    places = writer.constant(np.array(axes, np.int64))
    result(writer, node, writer.node(REDUCTIONS[node.operator.name], [name, places], keepdims=0), rest)


@emits("var")
def variance(writer: Writer, node: Node, twin: Node) -> None:
    """sum (x - mean)^2 / (R - correction)."""
    x: Any = node.inputs[0]
    name, dims, axes, rest = _reduced(writer, x)
    R, twin_R = writer.dims(x)[1]
    if twin_R != R:
        raise NotDynamicError("a variance is taken over the examples of a batch")
    places = writer.constant(np.array(axes, np.int64))
    centred = writer.node("Sub", [name, writer.node("ReduceMean", [name, places], keepdims=1)])
    total = writer.node("ReduceSum", [writer.node("Mul", [centred, centred]), places], keepdims=0)
    result(writer, node, writer.node("Div", [total, writer.like(x, max(R - node.attributes[0], 0))]), rest)
    if node.outputs[1] is not None:
        writer.give(node.outputs[1], writer.node("ReduceMean", [name, places], keepdims=0), rest)
