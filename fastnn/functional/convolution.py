"""Convolution. As in every framework for neural networks, ``conv1d`` and ``conv2d`` are cross-correlations: the kernel is not flipped.

``convolve2d`` is the convolution of the textbooks, which flips it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn.kernels.convolution import operators

from ..dispatch import call
from ..recall import remembered
from . import checks
from .shape import index, reshape

Size = int | Sequence[int]


def conv_output_size(size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Length of a convolution's output along one dimension: ``floor((size + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1``.

    Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), relationship 15.

    Parameters
    ----------
    size, kernel_size : int
        Elements of the input and of the kernel.
    stride, padding, dilation : int
        ``padding`` is added on both sides.

    Raises
    ------
    ValueError
        Where the kernel does not fit into the padded input.

    Examples
    --------
    >>> import fastnn.functional as F
    >>> F.conv_output_size(28, 5, stride=2, padding=2)
    14
    """
    n, k = checks.integer("size", size, 0), checks.integer("kernel_size", kernel_size, 1)
    s, p, d = checks.integer("stride", stride, 1), checks.integer("padding", padding, 0), checks.integer("dilation", dilation, 1)
    if d * (k - 1) + 1 > n + 2 * p:
        raise ValueError(f"kernel_size: {k} with dilation {d} spans {d * (k - 1) + 1}, more than the padded input of {n + 2 * p}")
    return operators.output_size(n, k, s, 2 * p, d)


