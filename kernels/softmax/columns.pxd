# cython: cdivision=True
"""Softmaxes side by side: element c of number j lies at x[c stride + j]. At most WIDTH of them at once."""

from libc.math cimport INFINITY

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport exp_, log_
from fastnn.kernels.lanes cimport CHUNK, powers

cdef enum:
    WIDTH = 64
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


cdef inline void gather(const real* rows, Py_ssize_t C, Py_ssize_t count, real* block) noexcept nogil:
    """``count`` rows of C side by side: block[c WIDTH + j] = rows[j C + c]"""
    cdef Py_ssize_t c, j
    for c in range(C):
        for j in range(count):
            block[c * WIDTH + j] = rows[j * C + c]


cdef inline void scatter(const real* block, Py_ssize_t C, Py_ssize_t count, real* rows) noexcept nogil:
    cdef Py_ssize_t c, j
    for j in range(count):
        for c in range(C):
            rows[j * C + c] = block[c * WIDTH + j]
