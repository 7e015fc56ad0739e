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
    return (_reduce(losses if weight is None else losses * weight, reduction),)


def binary_cross_entropy_backward(dy, x, target, weight, reduction):
    scale = _each(dy, reduction, x.size) * (1 if weight is None else weight)
    dx = (x - target) / np.maximum(x * (1 - x), x.dtype.type(1e-12)) * scale
    dtarget = (np.maximum(np.log1p(-x), -100) - np.maximum(np.log(x), -100)) * scale
    return dx, dtarget


def _softplus_of_minus(x):
    return np.maximum(-x, 0) + np.log1p(np.exp(-np.abs(x)))


def _sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def binary_cross_entropy_with_logits(x, target, weight, pos_weight, reduction):
    positive = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    losses = (1 - target) * x + positive * _softplus_of_minus(x)
    return (_reduce(losses if weight is None else losses * weight, reduction),)


def binary_cross_entropy_with_logits_backward(dy, x, target, weight, pos_weight, reduction):
    scale = _each(dy, reduction, x.size) * (1 if weight is None else weight)
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
    """Weights of the classes, shape (1, C, 1)."""
    return (np.ones(x.shape[1], x.dtype) if weight is None else weight)[None, :, None]


def _one_hot(x, target, ignore_index):
    """1 at each target's class, shape (N, C, L), and which targets count, shape (N, 1, L)."""
    kept = (target != ignore_index)[:, None, :]
    return ((np.arange(x.shape[1])[None, :, None] == target[:, None, :]) & kept).astype(x.dtype), kept


def _class_shares(x, target, weight, ignore_index, label_smoothing):
    """q of class targets, which targets count, and the sum of their weights."""
    hot, kept = _one_hot(x, target, ignore_index)
    weights = _class_weights(x, weight)
    q = (1 - label_smoothing) * hot * weights
    if label_smoothing > 0:
        q = np.where(kept, q + label_smoothing / x.shape[1] * weights, 0)
    return q.astype(x.dtype), kept, (hot * weights).sum(dtype=x.dtype)


def _probability_shares(x, target, weight, label_smoothing):
    return _class_weights(x, weight) * ((1 - label_smoothing) * target + label_smoothing / max(x.shape[1], 1))


def _exponentials(x):
    """Largest score of each position and the sum of exp(x - top)."""
    top = x.max(axis=1, initial=-np.inf) if x.shape[1] else np.zeros((x.shape[0], x.shape[2]), x.dtype)
    return top, np.exp(x - top[:, None]).sum(axis=1) if x.shape[1] else np.ones_like(top)


def _soft_losses(x, q, top, exponentials):
    """A class with q = 0 counts for nothing, be its log-probability infinite."""
    return np.where(q == 0, 0, q * ((top[:, None] - x) + np.log(exponentials)[:, None])).sum(axis=1)


def _soft_gradient(x, q, top, exponentials, scale):
    softmax = np.exp(x - top[:, None]) / exponentials[:, None]
    return (softmax * q.sum(axis=1, keepdims=True) - q) * scale


def _by_position(scale, reduction):
    return scale[:, None, :] if reduction == "none" else scale


def cross_entropy(x, target, weight, ignore_index, label_smoothing, reduction):
    q, kept, total = _class_shares(x, target, weight, ignore_index, label_smoothing)
    top, exponentials = _exponentials(x)
    top, exponentials = np.where(kept[:, 0], top, 0).astype(x.dtype), np.where(kept[:, 0], exponentials, 1).astype(x.dtype)
    return _reduce(_soft_losses(x, q, top, exponentials), reduction, total), top, exponentials, total


def cross_entropy_backward(dy, x, target, weight, top, exponentials, total, ignore_index, label_smoothing, reduction):
    q, kept, _ = _class_shares(x, target, weight, ignore_index, label_smoothing)
    scale = _by_position(_each(dy, reduction, total), reduction)
    return (np.where(kept, _soft_gradient(x, q, top, exponentials, scale), 0).astype(x.dtype),)


def cross_entropy_probabilities(x, target, weight, label_smoothing, reduction):
    q = _probability_shares(x, target, weight, label_smoothing)
    top, exponentials = _exponentials(x)
    losses = (q * ((top[:, None] - x) + np.log(exponentials)[:, None])).sum(axis=1)
    return _reduce(losses, reduction), top, exponentials


def cross_entropy_probabilities_backward(dy, x, target, weight, top, exponentials, label_smoothing, reduction):
    scale = _by_position(_each(dy, reduction, x.shape[0] * x.shape[2]), reduction)
    q = _probability_shares(x, target, weight, label_smoothing)
    logs = (top[:, None] - x) + np.log(exponentials)[:, None]
    return _soft_gradient(x, q, top, exponentials, scale), (1 - label_smoothing) * _class_weights(x, weight) * logs * scale


def nll(x, target, weight, ignore_index, reduction):
    hot, _ = _one_hot(x, target, ignore_index)
    weights = hot * _class_weights(x, weight)
    losses = -np.where(hot == 1, weights * x, 0).sum(axis=1)
    total = weights.sum(dtype=x.dtype)
    return _reduce(losses, reduction, total), total


def nll_backward(dy, target, weight, total, ignore_index, reduction, x_shape):
    like = np.empty(x_shape, dy.dtype)
    hot, _ = _one_hot(like, target, ignore_index)
    scale = _each(dy, reduction, total)
    return (-hot * _class_weights(like, weight) * (scale[:, None, :] if reduction == "none" else scale),)
