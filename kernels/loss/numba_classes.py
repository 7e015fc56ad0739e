"""Losses of classes on Numba's kernels."""

import numpy as np

from ..numba_support import kernel
from .numba_cross_entropy import position_gradients, position_losses, row_gradients, row_losses, store_sum, target_gradients


@kernel
def _weigh(target, weight, ignored, total):
    weights = 0.0
    for i in range(target.size):
        if target[i] != ignored:
            weights += weight[target[i]]
    total[0] = weights


@kernel
def _ones(weight):
    for c in range(weight.size):
        weight[c] = 1


def _class_weights(weight, like, classes):
    if weight is None:
        weight = np.empty(classes, like.dtype)
        _ones(weight)
    return weight


def _store_losses(losses, reduction, total, y):
    if y is not None and reduction != "none":
        store_sum(losses.reshape(-1), float(total if reduction == "mean" else 1), y.reshape(1))


def _losses(x, target, probabilities, weight, ignored, smoothing, y, top, exponentials, reduction):
    """Losses of (N, C, L); rows whose classes lie side by side have a kernel of their own."""
    N, C, L = x.shape
    losses, top, exponentials = (
        np.empty((N, L), x.dtype) if a is None else a for a in (y if reduction == "none" else None, top, exponentials)
    )
    t, p = _targets(x, target, probabilities)
    if L == 1:
        saved = (losses.reshape(N), top.reshape(N), exponentials.reshape(N))
        row_losses(x.reshape(N, C), t, p, weight, ignored, smoothing, *saved)
    else:
        position_losses(x, t, p, weight, ignored, smoothing, losses, top, exponentials)
    return losses


def _targets(x, target, probabilities):
    """Classes and probabilities as kernels take them: one of the two empty, and without L where that is 1."""
    if x.shape[2] == 1:
        t = np.empty(0, np.int64) if target is None else target.reshape(len(x))
        return t, np.empty((1, 0), x.dtype) if probabilities is None else probabilities.reshape(x.shape[:2])
    t = np.empty((1, 0), np.int64) if target is None else target
    return t, np.empty((1, 1, 0), x.dtype) if probabilities is None else probabilities


def cross_entropy(x, target, weight, ignore_index, label_smoothing, reduction, y, top, exponentials, total):
    weight = _class_weights(weight, x, x.shape[1])
    total = np.empty(1, x.dtype) if total is None else total.reshape(1)
    _weigh(target.reshape(-1), weight, ignore_index, total)
    losses = _losses(x, target, None, weight, ignore_index, label_smoothing, y, top, exponentials, reduction)
    _store_losses(losses, reduction, total[0], y)


def cross_entropy_probabilities(x, target, weight, label_smoothing, reduction, y, top, exponentials):
    N, C, L = x.shape
    losses = _losses(x, None, target, _class_weights(weight, x, C), 0, label_smoothing, y, top, exponentials, reduction)
    _store_losses(losses, reduction, N * L, y)


def _each_position(dy, shape, divisor, reduction):
    """The gradient of each loss."""
    if reduction == "none":
        return dy
    return np.full(shape, dy.item() / (divisor if reduction == "mean" else 1), dy.dtype)


def _gradients(dy, x, target, probabilities, weight, top, exponentials, ignored, smoothing, dx):
    N, C, L = x.shape
    t, p = _targets(x, target, probabilities)
    if L == 1:
        saved = (top.reshape(N), exponentials.reshape(N))
        row_gradients(dy.reshape(N), x.reshape(N, C), t, p, weight, *saved, ignored, smoothing, dx.reshape(N, C))
    else:
        position_gradients(dy, x, t, p, weight, top, exponentials, ignored, smoothing, dx)


def cross_entropy_backward(dy, x, target, weight, top, exponentials, total, ignore_index, label_smoothing, reduction, dx):
    weight = _class_weights(weight, x, x.shape[1])
    dy = _each_position(dy, target.shape, np.float64(total.item()), reduction)
    _gradients(dy, x, target, None, weight, top, exponentials, ignore_index, label_smoothing, dx)


def cross_entropy_probabilities_backward(dy, x, target, weight, top, exponentials, label_smoothing, reduction, dx, dtarget):
    N, C, L = x.shape
    weight = _class_weights(weight, x, C)
    dy = _each_position(dy, (N, L), np.float64(N * L), reduction)
    if dx is not None:
        _gradients(dy, x, None, target, weight, top, exponentials, 0, label_smoothing, dx)
    if dtarget is not None:
        target_gradients(dy, x, weight, top, exponentials, x.dtype.type(1 - label_smoothing), dtarget)


@kernel
def _nll(x, target, weight, ignored, losses):
    for n in range(target.shape[0]):
        for j in range(target.shape[1]):
            t = target[n, j]
            losses[n, j] = 0 if t == ignored else -x[n, t, j] * weight[t]


def nll(x, target, weight, ignore_index, reduction, y, total):
    weight = _class_weights(weight, x, x.shape[1])
    total = np.empty(1, x.dtype) if total is None else total.reshape(1)
    _weigh(target.reshape(-1), weight, ignore_index, total)
    if y is not None:
        losses = y if reduction == "none" else np.empty(target.shape, x.dtype)
        _nll(x, target, weight, ignore_index, losses)
        if reduction != "none":
            store_sum(losses.reshape(-1), float(total[0] if reduction == "mean" else 1), y.reshape(1))


@kernel
def _nll_backward(dy, target, weight, ignored, dx):
    flat = dx.reshape(dx.size)
    for i in range(flat.size):
        flat[i] = 0
    for n in range(target.shape[0]):
        for j in range(target.shape[1]):
            t = target[n, j]
            if t != ignored:
                dx[n, t, j] = -weight[t] * dy[n, j]


def nll_backward(dy, target, weight, total, ignore_index, reduction, x_shape, dx):
    _nll_backward(
        _each_position(dy, target.shape, np.float64(total.item()), reduction), target, _class_weights(weight, dx, x_shape[1]),
        ignore_index, dx,
    )  # fmt: skip
