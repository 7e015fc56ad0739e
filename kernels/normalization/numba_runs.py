"""Moments and maps of one run, a contiguous piece of memory; sums are formed in the dtype by chunks, and those added up in double."""

from ..numba_sums import CHUNK, long_sum
from ..numba_support import kernel, reassociating_kernel


@reassociating_kernel
def _chunk_squares(x, shift):
    """Sums of d and d^2, d = x - shift."""
    total, squares = x.dtype.type(0), x.dtype.type(0)
    for i in range(x.size):
        d = x[i] - shift
        total += d
        squares += d * d
    return total, squares


@reassociating_kernel
def _chunk_products(dy, x, shift):
    """Sums of dy and dy (x - shift)."""
    total, along = x.dtype.type(0), x.dtype.type(0)
    for i in range(x.size):
        total += dy[i]
        along += dy[i] * (x[i] - shift)
    return total, along


@kernel
def long_squares(x, shift):
    total, squares = 0.0, 0.0
    for start in range(0, x.size, CHUNK):
        first, second = _chunk_squares(x[start : start + CHUNK], shift)
        total += first
        squares += second
    return total, squares


@kernel
def long_products(dy, x, shift):
    total, along = 0.0, 0.0
    for start in range(0, x.size, CHUNK):
        first, second = _chunk_products(dy[start : start + CHUNK], x[start : start + CHUNK], shift)
        total += first
        along += second
    return total, along


@kernel
def run_moments(x):
    """Mean and biased variance of one run; the mean of the deviations from a rounded mean corrects both."""
    count = max(x.size, 1)
    shift = x.dtype.type(long_sum(x) / count)
    deviations, squares = long_squares(x, shift)
    deviations /= count
    return shift + deviations, squares / count - deviations * deviations


@kernel
def scale_shift(x, mean, scale, shift, y):
    for i in range(x.size):
        y[i] = (x[i] - mean) * scale + shift


@kernel
def center(dy, x, weight, mean, rstd, average, along, dx):
    """dx = rstd (weight dy - average - (x - mean) along)"""
    for i in range(x.size):
        dx[i] = rstd * (weight * dy[i] - average - (x[i] - mean) * along)


@kernel
def fill(x, value):
    for i in range(x.size):
        x[i] = value
