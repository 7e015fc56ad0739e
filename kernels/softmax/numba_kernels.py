"""Softmax, compiled just in time."""

import math

import numpy as np

from ..elementary_numba import exp
from ..numba_sums import run_sum
from ..numba_support import kernel, reassociating_kernel


@reassociating_kernel
def _max(x):
    # NaN need not come through here: it does in the sum of exponentials, and so reaches the whole row.
    top = x.dtype.type(-np.inf)
    for i in range(x.size):
        top = x[i] if x[i] > top else top
    return top


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
    scale = x.dtype.type(1) / run_sum(y)
    for i in range(y.size):
        y[i] = y[i] * scale


@kernel
def _log_softmax_row(x, y):
    top = _max(x)
    _exp_row(x, top, y)
    total = x.dtype.type(math.log(run_sum(y)))
    for i in range(y.size):
        y[i] = (x[i] - top) - total


@kernel
def _softmax_row_backward(dy, y, dx):
    total = _dot(dy, y)
    for i in range(dx.size):
        dx[i] = y[i] * (dy[i] - total)


@kernel
def _log_softmax_row_backward(dy, y, dx):
    total = run_sum(dy)
    for i in range(dx.size):
        dx[i] = dy[i] - exp(y[i]) * total


@kernel
def _softmax_rows(x, y):
    for a in range(x.shape[0]):
        _softmax_row(x[a], y[a])


@kernel
def _log_softmax_rows(x, y):
    scratch = np.empty(x.shape[1], x.dtype)  # y may be the memory of x
    for a in range(x.shape[0]):
        for c in range(scratch.size):
            scratch[c] = x[a, c]
        _log_softmax_row(scratch, y[a])


@kernel
def _softmax_rows_backward(dy, y, dx):
    for a in range(y.shape[0]):
        _softmax_row_backward(dy[a], y[a], dx[a])


@kernel
def _log_softmax_rows_backward(dy, y, dx):
    for a in range(y.shape[0]):
        _log_softmax_row_backward(dy[a], y[a], dx[a])


@kernel
def _swap(x, y):
    """y (A, C, B) = x (A, B, C), transposed."""
    for a in range(y.shape[0]):
        for c in range(y.shape[1]):
            for b in range(y.shape[2]):
                y[a, c, b] = x[a, b, c]


def _by_rows(function, inputs, output):
    """Call ``function`` on contiguous rows (A B, C): a view where B is 1, else transposed copies."""
    A, C, B = output.shape
    if output.size == 0:
        return
    if B == 1:
        function(*[array.reshape(A, C) for array in inputs], output.reshape(A, C))
        return
    turned = [np.empty((A, B, C), array.dtype) for array in (*inputs, output)]
    for array, copy in zip(inputs, turned, strict=False):
        _swap(array, copy)
    function(*[copy.reshape(A * B, C) for copy in turned])
    _swap(turned[-1], output)


def softmax(x, y):
    _by_rows(_softmax_rows, (x,), y)


def softmax_backward(dy, y, dx):
    _by_rows(_softmax_rows_backward, (dy, y), dx)


def log_softmax(x, y):
    _by_rows(_log_softmax_rows, (x,), y)


def log_softmax_backward(dy, y, dx):
    _by_rows(_log_softmax_rows_backward, (dy, y), dx)
