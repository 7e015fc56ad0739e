"""Activation functions.

All take a float32 or float64 array or Tensor of any shape and give one of the same shape and dtype. ``out`` may be the input itself.
They raise TypeError where the input or a parameter is of the wrong type and ValueError where ``out`` does not fit. With ``inplace``
only False is accepted: inputs are never changed, ``out=input`` says the same.

The largest errors, in units of the last place of the exact result, on every backend and instruction set:

=====================  =======  =======
function               float32  float64
=====================  =======  =======
relu, hardtanh         0        0        (identity, step and threshold too)
leaky_relu, prelu      0.5      0.5
softsign               1.6      1.6
elu (alpha 1)          2.4      1.4
tanh                   2.6      2.6
sigmoid                3.2      2.6
softplus (beta 1)      3.2      2.2
selu                   3.6      3.6
silu                   4.2      3.6      (where the sigmoid is no denormal number)
gelu                   1.8      2.6      (units of the input: the result fades where x < 0)
gelu by tanh           1.8      1.8      (the same)
=====================  =======  =======
"""

from __future__ import annotations

import math
from typing import Any

from fastnn.kernels import Operator
from fastnn.kernels.activation import operators

from ..dispatch import call
from ..recall import remembered
from . import checks
from .reduction import amax
from .shape import reshape


def _apply(operator: Operator, input: Any, out: Any, *attributes: Any, inplace: bool = False) -> Any:
    if inplace:
        raise ValueError("inplace: inputs are never changed, expected False; use out=input")
    x = checks.array("input", input)
    out = checks.out(out, tuple(x.shape), x.dtype)
    return call(operator, x, *attributes, out=None if out is None else (out,))


@remembered
def identity(input: Any, *, out: Any = None) -> Any:
    """A copy of the input."""
    return _apply(operators.identity, input, out)


@remembered
def threshold(input: Any, threshold: float, value: float, inplace: bool = False, *, out: Any = None) -> Any:
    """``x`` where ``x > threshold``, else ``value``; NaN passes."""
    limits = checks.number("threshold", threshold), checks.number("value", value)
    return _apply(operators.threshold, input, out, *limits, inplace=inplace)


@remembered
def step(input: Any, *, out: Any = None) -> Any:
    """Heaviside's step: 1 where ``x > 0``, else 0 (0 at 0). Its gradient is zero.

    Source: Rosenblatt, "The Perceptron" (1958).
    """
    return _apply(operators.step, input, out)


@remembered
def sigmoid(input: Any, *, out: Any = None) -> Any:
    """``1 / (1 + exp(-x))``.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.sigmoid(np.array([0.0]))
    array([0.5])
    """
    return _apply(operators.sigmoid, input, out)


@remembered
def tanh(input: Any, *, out: Any = None) -> Any:
    """Hyperbolic tangent."""
    return _apply(operators.tanh, input, out)


@remembered
def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False, *, out: Any = None) -> Any:
    """``x`` limited to [min_val, max_val]; the gradient is zero at the limits and beyond."""
    low, high = checks.real("min_val", min_val), checks.real("max_val", max_val)
    if low > high:
        raise ValueError(f"min_val: expected at most max_val = {high}, got {low}")
    return _apply(operators.hardtanh, input, out, low, high, inplace=inplace)


