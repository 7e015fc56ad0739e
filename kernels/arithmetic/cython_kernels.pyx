# cython: cdivision=True
"""Arithmetic, compiled ahead of time. A unit of work is a stretch of one row; what is broadcast along it is spread out in a block first."""

from cython.parallel cimport prange
from libc.math cimport INFINITY

from fastnn.kernels.arithmetic cimport elements
from fastnn.kernels.arithmetic.broadcasting cimport Walk, locate, walk
from fastnn.kernels.arithmetic.elements cimport BLOCK
from fastnn.kernels.arrays cimport real
from fastnn.kernels.entry cimport Argument, Argument32, Argument64, Entry, kernel
from fastnn.kernels.parallel cimport threads_for

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


cdef void _binary(
    const Argument* a, const Argument* b, const Argument* y, int operation, Kind kind, const Argument* c
) noexcept nogil:
    """``y``, which may be absent, from two arrays that broadcast to it; ``c`` is not used by ELEMENTS."""
    cdef Walk w
    if y.given and y.size > 0:
        w = walk(<const Argument64*> a, <const Argument64*> b, <const Argument64*> y)
        _walk(&w, kind, operation, a.input, b.input, c.input, y.output)


cdef void _elements(const real* x, real* y, Py_ssize_t n, int operation) noexcept nogil:
    cdef Py_ssize_t blocks = (n + STRETCH - 1) // STRETCH, i
    cdef int threads = threads_for(n)
    if threads == 1:
        elements.unary(operation, x, y, n)
    else:
        for i in prange(blocks, num_threads=threads, schedule="static"):
            elements.unary(operation, x + i * STRETCH, y + i * STRETCH, min(<Py_ssize_t> STRETCH, n - i * STRETCH))


cdef inline int _unary(const Argument* a, int operation) noexcept nogil:
    _elements(a[0].input, a[1].output, a[0].size, operation)
    return 0


cdef int add(const Argument* a) noexcept nogil:
    _binary(a, a + 1, a + 2, elements.ADD, ELEMENTS, a)
    return 0


cdef int subtract(const Argument* a) noexcept nogil:
    _binary(a, a + 1, a + 2, elements.SUBTRACT, ELEMENTS, a)
    return 0


cdef int multiply(const Argument* a) noexcept nogil:
    _binary(a, a + 1, a + 2, elements.MULTIPLY, ELEMENTS, a)
    return 0


cdef int divide(const Argument* a) noexcept nogil:
    _binary(a, a + 1, a + 2, elements.DIVIDE, ELEMENTS, a)
    return 0


cdef int maximum(const Argument* a) noexcept nogil:
    _binary(a, a + 1, a + 2, elements.MAXIMUM, ELEMENTS, a)
    return 0


cdef int minimum(const Argument* a) noexcept nogil:
    _binary(a, a + 1, a + 2, elements.MINIMUM, ELEMENTS, a)
    return 0


cdef int multiply_backward(const Argument* a) noexcept nogil:
    _binary(a, a + 2, a + 3, elements.MULTIPLY, ELEMENTS, a)
    _binary(a, a + 1, a + 4, elements.MULTIPLY, ELEMENTS, a)
    return 0


cdef int divide_backward(const Argument* a) noexcept nogil:
    _binary(a, a + 2, a + 3, elements.DIVIDE, ELEMENTS, a)
    _binary(a + 1, a + 2, a + 4, 0, OVER_SQUARE, a)
    return 0


cdef int maximum_backward(const Argument* a) noexcept nogil:
    _binary(a + 1, a + 2, a + 3, 0, TO_LARGER, a)
    _binary(a + 2, a + 1, a + 4, 0, TO_LARGER, a)
    return 0


cdef int minimum_backward(const Argument* a) noexcept nogil:
    _binary(a + 1, a + 2, a + 3, 0, TO_SMALLER, a)
    _binary(a + 2, a + 1, a + 4, 0, TO_SMALLER, a)
    return 0


cdef int negative(const Argument* a) noexcept nogil:
    return _unary(a, elements.NEGATIVE)


cdef int exp(const Argument* a) noexcept nogil:
    return _unary(a, elements.EXP)


cdef int log(const Argument* a) noexcept nogil:
    return _unary(a, elements.LOG)


cdef int sqrt(const Argument* a) noexcept nogil:
    return _unary(a, elements.SQRT)


cdef int abs(const Argument* a) noexcept nogil:
    return _unary(a, elements.ABS)


