"""Reductions of the middle dimension, compiled just in time.

Sums go in chunks of CHUNK, each in double, combined in ascending order.
"""

import numpy as np

from ..numba_support import kernel, reassociating_kernel

CHUNK = 4096


# Sums of (x - center)^power, power 1 or 2


@reassociating_kernel
def _sum_run(x, center):
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) - center
    return total


@reassociating_kernel
def _sum_squares_run(x, center):
    total = 0.0
    for i in range(x.size):
        distance = np.float64(x[i]) - center
        total += distance * distance
    return total


@kernel
def _add_row(total, row, center):
    for b in range(total.size):
        total[b] += np.float64(row[b]) - center[b]


@kernel
def _add_squared_row(total, row, center):
    for b in range(total.size):
        distance = np.float64(row[b]) - center[b]
        total[b] += distance * distance


@kernel
def _add_chunk(total, x, center, power):
    """total (B,) += the sums of the columns of ``x`` (rows, B)."""
    if total.size == 1:
        run = x.reshape(x.shape[0])
        total[0] += _sum_run(run, center[0]) if power == 1 else _sum_squares_run(run, center[0])
        return
    part = np.zeros(total.size)
    for r in range(x.shape[0]):
        if power == 1:
            _add_row(part, x[r], center)
        else:
            _add_squared_row(part, x[r], center)
    for b in range(total.size):
        total[b] += part[b]


@kernel
def _sums(x, center, power, divisor, y):
    """y (A, B) = sums / divisor."""
    total = np.empty(x.shape[2])
    for a in range(x.shape[0]):
        for b in range(total.size):
            total[b] = 0
        for begin in range(0, x.shape[1], CHUNK):
            _add_chunk(total, x[a, begin : begin + CHUNK], center[a], power)
        for b in range(total.size):
            y[a, b] = total[b] / divisor


def sum(x, y):
    _sums(x, np.zeros(y.shape), 1, 1.0, y)


def mean(x, y):
    _sums(x, np.zeros(y.shape), 1, float(x.shape[1]), y)


@kernel
def _round(x, y):
    for a in range(x.shape[0]):
        for b in range(x.shape[1]):
            y[a, b] = x[a, b]


def var(x, correction, y, mean):
    shape = (x.shape[0], x.shape[2])
    center = np.empty(shape)
    _sums(x, np.zeros(shape), 1, float(x.shape[1]), center)
    if mean is not None:
        _round(center, mean)
    if y is not None:
        _sums(x, center, 2, float(max(x.shape[1] - correction, 0)), y)


@kernel
def _divide_row(row, dy, divisor):
    for b in range(row.size):
        row[b] = dy[b] / divisor


@kernel
def _fill_run(run, value):
    for r in range(run.size):
        run[r] = value


@kernel
def _spread(dy, divisor, dx):
    A, R, B = dx.shape
    for a in range(A):
        if B == 1:
            _fill_run(dx[a].reshape(R), dy[a, 0] / divisor)
        else:
            for r in range(R):
                _divide_row(dx[a, r], dy[a], divisor)


def sum_backward(dy, x_shape, dx):
    _spread(dy, dy.dtype.type(1), dx)


def mean_backward(dy, x_shape, dx):
    _spread(dy, dy.dtype.type(x_shape[1]), dx)


@kernel
def _scaled_difference_row(row, dy, scale, x, mean):
    for b in range(row.size):
        row[b] = dy[b] * scale * (x[b] - mean[b])


@kernel
def _scaled_difference_run(run, factor, x, mean):
    for r in range(run.size):
        run[r] = factor * (x[r] - mean)


@kernel
def _var_backward(dy, x, mean, scale, dx):
    A, R, B = dx.shape
    for a in range(A):
        if B == 1:
            _scaled_difference_run(dx[a].reshape(R), dy[a, 0] * scale, x[a].reshape(R), mean[a, 0])
        else:
            for r in range(R):
                _scaled_difference_row(dx[a, r], dy[a], scale, x[a, r], mean[a])


def var_backward(dy, x, mean, correction, dx):
    divisor = max(x.shape[1] - correction, 0)
    _var_backward(dy, x, mean, dy.dtype.type(2 / divisor if divisor else np.inf), dx)


# Extrema. The smallest x is where -x is largest, and a change of sign is exact.


@kernel
def _take_larger(row, r, sign, best, where):
    for b in range(best.size):
        value = row[b]
        taken = (sign * value > sign * best[b]) | ((value != value) & (best[b] == best[b]))
        best[b] = value if taken else best[b]
        where[b] = r if taken else where[b]


@kernel
def _extremum_run(run, sign):
    found = 0
    best = run[0]
    for r in range(run.size):
        value = run[r]
        if sign * value > sign * best or (value != value and best == best):
            best = value
            found = r
    return found


@kernel
def _extremum(x, sign, y, indices):
    A, R, B = x.shape
    for a in range(A):
        if B == 1:
            found = _extremum_run(x[a].reshape(R), sign)
            y[a, 0] = x[a, found, 0]
            indices[a, 0] = found
        else:
            for b in range(B):
                y[a, b] = x[a, 0, b]
                indices[a, b] = 0
            for r in range(1, R):
                _take_larger(x[a, r], r, sign, y[a], indices[a])


def _signed_extremum(x, sign, y, indices):
    y = np.empty(indices.shape, x.dtype) if y is None else y
    indices = np.empty(y.shape, np.int64) if indices is None else indices
    _extremum(x, x.dtype.type(sign), y, indices)


def amax(x, y, indices):
    _signed_extremum(x, 1, y, indices)


def amin(x, y, indices):
    _signed_extremum(x, -1, y, indices)


@kernel
def _clear(run):
    for i in range(run.size):
        run[i] = 0


@kernel
def _extremum_backward(dy, indices, dx):
    _clear(dx.reshape(dx.size))
    for a in range(dy.shape[0]):
        for b in range(dy.shape[1]):
            dx[a, indices[a, b], b] = dy[a, b]


def extremum_backward(dy, indices, x_shape, dx):
    _extremum_backward(dy, indices, dx)
