# cython: cdivision=True
"""Softmax, compiled ahead of time. A unit of work is one row (B = 1), or one outer index whose B columns run side by side as vectors."""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdlib cimport free, malloc

from fastnn.kernels.arrays cimport data, is_float32, length, real
from fastnn.kernels.elementary cimport exp_, log_
from fastnn.kernels.parallel cimport threads_for

cnp.import_array()

cdef enum:
    LANES = 16  # partial results of a row, combined in a fixed order
    SOFTMAX = 0
    LOG_SOFTMAX = 1


cdef inline real larger(real a, real b) noexcept nogil:
    """The larger one. NaN need not come through here: it does in the sum of exponentials, and so reaches the whole row."""
    return a if a > b else b


cdef real row_max(const real* x, Py_ssize_t n) noexcept nogil:
    cdef real parts[LANES]
    cdef real result = <real> -INFINITY
    cdef Py_ssize_t i, j
    for j in range(LANES):
        parts[j] = <real> -INFINITY
    for i in range(n // LANES):
        for j in range(LANES):
            parts[j] = larger(x[i * LANES + j], parts[j])
    for i in range(n // LANES * LANES, n):
        parts[0] = larger(x[i], parts[0])
    for j in range(LANES):
        result = larger(parts[j], result)
    return result


cdef real row_sum(const real* x, const real* y, Py_ssize_t n) noexcept nogil:
    """Sum of x, or of x y where y is given."""
    cdef real parts[LANES]
    cdef real result = 0
    cdef Py_ssize_t i, j
    for j in range(LANES):
        parts[j] = 0
    if y == NULL:
        for i in range(n // LANES):
            for j in range(LANES):
                parts[j] += x[i * LANES + j]
        for i in range(n // LANES * LANES, n):
            parts[0] += x[i]
    else:
        for i in range(n // LANES):
            for j in range(LANES):
                parts[j] += x[i * LANES + j] * y[i * LANES + j]
        for i in range(n // LANES * LANES, n):
            parts[0] += x[i] * y[i]
    for j in range(LANES):
        result += parts[j]
    return result


cdef real exp_sum(const real* x, real top, Py_ssize_t n) noexcept nogil:
    cdef real parts[LANES]
    cdef real result = 0
    cdef Py_ssize_t i, j
    for j in range(LANES):
        parts[j] = 0
    for i in range(n // LANES):
        for j in range(LANES):
            parts[j] += exp_(x[i * LANES + j] - top)
    for i in range(n // LANES * LANES, n):
        parts[0] += exp_(x[i] - top)
    for j in range(LANES):
        result += parts[j]
    return result


cdef void _row(const real* x, real* y, Py_ssize_t n, int kind) noexcept nogil:
    cdef real top = row_max(x, n), total
    cdef Py_ssize_t i
    if kind == SOFTMAX:
        for i in range(n):
            y[i] = exp_(x[i] - top)
        total = 1 / row_sum(y, <const real*> NULL, n)
        for i in range(n):
            y[i] = y[i] * total
    else:
        total = log_(exp_sum(x, top, n))
        for i in range(n):
            y[i] = (x[i] - top) - total


cdef void _row_backward(const real* dy, const real* y, real* dx, Py_ssize_t n, int kind) noexcept nogil:
    cdef real total = row_sum(dy, y if kind == SOFTMAX else <const real*> NULL, n)
    cdef Py_ssize_t i
    if kind == SOFTMAX:
        for i in range(n):
            dx[i] = y[i] * (dy[i] - total)
    else:
        for i in range(n):
            dx[i] = dy[i] - exp_(y[i]) * total


cdef void _columns(const real* x, real* y, Py_ssize_t C, Py_ssize_t B, real* top, real* total, int kind) noexcept nogil:
    """B softmaxes side by side; ``top`` and ``total`` have room for B."""
    cdef Py_ssize_t c, b
    cdef real e
    for b in range(B):
        top[b] = <real> -INFINITY
        total[b] = 0
    for c in range(C):
        for b in range(B):
            top[b] = larger(x[c * B + b], top[b])
    for c in range(C):
        for b in range(B):
            e = exp_(x[c * B + b] - top[b])
            total[b] += e
            if kind == SOFTMAX:
                y[c * B + b] = e
    for b in range(B):
        total[b] = 1 / total[b] if kind == SOFTMAX else log_(total[b])
    for c in range(C):
        for b in range(B):
            if kind == SOFTMAX:
                y[c * B + b] *= total[b]
            else:
                y[c * B + b] = (x[c * B + b] - top[b]) - total[b]


cdef void _columns_backward(const real* dy, const real* y, real* dx, Py_ssize_t C, Py_ssize_t B, real* total, int kind) noexcept nogil:
    cdef Py_ssize_t c, b
    for b in range(B):
        total[b] = 0
    for c in range(C):
        for b in range(B):
            total[b] += dy[c * B + b] * (y[c * B + b] if kind == SOFTMAX else 1)
    for c in range(C):
        for b in range(B):
            if kind == SOFTMAX:
                dx[c * B + b] = y[c * B + b] * (dy[c * B + b] - total[b])
            else:
                dx[c * B + b] = dy[c * B + b] - exp_(y[c * B + b]) * total[b]


cdef int _run(const real* dy, const real* x, real* y, Py_ssize_t A, Py_ssize_t C, Py_ssize_t B, int kind) noexcept nogil:
    """Forward where ``dy`` is NULL, else backward with x the saved result. Returns -1 without memory."""
    cdef int threads = threads_for(A * C * B * 2)
    cdef Py_ssize_t a, step = C * B
    cdef real* space
    if B == 1:
        for a in prange(A, num_threads=threads, schedule="static"):
            if dy == NULL:
                _row(x + a * step, y + a * step, C, kind)
            else:
                _row_backward(dy + a * step, x + a * step, y + a * step, C, kind)
        return 0
    space = <real*> malloc(max(A * B * 2 * sizeof(real), 1))
    if space == NULL:
        return -1
    for a in prange(A, num_threads=threads, schedule="static"):
        if dy == NULL:
            _columns(x + a * step, y + a * step, C, B, space + a * 2 * B, space + (a * 2 + 1) * B, kind)
        else:
            _columns_backward(dy + a * step, x + a * step, y + a * step, C, B, space + a * 2 * B, kind)
    free(space)
    return 0


cdef void _call(cnp.ndarray dy, cnp.ndarray x, cnp.ndarray y, int kind) except *:
    cdef Py_ssize_t A = length(x, 0), C = length(x, 1), B = length(x, 2)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _run(<const float*> data(dy), <const float*> data(x), <float*> data(y), A, C, B, kind)
    else:
        with nogil:
            failed = _run(<const double*> data(dy), <const double*> data(x), <double*> data(y), A, C, B, kind)
    if failed:
        raise MemoryError("softmax: no room for the sums")


def softmax(cnp.ndarray x not None, cnp.ndarray y not None):
    _call(None, x, y, SOFTMAX)


def softmax_backward(cnp.ndarray dy not None, cnp.ndarray y not None, cnp.ndarray dx not None):
    _call(dy, y, dx, SOFTMAX)


def log_softmax(cnp.ndarray x not None, cnp.ndarray y not None):
    _call(None, x, y, LOG_SOFTMAX)


def log_softmax_backward(cnp.ndarray dy not None, cnp.ndarray y not None, cnp.ndarray dx not None):
    _call(dy, y, dx, LOG_SOFTMAX)
