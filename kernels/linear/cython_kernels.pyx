# cython: cdivision=True
"""Products of matrices, compiled ahead of time."""

from libc.string cimport memcpy

from fastnn.kernels.arrays cimport real
from fastnn.kernels.entry cimport Argument, Argument32, Argument64, Entry, kernel
from fastnn.kernels.gemm cimport IDENTITY, RELU, SIGMOID, TANH, gemm_workspace
from fastnn.kernels.linear.products cimport column_sums, left_multiply, multiply
from fastnn.kernels.linear.small cimport is_row, is_small, row_product, small_gradients, small_product
from fastnn.kernels.packing cimport pack
from fastnn.kernels.scratch cimport scratch


cdef inline int _code(const char* activation) noexcept nogil:
    """The number of an activation, by its first letter."""
    return RELU if activation[0] == c"r" else SIGMOID if activation[0] == c"s" else TANH if activation[0] == c"t" else IDENTITY


cdef int _product(
    const real* x, const real* w, const real* b, real* y, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, int activation
) noexcept nogil:
    if is_small(N, I, O):
        small_product(x, w, b, y, N, I, O, activation)
        return 0
    if is_row(N, I, O, sizeof(real)):
        row_product(x, w, b, y, I, O, activation)
        return 0
    return multiply(y, b, x, I, 1, w, 1, I, 0, N, O, I, activation)


cdef int linear(const Argument* a) noexcept nogil:
    return _product(a[0].input, a[1].input, a[2].input, a[3].output, a[0].dims[0], a[0].dims[1], a[1].dims[0], IDENTITY)


cdef int linear_activated(const Argument* a) noexcept nogil:
    return _product(
        a[0].input, a[1].input, a[2].input, a[4].output, a[0].dims[0], a[0].dims[1], a[1].dims[0], _code(a[3].text))


cdef int _gradients(
    const real* dy, const real* x, const real* w, real* dx, real* dw, real* db, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O
) noexcept nogil:
    cdef int failed = 0
    if is_small(N, I, O):
        small_gradients(dy, x, w, dx, dw, db, N, I, O)
        return 0
    if N == 1:
        if db != NULL:
            memcpy(db, dy, O * sizeof(real))
        if dx != NULL or dw != NULL:
            left_multiply(dy, 1, w, x, dx, dw, O, I)
        return 0
    if db != NULL:
        column_sums(dy, db, N, O)
    if dx != NULL:
        failed |= multiply(dx, <const real*> NULL, dy, O, 1, w, I, 1, 0, N, I, O, IDENTITY)
    if dw != NULL:
        failed |= multiply(dw, <const real*> NULL, dy, 1, O, x, I, 1, 0, O, I, N, IDENTITY)
    return failed


cdef int linear_backward(const Argument* a) noexcept nogil:
    return _gradients(
        a[0].input, a[1].input, a[2].input, a[3].output, a[4].output, a[5].output, a[1].dims[0], a[1].dims[1], a[2].dims[0])


cdef void _through_activation(const real* dy, const real* y, real* dz, Py_ssize_t n, int activation) noexcept nogil:
    """The gradient of what the activation was taken of."""
    cdef Py_ssize_t i
    if activation == RELU:
        for i in range(n):
            dz[i] = dy[i] if y[i] > 0 else 0
    elif activation == SIGMOID:
        for i in range(n):
            dz[i] = dy[i] * (y[i] * (1 - y[i]))
    else:
        for i in range(n):
            dz[i] = dy[i] * (1 - y[i] * y[i])


cdef inline int _activated_gradients(
    const real* dy, const real* x, const real* w, const real* y, real* dx, real* dw, real* db,
    Py_ssize_t N, Py_ssize_t I, Py_ssize_t O, int activation,
) noexcept nogil:
    cdef Py_ssize_t product = gemm_workspace(sizeof(real))
    cdef char* workspace
    if activation == IDENTITY:
        return _gradients(dy, x, w, dx, dw, db, N, I, O)
    workspace = scratch(product + N * O * sizeof(real))  # its first part is for the products
    if workspace == NULL:
        return -1
    _through_activation(dy, y, <real*> (workspace + product), N * O, activation)
    return _gradients(<const real*> (workspace + product), x, w, dx, dw, db, N, I, O)


