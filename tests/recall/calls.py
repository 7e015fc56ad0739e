"""Calls of functions whose operator is remembered."""

import numpy as np

import fastnn.functional as F


def normal(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def classes(count, n, seed=0):
    return np.random.default_rng(seed).integers(0, n, count)


CALLS = {
    "linear": (F.linear, (normal(3, 5), normal(4, 5, seed=1), normal(4, seed=2)), {}),
    "linear without bias, by name": (F.linear, (normal(3, 5),), {"weight": normal(4, 5, seed=1)}),
    "linear of a stack": (F.linear, (normal(2, 3, 5), normal(4, 5, seed=1)), {}),
    "matmul": (F.matmul, (normal(3, 5), normal(5, 4, seed=1)), {}),
    "relu": (F.relu, (normal(7),), {}),
    "elu": (F.elu, (normal(7),), {"alpha": 2.0}),
    "softmax": (F.softmax, (normal(2, 5, 3),), {"dim": 1}),
    "conv2d": (F.conv2d, (normal(2, 3, 6, 6), normal(4, 3, 3, 3, seed=1)), {"padding": 1}),
    "conv1d": (F.conv1d, (normal(2, 3, 6), normal(4, 3, 3, seed=1)), {}),
    "max_pool2d": (F.max_pool2d, (normal(2, 3, 6, 6), 2), {}),
    "avg_pool1d": (F.avg_pool1d, (normal(2, 3, 6), 2), {}),
    "cross_entropy": (F.cross_entropy, (normal(6, 4), classes(6, 4)), {}),
    "layer_norm": (F.layer_norm, (normal(6, 4), (4,)), {}),
    "sum": (F.sum, (normal(6, 4), 0), {}),
    "mse_loss": (F.mse_loss, (normal(6, 4), normal(6, 4, seed=1)), {}),
}


def other_values(value):
    """Fresh arrays of the same layout."""
    if not isinstance(value, np.ndarray):
        return value
    return np.roll(value, 1) if value.dtype.kind == "i" else value + 1
