"""Convolution, compiled just in time: the input under each kernel tap is gathered into rows, and whole rows are multiplied and added.

Rows vectorise; a register tile would have constant trip counts, which Numba turns into scalar code. Tap by tap on the image itself,
without gathering, took five times as long.
"""

import numpy as np

from ..linear.numba_kernels import accumulate, dot, transpose
from ..numba_support import kernel, reassociating_kernel


@kernel
def _begin(first, stride):
    """First t >= 0 with first + t stride >= 0."""
    return 0 if first >= 0 else (-first + stride - 1) // stride


@kernel
def _end(first, stride, size, count):
    """One past the last t < count with first + t stride < size."""
    return 0 if first >= size else min(count, (size - 1 - first) // stride + 1)


@kernel
def _fill(y, value):
    for i in range(y.size):
        y[i] = value


@kernel
def _copy_run(target, source, stride):
    for i in range(target.size):
        target[i] = source[i * stride]


@kernel
def _add_run(target, source, stride):
    for i in range(source.size):
        target[i * stride] += source[i]


@kernel
def _gather(x, rows, P, Q, KH, KW, sh, sw, top, left, dh, dw):
    """rows[(c, u, v), (p, q)] = the element of x (C, H, W) under kernel tap (u, v) at output pixel (p, q), zero outside."""
    C, H, W = x.shape
    zero = x.dtype.type(0)
    for k in range(rows.shape[0]):
        c, u, v = k // (KH * KW), k // KW % KH, k % KW
        first = v * dw - left
        begin = min(_begin(first, sw), Q)
        end = max(begin, _end(first, sw, W, Q))
        for p in range(P):
            run = rows[k, p * Q : (p + 1) * Q]
            row = p * sh - top + u * dh
            if row < 0 or row >= H or begin == end:
                _fill(run, zero)
            else:
                _fill(run[:begin], zero)
                _copy_run(run[begin:end], x[c, row, begin * sw + first :], sw)
                _fill(run[end:], zero)


@kernel
def _scatter(rows, dx, P, Q, KH, KW, sh, sw, top, left, dh, dw):
    """The adjoint: every element goes back where it came from, and they add up."""
    C, H, W = dx.shape
    for k in range(rows.shape[0]):
        c, u, v = k // (KH * KW), k // KW % KH, k % KW
        first = v * dw - left
        begin = min(_begin(first, sw), Q)
        end = max(begin, _end(first, sw, W, Q))
        if begin < end:
            for p in range(P):
                row = p * sh - top + u * dh
                if 0 <= row < H:
                    _add_run(dx[c, row, begin * sw + first :], rows[k, p * Q + begin : p * Q + end], sw)


@kernel
def _forward(x, w, y, sh, sw, top, left, dh, dw, groups):
    """y[n] of a group += w (O, K) times the gathered rows (K, pixels)."""
    inputs, outputs = w.shape[1], w.shape[0] // groups
    P, Q, K = y.shape[2], y.shape[3], w.shape[1] * w.shape[2] * w.shape[3]
    rows = np.empty((K, P * Q), x.dtype)
    flat_w, flat_y = w.reshape(w.shape[0], K), y.reshape(y.shape[0], y.shape[1], P * Q)
    for n in range(x.shape[0]):
        for g in range(groups):
            _gather(x[n, g * inputs : (g + 1) * inputs], rows, P, Q, w.shape[2], w.shape[3], sh, sw, top, left, dh, dw)
            accumulate(flat_w[g * outputs : (g + 1) * outputs], rows, flat_y[n, g * outputs : (g + 1) * outputs])


@kernel
def _dx(dy, w, dx, sh, sw, top, left, dh, dw, groups):
    inputs, outputs = w.shape[1], w.shape[0] // groups
    P, Q, K = dy.shape[2], dy.shape[3], w.shape[1] * w.shape[2] * w.shape[3]
    rows = np.empty((K, P * Q), dy.dtype)
    flat_w, flat_dy = w.reshape(w.shape[0], K), dy.reshape(dy.shape[0], dy.shape[1], P * Q)
    _fill(dx.reshape(dx.size), dx.dtype.type(0))
    for g in range(groups):
        turned = transpose(flat_w[g * outputs : (g + 1) * outputs])
        for n in range(dx.shape[0]):
            _fill(rows.reshape(rows.size), rows.dtype.type(0))
            accumulate(turned, flat_dy[n, g * outputs : (g + 1) * outputs], rows)
            _scatter(rows, dx[n, g * inputs : (g + 1) * inputs], P, Q, w.shape[2], w.shape[3], sh, sw, top, left, dh, dw)


@kernel
def _dw(dy, x, dw_all, sh, sw, top, left, dh, dw, groups):
    inputs, outputs = dw_all.shape[1], dw_all.shape[0] // groups
    P, Q, K = dy.shape[2], dy.shape[3], dw_all.shape[1] * dw_all.shape[2] * dw_all.shape[3]
    rows = np.empty((K, P * Q), x.dtype)
    flat_dw, flat_dy = dw_all.reshape(dw_all.shape[0], K), dy.reshape(dy.shape[0], dy.shape[1], P * Q)
    _fill(dw_all.reshape(dw_all.size), dw_all.dtype.type(0))
    for n in range(x.shape[0]):
        for g in range(groups):
            _gather(x[n, g * inputs : (g + 1) * inputs], rows, P, Q, dw_all.shape[2], dw_all.shape[3], sh, sw, top, left, dh, dw)
            for o in range(g * outputs, (g + 1) * outputs):
                for k in range(K):
                    flat_dw[o, k] += dot(flat_dy[n, o], rows[k])


@kernel
def _bias(y, b):
    for n in range(y.shape[0]):
        for o in range(y.shape[1]):
            _fill(y[n, o].reshape(y.shape[2] * y.shape[3]), b[o])


@reassociating_kernel
def _sum(x):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@kernel
def _db(dy, db):
    for o in range(db.size):
        total = dy.dtype.type(0)
        for n in range(dy.shape[0]):
            for p in range(dy.shape[2]):
                total += _sum(dy[n, o, p])
        db[o] = total


def conv2d(x, w, b, stride, padding, dilation, groups, y):
    if b is None:
        _fill(y.reshape(-1), y.dtype.type(0))
    else:
        _bias(y, b)
    _forward(x, w, y, *stride, padding[0], padding[2], *dilation, groups)


def conv2d_backward(dy, x, w, stride, padding, dilation, groups, dx, dw, db):
    geometry = (*stride, padding[0], padding[2], *dilation, groups)
    if dx is not None:
        _dx(dy, w, dx, *geometry)
    if dw is not None:
        _dw(dy, x, dw, *geometry)
    if db is not None:
        _db(dy, db)
