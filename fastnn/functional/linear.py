"""Products of matrices."""

from __future__ import annotations

import math
from typing import Any

from fastnn.kernels.linear import operators

from ..dispatch import call
from ..recall import remembered
from . import checks
from .shape import broadcast_to, reshape


@remembered
def linear(input: Any, weight: Any, bias: Any = None, *, out: Any = None) -> Any:
    """Affine map of the last dimension: ``y = x W^T + b``.

    Parameters
    ----------
    input : array, shape (..., in_features)
        Any number of leading dimensions, none included.
    weight : array, shape (out_features, in_features) or (in_features,)
    bias : array, shape (out_features,) or () for a one-dimensional weight, optional
    out : array, shape (..., out_features), optional
        Where to put the result. Copied to at the end where it is not C-contiguous or overlaps an input.

    Returns
    -------
    array, shape (..., out_features), dtype of ``input``

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape does not fit.

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
    x = checks.array("input", input)
    w = checks.array("weight", weight, (1, 2), x.dtype)
    if len(x.shape) == 0 or x.shape[-1] != w.shape[-1]:
        raise ValueError(f"input: expected shape (..., {w.shape[-1]}) for weight {tuple(w.shape)}, got {tuple(x.shape)}")
    b = checks.optional_array("bias", bias, w.shape[:-1], x.dtype)
    shape = (*x.shape[:-1], *w.shape[:-1])
    out = checks.out(out, shape, x.dtype)
    if len(w.shape) == 1:
        w = reshape(w, (1, w.shape[0]))
        b = None if b is None else reshape(b, (1,))
    rows = math.prod(x.shape[:-1])
    if len(x.shape) == 2 and shape == (rows, w.shape[0]):
        return call(operators.linear, x, w, b, out=None if out is None else (out,))
    y = call(operators.linear, reshape(x, (rows, x.shape[-1])), w, b)
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