@remembered
def relu(input: Any, inplace: bool = False, *, out: Any = None) -> Any:
    """``max(x, 0)``, exact to the bit; NaN passes, and the gradient at 0 is 0.

    Source: Nair and Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines" (2010).

    Parameters
    ----------
    input : array of any shape
    inplace : bool
        Only False.
    out : array of the same shape and dtype, optional
        Where to put the result; may be the input itself.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return _apply(operators.relu, input, out, inplace=inplace)


@remembered
def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False, *, out: Any = None) -> Any:
    """``x`` where ``x > 0``, else ``negative_slope * x``."""
    return _apply(operators.leaky_relu, input, out, checks.real("negative_slope", negative_slope), inplace=inplace)


@remembered
def prelu(input: Any, weight: Any, *, out: Any = None) -> Any:
    """``x`` where ``x > 0``, else ``weight * x``, with one weight for all or one for each channel (dimension 1).

    Source: He, Zhang, Ren and Sun, "Delving Deep into Rectifiers" (2015), equation 1.

    Parameters
    ----------
    input : array, shape (N, C, ...)
    weight : array, shape (1,) or (C,)
    out : array of the input's shape and dtype, optional
    """
    x = checks.array("input", input)
    w = checks.array("weight", weight, (0, 1), x.dtype)
    shape = tuple(x.shape)
    out = checks.out(out, shape, x.dtype)
    count = math.prod(w.shape)
    channels = shape[1] if len(shape) > 1 else 1
    if count not in (1, channels):
        raise ValueError(f"weight: expected 1 or {channels} elements for input {shape}, got {count}")
    rows = shape[0] if count > 1 else 1
    folded = reshape(x, (rows, count, math.prod(shape[2:]) if count > 1 else math.prod(shape)))
    y = reshape(call(operators.prelu, folded, reshape(w, (count,))), shape)
    return checks.deliver(y, out)


@remembered
def elu(input: Any, alpha: float = 1.0, inplace: bool = False, *, out: Any = None) -> Any:
    """``x`` where ``x > 0``, else ``alpha * (exp(x) - 1)``.

    Source: Clevert, Unterthiner and Hochreiter, "Fast and Accurate Deep Network Learning by Exponential Linear Units" (2016).
    """
    return _apply(operators.elu, input, out, checks.real("alpha", alpha), inplace=inplace)


@remembered
def selu(input: Any, inplace: bool = False, *, out: Any = None) -> Any:
    """``1.0507 x`` where ``x > 0``, else ``1.0507 * 1.6733 * (exp(x) - 1)``.

    Source: Klambauer et al., "Self-Normalizing Neural Networks" (2017), equation 2.
    """
    return _apply(operators.selu, input, out, inplace=inplace)


@remembered
def gelu(input: Any, approximate: str = "none", *, out: Any = None) -> Any:
    """``x * Phi(x)``, with Phi the normal distribution's; by erf, or with ``approximate="tanh"`` by its approximation.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), section 2.
    """
    exact = checks.choice("approximate", approximate, ("none", "tanh")) == "none"
    return _apply(operators.gelu if exact else operators.gelu_tanh, input, out)


@remembered
def silu(input: Any, inplace: bool = False, *, out: Any = None) -> Any:
    """``x / (1 + exp(-x))``, also called swish.

    Source: Elfwing, Uchibe and Doya, "Sigmoid-Weighted Linear Units" (2018).
    """
    return _apply(operators.silu, input, out, inplace=inplace)


@remembered
def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0, *, out: Any = None) -> Any:
    """``log(1 + exp(beta x)) / beta``, and ``x`` itself where ``beta x > threshold``.

    Source: Dugas et al., "Incorporating Second-Order Functional Knowledge for Better Option Pricing" (2001).
    """
    beta = checks.real("beta", beta)
    if beta == 0:
        raise ValueError("beta: expected a number other than 0")
    return _apply(operators.softplus, input, out, beta, checks.number("threshold", threshold))


@remembered
def softsign(input: Any, *, out: Any = None) -> Any:
    """``x / (1 + |x|)``."""
    return _apply(operators.softsign, input, out)


def maxout(input: Any, pieces: int, dim: int = 1, *, out: Any = None) -> Any:
    """The largest of each group of ``pieces`` neighbours along ``dim``: output j is the maximum of inputs j*pieces to (j+1)*pieces - 1.

    Ties give the gradient to the first. Source: Goodfellow et al., "Maxout Networks" (2013), section 2.

    Parameters
    ----------
    input : array
    pieces : int
        Divides the length of ``dim``.
    dim : int
    out : array, optional

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.maxout(np.array([[1.0, 3.0, 2.0, 0.0]]), 2)
    array([[3., 2.]])
    """
    x = checks.array("input", input)
    pieces = checks.integer("pieces", pieces, 1)
    if not x.shape:
        raise ValueError("input: expected at least one dimension, got shape ()")
    dim = checks.axis("dim", dim, len(x.shape))
    if x.shape[dim] % pieces:
        raise ValueError(f"pieces: expected a divisor of {x.shape[dim]}, the length of dimension {dim}, got {pieces}")
    groups = (*x.shape[:dim], x.shape[dim] // pieces, pieces, *x.shape[dim + 1 :])
    return amax(reshape(x, groups), dim + 1, out=out)
