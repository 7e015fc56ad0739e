"""Activation functions in plain NumPy."""

import math

import numpy as np

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _erf(x):
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype)


def _sigmoid(x):
    e = np.exp(-np.abs(x))  # never overflows
    return np.where(x < 0, e, 1) / (1 + e)


def identity(x):
    return (x.copy(),)


def identity_backward(dy):
    return (dy.copy(),)


def threshold(x, threshold, value):
    return (np.where(x <= threshold, x.dtype.type(value), x),)  # NaN passes


def threshold_backward(dy, x, threshold, value):
    return (np.where(x <= threshold, 0 * x.dtype.type(0), dy),)


def step(x):
    return (np.where(np.isnan(x), x, (x > 0).astype(x.dtype)),)


def step_backward(dy):
    return (np.zeros_like(dy),)


def sigmoid(x):
    return (_sigmoid(x),)


def sigmoid_backward(dy, y):
    return (dy * y * (1 - y),)


def tanh(x):
    return (np.tanh(x),)


def tanh_backward(dy, y):
    return (dy * (1 - y * y),)


def hardtanh(x, low, high):
    kind = x.dtype.type
    return (np.where(x < low, kind(low), np.where(x > high, kind(high), x)),)


def hardtanh_backward(dy, x, low, high):
    return (np.where((x <= low) | (x >= high), 0 * x.dtype.type(0), dy),)


def relu(x):
    return (np.where(x <= 0, x.dtype.type(0), x),)


def relu_backward(dy, y):
    return (np.where(y <= 0, y.dtype.type(0), dy),)


def leaky_relu(x, slope):
    return (np.where(x > 0, x, slope * x),)


def leaky_relu_backward(dy, x, slope):
    return (np.where(x > 0, dy, slope * dy),)


def prelu(x, w):
    return (np.where(x > 0, x, w[:, None] * x),)


def prelu_backward(dy, x, w):
    return np.where(x > 0, dy, w[:, None] * dy), np.where(x > 0, 0 * dy, x * dy).sum(axis=(0, 2))


def elu(x, alpha):
    return (np.where(x > 0, x, alpha * np.expm1(x)),)


def elu_backward(dy, x, alpha):
    return (np.where(x > 0, dy, dy * alpha * np.exp(x)),)


def selu(x):
    return (SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),)


def selu_backward(dy, x):
    return (dy * SELU_SCALE * np.where(x > 0, x.dtype.type(1), SELU_ALPHA * np.exp(x)),)


def gelu(x):
    return (0.5 * x * (1 + _erf(x / math.sqrt(2))),)


def gelu_backward(dy, x):
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return (dy * (0.5 * (1 + _erf(x / math.sqrt(2))) + x * density),)


def gelu_tanh(x):
    return (0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))),)


def gelu_tanh_backward(dy, x):
    slope = math.sqrt(2 / math.pi)
    t = np.tanh(slope * (x + 0.044715 * x * x * x))
    return (dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope * (1 + 3 * 0.044715 * x * x)),)


def silu(x):
    return (x * _sigmoid(x),)


def silu_backward(dy, x):
    s = _sigmoid(x)
    return (dy * s * (1 + x * (1 - s)),)


def softplus(x, beta, threshold):
    z = beta * x
    smooth = (np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))) / beta
    return (np.where(z > threshold, x, smooth),)


def softplus_backward(dy, x, beta, threshold):
    z = beta * x
    return (np.where(z > threshold, dy, dy * _sigmoid(z)),)


def softsign(x):
    return (x / (1 + np.abs(x)),)


def softsign_backward(dy, x):
    return (dy / ((1 + np.abs(x)) * (1 + np.abs(x))),)
