"""Softmax, compiled just in time."""

import math

from ..elementary_numba import exp
from ..numba_support import kernel, reassociating_kernel


@kernel
def _max(x):
    top = x[0]
    for i in range(x.size):
        if not x[i] <= top:  # NaN wins
            top = x[i]
    return top


@reassociating_kernel
def _sum(x):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@reassociating_kernel
def _dot(x, y):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@kernel
def _exp_row(x, top, y):
    for i in range(y.size):
        y[i] = exp(x[i] - top)


@kernel
def _softmax_row(x, y):
    _exp_row(x, _max(x), y)
    total = _sum(y)
    for i in range(y.size):
        y[i] = y[i] / total


@kernel
def _log_softmax_row(x, y):
    top = _max(x)
    _exp_row(x, top, y)
    total = x.dtype.type(math.log(_sum(y)))
    for i in range(y.size):
        y[i] = (x[i] - top) - total


@kernel
def softmax(x, y):
    if x.shape[1] == 0:
        return
    for a in range(x.shape[0]):
        for b in range(x.shape[2]):
            _softmax_row(x[a, :, b], y[a, :, b])


@kernel
def log_softmax(x, y):
    if x.shape[1] == 0:
        return
    scratch = x[0, :, 0].copy() if x.shape[0] > 0 and x.shape[2] > 0 else x.reshape(-1)[:0].copy()
    for a in range(x.shape[0]):
        for b in range(x.shape[2]):
            for c in range(scratch.size):  # y may be the memory of x
                scratch[c] = x[a, c, b]
            _log_softmax_row(scratch, y[a, :, b])


@kernel
def _softmax_row_backward(dy, y, dx):
    total = _dot(dy, y)
    for i in range(dx.size):
        dx[i] = y[i] * (dy[i] - total)


@kernel
def _log_softmax_row_backward(dy, y, dx):
    total = _sum(dy)
    for i in range(dx.size):
        dx[i] = dy[i] - exp(y[i]) * total


@kernel
def softmax_backward(dy, y, dx):
    for a in range(y.shape[0]):
        for b in range(y.shape[2]):
            _softmax_row_backward(dy[a, :, b], y[a, :, b], dx[a, :, b])


@kernel
def log_softmax_backward(dy, y, dx):
    for a in range(y.shape[0]):
        for b in range(y.shape[2]):
            _log_softmax_row_backward(dy[a, :, b], y[a, :, b], dx[a, :, b])
