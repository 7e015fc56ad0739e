# cython: cdivision=True
"""Softmax of one contiguous row, whose result goes past the caches where ``past`` is set. The next row is fetched while this one ends."""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport log_
from fastnn.kernels.lanes cimport exponentials, long_dot, long_sum, maximum, scale

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


cdef inline void softmax_row(const real* x, real* y, Py_ssize_t n, bint past) noexcept nogil:
    cdef real terms[ROOM]
    cdef real top = maximum(x, n)
    if past and n <= ROOM:
        scale(<const real*> terms, <real> (1 / exponentials(x, top, <real> 1, terms, n)), y, n, True)
    else:
        scale(<const real*> y, <real> (1 / exponentials(x, top, <real> 1, y, n)), y, n, False)


cdef inline void log_softmax_row(const real* x, real* y, Py_ssize_t n, bint past) noexcept nogil:
    cdef real top = maximum(x, n)
    cdef real log_sum = log_(<real> exponentials(x, top, <real> 1, <real*> NULL, n))
    if real is float:
        shift_f32(x, top, log_sum, y, n, past)
    else:
        shift_f64(x, top, log_sum, y, n, past)


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
