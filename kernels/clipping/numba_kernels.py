"""Gradients scaled together, compiled just in time. Sums go in chunks of CHUNK, each in double, combined in ascending order."""

import numpy as np

from ..numba_support import kernel, reassociating_kernel

CHUNK = 4096


@reassociating_kernel
def _squares(x):
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


@kernel
def _joint_norm(x, before, y):
    total = np.float64(before[0]) * np.float64(before[0])
    for first in range(0, x.size, CHUNK):
        total += _squares(x[first : first + CHUNK])
    y[0] = np.sqrt(total)


@kernel
def _limited(x, norm, limit, y):
    scale = limit / (np.float64(norm[0]) + 1e-6)
    factor = norm.dtype.type(scale)
    for i in range(x.size):
        y[i] = x[i] if scale >= 1 else x[i] * factor  # NaN spreads


def joint_norm(x, before, y):
    _joint_norm(x.reshape(-1), before.reshape(-1), y.reshape(-1))


def limited(x, norm, limit, y):
    _limited(x.reshape(-1), norm.reshape(-1), limit, y.reshape(-1))