def _padding(padding: Any, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """(before, after) of every dimension, one after another."""
    if isinstance(padding, str):
        checks.choice("padding", padding, ("valid", "same"))
        if padding == "valid":
            return (0,) * (2 * len(kernel))
        if any(s != 1 for s in stride):
            raise ValueError(f"padding: 'same' needs a stride of 1, got {stride}")
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple(side for total in totals for side in (total // 2, total - total // 2))
    if isinstance(padding, Sequence) and any(isinstance(sides, Sequence) for sides in padding):
        if len(padding) != len(kernel):
            raise ValueError(f"padding: expected {len(kernel)} pairs (before, after), got {padding!r}")
        return tuple(side for sides in padding for side in checks.integers("padding", sides, 2, 0))
    return tuple(side for p in checks.integers("padding", padding, len(kernel), 0) for side in (p, p))


def _conv(dims: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any, out: Any) -> Any:
    """Convolution over the last ``dims`` dimensions; one dimension is computed as two, the first of length 1."""
    x = checks.array("input", input, (dims + 1, dims + 2))
    w = checks.array("weight", weight, dims + 2, x.dtype)
    stride, dilation = checks.integers("stride", stride, dims, 1), checks.integers("dilation", dilation, dims, 1)
    groups = checks.integer("groups", groups, 1)
    for name, steps in (("stride", stride), ("dilation", dilation)):
        if max(steps) >= 2**31:
            raise OverflowError(f"{name}: expected less than 2**31, got {max(steps)}")
    kernel = tuple(w.shape[2:])
    batched = len(x.shape) == dims + 2
    shape = tuple(x.shape) if batched else (1, *x.shape)
    if w.shape[0] % groups:
        raise ValueError(f"groups: expected a divisor of the {w.shape[0]} output channels, got {groups}")
    if shape[1] != w.shape[1] * groups:
        raise ValueError(
            f"input: expected {w.shape[1] * groups} channels for weight {tuple(w.shape)} and groups={groups}, got shape {tuple(x.shape)}"
        )
    if 0 in kernel:
        raise ValueError(f"weight: expected a kernel of at least one element, got shape {tuple(w.shape)}")
    b = checks.optional_array("bias", bias, (w.shape[0],), x.dtype)
    pads = _padding(padding, kernel, stride, dilation)
    for n, k, d, before, after in zip(shape[2:], kernel, dilation, pads[::2], pads[1::2], strict=True):
        if d * (k - 1) + 1 > n + before + after:
            raise ValueError(
                f"weight: a kernel of {kernel} with dilation {dilation} does not fit into input {tuple(x.shape)} with padding {padding!r}"
            )
        if max(n + before + after, d * k) > 2**62:
            raise OverflowError(f"padding: no machine has room for an input of {n + before + after} elements a dimension")
    if dims == 1:
        x, w = reshape(x, (*shape[:2], 1, shape[2])), reshape(w, (*w.shape[:2], 1, kernel[0]))
        stride, dilation, pads = (1, *stride), (1, *dilation), (0, 0, *pads)
    elif not batched:
        x = reshape(x, shape)
    geometry = (stride, pads, dilation, groups)
    (full,) = operators.conv2d.shape(tuple(x.shape), tuple(w.shape), None, *geometry)
    result = full if dims == 2 else (*full[:2], full[3])
    result = result if batched else result[1:]
    out = checks.out(out, result, x.dtype)
    if out is not None and result == full:
        return call(operators.conv2d, x, w, b, *geometry, out=(out,))
    return checks.deliver(reshape(call(operators.conv2d, x, w, b, *geometry), result), out)


@remembered
def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Size = 1, padding: str | Size = 0, dilation: Size = 1, groups: int = 1,
    *, out: Any = None,
) -> Any:  # fmt: skip
    """Cross-correlation along the last dimension.

    ``y[n, o, i] = b[o] + sum over c, u of w[o, c, u] x[n, c, i stride + u dilation - padding]``

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
    weight : array, shape (O, C / groups, K)
    bias : array, shape (O,), optional
    stride, dilation : int or (int,)
    padding : int, (int,), "valid", "same" or ((int, int),)
        Zeros on both sides; "same" keeps the length and needs a stride of 1; a pair says how many before and how many after.
    groups : int
        Parts of the channels that do not see each other.
    out : array, optional
        Where to put the result.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that does not fit.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.conv1d(np.array([[1.0, 2.0, 3.0]]), np.array([[[1.0, 10.0]]]))
    array([[21., 32.]])
    """
    return _conv(1, input, weight, bias, stride, padding, dilation, groups, out)


@remembered
def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Size = 1, padding: str | Size = 0, dilation: Size = 1, groups: int = 1,
    *, out: Any = None,
) -> Any:  # fmt: skip
    """Cross-correlation over the last two dimensions:
    ``y[n, o, i, j] = b[o] + sum over c, u, v of w[o, c, u, v] x[n, c, i sh + u dh - ph, j sw + v dw - pw]``.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
    weight : array, shape (O, C / groups, KH, KW)
    bias : array, shape (O,), optional
    stride, dilation : int or pair of int
    padding : int, pair of int, "valid", "same" or ((top, bottom), (left, right))
        Zeros on both sides; "same" keeps the size and needs a stride of 1.
    groups : int
        Parts of the channels that do not see each other; as many as input channels for a depthwise convolution.
    out : array, shape (N, O, P, Q), optional
        Where to put the result; P and Q by ``conv_output_size``.

    Raises
    ------
    TypeError, ValueError, OverflowError
        Naming the argument that does not fit.

    Notes
    -----
    An input that is not C-contiguous is copied. A 3x3 kernel of stride 1 over 64 channels or more may be computed by Winograd's minimal
    filtering (Lavin and Gray, 2016); see ``fastnn.set_convolution_precision``.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)), padding=1)[0, 0]
    array([[4., 6., 4.],
           [6., 9., 6.],
           [4., 6., 4.]])
    """
    return _conv(2, input, weight, bias, stride, padding, dilation, groups, out)


def convolve2d(x: Any, w: Any, mode: str = "full") -> Any:
    """The convolution of the textbooks, ``y[i, j] = sum over u, v of w[u, v] x[i - u, j - v]``; equal to ``scipy.signal.convolve2d``.

    Parameters
    ----------
    x : array, shape (H, W)
    w : array, shape (KH, KW)
        Flipped, unlike in ``conv2d``.
    mode : "full", "same" or "valid"
        All elements where x and w overlap; the middle part, of the shape of x; only those that need no padding, where one of the
        two must be at least as large as the other in both dimensions.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that does not fit.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.convolve2d(np.array([[1.0, 2.0]]), np.array([[1.0, 10.0]]))
    array([[ 1., 12., 20.]])
    """
    a = checks.array("x", x, 2)
    b = checks.array("w", w, 2, a.dtype)
    checks.choice("mode", mode, ("full", "same", "valid"))
    for name, value in (("x", a), ("w", b)):
        if 0 in value.shape:
            raise ValueError(f"{name}: expected at least one element, got shape {tuple(value.shape)}")
    if mode == "valid" and not all(n >= k for n, k in zip(a.shape, b.shape, strict=True)):
        if not all(n <= k for n, k in zip(a.shape, b.shape, strict=True)):
            raise ValueError(f"w: neither {tuple(a.shape)} nor {tuple(b.shape)} contains the other, so 'valid' has no meaning")
        a, b = b, a
    (H, W), (KH, KW) = a.shape, b.shape
    flipped = index(b, (slice(None, None, -1), slice(None, None, -1)))
    kernel = reshape(flipped, (1, 1, KH, KW))
    if mode == "valid":
        return reshape(conv2d(reshape(a, (1, 1, H, W)), kernel), (H - KH + 1, W - KW + 1))
    full = reshape(conv2d(reshape(a, (1, 1, H, W)), kernel, padding=(KH - 1, KW - 1)), (H + KH - 1, W + KW - 1))
    if mode == "full":
        return full
    top, left = (KH - 1) // 2, (KW - 1) // 2
    return index(full, (slice(top, top + H), slice(left, left + W)))
