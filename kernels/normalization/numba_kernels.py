"""Normalization, compiled just in time.

Values of one channel or row lie in runs, contiguous pieces of memory. Where a channel's runs are single elements (x of shape (N, C)), whole
rows are walked instead, so that the loops are vector code there too.
"""

import math

import numpy as np

from ..numba_support import kernel, reassociating_kernel

CHUNK = 1024  # elements that are added in the dtype itself before the sum goes into a double


@reassociating_kernel
def _chunk_sum(x):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@reassociating_kernel
def _chunk_squares(x, shift):
    """Sums of d and d^2, d = x - shift."""
    total, squares = x.dtype.type(0), x.dtype.type(0)
    for i in range(x.size):
        d = x[i] - shift
        total += d
        squares += d * d
    return total, squares


@reassociating_kernel
def _chunk_products(dy, x, shift):
    """Sums of dy and dy (x - shift)."""
    total, along = x.dtype.type(0), x.dtype.type(0)
    for i in range(x.size):
        total += dy[i]
        along += dy[i] * (x[i] - shift)
    return total, along


@kernel
def _sum(x):
    total = 0.0
    for start in range(0, x.size, CHUNK):
        total += _chunk_sum(x[start : start + CHUNK])
    return total


@kernel
def _squares(x, shift):
    total, squares = 0.0, 0.0
    for start in range(0, x.size, CHUNK):
        first, second = _chunk_squares(x[start : start + CHUNK], shift)
        total += first
        squares += second
    return total, squares


@kernel
def _products(dy, x, shift):
    total, along = 0.0, 0.0
    for start in range(0, x.size, CHUNK):
        first, second = _chunk_products(dy[start : start + CHUNK], x[start : start + CHUNK], shift)
        total += first
        along += second
    return total, along


@kernel
def _run_moments(x):
    """Mean and biased variance of one run; the mean of the deviations from a rounded mean corrects both."""
    count = max(x.size, 1)
    shift = x.dtype.type(_sum(x) / count)
    deviations, squares = _squares(x, shift)
    deviations /= count
    return shift + deviations, squares / count - deviations * deviations


@kernel
def _scale_shift(x, mean, scale, shift, y):
    for i in range(x.size):
        y[i] = (x[i] - mean) * scale + shift


@kernel
def _scale_shift_columns(x, mean, scale, shift, y):
    for j in range(x.size):
        y[j] = (x[j] - mean[j]) * scale[j] + shift[j]


@kernel
def _center(dy, x, weight, mean, rstd, average, along, dx):
    """dx = rstd (weight dy - average - (x - mean) along)"""
    for i in range(x.size):
        dx[i] = rstd * (weight * dy[i] - average - (x[i] - mean) * along)


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
def _add_row_products(total, along, dy, x, mean, rstd):
    for j in range(x.size):
        total[j] += dy[j]
        along[j] += dy[j] * ((x[j] - mean) * rstd)


@kernel
def _fill(x, value):
    for i in range(x.size):
        x[i] = value


@kernel
def _column_moments(x, mean, var):
    """Moments of every column of x (N, C); the sums are doubles."""
    N, C = x.shape
    count = max(N, 1)
    first, second, shift = np.empty(C, np.float64), np.empty(C, np.float64), np.empty(C, x.dtype)
    _fill(first, 0)
    for n in range(N):
        _add_row(first, x[n])
    for c in range(C):
        shift[c] = first[c] / count
    _fill(first, 0)
    _fill(second, 0)
    for n in range(N):
        _add_squares(first, second, x[n], shift)
    for c in range(C):
        d = first[c] / count
        mean[c] = shift[c] + d
        var[c] = second[c] / count - d * d


@kernel
def _channel_moments(x, mean, var):
    """Moments over N and L of every channel of x (N, C, L)."""
    N, C, L = x.shape
    count = max(N * L, 1)
    for c in range(C):
        total = 0.0
        for n in range(N):
            total += _sum(x[n, c])
        shift = x.dtype.type(total / count)
        deviations, squares = 0.0, 0.0
        for n in range(N):
            first, second = _squares(x[n, c], shift)
            deviations += first
            squares += second
        deviations /= count
        mean[c] = shift + deviations
        var[c] = squares / count - deviations * deviations


@kernel
def _reciprocal_roots(var, eps, rstd):
    for c in range(var.size):
        rstd[c] = 1 / math.sqrt(var[c] + eps)


@kernel
def _normalize_channels(x, weight, bias, mean, var, eps, y):
    N, C, _ = x.shape
    for n in range(N):
        for c in range(C):
            scale = x.dtype.type(1 / math.sqrt(var[c] + eps)) * weight[c]
            _scale_shift(x[n, c], mean[c], scale, bias[c], y[n, c])


@kernel
def _normalize_columns(x, weight, bias, mean, var, eps, y):
    N, C = x.shape
    scale = np.empty(C, x.dtype)
    _reciprocal_roots(var, eps, scale)
    for c in range(C):
        scale[c] *= weight[c]
    for n in range(N):
        _scale_shift_columns(x[n], mean, scale, bias, y[n])


