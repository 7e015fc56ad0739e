"""Activation functions, and softmax."""

from __future__ import annotations

import math
from typing import Any

from fastnn import functional as F

from ..node import Node, enter_all, implements
from ..values import axis_of, check_broadcast, is_float, numbers, reshape, scalar

enter_all(
    {
        "Relu": F.relu,
        "Sigmoid": F.sigmoid,
        "Softplus": lambda x: F.softplus(x, threshold=math.inf),
        "Softsign": F.softsign,
        "Tanh": F.tanh,
        "Mish": lambda x: F.multiply(x, F.tanh(F.softplus(x, threshold=math.inf))),
        "HardSwish": lambda x: F.multiply(x, _hard_sigmoid(x, 1 / 6, 0.5)),
    }
)


@implements("LeakyRelu")
def leaky_relu(node: Node, x: Any) -> Any:
    """x where x >= 0, else alpha x."""
    return F.leaky_relu(x, node["alpha"])


@implements("Elu")
def elu(node: Node, x: Any) -> Any:
    """x where x >= 0, else alpha (e^x - 1)."""
    return F.elu(x, node["alpha"])


@implements("Celu")
def celu(node: Node, x: Any) -> Any:
    """x where x >= 0, else alpha (e^(x / alpha) - 1)."""
    alpha = node["alpha"]
    return F.multiply(F.elu(F.divide(x, alpha)), alpha)


@implements("Selu")
def selu(node: Node, x: Any) -> Any:
    """gamma x where x > 0, else gamma alpha (e^x - 1); the functional's own constants are the defaults."""
    alpha, gamma = node["alpha"], node["gamma"]
    if math.isclose(alpha, 1.6732632, rel_tol=1e-6) and math.isclose(gamma, 1.0507010, rel_tol=1e-6):
        return F.selu(x)
    return F.multiply(F.elu(x, alpha), gamma)


@implements("Gelu")
def gelu(node: Node, x: Any) -> Any:
    """x Phi(x), or its approximation by tanh."""
    return F.gelu(x, node["approximate"])


@implements("Swish")
def swish(node: Node, x: Any) -> Any:
    """x sigmoid(alpha x)."""
    return F.silu(x) if node["alpha"] == 1 else F.multiply(x, F.sigmoid(F.multiply(x, node["alpha"])))


@implements("SwiGLU")
def swiglu(node: Node, a: Any, b: Any) -> Any:
    """b times swish of a."""
    check_broadcast(a, b)
    return F.multiply(swish(node, a), b)


@implements("ThresholdedRelu")
def thresholded_relu(node: Node, x: Any) -> Any:
    """x where x > alpha, else 0."""
    return F.threshold(x, node["alpha"], 0.0)


@implements("HardSigmoid")
def hard_sigmoid(node: Node, x: Any) -> Any:
    """max(0, min(1, alpha x + beta))."""
    return _hard_sigmoid(x, node["alpha"], node["beta"])


def _hard_sigmoid(x: Any, alpha: float, beta: float) -> Any:
    return F.clamp(F.add(F.multiply(x, alpha), beta), 0.0, 1.0)


@implements("PRelu")
def prelu(node: Node, x: Any, slope: Any) -> Any:
    """x where x >= 0, else slope x; the slope broadcasts to x."""
    count, channels = math.prod(slope.shape), x.shape[1] if len(x.shape) > 1 else 1
    by_channel = count == channels and len(x.shape) - len(slope.shape) + _first_long(slope.shape) == 1
    if count == 1 or by_channel:
        return F.prelu(x, reshape(slope, (count,)))
    check_broadcast(x, slope)
    return F.subtract(F.relu(x), F.multiply(slope, F.relu(F.negative(x))))


def _first_long(shape: tuple[int, ...]) -> int:
    """The first dimension that is longer than one."""
    return next((i for i, n in enumerate(shape) if n != 1), len(shape))


@implements("Clip", integers=True)
def clip(node: Node, x: Any, low: Any = None, high: Any = None) -> Any:
    """x limited to [low, high]: attributes before version 11, inputs since."""
    low = node.get("min") if low is None else scalar(low)
    high = node.get("max") if high is None else scalar(high)
    if low is None and high is None:
        return x
    return F.clamp(x, low, high) if is_float(x) else numbers(x).clip(low, high)


def _along(node: Node, x: Any, function: Any) -> Any:
    """Softmax along one dimension, or before version 13 of all from ``axis`` on together."""
    axis = axis_of(node["axis"], max(len(x.shape), 1)) if node.version >= 13 or node["axis"] != len(x.shape) else len(x.shape)
    if node.version >= 13:
        return function(x, axis)
    flat = reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
    return reshape(function(flat, 1), x.shape)


@implements("Softmax")
def softmax(node: Node, x: Any) -> Any:
    """e^x / sum e^x."""
    return _along(node, x, F.softmax)


@implements("LogSoftmax")
def log_softmax(node: Node, x: Any) -> Any:
    """x - log sum e^x."""
    return _along(node, x, F.log_softmax)
