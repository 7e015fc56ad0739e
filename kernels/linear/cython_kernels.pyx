# cython: cdivision=True
"""Products of matrices, compiled ahead of time."""

cimport numpy as cnp
from libc.string cimport memcpy

from fastnn.kernels.arrays cimport data, is_float32, length, real
from fastnn.kernels.linear.products cimport column_sums, left_multiply, multiply

cnp.import_array()


def linear(cnp.ndarray x not None, cnp.ndarray w not None, cnp.ndarray b, cnp.ndarray y not None):
    cdef Py_ssize_t N = length(x, 0), I = length(x, 1), O = length(w, 0)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = multiply(
                <float*> data(y), <const float*> data(b), <const float*> data(x), I, 1, <const float*> data(w), 1, I, N, O, I)
    else:
        with nogil:
            failed = multiply(
                <double*> data(y), <const double*> data(b), <const double*> data(x), I, 1, <const double*> data(w), 1, I, N, O, I)
    if failed:
        raise MemoryError("linear: no room for the packed panels")


cdef int _linear_backward(
    const real* dy, const real* x, const real* w, real* dx, real* dw, real* db, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O
) noexcept nogil:
    cdef int failed = 0
    if N == 1:
        if db != NULL:
            memcpy(db, dy, O * sizeof(real))
        if dx != NULL or dw != NULL:
            left_multiply(dy, 1, w, x, dx, dw, O, I)
        return 0
    if db != NULL:
        column_sums(dy, db, N, O)
    if dx != NULL:
        failed |= multiply(dx, <const real*> NULL, dy, O, 1, w, I, 1, N, I, O)
    if dw != NULL:
        failed |= multiply(dw, <const real*> NULL, dy, 1, O, x, I, 1, O, I, N)
    return failed


def linear_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray w not None, cnp.ndarray dx, cnp.ndarray dw, cnp.ndarray db
):
    cdef Py_ssize_t N = length(x, 0), I = length(x, 1), O = length(w, 0)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _linear_backward(
                <const float*> data(dy), <const float*> data(x), <const float*> data(w),
                <float*> data(dx), <float*> data(dw), <float*> data(db), N, I, O)
    else:
        with nogil:
            failed = _linear_backward(
                <const double*> data(dy), <const double*> data(x), <const double*> data(w),
                <double*> data(dx), <double*> data(dw), <double*> data(db), N, I, O)
    if failed:
        raise MemoryError("linear_backward: no room for the packed panels")


cdef int _matmul(const real* a, const real* b, real* y, Py_ssize_t B, Py_ssize_t M, Py_ssize_t K, Py_ssize_t N) noexcept nogil:
    cdef Py_ssize_t i
    cdef int failed = 0
    for i in range(B):
        failed |= multiply(y + i * M * N, <const real*> NULL, a + i * M * K, K, 1, b + i * K * N, N, 1, M, N, K)
    return failed


def matmul(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray y not None):
    cdef Py_ssize_t B = length(a, 0), M = length(a, 1), K = length(a, 2), N = length(b, 2)
    cdef int failed
    if is_float32(a):
        with nogil:
            failed = _matmul(<const float*> data(a), <const float*> data(b), <float*> data(y), B, M, K, N)
    else:
        with nogil:
            failed = _matmul(<const double*> data(a), <const double*> data(b), <double*> data(y), B, M, K, N)
    if failed:
        raise MemoryError("matmul: no room for the packed panels")


cdef int _matmul_backward(
    const real* dy, const real* a, const real* b, real* da, real* db, Py_ssize_t B, Py_ssize_t M, Py_ssize_t K, Py_ssize_t N
) noexcept nogil:
    cdef Py_ssize_t i
    cdef int failed = 0
    for i in range(B):
        if da != NULL:
            failed |= multiply(da + i * M * K, <const real*> NULL, dy + i * M * N, N, 1, b + i * K * N, 1, N, M, K, N)
        if db != NULL:
            failed |= multiply(db + i * K * N, <const real*> NULL, a + i * M * K, 1, K, dy + i * M * N, N, 1, K, N, M)
    return failed


def matmul_backward(cnp.ndarray dy not None, cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray da, cnp.ndarray db):
    cdef Py_ssize_t B = length(a, 0), M = length(a, 1), K = length(a, 2), N = length(b, 2)
    cdef int failed
    if is_float32(a):
        with nogil:
            failed = _matmul_backward(
                <const float*> data(dy), <const float*> data(a), <const float*> data(b),
                <float*> data(da), <float*> data(db), B, M, K, N)
    else:
        with nogil:
            failed = _matmul_backward(
                <const double*> data(dy), <const double*> data(a), <const double*> data(b),
                <double*> data(da), <double*> data(db), B, M, K, N)
    if failed:
        raise MemoryError("matmul_backward: no room for the packed panels")
