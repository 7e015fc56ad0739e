"""Sums and cross entropy of classes, compiled just in time. The loops over positions or classes side by side become vector code."""

import math

import numpy as np

from ..elementary_numba import exp
from ..numba_support import kernel, reassociating_kernel

CHUNK = 1024  # elements that are added in the dtype itself before the sum goes into a double


@reassociating_kernel
def _chunk_sum(x):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@kernel
def long_sum(x):
    """Sum of any number of elements, chunk by chunk, in double."""
    total = 0.0
    for start in range(0, x.size, CHUNK):
        total += _chunk_sum(x[start : start + CHUNK])
    return total


@kernel
def _raise_top(top, x):
    for j in range(x.size):
        top[j] = x[j] if x[j] > top[j] else top[j]


@kernel
def _add_exponentials(x, top, e, sums):
    for j in range(x.size):
        e[j] = exp(x[j] - top[j])
        sums[j] += e[j]


@kernel
def _add_share(q, top, log_sum, x, losses, q_total):
    """A class with the share q of the target: losses += q (top - x + log_sum). Kept apart, the two keep the digits of log_sum."""
    for j in range(x.size):
        losses[j] += q[j] * (top[j] - x[j] + log_sum[j])
        q_total[j] += q[j]


@kernel
def _store_gradient(e, scale, q):
    """e = softmax * sum(q) - q"""
    for j in range(e.size):
        e[j] = e[j] * scale[j] - q[j]


@kernel
def position_exponentials(x, e, top, sums, log_sum):
    """e (C, L) = exp(x - top), the largest x, the sums and their logarithms of each position."""
    for j in range(x.shape[1]):
        top[j] = x[0, j]
        sums[j] = 0
    for c in range(1, x.shape[0]):
        _raise_top(top, x[c])
    for c in range(x.shape[0]):
        _add_exponentials(x[c], top, e[c], sums)
    for j in range(x.shape[1]):
        log_sum[j] = math.log(sums[j])


@kernel
def _add_class(x, target, weight, ignored, certain, top, log_sum, losses, q_total):
    """The part of the target that is its class: q = certain w_t at class t."""
    for j in range(x.shape[1]):
        if target[j] == ignored:
            losses[j], q_total[j] = 0, 0
        else:
            q = certain * weight[target[j]]
            if q != 0:
                losses[j] += q * (top[j] - x[target[j], j] + log_sum[j])
            q_total[j] += q


@kernel
def _subtract_class(residual, target, weight, ignored, certain):
    for j in range(residual.shape[1]):
        if target[j] == ignored:
            for c in range(residual.shape[0]):
                residual[c, j] = 0
        else:
            residual[target[j], j] -= certain * weight[target[j]]


@kernel
def _spread(probabilities, weight, smoothing, C, q):
    """q = w ((1 - s) t + s / C), with t = 0 where there are no probabilities."""
    for j in range(q.size):
        q[j] = smoothing / C * weight
    if probabilities.size:
        for j in range(q.size):
            q[j] += weight * (1 - smoothing) * probabilities[j]


@kernel
def classify(x, target, probabilities, weight, ignored, smoothing, losses, residual):
    """Losses and their gradients; of ``target`` (N, L) and ``probabilities`` (N, C, L) one is empty."""
    N, C, L = x.shape
    kind = x.dtype.type
    top, log_sum, sums = np.empty(L, x.dtype), np.empty(L, x.dtype), np.empty(L, x.dtype)
    q_total, q = np.empty(L, x.dtype), np.empty(L, x.dtype)
    certain = kind(1 - smoothing)
    by_class = probabilities.size == 0
    spread = smoothing > 0 or not by_class
    for n in range(N):
        row = losses[n]
        for j in range(L):
            row[j], q_total[j] = 0, 0
        if C == 0:
            continue
        position_exponentials(x[n], residual[n], top, sums, log_sum)
        for c in range(C if spread else 0):
            _spread(probabilities[n, c] if not by_class else probabilities[0, 0], weight[c], kind(smoothing), kind(C), q)
            _add_share(q, top, log_sum, x[n, c], row, q_total)
        if by_class:
            _add_class(x[n], target[n], weight, ignored, certain, top, log_sum, row, q_total)
        for j in range(L):
            sums[j] = q_total[j] / sums[j]
            q[j] = 0
        for c in range(C):
            if spread:
                _spread(probabilities[n, c] if not by_class else probabilities[0, 0], weight[c], kind(smoothing), kind(C), q)
            _store_gradient(residual[n, c], sums, q)
        if by_class:
            _subtract_class(residual[n], target[n], weight, ignored, certain)


@kernel
def _largest(x, lanes):
    """The largest element; of a long row as many maxima side by side as there are lanes, which is vector code."""
    top, width, done = x[0], lanes.size, 0
    if x.size >= width:
        for j in range(width):
            lanes[j] = x[j]
        for start in range(width, x.size - width + 1, width):
            _raise_top(lanes, x[start : start + width])
        for j in range(width):
            top = lanes[j] if lanes[j] > top else top
        done = x.size // width * width
    for c in range(done, x.size):
        top = x[c] if x[c] > top else top
    return top


@kernel
def _row_exponentials(x, top, e):
    for c in range(x.size):
        e[c] = exp(x[c] - top)


@kernel
def _row_shares(p, weight, smoothing, q):
    """q = w ((1 - s) p + s / C)"""
    share = smoothing / weight.dtype.type(weight.size)
    for c in range(q.size):
        q[c] = weight[c] * share
    for c in range(p.size):
        q[c] += weight[c] * (1 - smoothing) * p[c]


@kernel
def _row_losses(q, top, log_sum, x, losses):
    for c in range(x.size):
        losses[c] = q[c] * (top - x[c] + log_sum)


@kernel
def _row_gradient(e, scale, q):
    for c in range(q.size):
        e[c] = e[c] * scale - q[c]


@kernel
def _row_scale(e, scale):
    for c in range(e.size):
        e[c] *= scale


@kernel
def classify_rows(x, target, probabilities, weight, ignored, smoothing, losses, residual):
    """The same for x (N, C), whose classes are side by side in memory; of ``target`` (N,) and ``probabilities`` (N, C) one is empty."""
    N, C = x.shape
    kind = x.dtype.type
    q, terms, lanes = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(64, x.dtype)
    by_class = probabilities.size == 0
    spread = smoothing > 0 or not by_class
    certain = kind(1 - smoothing)
    for n in range(N):
        losses[n] = 0
        e = residual[n]
        if C == 0 or (by_class and target[n] == ignored):
            for c in range(C):
                e[c] = 0
            continue
        top = _largest(x[n], lanes)
        _row_exponentials(x[n], top, e)
        exponentials = long_sum(e)
        log_sum = kind(math.log(exponentials))
        loss, total = 0.0, 0.0
        if spread:
            _row_shares(probabilities[n] if not by_class else probabilities[0], weight, kind(smoothing), q)
            _row_losses(q, top, log_sum, x[n], terms)
            loss, total = long_sum(terms), long_sum(q)
        if by_class:
            q_target = certain * weight[target[n]]
            if q_target != 0:
                loss += q_target * (top - x[n, target[n]] + log_sum)
            total += q_target
        losses[n] = loss
        if spread:
            _row_gradient(e, kind(total / exponentials), q)
        else:
            _row_scale(e, kind(total / exponentials))
        if by_class:
            e[target[n]] -= certain * weight[target[n]]
