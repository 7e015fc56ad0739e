"""Batch normalization by channels of x (N, C, L).

Where a channel's runs are single elements (x of shape (N, C)), whole rows are walked instead, so that the loops are vector code there
too: functions with ``column`` in their names.
"""

import math

import numpy as np

from ..numba_sums import long_sum
from ..numba_support import kernel
from .numba_runs import center, fill, long_products, long_squares, scale_shift


@kernel
def _scale_shift_columns(x, mean, scale, shift, y):
    for j in range(x.size):
        y[j] = (x[j] - mean[j]) * scale[j] + shift[j]


@kernel
def _add_row(total, x):
    for j in range(x.size):
        total[j] += x[j]


@kernel
def _add_squares(total, squares, x, shift):
    for j in range(x.size):
        d = x[j] - shift[j]
        total[j] += d
        squares[j] += d * d


@kernel
def _add_products(total, along, dy, x, mean):
    for j in range(x.size):
        total[j] += dy[j]
        along[j] += dy[j] * (x[j] - mean[j])


@kernel
def column_moments(x, mean, var):
    """Moments of every column of x (N, C); the sums are doubles."""
    N, C = x.shape
    count = max(N, 1)
    first, second, shift = np.empty(C, np.float64), np.empty(C, np.float64), np.empty(C, x.dtype)
    fill(first, 0)
    for n in range(N):
        _add_row(first, x[n])
    for c in range(C):
        shift[c] = first[c] / count
    fill(first, 0)
    fill(second, 0)
    for n in range(N):
        _add_squares(first, second, x[n], shift)
    for c in range(C):
        d = first[c] / count
        mean[c] = shift[c] + d
        var[c] = second[c] / count - d * d


@kernel
def channel_moments(x, mean, var):
    """Moments over N and L of every channel of x (N, C, L)."""
    N, C, L = x.shape
    count = max(N * L, 1)
    for c in range(C):
        total = 0.0
        for n in range(N):
            total += long_sum(x[n, c])
        shift = x.dtype.type(total / count)
        deviations, squares = 0.0, 0.0
        for n in range(N):
            first, second = long_squares(x[n, c], shift)
            deviations += first
            squares += second
        deviations /= count
        mean[c] = shift + deviations
        var[c] = squares / count - deviations * deviations


@kernel
def reciprocal_roots(var, eps, rstd):
    for c in range(var.size):
        rstd[c] = 1 / math.sqrt(var[c] + eps)


@kernel
def normalize_channels(x, weight, bias, mean, var, eps, y):
    N, C, _ = x.shape
    for n in range(N):
        for c in range(C):
            scale = x.dtype.type(1 / math.sqrt(var[c] + eps)) * weight[c]
            scale_shift(x[n, c], mean[c], scale, bias[c], y[n, c])


@kernel
def normalize_columns(x, weight, bias, mean, var, eps, y):
    N, C = x.shape
    scale = np.empty(C, x.dtype)
    reciprocal_roots(var, eps, scale)
    for c in range(C):
        scale[c] *= weight[c]
    for n in range(N):
        _scale_shift_columns(x[n], mean, scale, bias, y[n])


@kernel
def channel_products(dy, x, mean, total, along):
    N, C, _ = x.shape
    for c in range(C):
        total[c], along[c] = 0, 0
        for n in range(N):
            first, second = long_products(dy[n, c], x[n, c], mean[c])
            total[c] += first
            along[c] += second


@kernel
def column_products(dy, x, mean, total, along):
    fill(total, 0)
    fill(along, 0)
    for n in range(x.shape[0]):
        _add_products(total, along, dy[n], x[n], mean)


@kernel
def channel_dx(dy, x, weight, mean, rstd, total, along, dx):
    N, C, L = x.shape
    for n in range(N):
        for c in range(C):
            average = x.dtype.type(total[c] / (N * L))
            part = x.dtype.type(along[c] / (N * L) * rstd[c] * rstd[c])
            center(dy[n, c], x[n, c], x.dtype.type(1), mean[c], rstd[c] * weight[c], average, part, dx[n, c])


@kernel
def _center_columns(dy, x, factor, mean, average, along, dx):
    for j in range(x.size):
        dx[j] = factor[j] * (dy[j] - average[j] - (x[j] - mean[j]) * along[j])


@kernel
def column_dx(dy, x, weight, mean, rstd, total, along, dx):
    N, C = x.shape
    factor, average, part = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(C, x.dtype)
    for c in range(C):
        factor[c] = rstd[c] * weight[c]
        average[c] = total[c] / N
        part[c] = along[c] / N * rstd[c] * rstd[c]
    for n in range(N):
        _center_columns(dy[n], x[n], factor, mean, average, part, dx[n])


@kernel
def move_statistics(value, running, momentum, factor, result):
    for c in range(value.size):
        result[c] = running[c] + momentum * (factor * value[c] - running[c])
