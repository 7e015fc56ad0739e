"""Losses in plain NumPy."""

import numpy as np


def _reduce(losses, reduction, total=None):
    """The losses, their sum, or their mean; ``total`` is the weight that a weighted mean divides by."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum(dtype=losses.dtype)
    return losses.sum(dtype=losses.dtype) / losses.dtype.type(losses.size if total is None else total)


def _each(dy, reduction, total):
    """The gradient of each single loss."""
    return dy / dy.dtype.type(total) if reduction == "mean" else dy


def _weighted(values, weight):
    return values if weight is None else values * weight


def mse(x, target, reduction):
    return (_reduce((x - target) ** 2, reduction),)


def mse_backward(dy, x, target, reduction):
    dx = 2 * (x - target) * _each(dy, reduction, x.size)
    return dx, -dx


def l1(x, target, reduction):
    return (_reduce(np.abs(x - target), reduction),)


def l1_backward(dy, x, target, reduction):
    dx = np.sign(x - target) * _each(dy, reduction, x.size)
    return dx, -dx


def smooth_l1(x, target, beta, reduction):
    d = np.abs(x - target)
    return (_reduce(np.where(d < beta, d * d / x.dtype.type(2 * beta), d - x.dtype.type(beta / 2)), reduction),)


def smooth_l1_backward(dy, x, target, beta, reduction):
    d = x - target
    dx = np.where(np.abs(d) < beta, d / x.dtype.type(beta), np.sign(d)) * _each(dy, reduction, x.size)
    return dx, -dx


def binary_cross_entropy(x, target, weight, reduction):
    losses = -(target * np.maximum(np.log(x), -100) + (1 - target) * np.maximum(np.log1p(-x), -100))
    return (_reduce(_weighted(losses, weight), reduction),)


def binary_cross_entropy_backward(dy, x, target, weight, reduction):
    scale = _weighted(_each(dy, reduction, x.size), weight)
    dx = (x - target) / np.maximum(x * (1 - x), x.dtype.type(1e-12)) * scale
    dtarget = (np.maximum(np.log1p(-x), -100) - np.maximum(np.log(x), -100)) * scale
    return dx, dtarget


def _softplus_of_minus(x):
    return np.maximum(-x, 0) + np.log1p(np.exp(-np.abs(x)))


def _sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def binary_cross_entropy_with_logits(x, target, weight, pos_weight, reduction):
    positive = None if pos_weight is None else 1 + (pos_weight - 1) * target
    losses = (1 - target) * x + _weighted(_softplus_of_minus(x), positive)
    return (_reduce(_weighted(losses, weight), reduction),)


def binary_cross_entropy_with_logits_backward(dy, x, target, weight, pos_weight, reduction):
    scale = _weighted(_each(dy, reduction, x.size), weight)
    if pos_weight is None:
        return (_sigmoid(x) - target) * scale, -x * scale
    positive = 1 + (pos_weight - 1) * target
    return (1 - target - positive * _sigmoid(-x)) * scale, ((pos_weight - 1) * _softplus_of_minus(x) - x) * scale


def hinge_loss(x, target, reduction):
    return (_reduce(np.maximum(1 - x * target, 0), reduction),)


def hinge_loss_backward(dy, x, target, reduction):
    return (np.where(1 - x * target > 0, -target, 0) * _each(dy, reduction, x.size),)


def perceptron_loss(x, target, reduction):
    return (_reduce(np.maximum(-x * target, 0), reduction),)


def perceptron_loss_backward(dy, x, target, reduction):
    return (np.where(-x * target > 0, -target, 0) * _each(dy, reduction, x.size),)


def _class_weights(x, weight):
    """Weights of the classes, shape (C,)."""
    return np.ones(x.shape[1], x.dtype) if weight is None else weight


def _kept(target, ignore_index):
    """Which targets count, and classes that may be looked up: 0 stands for an ignored one. Shape (N, L)."""
    kept = target != ignore_index
    return kept, np.where(kept, target, 0)


def _at(values, classes):
    """values[n, c, l] at the class c of (n, l)."""
    if values.shape[1] == 0:
        return np.zeros(classes.shape, values.dtype)
    return np.take_along_axis(values, classes[:, None], axis=1)[:, 0]


def _exponentials(x):
    """Largest score of each position and the sum of exp(x - top)."""
    top = x.max(axis=1, initial=-np.inf) if x.shape[1] else np.zeros((x.shape[0], x.shape[2]), x.dtype)
    return top, np.exp(x - top[:, None]).sum(axis=1) if x.shape[1] else np.ones_like(top)


def _softmax(x, top, exponentials):
    return np.exp(x - top[:, None]) / exponentials[:, None]


def _times(shares, losses):
    """A share of 0 counts for nothing, be the loss infinite."""
    return np.where(shares == 0, 0, shares * losses)


def _by_position(scale, reduction):
    return scale[:, None, :] if reduction == "none" else scale


def cross_entropy(x, target, weight, ignore_index, label_smoothing, reduction):
    weights, (kept, classes) = _class_weights(x, weight), _kept(target, ignore_index)
    top, exponentials = _exponentials(x)
    losses = _times(((1 - label_smoothing) * weights)[classes], np.log(exponentials) - (_at(x, classes) - top))
    if label_smoothing > 0:
        logs = (top[:, None] - x) + np.log(exponentials)[:, None]
        losses = losses + _times((label_smoothing / x.shape[1] * weights)[:, None], logs).sum(axis=1)
    total = np.where(kept, weights[classes], 0).sum(dtype=x.dtype)
    losses, top, exponentials = (np.where(kept, a, n).astype(x.dtype) for a, n in ((losses, 0), (top, 0), (exponentials, 1)))
    return _reduce(losses, reduction, total), top, exponentials, total


def cross_entropy_backward(dy, x, target, weight, top, exponentials, total, ignore_index, label_smoothing, reduction):
    weights, (kept, classes) = _class_weights(x, weight), _kept(target, ignore_index)
    shares = ((1 - label_smoothing) * weights)[classes]
    sums = shares
    if label_smoothing > 0:
        spread = label_smoothing / x.shape[1] * weights
        sums = shares + spread.sum()
    dx = _softmax(x, top, exponentials) * sums[:, None]
    if label_smoothing > 0:
        dx = dx - spread[:, None]
    if x.shape[1]:
        np.put_along_axis(dx, classes[:, None], (_at(dx, classes) - shares)[:, None], axis=1)
    dx = dx * _by_position(_each(dy, reduction, total), reduction)
    return (np.where(kept[:, None], dx, 0).astype(x.dtype),)


def _probability_shares(x, target, weight, label_smoothing):
    shares = (1 - label_smoothing) * target + label_smoothing / max(x.shape[1], 1) if label_smoothing > 0 else target
    return _weighted(shares, None if weight is None else weight[:, None])


def cross_entropy_probabilities(x, target, weight, label_smoothing, reduction):
    q = _probability_shares(x, target, weight, label_smoothing)
    top, exponentials = _exponentials(x)
    losses = (q * ((top[:, None] - x) + np.log(exponentials)[:, None])).sum(axis=1)
    return _reduce(losses, reduction), top, exponentials


def cross_entropy_probabilities_backward(dy, x, target, weight, top, exponentials, label_smoothing, reduction):
    scale = _by_position(_each(dy, reduction, x.shape[0] * x.shape[2]), reduction)
    q = _probability_shares(x, target, weight, label_smoothing)
    dx = (_softmax(x, top, exponentials) * q.sum(axis=1, keepdims=True) - q) * scale
    logs = (top[:, None] - x) + np.log(exponentials)[:, None]
    return dx, (1 - label_smoothing) * _weighted(logs, None if weight is None else weight[:, None]) * scale


def nll(x, target, weight, ignore_index, reduction):
    weights, (kept, classes) = _class_weights(x, weight), _kept(target, ignore_index)
    losses = np.where(kept, -weights[classes] * _at(x, classes), 0).astype(x.dtype)
    total = np.where(kept, weights[classes], 0).sum(dtype=x.dtype)
    return _reduce(losses, reduction, total), total


def nll_backward(dy, target, weight, total, ignore_index, reduction, x_shape):
    dx = np.zeros(x_shape, dy.dtype)
    kept, classes = _kept(target, ignore_index)
    slopes = -_class_weights(dx, weight)[classes] * _each(dy, reduction, total)
    if x_shape[1]:
        np.put_along_axis(dx, classes[:, None], np.where(kept, slopes, 0)[:, None].astype(dy.dtype), axis=1)
    return (dx,)
