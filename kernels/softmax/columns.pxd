# cython: cdivision=True
"""Softmaxes side by side: element c of number j lies at x[c stride + j]. At most WIDTH of them at once."""

from libc.math cimport INFINITY

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport exp_, log_
from fastnn.kernels.lanes cimport CHUNK, powers

cdef extern from "simd/transpose.h" nogil:
    enum:
        VECTOR_BYTES "FASTNN_VECTOR_BYTES"
    void transpose_part_f32 "fastnn_transpose_part_f32"(
        const float* source, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t columns,
        float* out, Py_ssize_t width, Py_ssize_t padded) noexcept
    void transpose_part_f64 "fastnn_transpose_part_f64"(
        const double* source, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t columns,
        double* out, Py_ssize_t width, Py_ssize_t padded) noexcept

cdef enum:
    WIDTH = 64
    WHOLE = 64  # elements from which squares are transposed in registers: two to three times faster with 32 rows of 10
    SHORT = 32  # rows up to this length are walked side by side, transposed: their own vectors would be mostly empty


cdef inline void columns(
    const real* x, real* y, Py_ssize_t C, Py_ssize_t stride, Py_ssize_t count, bint logarithm
) noexcept nogil:
    cdef real top[WIDTH]
    cdef real total[WIDTH]
    cdef real terms[WIDTH]
    cdef double totals[WIDTH]
    cdef Py_ssize_t c, j
    for j in range(count):
        top[j] = <real> -INFINITY
        total[j] = 0
        totals[j] = 0
    for c in range(C):
        for j in range(count):
            top[j] = x[c * stride + j] if x[c * stride + j] > top[j] else top[j]
    for c in range(C):
        powers(x + c * stride, <const real*> top, terms, count)
        for j in range(count):
            total[j] += terms[j]
        if not logarithm:
            for j in range(count):
                y[c * stride + j] = terms[j]
        if (c + 1) % CHUNK == 0:
            for j in range(count):
                totals[j] += total[j]
                total[j] = 0
    for j in range(count):
        total[j] = <real> (totals[j] + total[j])
        total[j] = log_(total[j]) if logarithm else 1 / total[j]
    for c in range(C):
        if logarithm:
            for j in range(count):
                terms[j] = (x[c * stride + j] - top[j]) - total[j]
            for j in range(count):
                y[c * stride + j] = terms[j]
        else:
            for j in range(count):
                y[c * stride + j] *= total[j]


cdef inline void columns_backward(
    const real* dy, const real* y, real* dx, Py_ssize_t C, Py_ssize_t stride, Py_ssize_t count, bint logarithm
) noexcept nogil:
    cdef real total[WIDTH]
    cdef real terms[WIDTH]
    cdef double totals[WIDTH]
    cdef Py_ssize_t c, j, at
    for j in range(count):
        total[j] = 0
        totals[j] = 0
    for c in range(C):
        at = c * stride
        if logarithm:
            for j in range(count):
                total[j] += dy[at + j]
        else:
            for j in range(count):
                total[j] += dy[at + j] * y[at + j]
        if (c + 1) % CHUNK == 0:
            for j in range(count):
                totals[j] += total[j]
                total[j] = 0
    for j in range(count):
        total[j] = <real> (totals[j] + total[j])
    for c in range(C):
        at = c * stride
        if logarithm:
            for j in range(count):
                terms[j] = dy[at + j] - exp_(y[at + j]) * total[j]
        else:
            for j in range(count):
                terms[j] = y[at + j] * (dy[at + j] - total[j])
        for j in range(count):
            dx[at + j] = terms[j]


cdef inline void transpose(
    const real* source, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t columns, real* out, Py_ssize_t width
) noexcept nogil:
    """out[j width + i] = source[i stride + j] for i < rows and j < columns, a square of vectors at a time."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), i = 0, j, height
    while i < rows:
        height = min(lanes, rows - i)
        j = 0
        while j < columns:
            if real is float:
                transpose_part_f32(
                    source + i * stride + j, stride, height, min(lanes, columns - j), out + j * width + i, width, height)
            else:
                transpose_part_f64(
                    source + i * stride + j, stride, height, min(lanes, columns - j), out + j * width + i, width, height)
            j += lanes
        i += lanes


cdef inline void gather(const real* rows, Py_ssize_t C, Py_ssize_t count, real* block) noexcept nogil:
    """``count`` rows of C side by side: block[c WIDTH + j] = rows[j C + c]"""
    cdef Py_ssize_t c, j
    if C * count >= WHOLE:
        transpose(rows, C, count, C, block, WIDTH)
        return
    for c in range(C):
        for j in range(count):
            block[c * WIDTH + j] = rows[j * C + c]


cdef inline void scatter(const real* block, Py_ssize_t C, Py_ssize_t count, real* rows) noexcept nogil:
    """And back."""
    cdef Py_ssize_t c, j
    if C * count >= WHOLE:
        transpose(block, WIDTH, C, count, rows, C)
        return
    for j in range(count):
        for c in range(C):
            rows[j * C + c] = block[c * WIDTH + j]
