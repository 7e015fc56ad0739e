"""Contiguous runs of elements, fetched ahead."""

from fastnn.kernels.arrays cimport real

cdef extern from *:
    void fetch "__builtin_prefetch"(const void* address, int write, int locality) noexcept nogil

cdef enum:
    LANES = 32    # independent partial sums
    AHEAD = 2048  # elements between what is fetched and what is needed: FASTNN_POOL_FETCH says why


cdef inline double sum_of(const real* x, Py_ssize_t n) noexcept nogil:
    """The sum of n elements, in double."""
    cdef double lanes[LANES]
    cdef double total = 0
    cdef Py_ssize_t i = 0, j
    for j in range(LANES):
        lanes[j] = 0
    while i + LANES <= n:
        fetch(x + i + AHEAD, 0, 3)
        fetch(x + i + AHEAD + LANES // 2, 0, 3)
        for j in range(LANES):
            lanes[j] += x[i + j]
        i += LANES
    while i + 8 <= n:
        for j in range(8):
            lanes[j] += x[i + j]
        i += 8
    while i < n:
        total = total + x[i]
        i += 1
    for j in range(16):
        lanes[j] += lanes[j + 16]
    for j in range(8):
        lanes[j] += lanes[j + 8]
    for j in range(4):
        lanes[j] += lanes[j + 4]
    return total + ((lanes[0] + lanes[2]) + (lanes[1] + lanes[3]))
