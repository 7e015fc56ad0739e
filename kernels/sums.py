"""The adjoint of broadcasting."""

import numpy as np


def sum_to_shape(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Add up ``array`` over the dimensions along which ``shape`` was broadcast to it."""
    if array.shape == tuple(shape):
        return array
    extra = array.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(extra + i for i, n in enumerate(shape) if n == 1 and array.shape[extra + i] != 1)
    return array.sum(axis=axes, keepdims=True).reshape(shape)
