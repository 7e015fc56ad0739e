"""A linear map so small that it is over before a product of blocks has found its way.

Either plain loops, and the activation in whole vectors; or a single row against a matrix that the second-level cache holds.
"""

from libc.string cimport memcpy

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport sigmoid_, tanh_
from fastnn.kernels.gemm cimport IDENTITY, RELU, SIGMOID, activate

cdef extern from "simd/row.h" nogil:
    enum:
        ROW_BYTES "FASTNN_ROW_BYTES"  # of a row whose sums need no chunks
    void row_f32 "fastnn_row_f32"(
        const float* x, Py_ssize_t k, const float* w, Py_ssize_t rows, const float* b, bint relu, float* y) noexcept
    void row_f64 "fastnn_row_f64"(
        const double* x, Py_ssize_t k, const double* w, Py_ssize_t rows, const double* b, bint relu, double* y) noexcept

cdef extern from "simd/small.h" nogil:
    enum:
        SMALL_BYTES "FASTNN_SMALL_BYTES"  # of a row that the functions below take
    void small_gradients_f32 "fastnn_small_gradients_f32"(
        const float* dy, const float* x, const float* w, float* dx, float* dw, float* db,
        Py_ssize_t N, Py_ssize_t I, Py_ssize_t O) noexcept
    void small_gradients_f64 "fastnn_small_gradients_f64"(
        const double* dy, const double* x, const double* w, double* dx, double* dw, double* db,
        Py_ssize_t N, Py_ssize_t I, Py_ssize_t O) noexcept

cdef enum:
    SMALL = 32  # multiply-adds, and elements of each array: 64 are slower than rows of dot products
    LANES = 16  # of the widest vector
    FEW = 4     # activated elements that are computed one by one: writing them first and then reading a vector takes longer
    ROW = 1 << 20  # bytes of a matrix below which one row is multiplied with it in ``row_product``


cdef inline bint is_row(Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, size_t itemsize) noexcept nogil:
    return N == 1 and 0 < I * O * itemsize < ROW and I * itemsize <= ROW_BYTES


cdef inline void row_product(
    const real* x, const real* w, const real* b, real* y, Py_ssize_t I, Py_ssize_t O, int activation
) noexcept nogil:
    """y (O) = activation(w x + b), on one thread: a second one pays for larger matrices alone."""
    if real is float:
        row_f32(x, I, w, O, b, activation == RELU, y)
    else:
        row_f64(x, I, w, O, b, activation == RELU, y)
    if activation != RELU and activation != IDENTITY:
        activate(y, O, 1, O, activation)


cdef inline real activated(real x, int activation) noexcept nogil:
    if activation == RELU:
        return 0 if x <= 0 else x  # NaN stays
    return sigmoid_(x) if activation == SIGMOID else tanh_(x)


cdef inline bint is_small(Py_ssize_t N, Py_ssize_t I, Py_ssize_t O) noexcept nogil:
    return N * I <= SMALL and N * O <= SMALL and I * O <= SMALL and N * I * O <= SMALL


cdef inline void small_product(
    const real* x, const real* w, const real* b, real* y, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, int activation
) noexcept nogil:
    """y (N, O) = activation(x w^T + b)"""
    cdef real results[SMALL + LANES]
    cdef real* result = results
    cdef bint few = N * O <= FEW and activation != IDENTITY
    cdef Py_ssize_t n, i, o, whole = (N * O + LANES - 1) // LANES * LANES
    cdef real total
    if activation == IDENTITY or few:
        result = y
    for n in range(N):
        for o in range(O):
            total = 0 if b == NULL else b[o]
            for i in range(I):
                total += x[n * I + i] * w[o * I + i]
            result[n * O + o] = activated(total, activation) if few else total
    if activation != IDENTITY and not few:
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
    if max(I, O) * <Py_ssize_t> sizeof(real) <= SMALL_BYTES:
        if real is float:
            small_gradients_f32(dy, x, w, dx, dw, db, N, I, O)
        else:
            small_gradients_f64(dy, x, w, dx, dw, db, N, I, O)
        return
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
