"""Dropout in plain NumPy."""

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _mask(key, x, p):
    pairs = (x.size + 1) // 2
    z = key.astype(np.uint64) + np.arange(1, pairs + 1, dtype=np.uint64) * GAMMA
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    halves = np.stack((z & np.uint64(0xFFFFFFFF), z >> np.uint64(32)), axis=-1).ravel()[: x.size]
    scale = x.dtype.type(0 if p == 1 else 1 / (1 - p))
    return np.where(halves >= np.uint64(round(p * 2**32)), scale, x.dtype.type(0)).reshape(x.shape)


def dropout(x, key, p):
    return (x * _mask(key, x, p),)


def dropout_backward(dy, key, p):
    return (dy * _mask(key, dy, p),)
