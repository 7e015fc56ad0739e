# cython: cdivision=True
"""Softmax of contiguous rows, whose result goes past the caches where ``past`` is set."""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport log_
from fastnn.kernels.lanes cimport exponentials_beside, long_dot, long_sum, maximum, scale

cdef extern from "simd/exponentials.h" nogil:
    void shift_f32 "fastnn_run_shift_f32"(const float* x, float top, float log_sum, float* y, Py_ssize_t n, bint past) noexcept
    void shift_f64 "fastnn_run_shift_f64"(const double* x, double top, double log_sum, double* y, Py_ssize_t n, bint past) noexcept
    void softmax_f32 "fastnn_run_softmax_backward_f32"(
        const float* dy, const float* y, float total, float* dx, Py_ssize_t n, bint past) noexcept
    void softmax_f64 "fastnn_run_softmax_backward_f64"(
        const double* dy, const double* y, double total, double* dx, Py_ssize_t n, bint past) noexcept
    void log_softmax_f32 "fastnn_run_log_softmax_backward_f32"(
        const float* dy, const float* y, float total, float* dx, Py_ssize_t n, bint past) noexcept
    void log_softmax_f64 "fastnn_run_log_softmax_backward_f64"(
        const double* dy, const double* y, double total, double* dx, Py_ssize_t n, bint past) noexcept

cdef enum:
    ROOM = 4096  # exponentials of a row that wait for their sum in the first-level cache


cdef inline void softmax_row(const real* x, real* y, Py_ssize_t n, real top, const real* next, real* next_top, bint past) noexcept nogil:
    cdef real terms[ROOM]
    if past and n <= ROOM:
        scale(<const real*> terms, <real> (1 / exponentials_beside(x, top, terms, next, next_top, n)), y, n, True)
    else:
        scale(<const real*> y, <real> (1 / exponentials_beside(x, top, y, next, next_top, n)), y, n, False)


cdef inline void log_softmax_row(
    const real* x, real* y, Py_ssize_t n, real top, const real* next, real* next_top, bint past
) noexcept nogil:
    cdef real log_sum = log_(<real> exponentials_beside(x, top, <real*> NULL, next, next_top, n))
    if real is float:
        shift_f32(x, top, log_sum, y, n, past)
    else:
        shift_f64(x, top, log_sum, y, n, past)


cdef inline void rows(
    const real* x, real* y, Py_ssize_t begin, Py_ssize_t end, Py_ssize_t n, bint logarithm, bint past
) noexcept nogil:
    """Rows begin <= i < end. The largest element of the next one, which streams in meanwhile, is found beside the exponentials of each:
    128 rows of 1000 took 24.0 us with a pass of its own and 21.8 us so."""
    cdef real top, next_top = maximum(x + begin * n, n) if begin < end else 0
    cdef const real* next
    cdef Py_ssize_t i
    for i in range(begin, end):
        top = next_top
        next = x + min(i + 1, end - 1) * n
        if logarithm:
            log_softmax_row(x + i * n, y + i * n, n, top, next, &next_top, past)
        else:
            softmax_row(x + i * n, y + i * n, n, top, next, &next_top, past)


cdef inline void softmax_row_backward(const real* dy, const real* y, real* dx, Py_ssize_t n, bint past) noexcept nogil:
    cdef real total = <real> long_dot(dy, y, n)
    if real is float:
        softmax_f32(dy, y, total, dx, n, past)
    else:
        softmax_f64(dy, y, total, dx, n, past)


cdef inline void log_softmax_row_backward(const real* dy, const real* y, real* dx, Py_ssize_t n, bint past) noexcept nogil:
    cdef real total = <real> long_sum(dy, n)
    if real is float:
        log_softmax_f32(dy, y, total, dx, n, past)
    else:
        log_softmax_f64(dy, y, total, dx, n, past)
