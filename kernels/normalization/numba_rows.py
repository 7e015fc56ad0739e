"""Layer normalization of rows of x (N, D) and group normalization of x (N, C, L)."""

import math

import numpy as np

from ..numba_support import kernel
from .numba_runs import center, fill, long_products, run_moments, scale_shift


@kernel
def _add_row_products(total, along, dy, x, mean, rstd):
    for j in range(x.size):
        total[j] += dy[j]
        along[j] += dy[j] * ((x[j] - mean) * rstd)


@kernel
def _affine(y, weight, bias):
    for j in range(y.size):
        y[j] = y[j] * weight[j] + bias[j]


@kernel
def normalize_rows(x, weight, bias, eps, y, mean, rstd):
    """Rows of x (N, D)."""
    for n in range(x.shape[0]):
        center, var = run_moments(x[n])
        mean[n] = center
        rstd[n] = 1 / math.sqrt(var + eps)
        scale_shift(x[n], mean[n], rstd[n], x.dtype.type(0), y[n])
        _affine(y[n], weight, bias)


@kernel
def _weigh(dy, weight, g):
    for j in range(g.size):
        g[j] = dy[j] * weight[j]


@kernel
def row_dx(dy, x, weight, mean, rstd, dx):
    N, D = x.shape
    kind = x.dtype.type
    g = np.empty(D, x.dtype)
    for n in range(N):
        _weigh(dy[n], weight, g)
        total, along = long_products(g, x[n], mean[n])
        center(g, x[n], kind(1), mean[n], rstd[n], kind(total / D), kind(along / D * rstd[n] * rstd[n]), dx[n])


@kernel
def row_products(dy, x, mean, rstd, total, along):
    fill(total, 0)
    fill(along, 0)
    for n in range(x.shape[0]):
        _add_row_products(total, along, dy[n], x[n], mean[n], rstd[n])


@kernel
def normalize_groups(x, weight, bias, groups, eps, y, mean, rstd):
    N, C, L = x.shape
    K = C // groups
    runs = x.reshape(N * groups, K * L)
    for n in range(N):
        for g in range(groups):
            center, var = run_moments(runs[n * groups + g])
            mean[n, g] = center
            rstd[n, g] = 1 / math.sqrt(var + eps)
            for c in range(g * K, g * K + K):
                scale_shift(x[n, c], mean[n, g], rstd[n, g] * weight[c], bias[c], y[n, c])


@kernel
def group_gradients(dy, x, weight, mean, rstd, groups, dx, total, along):
    """dx, and the sums of dy and dy (x - mean) rstd of every channel."""
    N, C, L = x.shape
    K, kind = C // groups, x.dtype.type
    count = max(K * L, 1)
    fill(total, 0)
    fill(along, 0)
    for n in range(N):
        for g in range(groups):
            group_total, group_along = 0.0, 0.0
            for c in range(g * K, g * K + K):
                first, second = long_products(dy[n, c], x[n, c], mean[n, g])
                total[c] += first
                along[c] += second * rstd[n, g]
                group_total += weight[c] * first
                group_along += weight[c] * second
            average = kind(group_total / count)
            part = kind(group_along / count * rstd[n, g] * rstd[n, g])
            for c in range(g * K, g * K + K):
                center(dy[n, c], x[n, c], weight[c], mean[n, g], rstd[n, g], average, part, dx[n, c])
