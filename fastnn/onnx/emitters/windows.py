"""Convolution and pooling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn.plan.graph import Node, Value

from ..writer import Dims, Writer, emits, result
from .elementwise import attributes


def _planes(writer: Writer, x: Value, one: bool) -> tuple[str, Dims, bool]:
    """(N, C, H, W), or the sequence (N, C, L) that it was reshaped from where ``one`` dimension is enough."""
    name, dims = writer.base(x)
    own = writer.dims(x)
    if one and len(dims) == 3 and own == (*dims[:2], (1, 1), dims[2]):
        return name, dims, True
    return writer.name(x), own, False


def _output(writer: Writer, node: Node, sequence: bool) -> Dims:
    y: Any = node.outputs[0]
    dims = writer.dims(y)
    return (*dims[:2], dims[3]) if sequence else dims


@emits("conv2d")
def conv(writer: Writer, node: Node, twin: Node) -> None:
    """Convolution over planes or sequences."""
    x, w, b = node.inputs
    assert x is not None and w is not None
    stride, (top, bottom, left, right), dilation, groups = node.attributes
    weight, wdims = writer.base(w)
    thin = len(wdims) == 3 and writer.dims(w) == (*wdims[:2], (1, 1), wdims[2]) and top == bottom == 0
    name, _, sequence = _planes(writer, x, thin)
    if sequence:
        inputs = [name, weight, writer.name(b)]
        y = writer.node("Conv", inputs, strides=stride[1:], dilations=dilation[1:], pads=[left, right], group=groups)
    else:
        inputs = [name, writer.name(w), writer.name(b)]
        y = writer.node("Conv", inputs, strides=stride, dilations=dilation, pads=[top, left, bottom, right], group=groups)
    result(writer, node, y, _output(writer, node, sequence))


def _geometry(given: dict[str, Any], sequence: bool) -> dict[str, Any]:
    first = 1 if sequence else 0
    pads = given["padding"][first:]
    found = {"kernel_shape": given["kernel_size"][first:], "strides": given["stride"][first:], "pads": [*pads, *pads]}
    if "dilation" in given:
        found["dilations"] = given["dilation"][first:]
    return {**found, "ceil_mode": int(given["ceil_mode"])}


def _is_thin(given: dict[str, Any]) -> bool:
    """Whether the windows do not extend over the first of the two dimensions."""
    return given["kernel_size"][0] == given["stride"][0] == 1 and given["padding"][0] == 0


@emits("max_pool2d")
def max_pool(writer: Writer, node: Node, twin: Node) -> None:
    """Maxima; where they stand in their planes is not what ONNX counts."""
    if node.outputs[1] is not None:
        raise NotImplementedError("max_pool2d with return_indices")
    given = attributes(node)
    name, _, sequence = _planes(writer, node.inputs[0], _is_thin(given))  # type: ignore[arg-type]
    result(writer, node, writer.node("MaxPool", [name], **_geometry(given, sequence)), _output(writer, node, sequence))


@emits("avg_pool2d")
def average_pool(writer: Writer, node: Node, twin: Node) -> None:
    """Means; by another divisor where one is given."""
    given = attributes(node)
    divisor, counted = given["divisor_override"], bool(given["count_include_pad"])
    if divisor is not None and given["ceil_mode"]:
        raise NotImplementedError("avg_pool2d with divisor_override and ceil_mode")
    x: Any = node.inputs[0]
    name, _, sequence = _planes(writer, x, _is_thin(given))
    y = writer.node("AveragePool", [name], **_geometry(given, sequence), count_include_pad=int(counted or divisor is not None))
    if divisor is not None:
        y = writer.node("Mul", [y, writer.like(x, math.prod(given["kernel_size"]) / divisor)])
    result(writer, node, y, _output(writer, node, sequence))


@emits("adaptive_avg_pool2d")
def adaptive_average_pool(writer: Writer, node: Node, twin: Node) -> None:
    """The mean of everything, of windows that tile the plane, or else products with a matrix of means along each dimension."""
    x: Any = node.inputs[0]
    size, (H, W) = tuple(node.attributes[0]), x.shape[2:]
    name = writer.name(x)
    if size == (1, 1):
        y = writer.node("GlobalAveragePool", [name])
    elif H % max(size[0], 1) == W % max(size[1], 1) == 0 and min(size) > 0:
        kernel = [H // size[0], W // size[1]]
        y = writer.node("AveragePool", [name], kernel_shape=kernel, strides=kernel)
    else:
        y = name
        for n, count in ((W, size[1]), (H, size[0])):  # the last dimension, which is then exchanged with the other
            means = writer.constant(_means(n, count).T.astype(x.dtype))
            y = writer.node("Transpose", [writer.node("MatMul", [y, means])], perm=[0, 1, 3, 2])
    result(writer, node, y)


def _means(n: int, count: int) -> np.ndarray:
    """The matrix (count, n) whose rows take means over windows from floor(i n / count) to ceil((i + 1) n / count)."""
    matrix = np.zeros((count, n))
    for i in range(count):
        first, last = i * n // count, -(-(i + 1) * n // count)
        matrix[i, first:last] = 1 / (last - first)
    return matrix


@emits("adaptive_max_pool2d")
def adaptive_max_pool(writer: Writer, node: Node, twin: Node) -> None:
    """The maximum of everything, or of windows that tile the plane."""
    x: Any = node.inputs[0]
    size, (H, W) = tuple(node.attributes[0]), x.shape[2:]
    if node.outputs[1] is not None or min(size) == 0 or H % size[0] or W % size[1]:
        raise NotImplementedError("adaptive_max_pool2d over windows that overlap, or with return_indices")
    kernel = [H // size[0], W // size[1]]
    name = writer.name(x)
    y = (
        writer.node("GlobalMaxPool", [name])
        if size == (1, 1)
        else writer.node("MaxPool", [name], kernel_shape=kernel, strides=kernel)
    )
    result(writer, node, y)
