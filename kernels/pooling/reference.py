"""Pooling in plain NumPy: a loop over windows."""

import numpy as np

from .operators import index_dtype, output_length


def _strided(size, count, kernel, stride, padding, dilation=1):
    """The positions that each window covers inside the plane."""
    starts = [i * stride - padding for i in range(count)]
    inside = [start + max(0, -(start // dilation)) * dilation for start in starts]
    return [list(range(low, min(start + kernel * dilation, size), dilation)) for start, low in zip(starts, inside, strict=True)]


def _adaptive(size, count):
    return [list(range(i * size // count, -(-(i + 1) * size // count))) for i in range(count)]


def _max(x, rows, columns, return_indices):
    N, C, _, W = x.shape
    y = np.full((N, C, len(rows), len(columns)), -np.inf, x.dtype)
    indices = np.full(y.shape, -1, np.int64)
    for i, j in np.ndindex(y.shape[2:]):
        for h, w in ((h, w) for h in rows[i] for w in columns[j]):
            value, best = x[:, :, h, w], y[:, :, i, j]
            taken = (value > best) | np.isnan(value) | (indices[:, :, i, j] < 0)
            y[:, :, i, j] = np.where(taken, value, best)
            indices[:, :, i, j] = np.where(taken, h * W + w, indices[:, :, i, j])
    return y, indices.astype(index_dtype(x.shape, return_indices))


def max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    parameters = list(zip(x.shape[2:], kernel_size, stride, padding, dilation, strict=True))
    counts = [output_length(*axis, ceil_mode) for axis in parameters]
    rows, columns = (_strided(size, count, *axis) for (size, *axis), count in zip(parameters, counts, strict=True))
    return _max(x, rows, columns, return_indices)


def adaptive_max_pool2d(x, output_size, return_indices):
    rows, columns = (_adaptive(size, count) for size, count in zip(x.shape[2:], output_size, strict=True))
    return _max(x, rows, columns, return_indices)


def max_pool2d_backward(dy, indices, kernel_size, stride, padding, dilation, x_shape):
    return adaptive_max_pool2d_backward(dy, indices, x_shape)


def adaptive_max_pool2d_backward(dy, indices, x_shape):
    N, C, H, W = x_shape
    dx = np.zeros((N, C, H * W), dy.dtype)
    n, c = np.ogrid[:N, :C]
    for i, j in np.ndindex(dy.shape[2:]):
        index = indices[:, :, i, j]
        dx[n, c, index] += np.where(index >= 0, dy[:, :, i, j], 0)
    return (dx.reshape(x_shape),)


def _mean(x, rows, columns, divisor):
    y = np.empty((*x.shape[:2], len(rows), len(columns)), x.dtype)
    for i, j in np.ndindex(y.shape[2:]):
        window = x[:, :, rows[i][0] : rows[i][-1] + 1, columns[j][0] : columns[j][-1] + 1]
        y[:, :, i, j] = window.sum(axis=(2, 3), dtype=np.float64) / divisor[i, j]
    return (y,)


def _spread(dy, x_shape, rows, columns, divisor):
    dx = np.zeros(x_shape)
    for i, j in np.ndindex(dy.shape[2:]):
        share = dy[:, :, i, j] / divisor[i, j]
        dx[:, :, rows[i][0] : rows[i][-1] + 1, columns[j][0] : columns[j][-1] + 1] += share[:, :, None, None]
    return (dx.astype(dy.dtype),)


def _strided_means(shape, counts, kernel_size, stride, padding, count_include_pad, divisor_override):
    """Windows by row and by column, and their divisors."""
    windows, lengths = [], []
    for size, count, k, s, p in zip(shape, counts, kernel_size, stride, padding, strict=True):
        inside = _strided(size, count, k, s, p)
        windows.append(inside)
        # With ceil_mode a window may lead past the padding too: what lies beyond is never counted.
        lengths.append([min(k, size + 2 * p - i * s) if count_include_pad else len(inside[i]) for i in range(count)])
    divisor = np.full(counts, divisor_override) if divisor_override is not None else np.outer(lengths[0], lengths[1])
    return windows[0], windows[1], divisor


def avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    axes = zip(x.shape[2:], kernel_size, stride, padding, strict=True)
    counts = [output_length(*axis, 1, ceil_mode) for axis in axes]
    return _mean(x, *_strided_means(x.shape[2:], counts, kernel_size, stride, padding, count_include_pad, divisor_override))


def avg_pool2d_backward(dy, kernel_size, stride, padding, count_include_pad, divisor_override, x_shape):
    windows = _strided_means(x_shape[2:], dy.shape[2:], kernel_size, stride, padding, count_include_pad, divisor_override)
    return _spread(dy, x_shape, *windows)


def _adaptive_means(shape, counts):
    rows, columns = (_adaptive(size, count) for size, count in zip(shape, counts, strict=True))
    return rows, columns, np.outer([len(window) for window in rows], [len(window) for window in columns])


def adaptive_avg_pool2d(x, output_size):
    return _mean(x, *_adaptive_means(x.shape[2:], output_size))


def adaptive_avg_pool2d_backward(dy, x_shape):
    return _spread(dy, x_shape, *_adaptive_means(x_shape[2:], dy.shape[2:]))
