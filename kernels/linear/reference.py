"""Products of matrices in plain NumPy, added up in double, as sums may be long."""

import numpy as np

from .operators import PANEL


def _product(a, b):
    return np.matmul(a, b, dtype=np.float64).astype(a.dtype)


def linear(x, w, b):
    y = _product(x, w.T)
    return (y if b is None else y + b,)


def linear_backward(dy, x, w):
    return _product(dy, w), _product(dy.T, x), dy.sum(axis=0, dtype=np.float64).astype(dy.dtype)


def _activate(z, activation):
    if activation == "relu":
        return np.maximum(z, 0)
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-z))
    if activation == "tanh":
        return np.tanh(z)
    return z


def linear_activated(x, w, b, activation):
    return (_activate(linear(x, w, b)[0], activation),)


def _through(dy, y, activation):
    """The gradient before the activation, of whose result it follows."""
    if activation == "relu":
        return np.where(y <= 0, dy.dtype.type(0), dy)
    if activation == "sigmoid":
        return dy * (y * (1 - y))
    if activation == "tanh":
        return dy * (1 - y * y)
    return dy


def linear_activated_backward(dy, x, w, y, activation):
    return linear_backward(_through(dy, y, activation), x, w)


def pack_panels(w):
    count = -(-len(w) // PANEL)
    padded = np.zeros((count * PANEL, w.shape[1]), w.dtype)
    padded[: len(w)] = w
    return (np.ascontiguousarray(padded.reshape(count, PANEL, w.shape[1]).swapaxes(1, 2)),)


def linear_packed(x, panels, b, out_features, activation):
    w = panels.swapaxes(1, 2).reshape(len(panels) * PANEL, panels.shape[1])[:out_features]
    return linear_activated(x, w, b, activation)


def matmul(a, b):
    return (_product(a, b),)


def matmul_backward(dy, a, b):
    return _product(dy, np.swapaxes(b, 1, 2)), _product(np.swapaxes(a, 1, 2), dy)
