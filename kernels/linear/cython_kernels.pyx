# cython: cdivision=True
"""Products of matrices, compiled ahead of time."""

cimport numpy as cnp
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastnn.kernels.arrays cimport data, is_float32, length, real
from fastnn.kernels.gemm cimport IDENTITY, RELU, SIGMOID, pack
from fastnn.kernels.linear.products cimport column_sums, left_multiply, multiply, multiply_panels

cnp.import_array()

cdef tuple ACTIVATIONS = ("identity", "relu", "sigmoid", "tanh")  # numbered as in gemm.pxd


cdef int _code(str activation) except -1:
    """The number of an activation. Names in programs are mostly the very same strings, of which index() knows nothing: 60 ns."""
    cdef int i
    for i in range(4):
        if activation is ACTIVATIONS[i]:
            return i
    return ACTIVATIONS.index(activation)


cdef int _linear(cnp.ndarray x, cnp.ndarray w, cnp.ndarray b, cnp.ndarray y, int activation) except -1:
    cdef Py_ssize_t N = length(x, 0), I = length(x, 1), O = length(w, 0)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = multiply(
                <float*> data(y), <const float*> data(b), <const float*> data(x), I, 1, <const float*> data(w), 1, I, N, O, I,
                activation)
    else:
        with nogil:
            failed = multiply(
                <double*> data(y), <const double*> data(b), <const double*> data(x), I, 1, <const double*> data(w), 1, I, N, O, I,
                activation)
    if failed:
        raise MemoryError("linear: no room for the packed panels")
    return 0


def linear(cnp.ndarray x not None, cnp.ndarray w not None, cnp.ndarray b, cnp.ndarray y not None):
    _linear(x, w, b, y, IDENTITY)


def linear_activated(cnp.ndarray x not None, cnp.ndarray w not None, cnp.ndarray b, str activation, cnp.ndarray y not None):
    _linear(x, w, b, y, _code(activation))


cdef int _gradients(
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
        failed |= multiply(dx, <const real*> NULL, dy, O, 1, w, I, 1, N, I, O, IDENTITY)
    if dw != NULL:
        failed |= multiply(dw, <const real*> NULL, dy, 1, O, x, I, 1, O, I, N, IDENTITY)
    return failed


cdef int _activated_gradients(
    const real* dy, const real* x, const real* w, const real* y, real* dx, real* dw, real* db,
    Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, int activation,
) noexcept nogil:
    cdef Py_ssize_t i
    cdef int failed
    cdef real* dz
    if activation == IDENTITY:
        return _gradients(dy, x, w, dx, dw, db, N, I, O)
    dz = <real*> malloc(N * O * sizeof(real) + 1)
    if dz == NULL:
        return -1
    for i in range(N * O):
        if activation == RELU:
            dz[i] = dy[i] if y[i] > 0 else 0
        elif activation == SIGMOID:
            dz[i] = dy[i] * (y[i] * (1 - y[i]))
        else:
            dz[i] = dy[i] * (1 - y[i] * y[i])
    failed = _gradients(dz, x, w, dx, dw, db, N, I, O)
    free(dz)
    return failed


cdef int _linear_backward(
    cnp.ndarray dy, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, int activation, cnp.ndarray dx, cnp.ndarray dw, cnp.ndarray db
) except -1:
    cdef Py_ssize_t N = length(x, 0), I = length(x, 1), O = length(w, 0)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _activated_gradients(
                <const float*> data(dy), <const float*> data(x), <const float*> data(w), <const float*> data(y),
                <float*> data(dx), <float*> data(dw), <float*> data(db), N, I, O, activation)
    else:
        with nogil:
            failed = _activated_gradients(
                <const double*> data(dy), <const double*> data(x), <const double*> data(w), <const double*> data(y),
                <double*> data(dx), <double*> data(dw), <double*> data(db), N, I, O, activation)
    if failed:
        raise MemoryError("linear_backward: no room for the packed panels")
    return 0


def linear_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray w not None, cnp.ndarray dx, cnp.ndarray dw, cnp.ndarray db
):
    _linear_backward(dy, x, w, None, IDENTITY, dx, dw, db)


def linear_activated_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray w not None, cnp.ndarray y not None, str activation,
    cnp.ndarray dx, cnp.ndarray dw, cnp.ndarray db,
):
    _linear_backward(dy, x, w, y, _code(activation), dx, dw, db)


cdef void _pack(const real* w, real* panels, Py_ssize_t O, Py_ssize_t I, Py_ssize_t panel) noexcept nogil:
    if O > 0:
        pack(w, I, 1, O, I, panel, panels)


def pack_panels(cnp.ndarray w not None, cnp.ndarray panels not None):
    cdef Py_ssize_t O = length(w, 0), I = length(w, 1), panel = length(panels, 2)
    if is_float32(w):
        with nogil:
            _pack(<const float*> data(w), <float*> data(panels), O, I, panel)
    else:
        with nogil:
            _pack(<const double*> data(w), <double*> data(panels), O, I, panel)


def linear_packed(
    cnp.ndarray x not None, cnp.ndarray panels not None, cnp.ndarray b, Py_ssize_t out_features, str activation,
    cnp.ndarray y not None,
):
    cdef Py_ssize_t N = length(x, 0), I = length(x, 1), panel = length(panels, 2)
    cdef int code = _code(activation)
    if is_float32(x):
        with nogil:
            multiply_panels(
                <float*> data(y), <const float*> data(b), <const float*> data(x), <const float*> data(panels), panel,
                N, out_features, I, code)
    else:
        with nogil:
            multiply_panels(
                <double*> data(y), <const double*> data(b), <const double*> data(x), <const double*> data(panels), panel,
                N, out_features, I, code)


cdef int _matmul(const real* a, const real* b, real* y, Py_ssize_t B, Py_ssize_t M, Py_ssize_t K, Py_ssize_t N) noexcept nogil:
    cdef Py_ssize_t i
    cdef int failed = 0
    for i in range(B):
        failed |= multiply(y + i * M * N, <const real*> NULL, a + i * M * K, K, 1, b + i * K * N, N, 1, M, N, K, IDENTITY)
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
    cdef const real* d
    for i in range(B):
        d = dy + i * M * N
        if da != NULL:
            failed |= multiply(da + i * M * K, <const real*> NULL, d, N, 1, b + i * K * N, 1, N, M, K, N, IDENTITY)
        if db != NULL:
            failed |= multiply(db + i * K * N, <const real*> NULL, a + i * M * K, 1, K, d, N, 1, K, N, M, IDENTITY)
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
