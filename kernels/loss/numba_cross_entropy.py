"""Cross entropy of classes, compiled just in time. The loops over positions or classes side by side become vector code.

Of ``target`` and ``p``, the classes' probabilities, one is empty. See classes.pxd for the formulas.
"""

import math

import numpy as np

from ..elementary_numba import exp
from ..numba_sums import long_sum
from ..numba_support import kernel


@kernel
def store_sum(x, divisor, y):
    """y = sum / divisor"""
    y[0] = long_sum(x) / divisor


@kernel
def _raise_top(top, x):
    for j in range(x.size):
        top[j] = x[j] if x[j] > top[j] else top[j]


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
def _row_shared_losses(q, top, log_total, x, losses):
    for c in range(x.size):
        losses[c] = q[c] * (top - x[c] + log_total)


@kernel
def row_losses(x, target, p, weight, ignored, smoothing, losses, tops, totals):
    """Losses, largest scores and sums of exponentials of rows (N, C)."""
    N, C = x.shape
    kind = x.dtype.type
    q, terms, lanes = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(64, x.dtype)
    certain = kind(1 - smoothing)
    for n in range(N):
        losses[n], tops[n], totals[n] = 0, 0, 1
        if C == 0 or (p.size == 0 and target[n] == ignored):
            continue
        tops[n] = _largest(x[n], lanes)
        _row_exponentials(x[n], tops[n], terms)
        totals[n] = long_sum(terms)
        log_total = kind(math.log(totals[n]))
        loss = 0.0
        if smoothing > 0 or p.size > 0:
            _row_shares(p[n] if p.size > 0 else p[0], weight, kind(smoothing), q)
            _row_shared_losses(q, tops[n], log_total, x[n], terms)
            loss = long_sum(terms)
        if p.size == 0 and certain * weight[target[n]] != 0:
            loss += certain * weight[target[n]] * (tops[n] - x[n, target[n]] + log_total)
        losses[n] = loss


@kernel
def _row_gradient(e, scale, dy, q, dx):
    for c in range(dx.size):
        dx[c] = e[c] * scale - dy * q[c]


@kernel
def row_gradients(dy, x, target, p, weight, tops, totals, ignored, smoothing, dx):
    """dx = dy (softmax sum(q) - q)"""
    N, C = x.shape
    kind = x.dtype.type
    q, e = np.empty(C, x.dtype), np.empty(C, x.dtype)
    certain = kind(1 - smoothing)
    for n in range(N if C > 0 else 0):
        if p.size == 0 and target[n] == ignored:
            for c in range(C):
                dx[n, c] = 0
            continue
        _row_shares(p[n] if p.size > 0 else p[0], weight, kind(smoothing), q)
        if p.size == 0:
            q[target[n]] += certain * weight[target[n]]
        _row_exponentials(x[n], tops[n], e)
        _row_gradient(e, kind(dy[n] * long_sum(q) / totals[n]), dy[n], q, dx[n])


@kernel
def _add_exponentials(x, top, sums):
    for j in range(x.size):
        sums[j] += exp(x[j] - top[j])


@kernel
def _spread(p, weight, smoothing, C, q):
    """q = w ((1 - s) p + s / C), with p = 0 where there are no probabilities."""
    for j in range(q.size):
        q[j] = smoothing / C * weight
    if p.size:
        for j in range(q.size):
            q[j] += weight * (1 - smoothing) * p[j]


@kernel
def _add_shared_losses(q, top, log_total, x, losses):
    for j in range(x.size):
        losses[j] += q[j] * (top[j] - x[j] + log_total[j])


@kernel
def position_losses(x, target, p, weight, ignored, smoothing, losses, tops, totals):
    """Losses, largest scores and sums of exponentials of positions (N, C, L)."""
    N, C, L = x.shape
    kind = x.dtype.type
    log_total, q = np.empty(L, x.dtype), np.empty(L, x.dtype)
    for n in range(N):
        loss, top, total = losses[n], tops[n], totals[n]
        for j in range(L):
            loss[j], total[j] = 0, 0 if C > 0 else 1
            top[j] = x[n, 0, j] if C > 0 else 0
        for c in range(1, C):
            _raise_top(top, x[n, c])
        for c in range(C):
            _add_exponentials(x[n, c], top, total)
        for j in range(L):
            log_total[j] = math.log(total[j])
        for c in range(C if smoothing > 0 or p.size > 0 else 0):
            _spread(p[n, c] if p.size > 0 else p[0, 0], weight[c], kind(smoothing), kind(C), q)
            _add_shared_losses(q, top, log_total, x[n, c], loss)
        for j in range(L if p.size == 0 else 0):
            t = target[n, j]
            if t == ignored:
                loss[j], top[j], total[j] = 0, 0, 1
            elif smoothing < 1 and weight[t] != 0:
                loss[j] += kind(1 - smoothing) * weight[t] * (top[j] - x[n, t, j] + log_total[j])


@kernel
def _position_gradient(x, top, scale, dy, q, dx):
    for j in range(x.size):
        dx[j] = exp(x[j] - top[j]) * scale[j] - dy[j] * q[j]


@kernel
def position_gradients(dy, x, target, p, weight, tops, totals, ignored, smoothing, dx):
    """dx = dy (softmax sum(q) - q)"""
    N, C, L = x.shape
    kind = x.dtype.type
    scale, q = np.empty(L, x.dtype), np.empty(L, x.dtype)
    certain = kind(1 - smoothing)
    for n in range(N):
        for j in range(L):
            scale[j] = 0
            if p.size == 0 and target[n, j] != ignored:
                scale[j] = certain * weight[target[n, j]]
        for c in range(C):
            _spread(p[n, c] if p.size > 0 else p[0, 0], weight[c], kind(smoothing), kind(C), q)
            for j in range(L):
                scale[j] += q[j]
        for j in range(L):
            scale[j] *= dy[n, j] / totals[n, j]
        for c in range(C):
            _spread(p[n, c] if p.size > 0 else p[0, 0], weight[c], kind(smoothing), kind(C), q)
            _position_gradient(x[n, c], tops[n], scale, dy[n], q, dx[n, c])
        for j in range(L if p.size == 0 else 0):
            t = target[n, j]
            if t != ignored:
                dx[n, t, j] -= dy[n, j] * certain * weight[t]
            else:
                for c in range(C):
                    dx[n, c, j] = 0


@kernel
def _target_gradient(x, top, total, scale, weight, dt):
    for j in range(x.size):
        dt[j] = (top[j] - x[j] + math.log(total[j])) * scale[j] * weight


@kernel
def target_gradients(dy, x, weight, tops, totals, certain, dt):
    """dt = -dy (1 - s) w log softmax(x)"""
    N, C, L = x.shape
    scale = np.empty(L, x.dtype)
    for n in range(N):
        for j in range(L):
            scale[j] = dy[n, j] * certain
        for c in range(C):
            _target_gradient(x[n, c], tops[n], totals[n], scale, weight[c], dt[n, c])
