"""Losses, compiled just in time: a small loop for each formula, and one for the sum, the scaling and the softmax that they share."""

import numpy as np

from ..elementary_numba import exp, log, log1p
from ..numba_support import kernel
from .numba_classes import classify, classify_rows, long_sum, position_exponentials


@kernel
def _store_sum(x, divisor, y):
    y[0] = long_sum(x) / divisor


@kernel
def _multiply(y, factors):
    """y *= factors"""
    for i in range(y.size):
        y[i] *= factors[i]


@kernel
def _scale(y, dy, divisor):
    """y *= dy / divisor"""
    factor = y.dtype.type(dy[0] / divisor)
    for i in range(y.size):
        y[i] *= factor


@kernel
def _negate(x, y):
    for i in range(x.size):
        y[i] = -x[i]


@kernel
def _softplus_of_minus(x, y):
    """y = log(1 + exp(-x)); exp overflows for large -x, so the large part is taken out first. One loop for both would not vectorise."""
    for i in range(x.size):
        y[i] = exp(-abs(x[i]))
    for i in range(x.size):
        y[i] = log1p(y[i]) + (0 if x[i] > 0 else -x[i])


@kernel
def _at_least(x, low):
    return low if x < low else x


@kernel
def _mse(x, t, y):
    for i in range(x.size):
        y[i] = (x[i] - t[i]) * (x[i] - t[i])


@kernel
def _mse_gradient(x, t, dx):
    for i in range(x.size):
        dx[i] = 2 * (x[i] - t[i])


@kernel
def _l1(x, t, y):
    for i in range(x.size):
        y[i] = abs(x[i] - t[i])


@kernel
def _l1_gradient(x, t, dx):
    for i in range(x.size):
        d = x[i] - t[i]
        dx[i] = 1 if d > 0 else (-1 if d < 0 else d)  # NaN stays NaN


@kernel
def _smooth_l1(x, t, beta, y):
    for i in range(x.size):
        d = abs(x[i] - t[i])
        y[i] = d * d / (2 * beta) if d < beta else d - beta / 2


@kernel
def _smooth_l1_gradient(x, t, beta, dx):
    for i in range(x.size):
        d = x[i] - t[i]
        dx[i] = d / beta if abs(d) < beta else (1 if d > 0 else (-1 if d < 0 else d))


@kernel
def _binary(x, t, y):
    for i in range(x.size):
        y[i] = -(t[i] * _at_least(log(x[i]), -100) + (1 - t[i]) * _at_least(log1p(-x[i]), -100))


@kernel
def _binary_gradient(x, t, dx):
    for i in range(x.size):
        dx[i] = (x[i] - t[i]) / _at_least(x[i] * (1 - x[i]), 1e-12)


@kernel
def _binary_target_gradient(x, dt):
    for i in range(x.size):
        dt[i] = _at_least(log1p(-x[i]), -100) - _at_least(log(x[i]), -100)


@kernel
def _logits(x, t, y):
    _softplus_of_minus(x, y)
    for i in range(x.size):
        y[i] += (1 - t[i]) * x[i]


@kernel
def _logits_positive(x, t, p, y):
    _softplus_of_minus(x, y)
    for i in range(x.size):
        y[i] = (1 - t[i]) * x[i] + (1 + (p[i] - 1) * t[i]) * y[i]


@kernel
def _logits_gradient(x, t, dx):
    for i in range(x.size):
        e = exp(-abs(x[i]))
        dx[i] = (e if x[i] < 0 else 1) / (1 + e) - t[i]


@kernel
def _logits_positive_gradient(x, t, p, dx):
    for i in range(x.size):
        e = exp(-abs(x[i]))
        dx[i] = 1 - t[i] - (1 + (p[i] - 1) * t[i]) * (e if x[i] > 0 else 1) / (1 + e)


@kernel
def _logits_positive_target_gradient(x, p, dt):
    _softplus_of_minus(x, dt)
    for i in range(x.size):
        dt[i] = (p[i] - 1) * dt[i] - x[i]


@kernel
def _margin(x, t, margin, y):
    """max(0, margin - x t), NaN where the difference is NaN"""
    for i in range(x.size):
        value = margin - x[i] * t[i]
        y[i] = 0 if value < 0 else value


@kernel
def _margin_gradient(x, t, margin, dx):
    for i in range(x.size):
        dx[i] = -t[i] if margin - x[i] * t[i] > 0 else 0


