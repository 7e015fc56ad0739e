# cython: cdivision=True
"""Softmax of one contiguous row. A large result goes past the caches, chunk by chunk.

Blocks of LANES are computed before they are stored: the result may be the memory of an input, where a plain loop stays scalar.
"""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport exp_, log_
from fastnn.kernels.lanes cimport CHUNK, LANES, exponentials, long_dot, long_sum, maximum, stream

cdef enum:
    ROOM = 4096  # exponentials of a row that wait for their sum in the first-level cache


cdef inline void scale(real* y, real factor, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] *= factor


cdef inline void softmax_row(const real* x, real* y, Py_ssize_t n, bint large) noexcept nogil:
    cdef real terms[ROOM]
    cdef real top = maximum(x, n)
    if large and n <= ROOM:
        scale(terms, <real> (1 / exponentials(x, top, terms, n)), n)
        stream(y, <const real*> terms, n)
    else:
        scale(y, <real> (1 / exponentials(x, top, y, n)), n)


cdef inline void shift(const real* x, real top, real log_sum, real* y, Py_ssize_t n) noexcept nogil:
    """y = (x - top) - log_sum"""
    cdef real terms[LANES]
    cdef Py_ssize_t i = 0, j
    while i + LANES <= n:
        for j in range(LANES):
            terms[j] = (x[i + j] - top) - log_sum
        for j in range(LANES):
            y[i + j] = terms[j]
        i += LANES
    while i < n:
        y[i] = (x[i] - top) - log_sum
        i += 1


cdef inline void log_softmax_row(const real* x, real* y, Py_ssize_t n, bint large) noexcept nogil:
    cdef real terms[CHUNK]
    cdef real top = maximum(x, n)
    cdef real log_sum = log_(<real> exponentials(x, top, <real*> NULL, n))
    cdef Py_ssize_t i = 0, count
    if not large:
        shift(x, top, log_sum, y, n)
        return
    while i < n:
        count = min(<Py_ssize_t> CHUNK, n - i)
        shift(x + i, top, log_sum, terms, count)
        stream(y + i, <const real*> terms, count)
        i += CHUNK


cdef inline void differences(const real* dy, const real* y, real total, real* dx, Py_ssize_t n, bint logarithm) noexcept nogil:
    """dx = y (dy - total), or for the logarithm dy - exp(y) total"""
    cdef real terms[LANES]
    cdef Py_ssize_t i = 0, j
    while i + LANES <= n:
        if logarithm:
            for j in range(LANES):
                terms[j] = dy[i + j] - exp_(y[i + j]) * total
        else:
            for j in range(LANES):
                terms[j] = y[i + j] * (dy[i + j] - total)
        for j in range(LANES):
            dx[i + j] = terms[j]
        i += LANES
    while i < n:
        dx[i] = dy[i] - exp_(y[i]) * total if logarithm else y[i] * (dy[i] - total)
        i += 1


cdef inline void row_backward(const real* dy, const real* y, real* dx, Py_ssize_t n, bint logarithm, bint large) noexcept nogil:
    cdef real terms[CHUNK]
    cdef real total = <real> (long_sum(dy, n) if logarithm else long_dot(dy, y, n))
    cdef Py_ssize_t i = 0, count
    if not large:
        differences(dy, y, total, dx, n, logarithm)
        return
    while i < n:
        count = min(<Py_ssize_t> CHUNK, n - i)
        differences(dy + i, y + i, total, terms, count, logarithm)
        stream(dx + i, <const real*> terms, count)
        i += CHUNK
