"""Softmax and its logarithm."""

from __future__ import annotations

import math
from typing import Any

from fastnn.kernels import Operator
from fastnn.kernels.softmax import operators

from ..dispatch import call
from ..recall import remembered
from . import checks
from .shape import reshape


def _softmax(operator: Operator, input: Any, dim: Any, out: Any) -> Any:
    x = checks.array("input", input)
    shape = tuple(x.shape)
    if dim is None:
        raise ValueError("dim: expected the dimension that sums to 1, got None")
    dim = checks.axis("dim", dim, len(shape))
    out = checks.out(out, shape, x.dtype)
    count = shape[dim] if shape else 1
    folded = (math.prod(shape[:dim]), count, math.prod(shape[dim + 1 :]))
    if out is not None and out.flags.c_contiguous:
        call(operator, reshape(x, folded), out=(out.reshape(folded),))
        return out
    return checks.deliver(reshape(call(operator, reshape(x, folded)), shape), out)


@remembered
def softmax(input: Any, dim: int | None = None, *, out: Any = None) -> Any:
    """``exp(x) / sum exp(x)`` along ``dim``, computed from ``x - max x`` so that nothing overflows; NaN over nothing but -inf.

    Parameters
    ----------
    input : array
    dim : int
        The dimension that sums to 1; it must be given.
    out : array of the same shape and dtype, optional

    Raises
    ------
    IndexError, TypeError, ValueError
        Where ``dim``, the input or ``out`` does not fit.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.softmax(np.array([0.0, 0.0]), dim=0)
    array([0.5, 0.5])
    """
    return _softmax(operators.softmax, input, dim, out)


@remembered
def log_softmax(input: Any, dim: int | None = None, *, out: Any = None) -> Any:
    """``x - log sum exp(x)`` along ``dim``: the logarithm of softmax, without its loss of digits.

    Parameters
    ----------
    input : array
    dim : int
    out : array of the same shape and dtype, optional
    """
    return _softmax(operators.log_softmax, input, dim, out)