def _reduced(loss, reduction, y, weight, *args):
    """Losses of all elements by ``loss(*args, losses)``, weighted and reduced."""
    flat = [a.reshape(-1) if isinstance(a, np.ndarray) else a for a in args]
    losses = y.reshape(-1) if reduction == "none" else np.empty_like(flat[0])
    loss(*flat, losses)
    if weight is not None:
        _multiply(losses, weight.reshape(-1))
    if reduction != "none":
        _store_sum(losses, float(losses.size if reduction == "mean" else 1), y.reshape(1))


def _propagated(gradient, reduction, dy, weight, dx, *args):
    """dx = ``gradient(*args, dx)``, weighted, times the gradient of each single loss."""
    flat = dx.reshape(-1)
    gradient(*[a.reshape(-1) if isinstance(a, np.ndarray) else a for a in args], flat)
    if weight is not None:
        _multiply(flat, weight.reshape(-1))
    if reduction == "none":
        _multiply(flat, dy.reshape(-1))
    else:
        _scale(flat, dy.reshape(1), float(flat.size if reduction == "mean" else 1))


def _of_difference(gradient, reduction, dy, dx, dtarget, *args):
    """Gradients of a function of x - t: that by t is the negative of that by x."""
    first = dx if dx is not None else dtarget
    if first is None:
        return
    _propagated(gradient, reduction, dy, None, first, *args)
    if dtarget is not None:
        _negate(first.reshape(-1), dtarget.reshape(-1))


def mse(x, target, reduction, y):
    _reduced(_mse, reduction, y, None, x, target)


def mse_backward(dy, x, target, reduction, dx, dtarget):
    _of_difference(_mse_gradient, reduction, dy, dx, dtarget, x, target)


def l1(x, target, reduction, y):
    _reduced(_l1, reduction, y, None, x, target)


def l1_backward(dy, x, target, reduction, dx, dtarget):
    _of_difference(_l1_gradient, reduction, dy, dx, dtarget, x, target)


def smooth_l1(x, target, beta, reduction, y):
    _reduced(_smooth_l1, reduction, y, None, x, target, x.dtype.type(beta))


def smooth_l1_backward(dy, x, target, beta, reduction, dx, dtarget):
    _of_difference(_smooth_l1_gradient, reduction, dy, dx, dtarget, x, target, x.dtype.type(beta))


def binary_cross_entropy(x, target, weight, reduction, y):
    _reduced(_binary, reduction, y, weight, x, target)


def binary_cross_entropy_backward(dy, x, target, weight, reduction, dx, dtarget):
    if dx is not None:
        _propagated(_binary_gradient, reduction, dy, weight, dx, x, target)
    if dtarget is not None:
        _propagated(_binary_target_gradient, reduction, dy, weight, dtarget, x)


def binary_cross_entropy_with_logits(x, target, weight, pos_weight, reduction, y):
    if pos_weight is None:
        _reduced(_logits, reduction, y, weight, x, target)
    else:
        _reduced(_logits_positive, reduction, y, weight, x, target, pos_weight)


def binary_cross_entropy_with_logits_backward(dy, x, target, weight, pos_weight, reduction, dx, dtarget):
    if dx is not None and pos_weight is None:
        _propagated(_logits_gradient, reduction, dy, weight, dx, x, target)
    elif dx is not None:
        _propagated(_logits_positive_gradient, reduction, dy, weight, dx, x, target, pos_weight)
    if dtarget is not None and pos_weight is None:
        _propagated(_negate, reduction, dy, weight, dtarget, x)
    elif dtarget is not None:
        _propagated(_logits_positive_target_gradient, reduction, dy, weight, dtarget, x, pos_weight)


def hinge_loss(x, target, reduction, y):
    _reduced(_margin, reduction, y, None, x, target, x.dtype.type(1))


def hinge_loss_backward(dy, x, target, reduction, dx):
    _propagated(_margin_gradient, reduction, dy, None, dx, x, target, x.dtype.type(1))


def perceptron_loss(x, target, reduction, y):
    _reduced(_margin, reduction, y, None, x, target, x.dtype.type(0))


def perceptron_loss_backward(dy, x, target, reduction, dx):
    _propagated(_margin_gradient, reduction, dy, None, dx, x, target, x.dtype.type(0))


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


def _classify(x, target, probabilities, weight, ignored, smoothing, reduction, total, y, residual):
    """Losses and gradients of (N, C, L); rows whose classes lie side by side have a kernel of their own."""
    N, C, L = x.shape
    losses = y if y is not None and reduction == "none" else np.empty((N, L), x.dtype)
    residual = np.empty_like(x) if residual is None else residual
    if L == 1:
        t = np.empty(0, np.int64) if target is None else target.reshape(N)
        p = np.empty((1, 0), x.dtype) if probabilities is None else probabilities.reshape(N, C)
        classify_rows(x.reshape(N, C), t, p, weight, ignored, smoothing, losses.reshape(N), residual.reshape(N, C))
    else:
        t = np.empty((1, 0), np.int64) if target is None else target
        p = np.empty((1, 1, 0), x.dtype) if probabilities is None else probabilities
        classify(x, t, p, weight, ignored, smoothing, losses, residual)
    if y is not None and reduction != "none":
        _store_sum(losses.reshape(-1), float(total if reduction == "mean" else 1), y.reshape(1))


