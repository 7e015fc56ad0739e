# cython: cdivision=True
"""Softmax of one contiguous row. A large result goes past the caches, chunk by chunk. What lies ahead is fetched a row early."""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport log_
from fastnn.kernels.lanes cimport CHUNK, exponentials, long_dot, long_sum, maximum, scale, stream

cdef extern from "simd/runs.h" nogil:
    void shift_f32 "fastnn_run_shift_f32"(const float* x, float top, float log_sum, float* y, Py_ssize_t n) noexcept
    void shift_f64 "fastnn_run_shift_f64"(const double* x, double top, double log_sum, double* y, Py_ssize_t n) noexcept
    void softmax_f32 "fastnn_run_softmax_backward_f32"(
        const float* dy, const float* y, float total, float* dx, Py_ssize_t n, Py_ssize_t ahead) noexcept
    void softmax_f64 "fastnn_run_softmax_backward_f64"(
        const double* dy, const double* y, double total, double* dx, Py_ssize_t n, Py_ssize_t ahead) noexcept
    void log_softmax_f32 "fastnn_run_log_softmax_backward_f32"(
        const float* dy, const float* y, float total, float* dx, Py_ssize_t n, Py_ssize_t ahead) noexcept
    void log_softmax_f64 "fastnn_run_log_softmax_backward_f64"(
        const double* dy, const double* y, double total, double* dx, Py_ssize_t n, Py_ssize_t ahead) noexcept

cdef enum:
    ROOM = 4096  # exponentials of a row that wait for their sum in the first-level cache


cdef inline void softmax_row(const real* x, real* y, Py_ssize_t n, bint large) noexcept nogil:
    cdef real terms[ROOM]
    cdef real top = maximum(x, n)
    if large and n <= ROOM:
        scale(<const real*> terms, <real> (1 / exponentials(x, top, <real> 1, terms, n)), terms, n)
        stream(y, <const real*> terms, n)
    else:
        scale(<const real*> y, <real> (1 / exponentials(x, top, <real> 1, y, n)), y, n)


cdef inline void shift(const real* x, real top, real log_sum, real* y, Py_ssize_t n) noexcept nogil:
    if real is float:
        shift_f32(x, top, log_sum, y, n)
    else:
        shift_f64(x, top, log_sum, y, n)


cdef inline void log_softmax_row(const real* x, real* y, Py_ssize_t n, bint large) noexcept nogil:
    cdef real terms[CHUNK]
    cdef real top = maximum(x, n)
    cdef real log_sum = log_(<real> exponentials(x, top, <real> 1, <real*> NULL, n))
    cdef Py_ssize_t i = 0, count
    if not large:
        shift(x, top, log_sum, y, n)
        return
    while i < n:
        count = min(<Py_ssize_t> CHUNK, n - i)
        shift(x + i, top, log_sum, terms, count)
        stream(y + i, <const real*> terms, count)
        i += CHUNK


cdef inline void chunk_backward(
    const real* dy, const real* y, real total, real* dx, Py_ssize_t n, Py_ssize_t ahead, bint logarithm
) noexcept nogil:
    if real is float:
        if logarithm:
            log_softmax_f32(dy, y, total, dx, n, ahead)
        else:
            softmax_f32(dy, y, total, dx, n, ahead)
    else:
        if logarithm:
            log_softmax_f64(dy, y, total, dx, n, ahead)
        else:
            softmax_f64(dy, y, total, dx, n, ahead)


cdef inline void row_backward(const real* dy, const real* y, real* dx, Py_ssize_t n, bint logarithm, bint large) noexcept nogil:
    cdef real terms[CHUNK]
    cdef real total = <real> (long_sum(dy, n) if logarithm else long_dot(dy, y, n))
    cdef Py_ssize_t i = 0, count
    if not large:
        chunk_backward(dy, y, total, dx, n, n, logarithm)
        return
    while i < n:
        count = min(<Py_ssize_t> CHUNK, n - i)
        chunk_backward(dy + i, y + i, total, terms, count, n, logarithm)
        stream(dx + i, <const real*> terms, count)
        i += CHUNK
