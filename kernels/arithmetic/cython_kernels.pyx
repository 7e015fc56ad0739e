# cython: cdivision=True
"""Arithmetic, compiled ahead of time. A unit of work is a stretch of one row; what is broadcast along it is spread out in a block first."""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.math cimport INFINITY

from fastnn.kernels.arithmetic cimport elements
from fastnn.kernels.arithmetic.broadcasting cimport Walk, locate, walk
from fastnn.kernels.arithmetic.elements cimport BLOCK
from fastnn.kernels.arrays cimport data, is_float32, real, size
from fastnn.kernels.parallel cimport threads_for

cnp.import_array()

cdef enum:
    STRETCH = 16 * BLOCK


cdef enum Kind:
    ELEMENTS          # y = a ? b
    OVER_SQUARE       # y = -c a / b^2, the divisor's gradient
    TO_LARGER         # y = c where a > b
    TO_SMALLER


cdef inline const real* _spread(const real* source, bint moves, Py_ssize_t at, Py_ssize_t n, real* block) noexcept nogil:
    """Elements ``at`` and on of a row; one that stands still is repeated in ``block``."""
    cdef Py_ssize_t i
    if moves:
        return source + at
    for i in range(n):
        block[i] = source[0]
    return block


cdef void _unit(const Walk* w, Py_ssize_t unit, Py_ssize_t stretches, Kind kind, int operation,
                const real* a, const real* b, const real* c, real* y) noexcept nogil:
    """One stretch; ``c``, where it is wanted, is as large as ``y``."""
    cdef real a_block[BLOCK]
    cdef real b_block[BLOCK]
    cdef Py_ssize_t row = unit // stretches, at = unit % stretches * STRETCH, end = min(at + STRETCH, w.length), n, a_row, b_row, here
    cdef const real* left
    cdef const real* right
    locate(w, row, &a_row, &b_row)
    while at < end:
        n = min(<Py_ssize_t> BLOCK, end - at)
        here = row * w.length + at
        left = _spread(a + a_row, w.a_moves, at, n, a_block)
        right = _spread(b + b_row, w.b_moves, at, n, b_block)
        if kind == ELEMENTS:
            elements.binary(operation, left, right, y + here, n)
        elif kind == OVER_SQUARE:
            elements.divide_backward(c + here, left, right, y + here, n)
        else:
            elements.extremum_backward(c + here, left, right, y + here, n, kind == TO_SMALLER)
        at += n


cdef void _walk(const Walk* w, Kind kind, int operation, const real* a, const real* b, const real* c, real* y) noexcept nogil:
    cdef Py_ssize_t stretches = (w.length + STRETCH - 1) // STRETCH, units = w.rows * stretches, i
    cdef int threads = threads_for(w.rows * w.length)
    if threads == 1:
        for i in range(units):
            _unit(w, i, stretches, kind, operation, a, b, c, y)
    else:
        for i in prange(units, num_threads=threads, schedule="static"):
            _unit(w, i, stretches, kind, operation, a, b, c, y)


cdef void _binary(cnp.ndarray a, cnp.ndarray b, cnp.ndarray y, int operation, Kind kind=ELEMENTS, cnp.ndarray c=None) noexcept:
    """``y``, which may be None, from two arrays that broadcast to it."""
    cdef Walk w
    if y is None or size(y) == 0:
        return
    w = walk(a, b, y)
    with nogil:
        if is_float32(y):
            _walk(&w, kind, operation, <const float*> data(a), <const float*> data(b), <const float*> data(c), <float*> data(y))
        else:
            _walk(&w, kind, operation, <const double*> data(a), <const double*> data(b), <const double*> data(c), <double*> data(y))


cdef void _elements(const real* x, real* y, Py_ssize_t n, int operation) noexcept nogil:
    cdef Py_ssize_t blocks = (n + STRETCH - 1) // STRETCH, i
    cdef int threads = threads_for(n)
    if threads == 1:
        elements.unary(operation, x, y, n)
    else:
        for i in prange(blocks, num_threads=threads, schedule="static"):
            elements.unary(operation, x + i * STRETCH, y + i * STRETCH, min(<Py_ssize_t> STRETCH, n - i * STRETCH))


