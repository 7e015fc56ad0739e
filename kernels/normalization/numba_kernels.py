"""Normalization, compiled just in time."""

import numpy as np

from ..numba_support import kernel
from .numba_channels import (
    channel_dx,
    channel_moments,
    channel_products,
    column_dx,
    column_moments,
    column_products,
    move_statistics,
    normalize_channels,
    normalize_columns,
    reciprocal_roots,
)
from .numba_rows import group_gradients, normalize_groups, normalize_rows, row_dx, row_products
from .numba_runs import fill


@kernel
def _store(values, factors, result):
    for c in range(result.size):
        result[c] = values[c] * factors[c]


def _constants(given, value, like, count):
    """A given weight or bias, or one that changes nothing."""
    if given is None:
        given = np.empty(count, like.dtype)
        fill(given, value)
    return given


def _normalize(x, weight, bias, mean, var, eps, y):
    N, C, L = x.shape
    weight, bias = _constants(weight, 1, x, C), _constants(bias, 0, x, C)
    if L == 1:
        normalize_columns(x.reshape(N, C), weight, bias, mean, var, eps, y.reshape(N, C))
    else:
        normalize_channels(x, weight, bias, mean, var, eps, y)


def batch_norm(x, weight, bias, eps, y, mean, var):
    N, C, L = x.shape
    mean = np.empty(C, x.dtype) if mean is None else mean
    var = np.empty(C, x.dtype) if var is None else var
    if L == 1:
        column_moments(x.reshape(N, C), mean, var)
    else:
        channel_moments(x, mean, var)
    if y is not None:
        _normalize(x, weight, bias, mean, var, eps, y)


def batch_norm_evaluation(x, weight, bias, running_mean, running_var, eps, y):
    _normalize(x, weight, bias, running_mean, running_var, eps, y)


def _batch_backward(dy, x, weight, mean, var, eps, dx, dweight, dbias):
    """The sums, and dx where it depends on them."""
    N, C, L = x.shape
    weight = _constants(weight, 1, x, C)
    total, along, rstd = np.empty(C, np.float64), np.empty(C, np.float64), np.empty(C, x.dtype)
    reciprocal_roots(var, eps, rstd)
    if L == 1:
        dy, x = dy.reshape(N, C), x.reshape(N, C)
        column_products(dy, x, mean, total, along)
        if dx is not None:
            column_dx(dy, x, weight, mean, rstd, total, along, dx.reshape(N, C))
    else:
        channel_products(dy, x, mean, total, along)
        if dx is not None:
            channel_dx(dy, x, weight, mean, rstd, total, along, dx)
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


def running_statistics(mean, var, running_mean, running_var, momentum, count, new_running_mean, new_running_var):
    if new_running_mean is not None:
        move_statistics(mean, running_mean, float(momentum), 1.0, new_running_mean)
    if new_running_var is not None:
        move_statistics(var, running_var, float(momentum), count / (count - 1), new_running_var)


def layer_norm(x, weight, bias, eps, y, mean, rstd):
    N, D = x.shape
    y = np.empty_like(x) if y is None else y
    mean = np.empty(N, x.dtype) if mean is None else mean
    rstd = np.empty(N, x.dtype) if rstd is None else rstd
    normalize_rows(x, _constants(weight, 1, x, D), _constants(bias, 0, x, D), eps, y, mean, rstd)


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dweight, dbias):
    D = x.shape[1]
    if dx is not None:
        row_dx(dy, x, _constants(weight, 1, x, D), mean, rstd, dx)
    if dweight is None and dbias is None:
        return
    total, along, ones = np.empty(D, np.float64), np.empty(D, np.float64), _constants(None, 1, x, D)
    row_products(dy, x, mean, rstd, total, along)
    if dweight is not None:
        _store(along, ones, dweight)
    if dbias is not None:
        _store(total, ones, dbias)


def group_norm(x, weight, bias, groups, eps, y, mean, rstd):
    N, C, _ = x.shape
    y = np.empty_like(x) if y is None else y
    mean = np.empty((N, groups), x.dtype) if mean is None else mean
    rstd = np.empty((N, groups), x.dtype) if rstd is None else rstd
    normalize_groups(x, _constants(weight, 1, x, C), _constants(bias, 0, x, C), groups, eps, y, mean, rstd)


def group_norm_backward(dy, x, weight, mean, rstd, groups, dx, dweight, dbias):
    C = x.shape[1]
    total, along, ones = np.empty(C, np.float64), np.empty(C, np.float64), _constants(None, 1, x, C)
    dx = np.empty_like(x) if dx is None else dx
    group_gradients(dy, x, _constants(weight, 1, x, C), mean, rstd, groups, dx, total, along)
    if dweight is not None:
        _store(along, ones, dweight)
    if dbias is not None:
        _store(total, ones, dbias)
