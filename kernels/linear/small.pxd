"""A linear map so small that it is over before a product of blocks has found its way: plain loops, and the activation in whole vectors."""

from libc.string cimport memcpy

from fastnn.kernels.arrays cimport real
from fastnn.kernels.gemm cimport IDENTITY, activate

cdef enum:
    SMALL = 32  # multiply-adds, and elements of each array: 64 are slower than rows of dot products
    LANES = 16   # of the widest vector


cdef inline bint is_small(Py_ssize_t N, Py_ssize_t I, Py_ssize_t O) noexcept nogil:
    return N * I <= SMALL and N * O <= SMALL and I * O <= SMALL and N * I * O <= SMALL


cdef inline void small_product(
    const real* x, const real* w, const real* b, real* y, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, int activation
) noexcept nogil:
    """y (N, O) = activation(x w^T + b)"""
    cdef real results[SMALL + LANES]
    cdef real* result = results
    cdef Py_ssize_t n, i, o, whole = (N * O + LANES - 1) // LANES * LANES
    cdef real total
    if activation == IDENTITY:
        result = y
    for n in range(N):
        for o in range(O):
            total = 0 if b == NULL else b[o]
            for i in range(I):
                total += x[n * I + i] * w[o * I + i]
            result[n * O + o] = total
    if activation != IDENTITY:
        for n in range(N * O, whole):
            results[n] = 0
        activate(results, whole, 1, whole, activation)
        memcpy(y, results, N * O * sizeof(real))


cdef inline void small_gradients(
    const real* dy, const real* x, const real* w, real* dx, real* dw, real* db, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O
) noexcept nogil:
    """dx = dy w, dw = dy^T x, db = the column sums of dy; each may be NULL."""
    cdef Py_ssize_t n, i, o
    cdef real total
    if db != NULL:
        for o in range(O):
            total = 0
            for n in range(N):
                total += dy[n * O + o]
            db[o] = total
    if dx != NULL:
        for n in range(N):
            for i in range(I):
                total = 0
                for o in range(O):
                    total += dy[n * O + o] * w[o * I + i]
                dx[n * I + i] = total
    if dw != NULL:
        for o in range(O):
            for i in range(I):
                total = 0
                for n in range(N):
                    total += dy[n * O + o] * x[n * I + i]
                dw[o * I + i] = total
