"""Activations and arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from fastnn.plan.graph import Node

from ..writer import TABLE, Emitter, Writer, emits, result

UNARY: dict[str, tuple[str, dict[str, str]]] = {  # operator -> node, and its attributes by the operator's
    "abs": ("Abs", {}),
    "elu": ("Elu", {"alpha": "alpha"}),
    "exp": ("Exp", {}),
    "gelu": ("Gelu", {}),
    "identity": ("Identity", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": "slope"}),
    "log": ("Log", {}),
    "negative": ("Neg", {}),
    "relu": ("Relu", {}),
    "selu": ("Selu", {}),
    "sigmoid": ("Sigmoid", {}),
    "softsign": ("Softsign", {}),
    "sqrt": ("Sqrt", {}),
    "tanh": ("Tanh", {}),
}
NEGLIGIBLE = 18.0  # log(1 + e^18) - 18 is 1.5e-8
BINARY = {
    "add": "Add", "divide": "Div", "maximum": "Max", "minimum": "Min", "multiply": "Mul", "power": "Pow", "subtract": "Sub",
}  # fmt: skip

COMPARISONS: dict[Any, str] = {  # what NumPy computes in a plan, and the node
    np.equal: "Equal", np.greater: "Greater", np.greater_equal: "GreaterOrEqual", np.less: "Less", np.less_equal: "LessOrEqual",
    np.logical_and: "And", np.logical_or: "Or", np.logical_xor: "Xor", np.logical_not: "Not", np.isnan: "IsNaN",
}  # fmt: skip


def attributes(node: Node) -> dict[str, Any]:
    """The attributes of a call, by name."""
    return dict(zip(node.operator.attributes, node.attributes, strict=True))


def _unary(kind: str, names: dict[str, str]) -> Emitter:
    def emit(writer: Writer, node: Node, twin: Node) -> None:
        name, dims = writer.base(node.inputs[0])  # type: ignore[arg-type]
        given = attributes(node)
        wanted: dict[str, Any] = {key: float(given[value]) for key, value in names.items()}
        result(writer, node, writer.node(kind, [name], **wanted), dims)

    return emit


def _binary(kind: str) -> Emitter:
    def emit(writer: Writer, node: Node, twin: Node) -> None:
        result(writer, node, writer.node(kind, [writer.name(value) for value in node.inputs]))

    return emit


TABLE.update({name: _unary(kind, names) for name, (kind, names) in UNARY.items()})
TABLE.update({name: _binary(kind) for name, kind in BINARY.items()})


@emits("gelu_tanh")
def gelu_tanh(writer: Writer, node: Node, twin: Node) -> None:
    """Gelu by tanh."""
    name, dims = writer.base(node.inputs[0])  # type: ignore[arg-type]
    result(writer, node, writer.node("Gelu", [name], approximate="tanh"), dims)


@emits("silu")
def silu(writer: Writer, node: Node, twin: Node) -> None:
    """x sigmoid(x)."""
    name, dims = writer.base(node.inputs[0])  # type: ignore[arg-type]
    result(writer, node, writer.node("Mul", [name, writer.node("Sigmoid", [name])]), dims)


@emits("hardtanh", "clamp")
def clamp(writer: Writer, node: Node, twin: Node) -> None:
    """Limited from either side."""
    x: Any = node.inputs[0]
    name, dims = writer.base(x)
    limits = [writer.like(x, bound) if bound is not None else "" for bound in node.attributes]
    result(writer, node, writer.node("Clip", [name, *limits]), dims)


@emits("threshold")
def threshold(writer: Writer, node: Node, twin: Node) -> None:
    """Another value where x <= threshold; NaN is not."""
    x: Any = node.inputs[0]
    name, dims = writer.base(x)
    limit, value = (writer.like(x, number) for number in node.attributes)
    result(writer, node, writer.node("Where", [writer.node("LessOrEqual", [name, limit]), value, name]), dims)


@emits("step")
def step(writer: Writer, node: Node, twin: Node) -> None:
    """1 where x > 0, else 0."""
    x: Any = node.inputs[0]
    name, dims = writer.base(x)
    above = writer.node("Greater", [name, writer.like(x, 0.0)])
    result(writer, node, writer.node("Where", [above, writer.like(x, 1.0), writer.like(x, 0.0)]), dims)


@emits("softplus")
def softplus(writer: Writer, node: Node, twin: Node) -> None:
    """log(1 + e^(beta x)) / beta, and x beyond a threshold unless that is so large that it makes no difference."""
    x: Any = node.inputs[0]
    name, dims = writer.base(x)
    beta, limit = node.attributes
    scaled = name if beta == 1 else writer.node("Mul", [name, writer.like(x, beta)])
    soft = writer.node("Softplus", [scaled])
    soft = soft if beta == 1 else writer.node("Div", [soft, writer.like(x, beta)])
    if limit < NEGLIGIBLE:
        soft = writer.node("Where", [writer.node("Greater", [scaled, writer.like(x, limit)]), name, soft])
    result(writer, node, soft, dims)


@emits("prelu")
def prelu(writer: Writer, node: Node, twin: Node) -> None:
    """A slope of each channel, or one."""
    x, w = node.inputs
    assert x is not None and w is not None
    name, dims = writer.base(x)
    own, count = writer.dims(x), w.shape[0]
    if count > 1 and dims[:2] != own[:2]:
        name, dims = writer.name(x), own
    trailing = len(dims) - 2 if count > 1 else 0
    slope = writer.reshaped(*writer.base(w), ((count, count), *((1, 1),) * trailing)) if trailing else writer.name(w)
    result(writer, node, writer.node("PRelu", [name, slope]), dims)


@emits("numpy_call")
def comparison(writer: Writer, node: Node, twin: Node) -> None:
    """A comparison, or logic of several."""
    function = node.attributes[0]
    if function not in COMPARISONS and function is not np.not_equal:
        raise NotImplementedError(f"NumPy's {getattr(function, '__name__', 'function')}")
    values = [value for value in node.inputs if value is not None]
    dtype = next((value.dtype for value in values if value.dtype.kind == "f"), np.result_type(*[value.dtype for value in values]))
    element = helper.np_dtype_to_tensor_dtype(dtype)
    names = [writer.name(v) if v.dtype == dtype else writer.node("Cast", [writer.name(v)], to=element) for v in values]
    y = writer.node(COMPARISONS.get(function, "Equal"), names)
    result(writer, node, writer.node("Not", [y]) if function is np.not_equal else y)


@emits("where")
def where(writer: Writer, node: Node, twin: Node) -> None:
    """One or the other, by a condition."""
    result(writer, node, writer.node("Where", [writer.name(value) for value in node.inputs]))
