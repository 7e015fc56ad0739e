"""Products of matrices in plain NumPy."""

import numpy as np


def linear(x, w, b):
    y = x @ w.T
    return (y if b is None else y + b,)


def linear_backward(dy, x, w):
    return dy @ w, dy.T @ x, dy.sum(axis=0)


def matmul(a, b):
    return (a @ b,)


def matmul_backward(dy, a, b):
    return dy @ np.swapaxes(b, 1, 2), np.swapaxes(a, 1, 2) @ dy
