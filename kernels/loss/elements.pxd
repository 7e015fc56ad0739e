# cython: cdivision=True
"""Losses of elements and their derivatives, a chunk of contiguous elements at a time. The loops are vector code."""

from libc.math cimport fabs

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport exp_, log1p_, log_

cdef enum Loss:
    MSE
    L1
    SMOOTH_L1
    BINARY
    LOGITS
    HINGE
    PERCEPTRON


cdef inline real positive(real x) noexcept nogil:
    """max(x, 0), NaN where x is NaN."""
    return 0 if x < 0 else x


cdef inline real sign(real x) noexcept nogil:
    return 1 if x > 0 else (-1 if x < 0 else x)  # NaN stays NaN


cdef inline real at_least(real x, real low) noexcept nogil:
    return low if x < low else x


cdef inline real softplus_of_minus(real x) noexcept nogil:
    """log(1 + exp(-x)); exp overflows for large -x, so the large part is taken out first."""
    return positive(-x) + log1p_(exp_(<real> -fabs(x)))


cdef inline void logit_losses(const real* x, const real* t, const real* p, real* y, Py_ssize_t n) noexcept nogil:
    """In three loops: the compiler would not inline all of it into one."""
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = exp_(<real> -fabs(x[i]))
    for i in range(n):
        y[i] = log1p_(y[i]) + positive(-x[i])
    for i in range(n):
        y[i] = (1 - t[i]) * x[i] + (1 if p == NULL else 1 + (p[i] - 1) * t[i]) * y[i]


cdef inline void element_losses(
    Loss loss, const real* x, const real* t, const real* w, const real* p, double beta, real* y, Py_ssize_t n
) noexcept nogil:
    """y[i] = loss of x[i] and t[i]."""
    cdef Py_ssize_t i
    cdef real d, bound = <real> beta
    if loss == MSE:
        for i in range(n):
            y[i] = (x[i] - t[i]) * (x[i] - t[i])
    elif loss == L1:
        for i in range(n):
            y[i] = <real> fabs(x[i] - t[i])
    elif loss == SMOOTH_L1:
        for i in range(n):
            d = <real> fabs(x[i] - t[i])
            y[i] = d * d / (2 * bound) if d < bound else d - bound / 2
    elif loss == HINGE:
        for i in range(n):
            y[i] = positive(1 - x[i] * t[i])
    elif loss == PERCEPTRON:
        for i in range(n):
            y[i] = positive(-x[i] * t[i])
    elif loss == BINARY:
        for i in range(n):
            y[i] = -(t[i] * at_least(log_(x[i]), -100) + (1 - t[i]) * at_least(log1p_(-x[i]), -100))
    else:
        logit_losses(x, t, p, y, n)
    if w != NULL:
        for i in range(n):
            y[i] *= w[i]


cdef inline void element_gradients(
    Loss loss, const real* x, const real* t, const real* p, double beta, const real* scale, real* dx, Py_ssize_t n
) noexcept nogil:
    """dx[i] = scale[i] * derivative of the loss by x[i]."""
    cdef Py_ssize_t i
    cdef real d, e, bound = <real> beta
    if loss == MSE:
        for i in range(n):
            dx[i] = 2 * (x[i] - t[i]) * scale[i]
    elif loss == L1:
        for i in range(n):
            dx[i] = sign(x[i] - t[i]) * scale[i]
    elif loss == SMOOTH_L1:
        for i in range(n):
            d = x[i] - t[i]
            dx[i] = (d / bound if fabs(d) < bound else sign(d)) * scale[i]
    elif loss == HINGE:
        for i in range(n):
            dx[i] = (-t[i] if 1 - x[i] * t[i] > 0 else 0) * scale[i]
    elif loss == PERCEPTRON:
        for i in range(n):
            dx[i] = (-t[i] if -x[i] * t[i] > 0 else 0) * scale[i]
    elif loss == BINARY:
        for i in range(n):
            dx[i] = (x[i] - t[i]) / at_least(x[i] * (1 - x[i]), <real> 1e-12) * scale[i]
    elif p == NULL:
        for i in range(n):
            e = exp_(<real> -fabs(x[i]))
            dx[i] = ((e if x[i] < 0 else 1) / (1 + e) - t[i]) * scale[i]
    else:
        for i in range(n):
            e = exp_(<real> -fabs(x[i]))
            dx[i] = (1 - t[i] - (1 + (p[i] - 1) * t[i]) * (e if x[i] > 0 else 1) / (1 + e)) * scale[i]


cdef inline void target_gradients(
    Loss loss, const real* x, const real* t, const real* p, double beta, const real* scale, real* dt, Py_ssize_t n
) noexcept nogil:
    """dt[i] = scale[i] * derivative of the loss by t[i]."""
    cdef Py_ssize_t i
    if loss == BINARY:
        for i in range(n):
            dt[i] = (at_least(log1p_(-x[i]), -100) - at_least(log_(x[i]), -100)) * scale[i]
    elif loss == LOGITS and p == NULL:
        for i in range(n):
            dt[i] = -x[i] * scale[i]
    elif loss == LOGITS:
        for i in range(n):
            dt[i] = ((p[i] - 1) * softplus_of_minus(x[i]) - x[i]) * scale[i]
    else:  # a function of x - t
        element_gradients(loss, x, t, p, beta, scale, dt, n)
        for i in range(n):
            dt[i] = -dt[i]
