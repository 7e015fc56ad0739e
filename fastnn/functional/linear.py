"""Products of matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn.kernels import Operator
from fastnn.kernels.linear import operators

from ..dispatch import call
from ..recall import remembered
from . import checks
from .shape import broadcast_to, reshape

ACTIVATIONS = ("relu", "sigmoid", "tanh")


class PackedWeight:
    """A weight as the kernels want it, for many calls of ``linear`` without a gradient; made by :func:`pack_weight`.

    Attributes
    ----------
    panels : array, shape (panels, in_features, 32)
        The columns of the transposed weight, padded with zeros.
    shape : tuple of int
        (out_features, in_features).
    """

    __slots__ = ("panels", "shape")

    def __init__(self, panels: np.ndarray, shape: tuple[int, int]) -> None:
        self.panels = panels
        self.shape = shape

    def __repr__(self) -> str:
        return f"<PackedWeight {self.shape} {self.panels.dtype}>"


def pack_weight(weight: Any) -> PackedWeight:
    """Lay out a weight once for many calls of ``linear``: a product of a few dozen rows is some 20 % faster, large ones 5 to 10 %.

    Parameters
    ----------
    weight : array, shape (out_features, in_features)
        Copied: later changes of it do not show.

    Returns
    -------
    PackedWeight
        Goes in the place of ``weight``. It has no gradient, and ``linear`` refuses Tensors that want one beside it.

    Raises
    ------
    TypeError, ValueError
        Where the dtype or the number of dimensions does not fit, or the weight is a Tensor that requires a gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> packed = F.pack_weight(np.array([[1.0, 1.0], [3.0, -1.0]]))
    >>> F.linear(np.array([[1.0, 2.0]]), packed)
    array([[3., 1.]])
    """
    _refuse_gradient("weight", weight)
    w = checks.array("weight", weight.numpy() if checks.is_hooked(weight) else weight, 2)
    return PackedWeight(call(operators.pack_panels, w), w.shape)


def _refuse_gradient(name: str, value: Any) -> None:
    if getattr(value, "requires_grad", False):
        raise TypeError(f"{name}: a packed weight is for computing without gradients, and this Tensor requires one; detach() it")


@remembered
def linear(input: Any, weight: Any, bias: Any = None, *, activation: str | None = None, out: Any = None) -> Any:
    """Affine map of the last dimension: ``y = x W^T + b``, and an activation of it in the same pass.

    Parameters
    ----------
    input : array, shape (..., in_features)
        Any number of leading dimensions, none included.
    weight : array, shape (out_features, in_features) or (in_features,), or PackedWeight
        A packed weight computes without gradients.
    bias : array, shape (out_features,) or () for a one-dimensional weight, optional
    activation : {"relu", "sigmoid", "tanh"}, optional
        Applied to the result.
    out : array, shape (..., out_features), optional
        Where to put the result. Copied to at the end where it is not C-contiguous or overlaps an input.

    Returns
    -------
    array, shape (..., out_features), dtype of ``input``

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape does not fit, an activation is not known, or a gradient is wanted beside a packed weight.

    Notes
    -----
    An input that is not C-contiguous is copied.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.linear(np.array([1.0, 2.0]), np.array([[1.0, 1.0], [3.0, -1.0]]), np.array([0.5, 0.0]))
    array([3.5, 1. ])
    """
    if isinstance(weight, PackedWeight):
        _refuse_gradient("input", input)
        _refuse_gradient("bias", bias)
        return _linear_packed(input, weight.panels, bias, weight.shape[0], activation, out=out)
    x = checks.array("input", input)
    w = checks.array("weight", weight, (1, 2), x.dtype)
    b, shape, out = _check_linear(x, tuple(w.shape), bias, activation, out)
    if len(w.shape) == 1:
        w = reshape(w, (1, w.shape[0]))
        b = None if b is None else reshape(b, (1,))
    if activation is None:
        return _by_rows(operators.linear, x, (w, b), w.shape[0], shape, out)
    return _by_rows(operators.linear_activated, x, (w, b, activation), w.shape[0], shape, out)


@remembered
def _linear_packed(input: Any, panels: Any, bias: Any, out_features: int, activation: str | None, *, out: Any = None) -> Any:
    x = checks.array("input", input, dtype=panels.dtype)
    b, shape, out = _check_linear(x, (out_features, panels.shape[1]), bias, activation, out)
    rest = (panels, b, out_features, activation or "identity")
    return _by_rows(operators.linear_packed, x, rest, out_features, shape, out)


def _check_linear(x: Any, weight: tuple[int, ...], bias: Any, activation: Any, out: Any) -> tuple[Any, tuple[int, ...], Any]:
    """The bias, the shape of the result and ``out``, checked."""
    if len(x.shape) == 0 or x.shape[-1] != weight[-1]:
        raise ValueError(f"input: expected shape (..., {weight[-1]}) for weight {weight}, got {tuple(x.shape)}")
    b = checks.optional_array("bias", bias, weight[:-1], x.dtype)
    if activation is not None:
        checks.choice("activation", activation, ACTIVATIONS)
    shape = (*x.shape[:-1], *weight[:-1])
    return b, shape, checks.out(out, shape, x.dtype)


def _by_rows(operator: Operator, x: Any, rest: tuple[Any, ...], width: int, shape: tuple[int, ...], out: Any) -> Any:
    """An operator of rows, of arrays with any number of leading dimensions; ``width`` is that of a row of its result."""
    rows = math.prod(x.shape[:-1])
    if len(x.shape) == 2 and shape == (rows, width):
        return call(operator, x, *rest, out=None if out is None else (out,))
    y = call(operator, reshape(x, (rows, x.shape[-1])), *rest)
    return checks.deliver(reshape(y, shape), out)


@remembered
def matmul(input: Any, other: Any, *, out: Any = None) -> Any:
    """Matrix product with NumPy's rules: leading dimensions broadcast, one-dimensional operands are a row or a column.

    Parameters
    ----------
    input : array, shape (..., M, K) or (K,)
    other : array, shape (..., K, N) or (K,)
    out : array, shape (..., M, N), optional
        Where to put the result.

    Returns
    -------
    array, shape (..., M, N); without M or N where that operand is one-dimensional

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape does not fit.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> fastnn.matmul(np.ones((2, 3)), np.arange(3.0))
    array([3., 3.])
    """
    a = checks.array("input", input)
    b = checks.array("other", other, dtype=a.dtype)
    if not a.shape or not b.shape:
        raise ValueError(f"matmul: expected at least one dimension each, got {tuple(a.shape)} and {tuple(b.shape)}")
    left = a if len(a.shape) > 1 else reshape(a, (1, *a.shape))
    right = b if len(b.shape) > 1 else reshape(b, (*b.shape, 1))
    M, K, N = left.shape[-2], left.shape[-1], right.shape[-1]
    if right.shape[-2] != K:
        raise ValueError(f"other: expected {K} rows for input {tuple(a.shape)}, got shape {tuple(b.shape)}")
    batch = checks.broadcast_shapes("input, other", left.shape[:-2], right.shape[:-2])
    shape = (*batch, *((M,) if len(a.shape) > 1 else ()), *((N,) if len(b.shape) > 1 else ()))
    out = checks.out(out, shape, a.dtype)
    if len(right.shape) == 2:  # one matrix on the right: all rows of the left side in a single product
        left, right = reshape(left, (1, math.prod(batch) * M, K)), reshape(right, (1, K, N))
    else:
        count = math.prod(batch)
        left = reshape(broadcast_to(left, (*batch, M, K)), (count, M, K))
        right = reshape(broadcast_to(right, (*batch, K, N)), (count, K, N))
    return checks.deliver(reshape(call(operators.matmul, left, right), shape), out)
