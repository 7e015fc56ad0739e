# cython: cdivision=True
"""Reductions of the middle dimension, compiled ahead of time."""

cimport numpy as cnp

from fastnn.kernels.arrays cimport data, is_float32, length
from fastnn.kernels.reduction.extrema cimport extrema, extremum_gradients
from fastnn.kernels.reduction.spread cimport spread, spread_variance
from fastnn.kernels.reduction.sums cimport divided_sums, variances

cnp.import_array()


cdef int _divided_sum(cnp.ndarray x, cnp.ndarray y, double divisor) except -1:
    cdef Py_ssize_t A = length(x, 0), R = length(x, 1), B = length(x, 2)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = divided_sums(<const float*> data(x), <float*> data(y), A, R, B, divisor)
    else:
        with nogil:
            failed = divided_sums(<const double*> data(x), <double*> data(y), A, R, B, divisor)
    if failed:
        raise MemoryError("sum: no room for partial sums")
    return 0


def sum(cnp.ndarray x not None, cnp.ndarray y not None):
    _divided_sum(x, y, 1)


def mean(cnp.ndarray x not None, cnp.ndarray y not None):
    _divided_sum(x, y, length(x, 1))


cdef void _spread_divided(cnp.ndarray dy, cnp.ndarray dx, double divisor) noexcept:
    cdef Py_ssize_t A = length(dx, 0), R = length(dx, 1), B = length(dx, 2)
    if is_float32(dy):
        with nogil:
            spread(<const float*> data(dy), <float*> data(dx), A, R, B, <float> divisor)
    else:
        with nogil:
            spread(<const double*> data(dy), <double*> data(dx), A, R, B, divisor)


def sum_backward(cnp.ndarray dy not None, x_shape, cnp.ndarray dx not None):
    _spread_divided(dy, dx, 1)


def mean_backward(cnp.ndarray dy not None, x_shape, cnp.ndarray dx not None):
    _spread_divided(dy, dx, length(dx, 1))


def var(cnp.ndarray x not None, correction, cnp.ndarray y, cnp.ndarray mean):
    cdef Py_ssize_t A = length(x, 0), R = length(x, 1), B = length(x, 2)
    cdef double divisor = max(R - correction, 0)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = variances(<const float*> data(x), <float*> data(y), <float*> data(mean), A, R, B, divisor)
    else:
        with nogil:
            failed = variances(<const double*> data(x), <double*> data(y), <double*> data(mean), A, R, B, divisor)
    if failed:
        raise MemoryError("var: no room for partial sums")


def var_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray mean not None, correction, cnp.ndarray dx not None
):
    cdef Py_ssize_t A = length(x, 0), R = length(x, 1), B = length(x, 2)
    cdef double factor = 2 / <double> max(R - correction, 0)
    if is_float32(x):
        with nogil:
            spread_variance(
                <const float*> data(dy), <const float*> data(x), <const float*> data(mean), <float*> data(dx), A, R, B, <float> factor)
    else:
        with nogil:
            spread_variance(
                <const double*> data(dy), <const double*> data(x), <const double*> data(mean), <double*> data(dx), A, R, B, factor)


cdef void _signed_extremum(cnp.ndarray x, cnp.ndarray y, cnp.ndarray indices, int sign) noexcept:
    cdef Py_ssize_t A = length(x, 0), R = length(x, 1), B = length(x, 2)
    if is_float32(x):
        with nogil:
            extrema(<const float*> data(x), <float*> data(y), <cnp.int64_t*> data(indices), A, R, B, <float> sign)
    else:
        with nogil:
            extrema(<const double*> data(x), <double*> data(y), <cnp.int64_t*> data(indices), A, R, B, <double> sign)


def amax(cnp.ndarray x not None, cnp.ndarray y, cnp.ndarray indices):
    _signed_extremum(x, y, indices, 1)


def amin(cnp.ndarray x not None, cnp.ndarray y, cnp.ndarray indices):
    _signed_extremum(x, y, indices, -1)


def extremum_backward(cnp.ndarray dy not None, cnp.ndarray indices not None, x_shape, cnp.ndarray dx not None):
    cdef Py_ssize_t A = length(dx, 0), R = length(dx, 1), B = length(dx, 2)
    if is_float32(dy):
        with nogil:
            extremum_gradients(<const float*> data(dy), <const cnp.int64_t*> data(indices), <float*> data(dx), A, R, B)
    else:
        with nogil:
            extremum_gradients(<const double*> data(dy), <const cnp.int64_t*> data(indices), <double*> data(dx), A, R, B)
