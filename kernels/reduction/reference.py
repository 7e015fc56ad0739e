"""Reductions in plain NumPy. Sums are formed in double."""

import numpy as np


def sum(x):
    return (x.sum(axis=1, dtype=np.float64).astype(x.dtype),)


def sum_backward(dy, x_shape):
    return (np.repeat(dy[:, None], x_shape[1], axis=1),)


def mean(x):
    with np.errstate(invalid="ignore"):
        return ((x.sum(axis=1, dtype=np.float64) / np.float64(x.shape[1])).astype(x.dtype),)


def mean_backward(dy, x_shape):
    return (np.repeat(dy[:, None] / dy.dtype.type(max(x_shape[1], 1)), x_shape[1], axis=1),)


def var(x, correction):
    with np.errstate(invalid="ignore", divide="ignore"):
        center = x.sum(axis=1, dtype=np.float64) / np.float64(x.shape[1])
        squares = np.square(x - center[:, None]).sum(axis=1)
        return (squares / np.float64(max(x.shape[1] - correction, 0))).astype(x.dtype), center.astype(x.dtype)


def var_backward(dy, x, mean, correction):
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.divide(2, max(x.shape[1] - correction, 0), dtype=x.dtype)
        return (dy[:, None] * scale * (x - mean[:, None]),)


def _extremum(x, indices):
    return np.take_along_axis(x, indices[:, None], axis=1)[:, 0], indices


def amax(x):
    return _extremum(x, x.argmax(axis=1))


def amin(x):
    return _extremum(x, x.argmin(axis=1))


def extremum_backward(dy, indices, x_shape):
    dx = np.zeros(x_shape, dy.dtype)
    np.put_along_axis(dx, indices[:, None], dy[:, None], axis=1)
    return (dx,)
