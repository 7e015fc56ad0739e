# cython: cdivision=True
"""Gradients of sums and variances: dx (A, R, B) from dy (A, B)."""

from cython.parallel cimport parallel, prange

from fastnn.kernels.arrays cimport real
from fastnn.kernels.lanes cimport LARGE, fence, fill, scale
from fastnn.kernels.parallel cimport threads_for

cdef enum:
    ROWS = 64  # that share one division
    STRIP = 1024


cdef inline void spread_item(
    Py_ssize_t item, const real* dy, real* dx, Py_ssize_t R, Py_ssize_t B, real divisor, bint past
) noexcept nogil:
    """One row where B is 1, else ROWS rows of a strip: dx = dy / divisor."""
    cdef real quotients[STRIP]
    cdef Py_ssize_t strips = (B + STRIP - 1) // STRIP, blocks = (R + ROWS - 1) // ROWS, a, b, r, count
    if B == 1:
        fill(dy[item] / divisor, dx + item * R, R, past)
        return
    a = item // (strips * blocks)
    b = item % strips * STRIP
    count = min(<Py_ssize_t> STRIP, B - b)
    for r in range(count):
        quotients[r] = dy[a * B + b + r] / divisor
    r = item // strips % blocks * ROWS
    for r in range(r, min(r + ROWS, R)):
        scale(<const real*> quotients, <real> 1, dx + (a * R + r) * B + b, count, past)


cdef inline void spread(const real* dy, real* dx, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, real divisor) noexcept nogil:
    cdef int threads = threads_for(A * R * B // 4)
    cdef bint past = A * R * B * <Py_ssize_t> sizeof(real) >= LARGE
    cdef Py_ssize_t items = A if B == 1 else A * ((R + ROWS - 1) // ROWS) * ((B + STRIP - 1) // STRIP), item
    if threads == 1:
        for item in range(items):
            spread_item(item, dy, dx, R, B, divisor, past)
        fence()
    else:
        with parallel(num_threads=threads):
            for item in prange(items, schedule="static"):
                spread_item(item, dy, dx, R, B, divisor, past)
            fence()


cdef inline void variance_row(const real* dy, const real* x, const real* mean, real* dx, Py_ssize_t B, real factor) noexcept nogil:
    """dx = dy factor (x - mean)"""
    cdef Py_ssize_t b
    for b in range(B):
        dx[b] = dy[b] * factor * (x[b] - mean[b])


cdef inline void variance_run(real slope, const real* x, real mean, real* dx, Py_ssize_t R) noexcept nogil:
    cdef Py_ssize_t r
    for r in range(R):
        dx[r] = slope * (x[r] - mean)


cdef inline void variance_item(
    Py_ssize_t item, const real* dy, const real* x, const real* mean, real* dx, Py_ssize_t R, Py_ssize_t B, real factor
) noexcept nogil:
    """One run where B is 1, else one row."""
    cdef Py_ssize_t a = item // R * B
    if B == 1:
        variance_run(dy[item] * factor, x + item * R, mean[item], dx + item * R, R)
    else:
        variance_row(dy + a, x + item * B, mean + a, dx + item * B, B, factor)


cdef inline void spread_variance(
    const real* dy, const real* x, const real* mean, real* dx, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, real factor
) noexcept nogil:
    cdef int threads = threads_for(A * R * B // 2)
    cdef Py_ssize_t items = A if B == 1 else A * R, item
    if threads == 1:
        for item in range(items):
            variance_item(item, dy, x, mean, dx, R, B, factor)
    else:
        for item in prange(items, num_threads=threads, schedule="static"):
            variance_item(item, dy, x, mean, dx, R, B, factor)
