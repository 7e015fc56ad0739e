"""Sums, means, variances and extrema along dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastnn.kernels import Operator
from fastnn.kernels.reduction import operators
from fastnn.kernels.shape import operators as shape_operators

from ..dispatch import call
from ..recall import remembered
from . import checks
from .shape import permute, reshape

Dims = int | Sequence[int] | None


class Folded(NamedTuple):
    """A reduction in the form that kernels take.

    Attributes
    ----------
    x : array, shape (A, R, B)
        R are the reduced elements, A and B together those of the result.
    shape : tuple of int
        Shape of the result, reduced dimensions left out or kept with length 1.
    """

    x: Any
    shape: tuple[int, ...]


def fold(x: Any, dim: Dims, keepdim: bool = False) -> Folded:
    """Bring a checked array into the form (A, R, B), reduced in the middle.

    Neighbouring dimensions are joined by a view where the memory allows; others are moved to the end, which copies.
    """
    shape = tuple(x.shape)
    ndim = len(shape)
    dims = checks.axes("dim", dim, ndim)
    if not dims:  # as in torch, no dimensions are all of them
        dims = tuple(range(ndim))
    kept = [d for d in range(ndim) if d not in dims]
    result = tuple(1 if d in dims else n for d, n in enumerate(shape)) if keepdim else tuple(shape[d] for d in kept)
    if ndim == 0:
        return Folded(reshape(x, (1, 1, 1)), ())
    first, last = dims[0], dims[-1]
    if last - first + 1 == len(dims):
        sides = math.prod(shape[:first]), math.prod(shape[last + 1 :])
        return Folded(reshape(x, (sides[0], math.prod(shape[first : last + 1]), sides[1])), result)
    moved = permute(x, (*kept, *dims))
    return Folded(reshape(moved, (math.prod(result), math.prod(shape[d] for d in dims), 1)), result)


def _check_choice(folded: Folded, input: Any) -> None:
    """There is something to choose from, and not more than the kernels' 32-bit positions can tell apart."""
    if folded.x.shape[1] == 0:
        raise ValueError(f"input: expected at least one element to choose from, got shape {tuple(input.shape)}")
    if folded.x.shape[1] > 2**31 - 1:
        raise OverflowError(f"input: expected at most {2**31 - 1} elements to choose from, got shape {tuple(input.shape)}")


def _reduce(operator: Operator, input: Any, dim: Dims, keepdim: bool, out: Any, *attributes: Any) -> Any:
    """The first output of an operator that reduces."""
    x = checks.array("input", input)
    folded = fold(x, dim, checks.flag("keepdim", keepdim))
    if operator in (operators.amax, operators.amin):
        _check_choice(folded, x)
    out = checks.out(out, folded.shape, x.dtype)
    others = len(operator.outputs) - 1
    wanted = (True, *(False,) * others)
    if out is not None and out.flags.c_contiguous:
        A, _, B = folded.x.shape
        call(operator, folded.x, *attributes, out=(out.reshape(A, B), *(None,) * others), wanted=wanted)
        return out
    result = call(operator, folded.x, *attributes, wanted=wanted)
    return checks.deliver(reshape(result[0] if others else result, folded.shape), out)


@remembered
def sum(input: Any, dim: Dims = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """Sum over some or all dimensions.

    Parameters
    ----------
    input : array
    dim : int or sequence of int, optional
        What to reduce; None or an empty sequence means everything.
    keepdim : bool
        Keep reduced dimensions with length 1.
    out : array of the result's shape, optional
        Where to put the result.

    Returns
    -------
    array, dtype of ``input``; 0 where nothing is added up

    Raises
    ------
    TypeError
        Where ``input`` is not float32 or float64.
    IndexError, ValueError
        Where ``dim`` is out of range or names a dimension twice, or ``out`` does not fit.

    Notes
    -----
    float32 is summed in double, float64 in chunks of fixed size. Reduced dimensions that are not neighbours cost a copy.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.sum(np.array([[1.0, 2.0], [3.0, 4.0]]), dim=1)
    array([3., 7.])
    """
    return _reduce(operators.sum, input, dim, keepdim, out)


@remembered
def mean(input: Any, dim: Dims = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """Mean over some or all dimensions; NaN over nothing. Arguments and errors as for ``sum``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.mean(np.array([[1.0, 2.0], [3.0, 4.0]]), dim=0, keepdim=True)
    array([[2., 3.]])
    """
    return _reduce(operators.mean, input, dim, keepdim, out)


@remembered
def var(input: Any, dim: Dims = None, *, correction: float = 1, keepdim: bool = False, out: Any = None) -> Any:
    """Variance over some or all dimensions: ``sum((x - mean)^2) / max(R - correction, 0)`` of R elements.

    Parameters
    ----------
    input, dim, keepdim, out
        As for ``sum``.
    correction : int or float
        1 gives the unbiased estimate (Bessel), 0 the second central moment. With R <= correction the result is NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.var(np.array([1.0, 2.0, 3.0, 4.0]), correction=0)
    array(1.25)
    """
    correction = checks.real("correction", correction)
    return _reduce(operators.var, input, dim, keepdim, out, correction)


def _extremum(operator: Operator, input: Any, dim: int | None, keepdim: bool) -> Any:
    """Values alone, or values and indices along one dimension."""
    x = checks.array("input", input)
    along = None if dim is None else checks.axis("dim", dim, len(x.shape))
    folded = fold(x, along, checks.flag("keepdim", keepdim) and dim is not None)
    _check_choice(folded, x)
    values, indices = call(operator, folded.x)
    if dim is None:
        return reshape(values, folded.shape)
    return reshape(values, folded.shape), call(shape_operators.reshape, indices, folded.shape)


def max(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The largest element; along one dimension, with where it is.

    Parameters
    ----------
    input : array
    dim : int, optional
        Without it the result is the largest of all elements.
    keepdim : bool
        Keep the reduced dimension with length 1.

    Returns
    -------
    array, or with ``dim`` a tuple (values, indices) where ``indices`` are int64
        NaN is larger than any number. Of equal elements the first counts, and gets the gradient.

    Raises
    ------
    TypeError, IndexError
        Where ``input`` is not float32 or float64, or ``dim`` is no dimension of it.
    ValueError
        Where there is no element to choose from.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.max(np.array([[1.0, 5.0], [7.0, 7.0]]), dim=1)
    (array([5., 7.]), array([1, 0]))
    """
    return _extremum(operators.amax, input, dim, keepdim)


def min(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest element; along one dimension, with where it is. NaN is smaller than any number; otherwise as ``max``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.min(np.array([3.0, 1.0, 2.0]))
    array(1.)
    """
    return _extremum(operators.amin, input, dim, keepdim)


@remembered
def amax(input: Any, dim: Dims = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The largest element over some or all dimensions; NaN where there is one.

    Arguments as for ``sum``. Of equal elements the first gets the gradient (torch
    shares it out). Raises ValueError where there is no element to choose from.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.amax(np.arange(6.0).reshape(2, 3), dim=1)
    array([2., 5.])
    """
    return _reduce(operators.amax, input, dim, keepdim, out)


@remembered
def amin(input: Any, dim: Dims = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The smallest element over some or all dimensions; NaN where there is one. Otherwise as ``amax``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.amin(np.arange(6.0).reshape(2, 3), dim=(0, 1))
    array(0.)
    """
    return _reduce(operators.amin, input, dim, keepdim, out)
