"""Maxima and means over windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastnn.kernels import Operator
from fastnn.kernels.pooling import operators
from fastnn.kernels.shape import operators as shape_operators

from ..dispatch import call
from ..recall import remembered
from . import checks
from .shape import reshape

Size = int | Sequence[int]

LIMIT = 2**31 - 1  # kernels keep positions in a plane as 32-bit integers


def planes(input: Any, dims: int) -> tuple[Any, tuple[int, ...]]:
    """The input as (N, C, H, W), and the dimensions of it that the result shall have before its own ``dims`` ones."""
    x = checks.array("input", input, (dims + 1, dims + 2))
    shape = tuple(x.shape)
    batch = shape[:-dims]
    spatial = (1,) * (2 - dims) + shape[-dims:]
    if 0 in spatial:
        raise ValueError(f"input: expected no spatial dimension of length 0, got shape {shape}")
    if math.prod(spatial) > LIMIT:
        raise OverflowError(f"input: expected at most {LIMIT} positions in a plane, got shape {shape}")
    return reshape(x, (1,) * (2 - len(batch)) + batch + spatial), batch


def _pair(name: str, value: Any, dims: int, minimum: int, fill: int) -> tuple[int, int]:
    """Two ints; in one dimension the first one is ``fill``."""
    numbers = checks.integers(name, value, dims, minimum)
    if any(n > LIMIT for n in numbers):
        raise OverflowError(f"{name}: expected at most {LIMIT}, got {value!r}")
    return ((fill,) * (2 - dims) + numbers)[0], numbers[-1]


def _windows(
    dims: int, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[tuple[int, int], ...]:
    """Checked kernel size, stride, padding, dilation as pairs, and the size of the output."""
    kernel = _pair("kernel_size", kernel_size, dims, 1, 1)
    step = kernel if stride is None else _pair("stride", stride, dims, 1, 1)
    pad = _pair("padding", padding, dims, 0, 0)
    spread = _pair("dilation", dilation, dims, 1, 1)
    if any(p > k // 2 for p, k in zip(pad, kernel, strict=True)):
        raise ValueError(f"padding: expected at most half of kernel_size {kernel_size!r}, got {padding!r}")
    axes = zip(x.shape[2:], kernel, step, pad, spread, strict=True)
    size = tuple([operators.output_length(*axis, checks.flag("ceil_mode", ceil_mode)) for axis in axes])
    if min(size) < 1:
        raise ValueError(
            f"kernel_size: {kernel_size!r} with dilation {dilation!r} does not fit into shape {tuple(x.shape[-dims:])} "
            f"with padding {padding!r}"
        )
    return kernel, step, pad, spread, (size[0], size[1])


def deliver_max(operator: Operator, arguments: tuple[Any, ...], shape: tuple[int, ...], out: Any) -> Any:
    """Maxima, or (maxima, indices) where the last of the arguments asks for them, in the user's shape."""
    out = checks.out(out, shape, arguments[0].dtype)
    return_indices = arguments[-1]
    values, indices = call(operator, *arguments, wanted=(True, return_indices))
    y = checks.deliver(reshape(values, shape), out)
    return (y, call(shape_operators.reshape, indices, shape)) if return_indices else y


def _max_pool(
    dims: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
    out: Any,
) -> Any:
    x, batch = planes(input, dims)
    kernel, step, pad, spread, size = _windows(dims, x, kernel_size, stride, padding, dilation, ceil_mode)
    shape = (*batch, *size[2 - dims :])
    arguments = (x, kernel, step, pad, spread, checks.flag("ceil_mode", ceil_mode), checks.flag("return_indices", return_indices))
    return deliver_max(operators.max_pool2d, arguments, shape, out)


@remembered
def max_pool1d(
    input: Any,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: Any = None,
) -> Any:
    """Maxima over windows of a sequence: ``y[n, c, i] = max over k of x[n, c, i stride - padding + k dilation]``.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        The other arguments, the result and the errors are those of ``max_pool2d``, in one dimension.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.max_pool1d(np.array([[1.0, 3.0, 2.0, 5.0]]), 2)
    array([[3., 5.]])
    """
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, out)