@kernel
def _channel_products(dy, x, mean, total, along):
    N, C, _ = x.shape
    for c in range(C):
        total[c], along[c] = 0, 0
        for n in range(N):
            first, second = _products(dy[n, c], x[n, c], mean[c])
            total[c] += first
            along[c] += second


@kernel
def _column_products(dy, x, mean, total, along):
    _fill(total, 0)
    _fill(along, 0)
    for n in range(x.shape[0]):
        _add_products(total, along, dy[n], x[n], mean)


@kernel
def _batch_dx(dy, x, weight, mean, rstd, total, along, dx):
    N, C, L = x.shape
    for n in range(N):
        for c in range(C):
            average = x.dtype.type(total[c] / (N * L))
            part = x.dtype.type(along[c] / (N * L) * rstd[c] * rstd[c])
            _center(dy[n, c], x[n, c], x.dtype.type(1), mean[c], rstd[c] * weight[c], average, part, dx[n, c])


@kernel
def _center_columns(dy, x, factor, mean, average, along, dx):
    for j in range(x.size):
        dx[j] = factor[j] * (dy[j] - average[j] - (x[j] - mean[j]) * along[j])


@kernel
def _batch_dx_columns(dy, x, weight, mean, rstd, total, along, dx):
    N, C = x.shape
    factor, average, part = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(C, x.dtype)
    for c in range(C):
        factor[c] = rstd[c] * weight[c]
        average[c] = total[c] / N
        part[c] = along[c] / N * rstd[c] * rstd[c]
    for n in range(N):
        _center_columns(dy[n], x[n], factor, mean, average, part, dx[n])


@kernel
def _store(values, factors, result):
    for c in range(result.size):
        result[c] = values[c] * factors[c]


def _constants(given, value, like, count):
    """A given weight or bias, or one that changes nothing."""
    if given is None:
        given = np.empty(count, like.dtype)
        _fill(given, value)
    return given


def _normalize(x, weight, bias, mean, var, eps, y):
    N, C, L = x.shape
    weight, bias = _constants(weight, 1, x, C), _constants(bias, 0, x, C)
    if L == 1:
        _normalize_columns(x.reshape(N, C), weight, bias, mean, var, eps, y.reshape(N, C))
    else:
        _normalize_channels(x, weight, bias, mean, var, eps, y)


def batch_norm(x, weight, bias, eps, y, mean, var):
    N, C, L = x.shape
    mean = np.empty(C, x.dtype) if mean is None else mean
    var = np.empty(C, x.dtype) if var is None else var
    if L == 1:
        _column_moments(x.reshape(N, C), mean, var)
    else:
        _channel_moments(x, mean, var)
    if y is not None:
        _normalize(x, weight, bias, mean, var, eps, y)


def batch_norm_evaluation(x, weight, bias, running_mean, running_var, eps, y):
    _normalize(x, weight, bias, running_mean, running_var, eps, y)


def _batch_backward(dy, x, weight, mean, var, eps, dx, dweight, dbias):
    """The sums, and dx where it depends on them."""
    N, C, L = x.shape
    weight = _constants(weight, 1, x, C)
    total, along, rstd = np.empty(C, np.float64), np.empty(C, np.float64), np.empty(C, x.dtype)
    _reciprocal_roots(var, eps, rstd)
    if L == 1:
        dy, x = dy.reshape(N, C), x.reshape(N, C)
        _column_products(dy, x, mean, total, along)
        if dx is not None:
            _batch_dx_columns(dy, x, weight, mean, rstd, total, along, dx.reshape(N, C))
    else:
        _channel_products(dy, x, mean, total, along)
        if dx is not None:
            _batch_dx(dy, x, weight, mean, rstd, total, along, dx)
    if dweight is not None:
        _store(along, rstd, dweight)
    if dbias is not None:
        _store(total, _constants(None, 1, total, C), dbias)


def batch_norm_backward(dy, x, weight, mean, var, eps, dx, dweight, dbias):
    _batch_backward(dy, x, weight, mean, var, eps, dx, dweight, dbias)


def batch_norm_evaluation_backward(dy, x, weight, running_mean, running_var, eps, dx, dweight, dbias):
    if dx is not None:
        _normalize(dy, weight, None, _constants(None, 0, x, x.shape[1]), running_var, eps, dx)
    if dweight is not None or dbias is not None:
        _batch_backward(dy, x, weight, running_mean, running_var, eps, None, dweight, dbias)


@kernel
def _move(value, running, momentum, factor, result):
    for c in range(value.size):
        result[c] = running[c] + momentum * (factor * value[c] - running[c])


def running_statistics(mean, var, running_mean, running_var, momentum, count, new_running_mean, new_running_var):
    if new_running_mean is not None:
        _move(mean, running_mean, float(momentum), 1.0, new_running_mean)
    if new_running_var is not None:
        _move(var, running_var, float(momentum), count / (count - 1), new_running_var)


