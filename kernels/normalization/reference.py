"""Normalization in plain NumPy."""

import math

import numpy as np


def _per_channel(values):
    """(C,) beside x (N, C, L)."""
    return None if values is None else values[:, None]


def _affine(normal, weight, bias):
    """Scaled and shifted, where that is wanted."""
    y = normal if weight is None else normal * weight
    return y if bias is None else y + bias


def _mean(x, axes):
    """The mean, 0 over nothing; in double."""
    return x.sum(axis=axes, keepdims=True, dtype=np.float64) / max(math.prod(x.shape[axis] for axis in axes), 1)


def _moments(x, axes):
    """Mean and biased variance; in double, because a large mean leaves float32 few digits for the variance."""
    mean = _mean(x, axes)
    return mean.astype(x.dtype), _mean((x - mean) ** 2, axes).astype(x.dtype)


def _center_gradient(g, normal, rstd, axes):
    """Gradient by x of (x - mean) rstd for the gradient g: less its mean and its part along the normalized values."""
    along = _mean(g * normal, axes).astype(g.dtype)
    return rstd * (g - _mean(g, axes).astype(g.dtype) - normal * along)


def batch_norm(x, weight, bias, eps):
    mean, var = _moments(x, (0, 2))
    normal = (x - mean) / np.sqrt(var + x.dtype.type(eps))
    return _affine(normal, _per_channel(weight), _per_channel(bias)), mean[0, :, 0], var[0, :, 0]


def batch_norm_backward(dy, x, weight, mean, var, eps):
    rstd = _per_channel(1 / np.sqrt(var + x.dtype.type(eps)))
    normal = (x - _per_channel(mean)) * rstd
    dx = _center_gradient(_affine(dy, _per_channel(weight), None), normal, rstd, (0, 2))
    return dx, (dy * normal).sum(axis=(0, 2)), dy.sum(axis=(0, 2))


def batch_norm_evaluation(x, weight, bias, running_mean, running_var, eps):
    normal = (x - _per_channel(running_mean)) / np.sqrt(_per_channel(running_var) + x.dtype.type(eps))
    return (_affine(normal, _per_channel(weight), _per_channel(bias)),)


def batch_norm_evaluation_backward(dy, x, weight, running_mean, running_var, eps):
    rstd = _per_channel(1 / np.sqrt(running_var + x.dtype.type(eps)))
    normal = (x - _per_channel(running_mean)) * rstd
    return _affine(dy * rstd, _per_channel(weight), None), (dy * normal).sum(axis=(0, 2)), dy.sum(axis=(0, 2))


def running_statistics(mean, var, running_mean, running_var, momentum, count):
    unbiased = var * var.dtype.type(count / (count - 1))
    return running_mean + momentum * (mean - running_mean), running_var + momentum * (unbiased - running_var)


def layer_norm(x, weight, bias, eps):
    mean, var = _moments(x, (1,))
    rstd = 1 / np.sqrt(var + x.dtype.type(eps))
    return _affine((x - mean) * rstd, weight, bias), mean[:, 0], rstd[:, 0]


def layer_norm_backward(dy, x, weight, mean, rstd):
    normal = (x - mean[:, None]) * rstd[:, None]
    dx = _center_gradient(_affine(dy, weight, None), normal, rstd[:, None], (1,))
    return dx, (dy * normal).sum(axis=0), dy.sum(axis=0)


def group_norm(x, weight, bias, groups, eps):
    N, C, L = x.shape
    grouped = x.reshape(N, groups, C // groups, L)
    mean, var = _moments(grouped, (2, 3))
    rstd = 1 / np.sqrt(var + x.dtype.type(eps))
    normal = ((grouped - mean) * rstd).reshape(x.shape)
    return _affine(normal, _per_channel(weight), _per_channel(bias)), mean[:, :, 0, 0], rstd[:, :, 0, 0]


def group_norm_backward(dy, x, weight, mean, rstd, groups):
    N, C, L = x.shape
    grouped, rstd = (N, groups, C // groups, L), rstd[:, :, None, None]
    normal = (x.reshape(grouped) - mean[:, :, None, None]) * rstd
    dx = _center_gradient(_affine(dy, _per_channel(weight), None).reshape(grouped), normal, rstd, (2, 3)).reshape(x.shape)
    return dx, (dy * normal.reshape(x.shape)).sum(axis=(0, 2)), dy.sum(axis=(0, 2))
