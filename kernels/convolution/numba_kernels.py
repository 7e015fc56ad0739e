"""Convolution, compiled just in time: for each kernel tap, whole rows of the output gain a multiple of rows of the input.

Rows vectorise; a register tile would have constant trip counts, which Numba turns into scalar code.
"""

import numpy as np

from ..numba_support import kernel, reassociating_kernel

CHANNELS = 8  # that share a partial sum, so that float32 sums over many channels keep their digits


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
def _add_scaled(y, a, x):
    for i in range(y.size):
        y[i] += a * x[i]


@kernel
def _add_strided(y, a, x, stride):
    for i in range(y.size):
        y[i] += a * x[i * stride]


@kernel
def _add_to_strided(x, a, y, stride):
    for i in range(y.size):
        x[i * stride] += a * y[i]


@reassociating_kernel
def _dot(x, y):
    total = y.dtype.type(0)
    for i in range(y.size):
        total += x[i] * y[i]
    return total


@reassociating_kernel
def _dot_strided(x, y, stride):
    total = y.dtype.type(0)
    for i in range(y.size):
        total += x[i * stride] * y[i]
    return total


@kernel
def _plane(x, w, y, sh, sw, top, left, dh, dw):
    """y (P, Q) += x (H, W) correlated with w (KH, KW)."""
    P, Q = y.shape
    H, W = x.shape
    for u in range(w.shape[0]):
        for v in range(w.shape[1]):
            first = v * dw - left
            begin = _begin(first, sw)
            end = _end(first, sw, W, Q)
            if begin < end:
                for p in range(P):
                    row = p * sh - top + u * dh
                    if 0 <= row < H:
                        if sw == 1:
                            _add_scaled(y[p, begin:end], w[u, v], x[row, begin + first : end + first])
                        else:
                            _add_strided(y[p, begin:end], w[u, v], x[row, begin * sw + first :], sw)


@kernel
def _plane_dx(dy, w, dx, sh, sw, top, left, dh, dw):
    """The adjoint in x: dx (H, W) += dy (P, Q) spread by w."""
    P, Q = dy.shape
    H, W = dx.shape
    for u in range(w.shape[0]):
        for v in range(w.shape[1]):
            first = v * dw - left
            begin = _begin(first, sw)
            end = _end(first, sw, W, Q)
            if begin < end:
                for p in range(P):
                    row = p * sh - top + u * dh
                    if 0 <= row < H:
                        if sw == 1:
                            _add_scaled(dx[row, begin + first : end + first], w[u, v], dy[p, begin:end])
                        else:
                            _add_to_strided(dx[row, begin * sw + first :], w[u, v], dy[p, begin:end], sw)


@kernel
def _plane_dw(dy, x, dw_plane, sh, sw, top, left, dh, dw):
    """The adjoint in w: dw (KH, KW) += the sums of dy times shifted x."""
    P, Q = dy.shape
    H, W = x.shape
    for u in range(dw_plane.shape[0]):
        for v in range(dw_plane.shape[1]):
            first = v * dw - left
            begin = _begin(first, sw)
            end = _end(first, sw, W, Q)
            total = dy.dtype.type(0)
            if begin < end:
                for p in range(P):
                    row = p * sh - top + u * dh
                    if 0 <= row < H:
                        if sw == 1:
                            total += _dot(x[row, begin + first : end + first], dy[p, begin:end])
                        else:
                            total += _dot_strided(x[row, begin * sw + first :], dy[p, begin:end], sw)
            dw_plane[u, v] += total


@kernel
def _forward(x, w, y, sh, sw, top, left, dh, dw, groups):
    outputs = w.shape[0] // groups
    part = np.empty(y.shape[2:], y.dtype)
    for n in range(x.shape[0]):
        for o in range(w.shape[0]):
            for first in range(0, w.shape[1], CHANNELS):
                _fill(part.reshape(part.size), y.dtype.type(0))
                for c in range(first, min(first + CHANNELS, w.shape[1])):
                    _plane(x[n, o // outputs * w.shape[1] + c], w[o, c], part, sh, sw, top, left, dh, dw)
                _add_scaled(y[n, o].reshape(part.size), y.dtype.type(1), part.reshape(part.size))


@kernel
def _dx(dy, w, dx, sh, sw, top, left, dh, dw, groups):
    outputs = w.shape[0] // groups
    _fill(dx.reshape(dx.size), dx.dtype.type(0))
    part = np.empty(dx.shape[2:], dx.dtype)
    for n in range(dx.shape[0]):
        for channel in range(dx.shape[1]):
            begin = channel // w.shape[1] * outputs
            for first in range(begin, begin + outputs, CHANNELS):
                _fill(part.reshape(part.size), dx.dtype.type(0))
                for o in range(first, min(first + CHANNELS, begin + outputs)):
                    _plane_dx(dy[n, o], w[o, channel % w.shape[1]], part, sh, sw, top, left, dh, dw)
                _add_scaled(dx[n, channel].reshape(part.size), dx.dtype.type(1), part.reshape(part.size))


@kernel
def _dw(dy, x, dw_all, sh, sw, top, left, dh, dw, groups):
    outputs = dw_all.shape[0] // groups
    _fill(dw_all.reshape(dw_all.size), dw_all.dtype.type(0))
    for n in range(x.shape[0]):
        for o in range(dw_all.shape[0]):
            for c in range(dw_all.shape[1]):
                _plane_dw(dy[n, o], x[n, o // outputs * dw_all.shape[1] + c], dw_all[o, c], sh, sw, top, left, dh, dw)


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
