"""Pooling, compiled just in time: strided windows in ``numba_maxima`` and ``numba_means``, adaptive and very wide ones here.

Those go by a table with one row for each window of a dimension: begin, end and divisor. Means add up whole lines of a window's rows first,
then columns, in double.
"""

import numpy as np

from ..numba_support import kernel
from .numba_maxima import max_planes, scatter_planes
from .numba_means import LARGEST, WIDEST, global_means, mean_planes, spread_global, spread_planes
from .operators import index_dtype


def _planes(array):
    """(N, C, H, W) as (N C, H, W); the array is C-contiguous."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])


# Maxima


def max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, y, indices):
    y = np.empty(indices.shape, x.dtype) if y is None else y
    kept = np.empty((1, 1, 1, 1), np.int16) if indices is None else indices
    max_planes(_planes(x), kernel_size, stride, padding, dilation, _planes(y), _planes(kept), indices is not None)


def max_pool2d_backward(dy, indices, kernel_size, stride, padding, dilation, x_shape, dx):
    adaptive_max_pool2d_backward(dy, indices, x_shape, dx)


def adaptive_max_pool2d_backward(dy, indices, x_shape, dx):
    planes, outputs, inputs = dy.shape[0] * dy.shape[1], dy.shape[2] * dy.shape[3], dx.shape[2] * dx.shape[3]
    scatter_planes(dy.reshape(planes, outputs), indices.reshape(planes, outputs), dx.reshape(planes, inputs))


# Windows as tables


@kernel
def _strided_windows(size, count, kernel_size, stride, padding, count_include_pad, divisor):
    windows = np.empty((count, 3), np.int64)
    for o in range(count):
        start = o * stride - padding
        begin, end = max(start, 0), min(start + kernel_size, size)
        windows[o, 0] = begin
        windows[o, 1] = end
        if divisor != 0:
            windows[o, 2] = divisor
        elif count_include_pad:
            windows[o, 2] = min(start + kernel_size, size + padding) - start
        else:
            windows[o, 2] = end - begin
    return windows


@kernel
def _adaptive_windows(size, count):
    windows = np.empty((count, 3), np.int64)
    for o in range(count):
        begin, end = o * size // count, ((o + 1) * size + count - 1) // count
        windows[o, 0] = begin
        windows[o, 1] = end
        windows[o, 2] = end - begin
    return windows


@kernel
def _coverage(windows, size):
    """The first window that covers each position, and the last one: ``begin`` and ``end`` never decrease."""
    covering = np.empty((size, 2), np.int64)
    first, last = 0, -1
    for i in range(size):
        while first < windows.shape[0] and windows[first, 1] <= i:
            first += 1
        while last + 1 < windows.shape[0] and windows[last + 1, 0] <= i:
            last += 1
        covering[i, 0] = first
        covering[i, 1] = last
    return covering


# Means


@kernel
def _add_line(line, row):
    for w in range(line.size):
        line[w] += row[w]


@kernel
def _add_scaled(line, row, scale):
    for j in range(line.size):
        line[j] += row[j] * scale


@kernel
def _sum(line, begin, end):
    total = 0.0
    for w in range(begin, end):
        total += line[w]
    return total


@kernel
def _mean(x, rows, columns, y):
    line = np.empty(x.shape[2])
    for p in range(x.shape[0]):
        for i in range(rows.shape[0]):
            for w in range(line.size):
                line[w] = 0
            for h in range(rows[i, 0], rows[i, 1]):
                _add_line(line, x[p, h])
            for j in range(columns.shape[0]):
                y[p, i, j] = _sum(line, columns[j, 0], columns[j, 1]) / np.float64(rows[i, 2] * columns[j, 2])


@kernel
def _spread(dy, rows, columns, dx):
    by_row, by_column = _coverage(rows, dx.shape[1]), _coverage(columns, dx.shape[2])
    line = np.empty(columns.shape[0])
    for p in range(dy.shape[0]):
        for h in range(dx.shape[1]):
            for j in range(line.size):
                line[j] = 0
            for i in range(by_row[h, 0], by_row[h, 1] + 1):
                _add_scaled(line, dy[p, i], 1 / np.float64(rows[i, 2]))
            for j in range(line.size):
                line[j] /= columns[j, 2]
            for w in range(dx.shape[2]):
                dx[p, h, w] = _sum(line, by_column[w, 0], by_column[w, 1] + 1)


def _strided_axes(plane, windows, kernel_size, stride, padding, count_include_pad, divisor_override):
    divisors = (0, 0) if divisor_override is None else (divisor_override, 1)
    return [
        _strided_windows(
            plane.shape[d + 2], windows.shape[d + 2], kernel_size[d], stride[d], padding[d], count_include_pad, divisors[d]
        )
        for d in (0, 1)
    ]


def _adaptive_axes(plane, windows):
    return [_adaptive_windows(plane.shape[d], windows.shape[d]) for d in (2, 3)]


@kernel
def _finite(y):
    """Whether no sum overflowed, and nothing infinite or NaN was there to be added up."""
    worst = y.dtype.type(0)
    for i in range(y.size):
        worst += y[i] * y.dtype.type(0)
    return worst == 0


def avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, y):
    rows, columns = _strided_axes(x, y, kernel_size, stride, padding, count_include_pad, divisor_override)
    small = max(kernel_size) <= WIDEST and kernel_size[0] * kernel_size[1] <= LARGEST
    if small:
        mean_planes(_planes(x), kernel_size[1], stride[1], padding[1], rows, columns, _planes(y))
    if not small or (y.dtype == np.float32 and not _finite(y.reshape(y.size))):
        _mean(_planes(x), rows, columns, _planes(y))


def avg_pool2d_backward(dy, kernel_size, stride, padding, count_include_pad, divisor_override, x_shape, dx):
    rows, columns = _strided_axes(dx, dy, kernel_size, stride, padding, count_include_pad, divisor_override)
    if max(kernel_size) <= WIDEST:
        by_row = _coverage(rows, dx.shape[2])
        spread_planes(_planes(dy), kernel_size[1], stride[1], padding[1], rows, columns, by_row, _planes(dx))
    else:
        _spread(_planes(dy), rows, columns, _planes(dx))


def adaptive_avg_pool2d(x, output_size, y):
    if y.shape[2:] == (1, 1):
        global_means(x.reshape(y.size, x.shape[2] * x.shape[3]), y.reshape(y.size))
    else:
        _mean(_planes(x), *_adaptive_axes(x, y), _planes(y))


def adaptive_avg_pool2d_backward(dy, x_shape, dx):
    if dy.shape[2:] == (1, 1):
        spread_global(dy.reshape(dy.size), dx.reshape(dy.size, dx.shape[2] * dx.shape[3]))
    else:
        _spread(_planes(dy), *_adaptive_axes(dx, dy), _planes(dx))


# Adaptive maxima


@kernel
def _adaptive_max(x, rows, columns, y, indices):
    W = x.shape[2]
    for p in range(x.shape[0]):
        for i in range(rows.shape[0]):
            for j in range(columns.shape[0]):
                where = rows[i, 0] * W + columns[j, 0]
                best = x[p, rows[i, 0], columns[j, 0]]
                for h in range(rows[i, 0], rows[i, 1]):
                    for w in range(columns[j, 0], columns[j, 1]):
                        value = x[p, h, w]
                        if value > best or value != value:
                            best = value
                            where = h * W + w
                y[p, i, j] = best
                indices[p, i, j] = where


def adaptive_max_pool2d(x, output_size, return_indices, y, indices):
    y = np.empty(indices.shape, x.dtype) if y is None else y
    indices = np.empty(y.shape, index_dtype(x.shape, return_indices)) if indices is None else indices
    _adaptive_max(_planes(x), *_adaptive_axes(x, y), _planes(y), _planes(indices))
