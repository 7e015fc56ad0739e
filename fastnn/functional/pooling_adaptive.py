"""Maxima and means over as many windows as asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastnn.kernels.pooling import operators

from ..dispatch import call
from ..recall import remembered
from . import checks
from .pooling import LIMIT, deliver_max, planes
from .shape import reshape

OutputSize = int | Sequence[int | None] | None


def _output_size(value: Any, dims: int, spatial: Sequence[int]) -> tuple[int, int]:
    """The size asked for; None keeps that of the input."""
    items = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * dims
    if len(items) != dims:
        raise ValueError(f"output_size: expected an int or {dims} of them, got {value!r}")
    given = spatial[2 - dims :]
    sizes = tuple([n if item is None else checks.integer("output_size", item, 0) for item, n in zip(items, given, strict=True)])
    if math.prod(sizes) > LIMIT:
        raise OverflowError(f"output_size: expected at most {LIMIT} windows in a plane, got {value!r}")
    return ((1,) * (2 - dims) + sizes)[0], sizes[-1]


def _adaptive_max_pool(dims: int, input: Any, output_size: OutputSize, return_indices: bool, out: Any) -> Any:
    x, batch = planes(input, dims)
    size = _output_size(output_size, dims, x.shape[2:])
    shape = (*batch, *size[2 - dims :])
    return deliver_max(operators.adaptive_max_pool2d, (x, size, checks.flag("return_indices", return_indices)), shape, out)


def _adaptive_avg_pool(dims: int, input: Any, output_size: OutputSize, out: Any) -> Any:
    x, batch = planes(input, dims)
    size = _output_size(output_size, dims, x.shape[2:])
    shape = (*batch, *size[2 - dims :])
    out = checks.out(out, shape, x.dtype)
    return checks.deliver(reshape(call(operators.adaptive_avg_pool2d, x, size), shape), out)


@remembered
def adaptive_max_pool1d(input: Any, output_size: OutputSize, return_indices: bool = False, *, out: Any = None) -> Any:
    """Maxima over as many windows of a sequence as asked for. Input (N, C, L) or (C, L); the rest as ``adaptive_max_pool2d``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.adaptive_max_pool1d(np.array([[1.0, 3.0, 2.0]]), 2)
    array([[3., 3.]])
    """
    return _adaptive_max_pool(1, input, output_size, return_indices, out)


@remembered
def adaptive_max_pool2d(input: Any, output_size: OutputSize, return_indices: bool = False, *, out: Any = None) -> Any:
    """Maxima over as many windows as asked for: window i covers ``floor(i H / OH) <= h < ceil((i + 1) H / OH)``.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
    output_size : int, or two ints or None
        (OH, OW); None keeps the size of the input.
    return_indices : bool
        Give (y, indices) with the flat position ``h W + w`` of each maximum in its plane.
    out : array of the shape of y, optional
        Where to put y.

    Returns
    -------
    array, shape (N, C, OH, OW) or (C, OH, OW), or a tuple with int64 indices of that shape

    Raises
    ------
    TypeError, ValueError, OverflowError
        Where an argument or the shape of ``input`` does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.adaptive_max_pool2d(np.arange(16.0).reshape(1, 4, 4), (1, 2))
    array([[[13., 15.]]])
    """
    return _adaptive_max_pool(2, input, output_size, return_indices, out)


@remembered
def adaptive_avg_pool1d(input: Any, output_size: OutputSize, *, out: Any = None) -> Any:
    """Means over as many windows of a sequence as asked for. Input (N, C, L) or (C, L); the rest as ``adaptive_avg_pool2d``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.adaptive_avg_pool1d(np.array([[1.0, 3.0, 2.0]]), 2)
    array([[2. , 2.5]])
    """
    return _adaptive_avg_pool(1, input, output_size, out)


@remembered
def adaptive_avg_pool2d(input: Any, output_size: OutputSize, *, out: Any = None) -> Any:
    """Means over as many windows as asked for. Arguments, windows and errors as for ``adaptive_max_pool2d``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.adaptive_avg_pool2d(np.arange(16.0).reshape(1, 4, 4), (None, 1))
    array([[[ 1.5],
            [ 5.5],
            [ 9.5],
            [13.5]]])
    """
    return _adaptive_avg_pool(2, input, output_size, out)


@remembered
def global_max_pool(input: Any, *, out: Any = None) -> Any:
    """The maximum of each plane or sequence: (N, C, H, W) or (N, C, L) to (N, C).

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.global_max_pool(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[3., 7.]])
    """
    return _global(adaptive_max_pool2d, input, out)


@remembered
def global_avg_pool(input: Any, *, out: Any = None) -> Any:
    """The mean of each plane or sequence: (N, C, H, W) or (N, C, L) to (N, C).

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.global_avg_pool(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[1.5, 5.5]])
    """
    return _global(adaptive_avg_pool2d, input, out)


def _global(pool: Any, input: Any, out: Any) -> Any:
    x = checks.array("input", input, (3, 4))
    shape = tuple(x.shape)
    out = checks.out(out, shape[:2], x.dtype)
    y = pool(x if len(shape) == 4 else reshape(x, (*shape[:2], 1, shape[2])), 1)
    return checks.deliver(reshape(y, shape[:2]), out)