@kernel
def _affine(y, weight, bias):
    for j in range(y.size):
        y[j] = y[j] * weight[j] + bias[j]


@kernel
def _layer_norm(x, weight, bias, eps, y, mean, rstd):
    """Rows of x (N, D)."""
    for n in range(x.shape[0]):
        center, var = _run_moments(x[n])
        mean[n] = center
        rstd[n] = 1 / math.sqrt(var + eps)
        _scale_shift(x[n], mean[n], rstd[n], x.dtype.type(0), y[n])
        _affine(y[n], weight, bias)


def layer_norm(x, weight, bias, eps, y, mean, rstd):
    N, D = x.shape
    y = np.empty_like(x) if y is None else y
    mean = np.empty(N, x.dtype) if mean is None else mean
    rstd = np.empty(N, x.dtype) if rstd is None else rstd
    _layer_norm(x, _constants(weight, 1, x, D), _constants(bias, 0, x, D), eps, y, mean, rstd)


@kernel
def _weigh(dy, weight, g):
    for j in range(g.size):
        g[j] = dy[j] * weight[j]


@kernel
def _layer_norm_dx(dy, x, weight, mean, rstd, dx):
    N, D = x.shape
    kind = x.dtype.type
    g = np.empty(D, x.dtype)
    for n in range(N):
        _weigh(dy[n], weight, g)
        total, along = _products(g, x[n], mean[n])
        _center(g, x[n], kind(1), mean[n], rstd[n], kind(total / D), kind(along / D * rstd[n] * rstd[n]), dx[n])


@kernel
def _layer_norm_sums(dy, x, mean, rstd, total, along):
    _fill(total, 0)
    _fill(along, 0)
    for n in range(x.shape[0]):
        _add_row_products(total, along, dy[n], x[n], mean[n], rstd[n])


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dweight, dbias):
    D = x.shape[1]
    if dx is not None:
        _layer_norm_dx(dy, x, _constants(weight, 1, x, D), mean, rstd, dx)
    if dweight is None and dbias is None:
        return
    total, along, ones = np.empty(D, np.float64), np.empty(D, np.float64), _constants(None, 1, x, D)
    _layer_norm_sums(dy, x, mean, rstd, total, along)
    if dweight is not None:
        _store(along, ones, dweight)
    if dbias is not None:
        _store(total, ones, dbias)


@kernel
def _group_norm(x, weight, bias, groups, eps, y, mean, rstd):
    N, C, L = x.shape
    K = C // groups
    runs = x.reshape(N * groups, K * L)
    for n in range(N):
        for g in range(groups):
            center, var = _run_moments(runs[n * groups + g])
            mean[n, g] = center
            rstd[n, g] = 1 / math.sqrt(var + eps)
            for c in range(g * K, g * K + K):
                _scale_shift(x[n, c], mean[n, g], rstd[n, g] * weight[c], bias[c], y[n, c])


def group_norm(x, weight, bias, groups, eps, y, mean, rstd):
    N, C, _ = x.shape
    y = np.empty_like(x) if y is None else y
    mean = np.empty((N, groups), x.dtype) if mean is None else mean
    rstd = np.empty((N, groups), x.dtype) if rstd is None else rstd
    _group_norm(x, _constants(weight, 1, x, C), _constants(bias, 0, x, C), groups, eps, y, mean, rstd)


@kernel
def _group_norm_backward(dy, x, weight, mean, rstd, groups, dx, total, along):
    """dx, and the sums of dy and dy (x - mean) rstd of every channel."""
    N, C, L = x.shape
    K, kind = C // groups, x.dtype.type
    count = max(K * L, 1)
    _fill(total, 0)
    _fill(along, 0)
    for n in range(N):
        for g in range(groups):
            group_total, group_along = 0.0, 0.0
            for c in range(g * K, g * K + K):
                first, second = _products(dy[n, c], x[n, c], mean[n, g])
                total[c] += first
                along[c] += second * rstd[n, g]
                group_total += weight[c] * first
                group_along += weight[c] * second
            average = kind(group_total / count)
            part = kind(group_along / count * rstd[n, g] * rstd[n, g])
            for c in range(g * K, g * K + K):
                _center(dy[n, c], x[n, c], weight[c], mean[n, g], rstd[n, g], average, part, dx[n, c])


def group_norm_backward(dy, x, weight, mean, rstd, groups, dx, dweight, dbias):
    C = x.shape[1]
    total, along, ones = np.empty(C, np.float64), np.empty(C, np.float64), _constants(None, 1, x, C)
    dx = np.empty_like(x) if dx is None else dx
    _group_norm_backward(dy, x, _constants(weight, 1, x, C), mean, rstd, groups, dx, total, along)
    if dweight is not None:
        _store(along, ones, dweight)
    if dbias is not None:
        _store(total, ones, dbias)
