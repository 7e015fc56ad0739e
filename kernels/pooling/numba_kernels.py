"""Pooling, compiled just in time.

The same plan as ahead of time: strided maxima go offset by offset over a line of outputs; means add up whole lines of a window's
rows first, then columns, in double. The windows of each dimension are a table with one row for each window: begin, end and divisor.
"""

import numpy as np

from ..numba_support import kernel
from .operators import index_dtype


def _planes(array):
    """(N, C, H, W) as (N C, H, W); the array is C-contiguous."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])


# Strided maxima


@kernel
def _take_larger(row, step, position, best, where):
    """Compare one element of each window; the first element of a window is always taken."""
    for j in range(best.size):
        value = row[j * step]
        taken = (value > best[j]) | (value != value) | (where[j] < 0)
        best[j] = value if taken else best[j]
        where[j] = position + j * step if taken else where[j]


@kernel
def _span(offset, step, size, count):
    """The range of j < count for which ``offset + j step`` is in [0, size)."""
    low = (-offset + step - 1) // step if offset < 0 else 0
    high = (size - offset + step - 1) // step if offset < size else 0
    return low, min(high, count)


@kernel
def _max_pool(x, kernel_size, stride, padding, dilation, y, indices):
    planes, H, W = x.shape
    _, OH, OW = y.shape
    for p in range(planes):
        plane = x[p].reshape(H * W)
        for i in range(OH):
            best, where = y[p, i], indices[p, i]
            for j in range(OW):
                best[j] = -np.inf
                where[j] = -1
            top = i * stride[0] - padding[0]
            first, last = _span(top, dilation[0], H, kernel_size[0])
            for m in range(first, last):
                h = top + m * dilation[0]
                # columns that only elements before the first window or after the last one have are skipped
                first_n, last_n = _span((OW - 1) * stride[1] - padding[1], dilation[1], W + (OW - 1) * stride[1], kernel_size[1])
                for n in range(first_n, last_n):
                    w = n * dilation[1] - padding[1]
                    low, high = _span(w, stride[1], W, OW)
                    if low < high:
                        position = h * W + w + low * stride[1]
                        _take_larger(plane[position:], stride[1], position, best[low:high], where[low:high])


def max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, y, indices):
    y = np.empty(indices.shape, x.dtype) if y is None else y
    indices = np.empty(y.shape, index_dtype(x.shape, return_indices)) if indices is None else indices
    _max_pool(_planes(x), kernel_size, stride, padding, dilation, _planes(y), _planes(indices))


@kernel
def _max_pool_backward(dy, indices, dx):
    for p in range(dy.shape[0]):
        target = dx[p]
        for i in range(target.size):
            target[i] = 0
        for o in range(dy.shape[1]):
            index = indices[p, o]
            if index >= 0:
                target[index] += dy[p, o]


def max_pool2d_backward(dy, indices, kernel_size, stride, padding, dilation, x_shape, dx):
    adaptive_max_pool2d_backward(dy, indices, x_shape, dx)


def adaptive_max_pool2d_backward(dy, indices, x_shape, dx):
    planes, outputs, inputs = dy.shape[0] * dy.shape[1], dy.shape[2] * dy.shape[3], dx.shape[2] * dx.shape[3]
    _max_pool_backward(dy.reshape(planes, outputs), indices.reshape(planes, outputs), dx.reshape(planes, inputs))


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


def avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, y):
    rows, columns = _strided_axes(x, y, kernel_size, stride, padding, count_include_pad, divisor_override)
    _mean(_planes(x), rows, columns, _planes(y))


def avg_pool2d_backward(dy, kernel_size, stride, padding, count_include_pad, divisor_override, x_shape, dx):
    rows, columns = _strided_axes(dx, dy, kernel_size, stride, padding, count_include_pad, divisor_override)
    _spread(_planes(dy), rows, columns, _planes(dx))


def adaptive_avg_pool2d(x, output_size, y):
    _mean(_planes(x), *_adaptive_axes(x, y), _planes(y))


def adaptive_avg_pool2d_backward(dy, x_shape, dx):
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