cdef int negative_backward(const Argument* a) noexcept nogil:
    return _unary(a, elements.NEGATIVE)


cdef int exp_backward(const Argument* a) noexcept nogil:
    _binary(a, a + 1, a + 2, elements.MULTIPLY, ELEMENTS, a)
    return 0


cdef int log_backward(const Argument* a) noexcept nogil:
    _binary(a, a + 1, a + 2, elements.LOG_BACKWARD, ELEMENTS, a)
    return 0


cdef int sqrt_backward(const Argument* a) noexcept nogil:
    _binary(a, a + 1, a + 2, elements.SQRT_BACKWARD, ELEMENTS, a)
    return 0


cdef int abs_backward(const Argument* a) noexcept nogil:
    _binary(a, a + 1, a + 2, elements.ABS_BACKWARD, ELEMENTS, a)
    return 0


cdef inline double _or(const Argument* limit, double otherwise) noexcept nogil:
    return limit.number if limit.given else otherwise


cdef int clamp(const Argument* a) noexcept nogil:
    elements.clamp(a[0].input, a[3].output, a[0].size, _or(a + 1, -INFINITY), _or(a + 2, INFINITY))
    return 0


cdef int clamp_backward(const Argument* a) noexcept nogil:
    elements.clamp_backward(a[0].input, a[1].input, a[4].output, a[0].size, _or(a + 2, -INFINITY), _or(a + 3, INFINITY))
    return 0


kernel(globals(), "add(a, b, y)", <Entry> add[Argument32], <Entry> add[Argument64])
kernel(globals(), "subtract(a, b, y)", <Entry> subtract[Argument32], <Entry> subtract[Argument64])
kernel(globals(), "multiply(a, b, y)", <Entry> multiply[Argument32], <Entry> multiply[Argument64])
kernel(globals(), "divide(a, b, y)", <Entry> divide[Argument32], <Entry> divide[Argument64])
kernel(globals(), "maximum(a, b, y)", <Entry> maximum[Argument32], <Entry> maximum[Argument64])
kernel(globals(), "minimum(a, b, y)", <Entry> minimum[Argument32], <Entry> minimum[Argument64])
kernel(globals(), "multiply_backward(dy, a, b, da?, db?)",
       <Entry> multiply_backward[Argument32], <Entry> multiply_backward[Argument64])
kernel(globals(), "divide_backward(dy, a, b, da?, db?)", <Entry> divide_backward[Argument32], <Entry> divide_backward[Argument64])
kernel(globals(), "maximum_backward(dy, a, b, da?, db?)",
       <Entry> maximum_backward[Argument32], <Entry> maximum_backward[Argument64])
kernel(globals(), "minimum_backward(dy, a, b, da?, db?)",
       <Entry> minimum_backward[Argument32], <Entry> minimum_backward[Argument64])
kernel(globals(), "negative(x, y)", <Entry> negative[Argument32], <Entry> negative[Argument64])
kernel(globals(), "exp(x, y)", <Entry> exp[Argument32], <Entry> exp[Argument64])
kernel(globals(), "log(x, y)", <Entry> log[Argument32], <Entry> log[Argument64])
kernel(globals(), "sqrt(x, y)", <Entry> sqrt[Argument32], <Entry> sqrt[Argument64])
kernel(globals(), "abs(x, y)", <Entry> abs[Argument32], <Entry> abs[Argument64])
kernel(globals(), "negative_backward(dy, dx)", <Entry> negative_backward[Argument32], <Entry> negative_backward[Argument64])
kernel(globals(), "exp_backward(dy, y, dx)", <Entry> exp_backward[Argument32], <Entry> exp_backward[Argument64])
kernel(globals(), "log_backward(dy, x, dx)", <Entry> log_backward[Argument32], <Entry> log_backward[Argument64])
kernel(globals(), "sqrt_backward(dy, y, dx)", <Entry> sqrt_backward[Argument32], <Entry> sqrt_backward[Argument64])
kernel(globals(), "abs_backward(dy, x, dx)", <Entry> abs_backward[Argument32], <Entry> abs_backward[Argument64])
kernel(globals(), "clamp(x, float low?, float high?, y)", <Entry> clamp[Argument32], <Entry> clamp[Argument64])
kernel(globals(), "clamp_backward(dy, x, float low?, float high?, dx)",
       <Entry> clamp_backward[Argument32], <Entry> clamp_backward[Argument64])
