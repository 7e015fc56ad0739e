"""Losses, compiled just in time: a small loop for each formula, and one for the sum and the scaling that they share."""

import numpy as np

from ..elementary_numba import exp, log, log1p
from ..numba_support import kernel
from .numba_classes import (  # noqa: F401  # kernels of this family too
    cross_entropy,
    cross_entropy_backward,
    cross_entropy_probabilities,
    cross_entropy_probabilities_backward,
    nll,
    nll_backward,
)
from .numba_cross_entropy import store_sum


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
        store_sum(losses, float(losses.size if reduction == "mean" else 1), y.reshape(1))


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
