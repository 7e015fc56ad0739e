"""Products of matrices, normalization and softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn.plan.graph import Node, Value

from ..writer import Dims, Writer, emits, result

ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


@emits("linear", "linear_activated")
def linear(writer: Writer, node: Node, twin: Node) -> None:
    """x w^T + b, and its activation."""
    y = writer.node("Gemm", [writer.name(value) for value in node.inputs], transB=1)
    kind = ACTIVATIONS.get(node.attributes[0]) if node.attributes else None
    result(writer, node, y if kind is None else writer.node(kind, [y]))


@emits("matmul")
def matmul(writer: Writer, node: Node, twin: Node) -> None:
    """The product of (B, M, K) and (B, K, N), in the shapes that they came from where those are matrices too."""
    a, b = node.inputs
    assert a is not None and b is not None
    (left, ldims), (right, rdims) = writer.base(a), writer.base(b)
    matrices = min(len(ldims), len(rdims)) >= 2 and rdims[-2:] == writer.dims(b)[-2:] and ldims[-1] == writer.dims(a)[-1]
    if matrices and (len(rdims) == 2 or (ldims[:-2] == rdims[:-2] and ldims[-2:] == writer.dims(a)[-2:])):
        result(writer, node, writer.node("MatMul", [left, right]), (*ldims[:-1], rdims[-1]))
    else:
        result(writer, node, writer.node("MatMul", [writer.name(a), writer.name(b)]))


def _product(dims: Dims) -> tuple[int, int]:
    return math.prod(a for a, _ in dims), math.prod(b for _, b in dims)


def folded_axes(dims: Dims, folded: Dims) -> tuple[int, int] | None:
    """The dimensions of ``dims`` that are joined in the middle of ``folded`` (A, R, B): first and behind the last."""
    for first in range(len(dims)):
        for last in range(first + 1, len(dims) + 1):
            if tuple(_product(part) for part in (dims[:first], dims[first:last], dims[last:])) == folded:
                return first, last
    return None


@emits("softmax", "log_softmax")
def softmax(writer: Writer, node: Node, twin: Node) -> None:
    """Along the middle of (A, C, B), or along the dimension that this was."""
    x: Any = node.inputs[0]
    name, dims = writer.base(x)
    found = folded_axes(dims, writer.dims(x))
    if found is None or found[1] - found[0] != 1:
        name, dims, found = writer.name(x), writer.dims(x), (1, 2)
    kind = "Softmax" if node.operator.name == "softmax" else "LogSoftmax"
    result(writer, node, writer.node(kind, [name], axis=found[0]), dims)


def _channelled(writer: Writer, x: Value, least: int) -> tuple[str, Dims]:
    """What holds (N, C, L), in the shape (N, C, ...) that it came from."""
    name, dims = writer.base(x)
    return (name, dims) if dims[:2] == writer.dims(x)[:2] and len(dims) >= least else (writer.name(x), writer.dims(x))


def _affine(writer: Writer, x: Value, weight: Value | None, bias: Value | None, shape: tuple[int, ...]) -> list[str]:
    """Names of weight and bias, ones and zeros where there are none."""
    return [
        writer.constant(np.full(shape, fill, x.dtype)) if value is None else writer.name(value)
        for value, fill in ((weight, 1), (bias, 0))
    ]


@emits("batch_norm_evaluation")
def batch_norm(writer: Writer, node: Node, twin: Node) -> None:
    """By given statistics."""
    x, weight, bias, mean, var = node.inputs
    assert x is not None
    name, dims = _channelled(writer, x, 2)
    affine = _affine(writer, x, weight, bias, (x.shape[1],))
    y = writer.node("BatchNormalization", [name, *affine, writer.name(mean), writer.name(var)], epsilon=node.attributes[0])
    result(writer, node, y, dims)


@emits("group_norm")
def group_norm(writer: Writer, node: Node, twin: Node) -> None:
    """Over groups of channels."""
    x, weight, bias = node.inputs
    assert x is not None
    groups, eps = node.attributes
    name, dims = _channelled(writer, x, 3)
    affine = _affine(writer, x, weight, bias, (x.shape[1],))
    result(writer, node, writer.node("GroupNormalization", [name, *affine], num_groups=groups, epsilon=eps), dims)


@emits("layer_norm")
def layer_norm(writer: Writer, node: Node, twin: Node) -> None:
    """Over the last dimensions."""
    x, weight, bias = node.inputs
    assert x is not None
    name, dims = writer.base(x)
    axis = next((i for i in range(len(dims)) if (_product(dims[:i]), _product(dims[i:])) == writer.dims(x)), None)
    if axis is None:
        name, dims, axis = writer.name(x), writer.dims(x), 1
    inner = dims[axis:]
    shape = tuple(n for n, _ in inner)
    scale, shift = (
        writer.constant(np.full(shape, fill, x.dtype)) if value is None else _in_shape(writer, value, inner)
        for value, fill in ((weight, 1), (bias, 0))
    )
    y = writer.node("LayerNormalization", [name, scale, "" if bias is None else shift], axis=axis, epsilon=node.attributes[0])
    result(writer, node, y, dims)


def _in_shape(writer: Writer, value: Value, dims: Dims) -> str:
    name, own = writer.base(value)
    return name if own == dims else writer.reshaped(name, own, dims)
