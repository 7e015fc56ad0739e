"""Sums of one run, a contiguous piece of memory, compiled just in time."""

from .numba_support import kernel, reassociating_kernel

CHUNK = 1024  # elements that are added in the dtype itself before the sum goes into a double


@reassociating_kernel
def run_sum(x):
    """In the dtype itself."""
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@kernel
def long_sum(x):
    """Of any number of elements, chunk by chunk, in double."""
    total = 0.0
    for start in range(0, x.size, CHUNK):
        total += run_sum(x[start : start + CHUNK])
    return total