def cross_entropy(x, target, weight, ignore_index, label_smoothing, reduction, y, residual, total):
    weight = _class_weights(weight, x, x.shape[1])
    total = np.empty(1, x.dtype) if total is None else total.reshape(1)
    _weigh(target.reshape(-1), weight, ignore_index, total)
    _classify(x, target, None, weight, ignore_index, label_smoothing, reduction, total[0], y, residual)


def cross_entropy_probabilities(x, target, weight, label_smoothing, reduction, y, residual):
    N, C, L = x.shape
    _classify(x, None, target, _class_weights(weight, x, C), 0, label_smoothing, reduction, N * L, y, residual)


@kernel
def _scale_positions(residual, dy, dx):
    """dx[n, c, l] = residual[n, c, l] dy[n, l]"""
    for n in range(residual.shape[0]):
        for c in range(residual.shape[1]):
            _product(residual[n, c], dy[n], dx[n, c])


@kernel
def _scale_rows(residual, dy, dx):
    for n in range(residual.shape[0]):
        _scaled(residual[n], dy[n], dx[n])


@kernel
def _product(x, factors, y):
    for i in range(x.size):
        y[i] = x[i] * factors[i]


@kernel
def _scaled(x, factor, y):
    for i in range(x.size):
        y[i] = x[i] * factor


def _scale_residual(dy, residual, total, reduction, dx):
    N, C, L = residual.shape
    if reduction != "none":
        factor = dy.dtype.type(dy.item() / (total if reduction == "mean" else 1))
        _scaled(residual.reshape(-1), factor, dx.reshape(-1))
    elif L == 1:
        _scale_rows(residual.reshape(N, C), dy.reshape(N), dx.reshape(N, C))
    else:
        _scale_positions(residual, dy, dx)


def cross_entropy_backward(dy, residual, total, reduction, dx):
    _scale_residual(dy, residual, np.float64(total.item()), reduction, dx)


@kernel
def _probability_gradients(x, weight, certain, dt):
    """dt = (top - x + log_sum) w (1 - s)"""
    N, C, L = x.shape
    top, sums, log_sum = np.empty(L, x.dtype), np.empty(L, x.dtype), np.empty(L, x.dtype)
    for n in range(N if C > 0 else 0):
        position_exponentials(x[n], dt[n], top, sums, log_sum)
        for c in range(C):
            _probability_gradient(x[n, c], top, log_sum, weight[c] * certain, dt[n, c])


@kernel
def _probability_gradient(x, top, log_sum, weight, dt):
    for j in range(x.size):
        dt[j] = (top[j] - x[j] + log_sum[j]) * weight


def cross_entropy_probabilities_backward(dy, x, weight, residual, label_smoothing, reduction, dx, dtarget):
    N, C, L = x.shape
    if dx is not None:
        _scale_residual(dy, residual, np.float64(N * L), reduction, dx)
    if dtarget is not None:
        _probability_gradients(x, _class_weights(weight, x, C), x.dtype.type(1 - label_smoothing), dtarget)
        _scale_residual(dy, dtarget, np.float64(N * L), reduction, dtarget)


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
            _store_sum(losses.reshape(-1), float(total[0] if reduction == "mean" else 1), y.reshape(1))


@kernel
def _nll_backward(dy, each, target, weight, ignored, dx):
    flat = dx.reshape(dx.size)
    for i in range(flat.size):
        flat[i] = 0
    for n in range(target.shape[0]):
        for j in range(target.shape[1]):
            t = target[n, j]
            if t != ignored:
                dx[n, t, j] = -weight[t] * (dy[n, j] if each else dy[0, 0])


def nll_backward(dy, target, weight, total, ignore_index, reduction, x_shape, dx):
    each = reduction == "none"
    scale = dy.reshape(1, 1) if not each else dy
    if reduction == "mean":
        scale = np.empty((1, 1), dy.dtype)
        _scaled(dy.reshape(1), dy.dtype.type(1 / np.float64(total.item())), scale.reshape(1))
    _nll_backward(scale, each, target, _class_weights(weight, dx, x_shape[1]), ignore_index, dx)
