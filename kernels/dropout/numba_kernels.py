"""Dropout, compiled just in time."""

import numpy as np

from ..numba_support import kernel


@kernel
def _run(x, y, key, threshold, scale):
    zero = x.dtype.type(0)
    for i in range(x.size):
        z = key + np.uint64(i // 2 + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        half = z >> np.uint64(32) if i % 2 else z & np.uint64(0xFFFFFFFF)
        y[i] = x[i] * (scale if half >= threshold else zero)


def dropout(x, key, p, y):
    scale = x.dtype.type(0 if p == 1 else 1 / (1 - p))
    _run(x.reshape(-1), y.reshape(-1), np.uint64(key[0]), np.uint64(round(p * 2**32)), scale)


def dropout_backward(dy, key, p, dx):
    dropout(dy, key, p, dx)
