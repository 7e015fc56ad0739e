# cython: cdivision=True
"""Dropout, compiled ahead of time."""

from cython.parallel cimport prange
from libc.math cimport lrint
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from fastnn.kernels.arrays cimport real
from fastnn.kernels.entry cimport Argument, Argument32, Argument64, Entry, kernel
from fastnn.kernels.parallel cimport threads_for

cdef enum:
    BLOCK = 4096  # elements of one unit of work; even, since two of them share a draw
    PART = 512    # elements that are computed at a time; even likewise

cdef extern from *:
    """
    #define GAMMA 0x9E3779B97F4A7C15ull
    """
    const uint64_t GAMMA


cdef inline uint64_t _mix(uint64_t z) noexcept nogil:
    z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EB
    return z ^ (z >> 31)


cdef void _part(const real* x, real* y, Py_ssize_t n, uint64_t state, uint64_t threshold, real scale) noexcept nogil:
    """At most PART elements; in place they go through other memory, or the loop would not be vectorized and take 7 times as long."""
    cdef real part[PART]
    cdef real* target = y
    cdef uint64_t z
    cdef Py_ssize_t i
    if x == y:
        target = part
    for i in range(n // 2):
        z = _mix(state + <uint64_t> i * GAMMA)
        target[2 * i] = x[2 * i] * (scale if <uint32_t> z >= threshold else <real> 0)
        target[2 * i + 1] = x[2 * i + 1] * (scale if (z >> 32) >= threshold else <real> 0)
    if n % 2:
        target[n - 1] = x[n - 1] * (scale if <uint32_t> _mix(state + <uint64_t> (n // 2) * GAMMA) >= threshold else <real> 0)
    if x == y:
        memcpy(y, part, n * sizeof(real))


cdef void _block(const real* x, real* y, Py_ssize_t first, Py_ssize_t n, uint64_t key, uint64_t threshold, real scale) noexcept nogil:
    cdef Py_ssize_t end = min(first + BLOCK, n)
    while first < end:
        _part(x + first, y + first, min(<Py_ssize_t> PART, end - first), key + <uint64_t> (first // 2 + 1) * GAMMA, threshold, scale)
        first += PART


cdef void _run(const real* x, real* y, Py_ssize_t n, uint64_t key, double p) noexcept nogil:
    cdef uint64_t threshold = <uint64_t> lrint(p * 4294967296.0)
    cdef real scale = <real> 0 if p == 1 else <real> (1 / (1 - p))
    cdef Py_ssize_t blocks = (n + BLOCK - 1) // BLOCK, i
    cdef int threads = threads_for(2 * n)
    if threads == 1:
        for i in range(blocks):
            _block(x, y, i * BLOCK, n, key, threshold, scale)
    else:
        for i in prange(blocks, num_threads=threads, schedule="static"):
            _block(x, y, i * BLOCK, n, key, threshold, scale)


cdef int dropout(const Argument* a) noexcept nogil:
    _run(a[0].input, a[3].output, a[0].size, (<const uint64_t*> a[1].input)[0], a[2].number)
    return 0


cdef int dropout_backward(const Argument* a) noexcept nogil:
    return dropout(a)


kernel(globals(), "dropout(x, key, float p, y)", <Entry> dropout[Argument32], <Entry> dropout[Argument64])
kernel(globals(), "dropout_backward(dy, key, float p, dx)",
       <Entry> dropout_backward[Argument32], <Entry> dropout_backward[Argument64])
