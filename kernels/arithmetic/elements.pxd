# cython: cdivision=True
"""One block of each operator: contiguous, of at most BLOCK elements. The result may be the memory of an operand."""

from libc.math cimport fabs, fabsf, sqrt, sqrtf

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport exp_, log_

cdef enum:
    BLOCK = 256


cdef enum Operation:
    ADD, SUBTRACT, MULTIPLY, DIVIDE, MAXIMUM, MINIMUM
    NEGATIVE, EXP, LOG, SQRT, ABS
    LOG_BACKWARD, SQRT_BACKWARD, ABS_BACKWARD


cdef inline real _greater(real a, real b) noexcept nogil:
    """The larger one, NaN where either is."""
    return a if (a > b) | (a != a) else b


cdef inline real _smaller(real a, real b) noexcept nogil:
    return a if (a < b) | (a != a) else b


cdef inline void binary(int operation, const real* a, const real* b, real* y, Py_ssize_t n) noexcept nogil:
    """y = a ? b; of the backward operators a is dy and b what was saved."""
    cdef Py_ssize_t i
    if operation == ADD:
        for i in range(n):
            y[i] = a[i] + b[i]
    elif operation == SUBTRACT:
        for i in range(n):
            y[i] = a[i] - b[i]
    elif operation == MULTIPLY:
        for i in range(n):
            y[i] = a[i] * b[i]
    elif operation == DIVIDE or operation == LOG_BACKWARD:
        for i in range(n):
            y[i] = a[i] / b[i]
    elif operation == MAXIMUM:
        for i in range(n):
            y[i] = _greater(a[i], b[i])
    elif operation == MINIMUM:
        for i in range(n):
            y[i] = _smaller(a[i], b[i])
    elif operation == SQRT_BACKWARD:
        for i in range(n):
            y[i] = a[i] / (2 * b[i])
    elif operation == ABS_BACKWARD:  # NaN has no sign: it comes through
        for i in range(n):
            y[i] = a[i] * (<real> 1 if b[i] > 0 else <real> -1 if b[i] < 0 else b[i])


cdef inline void unary(int operation, const real* x, real* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    if operation == NEGATIVE:
        for i in range(n):
            y[i] = -x[i]
    elif operation == EXP:
        for i in range(n):
            y[i] = exp_(x[i])
    elif operation == LOG:
        for i in range(n):
            y[i] = log_(x[i])
    elif operation == SQRT:
        for i in range(n):
            if real is float:
                y[i] = sqrtf(x[i])
            else:
                y[i] = sqrt(x[i])
    elif operation == ABS:
        for i in range(n):
            if real is float:
                y[i] = fabsf(x[i])
            else:
                y[i] = fabs(x[i])


cdef inline void clamp(const real* x, real* y, Py_ssize_t n, real low, real high) noexcept nogil:
    """In two loops over a block: one was not vectorized, and took 30 times as long."""
    cdef Py_ssize_t first = 0, end, i
    while first < n:
        end = min(first + BLOCK, n)
        for i in range(first, end):
            y[i] = _greater(x[i], low)
        for i in range(first, end):
            y[i] = _smaller(y[i], high)
        first = end


cdef inline void clamp_backward(const real* dy, const real* x, real* dx, Py_ssize_t n, real low, real high) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = dy[i] if (x[i] >= low) & (x[i] <= high) else <real> 0


cdef inline void divide_backward(const real* dy, const real* a, const real* b, real* db, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        db[i] = -dy[i] * a[i] / (b[i] * b[i])


cdef inline void extremum_backward(const real* dy, const real* a, const real* b, real* da, Py_ssize_t n, bint smallest) noexcept nogil:
    """The gradient of a; a tie gives half to each side, NaN gives NaN's nothing."""
    cdef Py_ssize_t i
    cdef real sign = -1 if smallest else 1
    for i in range(n):
        da[i] = dy[i] * (<real> 0.5 if a[i] == b[i] else <real> 1 if sign * a[i] > sign * b[i] else <real> 0)