cdef int linear_activated_backward(const Argument* a) noexcept nogil:
    return _activated_gradients(
        a[0].input, a[1].input, a[2].input, a[3].input, a[5].output, a[6].output, a[7].output,
        a[1].dims[0], a[1].dims[1], a[2].dims[0], _code(a[4].text))


cdef int pack_panels(const Argument* a) noexcept nogil:
    cdef Py_ssize_t O = a[0].dims[0], I = a[0].dims[1]
    if O > 0:
        pack(a[0].input, I, 1, O, I, a[1].dims[2], a[1].output)
    return 0


cdef int linear_packed(const Argument* a) noexcept nogil:
    cdef Py_ssize_t I = a[0].dims[1], panel = a[1].dims[2]
    return multiply(
        a[5].output, a[2].input, a[0].input, I, 1, a[1].input, panel, 1, panel * I, a[0].dims[0], a[3].integer, I,
        _code(a[4].text))


cdef inline int _products(
    const real* a, const real* b, real* y, Py_ssize_t B, Py_ssize_t M, Py_ssize_t K, Py_ssize_t N
) noexcept nogil:
    cdef Py_ssize_t i
    cdef int failed = 0
    for i in range(B):
        failed |= multiply(y + i * M * N, <const real*> NULL, a + i * M * K, K, 1, b + i * K * N, N, 1, 0, M, N, K, IDENTITY)
    return failed


cdef int matmul(const Argument* a) noexcept nogil:
    return _products(a[0].input, a[1].input, a[2].output, a[0].dims[0], a[0].dims[1], a[0].dims[2], a[1].dims[2])


cdef inline int _product_gradients(
    const real* dy, const real* a, const real* b, real* da, real* db, Py_ssize_t B, Py_ssize_t M, Py_ssize_t K, Py_ssize_t N
) noexcept nogil:
    cdef Py_ssize_t i
    cdef int failed = 0
    cdef const real* d
    for i in range(B):
        d = dy + i * M * N
        if da != NULL:
            failed |= multiply(da + i * M * K, <const real*> NULL, d, N, 1, b + i * K * N, 1, N, 0, M, K, N, IDENTITY)
        if db != NULL:
            failed |= multiply(db + i * K * N, <const real*> NULL, a + i * M * K, 1, K, d, N, 1, 0, K, N, M, IDENTITY)
    return failed


cdef int matmul_backward(const Argument* a) noexcept nogil:
    return _product_gradients(
        a[0].input, a[1].input, a[2].input, a[3].output, a[4].output, a[1].dims[0], a[1].dims[1], a[1].dims[2], a[2].dims[2])


kernel(globals(), "linear(x, w, b?, y)", <Entry> linear[Argument32], <Entry> linear[Argument64])
kernel(globals(), "linear_activated(x, w, b?, str activation, y)",
       <Entry> linear_activated[Argument32], <Entry> linear_activated[Argument64])
kernel(globals(), "linear_backward(dy, x, w, dx?, dw?, db?)", <Entry> linear_backward[Argument32], <Entry> linear_backward[Argument64])
kernel(globals(), "linear_activated_backward(dy, x, w, y, str activation, dx?, dw?, db?)",
       <Entry> linear_activated_backward[Argument32], <Entry> linear_activated_backward[Argument64])
kernel(globals(), "pack_panels(w, panels)", <Entry> pack_panels[Argument32], <Entry> pack_panels[Argument64])
kernel(globals(), "linear_packed(x, panels, b?, int out_features, str activation, y)",
       <Entry> linear_packed[Argument32], <Entry> linear_packed[Argument64])
kernel(globals(), "matmul(a, b, y)", <Entry> matmul[Argument32], <Entry> matmul[Argument64])
kernel(globals(), "matmul_backward(dy, a, b, da?, db?)", <Entry> matmul_backward[Argument32], <Entry> matmul_backward[Argument64])