cdef void _unary(cnp.ndarray x, cnp.ndarray y, int operation) noexcept:
    with nogil:
        if is_float32(x):
            _elements(<const float*> data(x), <float*> data(y), size(x), operation)
        else:
            _elements(<const double*> data(x), <double*> data(y), size(x), operation)


def add(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray y not None):
    _binary(a, b, y, elements.ADD)


def subtract(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray y not None):
    _binary(a, b, y, elements.SUBTRACT)


def multiply(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray y not None):
    _binary(a, b, y, elements.MULTIPLY)


def multiply_backward(cnp.ndarray dy not None, cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray da, cnp.ndarray db):
    _binary(dy, b, da, elements.MULTIPLY)
    _binary(dy, a, db, elements.MULTIPLY)


def divide(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray y not None):
    _binary(a, b, y, elements.DIVIDE)


def divide_backward(cnp.ndarray dy not None, cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray da, cnp.ndarray db):
    _binary(dy, b, da, elements.DIVIDE)
    _binary(a, b, db, 0, OVER_SQUARE, dy)


def maximum(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray y not None):
    _binary(a, b, y, elements.MAXIMUM)


def maximum_backward(cnp.ndarray dy not None, cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray da, cnp.ndarray db):
    _binary(a, b, da, 0, TO_LARGER, dy)
    _binary(b, a, db, 0, TO_LARGER, dy)


def minimum(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray y not None):
    _binary(a, b, y, elements.MINIMUM)


def minimum_backward(cnp.ndarray dy not None, cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray da, cnp.ndarray db):
    _binary(a, b, da, 0, TO_SMALLER, dy)
    _binary(b, a, db, 0, TO_SMALLER, dy)


def negative(cnp.ndarray x not None, cnp.ndarray y not None):
    _unary(x, y, elements.NEGATIVE)


def negative_backward(cnp.ndarray dy not None, cnp.ndarray dx not None):
    _unary(dy, dx, elements.NEGATIVE)


def exp(cnp.ndarray x not None, cnp.ndarray y not None):
    _unary(x, y, elements.EXP)


def exp_backward(cnp.ndarray dy not None, cnp.ndarray y not None, cnp.ndarray dx not None):
    _binary(dy, y, dx, elements.MULTIPLY)


def log(cnp.ndarray x not None, cnp.ndarray y not None):
    _unary(x, y, elements.LOG)


def log_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray dx not None):
    _binary(dy, x, dx, elements.LOG_BACKWARD)


def sqrt(cnp.ndarray x not None, cnp.ndarray y not None):
    _unary(x, y, elements.SQRT)


def sqrt_backward(cnp.ndarray dy not None, cnp.ndarray y not None, cnp.ndarray dx not None):
    _binary(dy, y, dx, elements.SQRT_BACKWARD)


def abs(cnp.ndarray x not None, cnp.ndarray y not None):
    _unary(x, y, elements.ABS)


def abs_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray dx not None):
    _binary(dy, x, dx, elements.ABS_BACKWARD)


def clamp(cnp.ndarray x not None, low, high, cnp.ndarray y not None):
    cdef double least = -INFINITY if low is None else low, most = INFINITY if high is None else high
    with nogil:
        if is_float32(x):
            elements.clamp(<const float*> data(x), <float*> data(y), size(x), <float> least, <float> most)
        else:
            elements.clamp(<const double*> data(x), <double*> data(y), size(x), least, most)


def clamp_backward(cnp.ndarray dy not None, cnp.ndarray x not None, low, high, cnp.ndarray dx not None):
    cdef double least = -INFINITY if low is None else low, most = INFINITY if high is None else high
    with nogil:
        if is_float32(x):
            elements.clamp_backward(
                <const float*> data(dy), <const float*> data(x), <float*> data(dx), size(x), <float> least, <float> most)
        else:
            elements.clamp_backward(<const double*> data(dy), <const double*> data(x), <double*> data(dx), size(x), least, most)