@remembered
def max_pool2d(
    input: Any,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: Any = None,
) -> Any:
    """Maxima over windows: ``y[n, c, i, j] = max over k, l of x[n, c, h, w]`` with
    ``h = i stride - padding + k dilation`` and ``w = j stride - padding + l dilation``.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
    kernel_size : int or two ints
    stride : int or two ints, optional
        Default: ``kernel_size``.
    padding : int or two ints
        At most half of ``kernel_size``. What lies outside is never the maximum.
    dilation : int or two ints
        Distance between the elements of a window.
    ceil_mode : bool
        Keep a last window that leads past the padding, as long as it starts inside the input or the left padding.
    return_indices : bool
        Give (y, indices) with the flat position ``h W + w`` of each maximum in its plane.
    out : array of the shape of y, optional
        Where to put y.

    Returns
    -------
    array, shape (N, C, OH, OW) or (C, OH, OW), or a tuple with int64 indices of that shape
        Exact to the bit. Of equal maxima the first counts and gets the gradient; NaN is larger than any number. A window that
        dilation leads past the input altogether gives -inf and index -1.

    Raises
    ------
    TypeError, ValueError
        Where an argument or the shape of ``input`` does not fit, or no window fits into it.
    OverflowError
        Where a plane or a parameter passes 2^31 - 1.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.max_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
    array([[[ 5.,  7.],
            [13., 15.]]])
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, out)


def _avg_pool(
    dims: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
    out: Any,
) -> Any:
    x, batch = planes(input, dims)
    kernel, step, pad, _, size = _windows(dims, x, kernel_size, stride, padding, 1, ceil_mode)
    shape = (*batch, *size[2 - dims :])
    out = checks.out(out, shape, x.dtype)
    y = call(
        operators.avg_pool2d,
        x,
        kernel,
        step,
        pad,
        checks.flag("ceil_mode", ceil_mode),
        checks.flag("count_include_pad", count_include_pad),
        divisor,
    )
    return checks.deliver(reshape(y, shape), out)


@remembered
def avg_pool1d(
    input: Any,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    out: Any = None,
) -> Any:
    """Means over windows of a sequence.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        The other arguments, the result and the errors are those of ``avg_pool2d``, in one dimension.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.avg_pool1d(np.array([[1.0, 3.0, 2.0, 6.0]]), 2)
    array([[2., 4.]])
    """
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None, out)


@remembered
def avg_pool2d(
    input: Any,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    out: Any = None,
) -> Any:
    """Means over windows: the sum of the window's elements inside the input, divided by how many it has.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
    kernel_size, stride, padding, ceil_mode, out
        As for ``max_pool2d``; padding is zeros.
    count_include_pad : bool
        Whether the divisor counts the padding (but never what ``ceil_mode`` adds beyond it).
    divisor_override : int, optional
        What to divide by instead; not zero.

    Returns
    -------
    array, shape (N, C, OH, OW) or (C, OH, OW)

    Raises
    ------
    TypeError, ValueError
        Where an argument or the shape of ``input`` does not fit, or no window fits into it.
    OverflowError
        Where a plane or a parameter passes 2^31 - 1.

    Notes
    -----
    Windows of up to 16 elements are summed in their own type (in double where a float32 sum overflows), larger ones in double.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn.functional as F
    >>> F.avg_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
    array([[[ 2.5,  4.5],
            [10.5, 12.5]]])
    """
    if divisor_override is not None:
        divisor_override = checks.integer("divisor_override", divisor_override)
        if divisor_override == 0:
            raise ValueError("divisor_override: expected an int other than 0, got 0")
        if not -LIMIT <= divisor_override <= LIMIT:
            raise OverflowError(f"divisor_override: expected at most {LIMIT}, got {divisor_override}")
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, out)
