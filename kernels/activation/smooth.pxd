# cython: cdivision=True
"""Activations made of exponentials."""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport log1p_
from fastnn.kernels.tiles cimport TILE, decay_tile, exp_tile, gelu_slope_tile, gelu_tile, put, sigmoid_tile, take, tanh_tile

cdef inline void sigmoid_loop(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real t[TILE]
    cdef Py_ssize_t i = 0
    while i < n:
        take(t, x + i)
        sigmoid_tile(t)
        put(y + i, t, past)
        i += TILE


cdef inline void sigmoid_slope(const real* dy, const real* y, real* dx, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real one = 1
    cdef real t[TILE]
    cdef real s[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, dy + i)
        take(s, y + i)
        for j in range(TILE):
            t[j] = t[j] * s[j] * (one - s[j])
        put(dx + i, t, past)
        i += TILE


cdef inline void tanh_loop(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real t[TILE]
    cdef Py_ssize_t i = 0
    while i < n:
        take(t, x + i)
        tanh_tile(t)
        put(y + i, t, past)
        i += TILE


cdef inline void tanh_slope(const real* dy, const real* y, real* dx, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real one = 1
    cdef real t[TILE]
    cdef real s[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, dy + i)
        take(s, y + i)
        for j in range(TILE):
            t[j] = t[j] * (one - s[j] * s[j])
        put(dx + i, t, past)
        i += TILE


cdef inline void elu_loop(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    """q x where x > 0, else p (e^x - 1): elu and selu."""
    cdef real t[TILE]
    cdef real s[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, x + i)
        for j in range(TILE):
            s[j] = t[j]
        decay_tile(s)
        for j in range(TILE):
            t[j] = q * t[j] if t[j] > 0 else p * s[j]
        put(y + i, t, past)
        i += TILE


cdef inline void elu_slope(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real t[TILE]
    cdef real s[TILE]
    cdef real e[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, dy + i)
        take(s, x + i)
        for j in range(TILE):
            e[j] = s[j]
        exp_tile(e)
        for j in range(TILE):
            t[j] = t[j] * (q if s[j] > 0 else p * e[j])
        put(dx + i, t, past)
        i += TILE


cdef inline void gelu_loop(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real t[TILE]
    cdef Py_ssize_t i = 0
    while i < n:
        take(t, x + i)
        gelu_tile(t)
        put(y + i, t, past)
        i += TILE


cdef inline void gelu_slope(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real t[TILE]
    cdef real s[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, dy + i)
        take(s, x + i)
        gelu_slope_tile(s)
        for j in range(TILE):
            t[j] = t[j] * s[j]
        put(dx + i, t, past)
        i += TILE


cdef inline void inner_tanh(const real* x, real* t) noexcept nogil:
    """tanh(sqrt(2 / pi) (x + 0.044715 x^3))"""
    cdef real slope = <real> 0.79788456080286535588, cubic = <real> 0.044715
    cdef Py_ssize_t j
    for j in range(TILE):
        t[j] = slope * (x[j] + cubic * x[j] * x[j] * x[j])
    tanh_tile(t)


cdef inline void gelu_tanh_loop(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real half = <real> 0.5, one = 1
    cdef real t[TILE]
    cdef real s[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(s, x + i)
        inner_tanh(s, t)
        for j in range(TILE):
            t[j] = half * s[j] * (one + t[j])
        put(y + i, t, past)
        i += TILE


cdef inline void gelu_tanh_slope(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real half = <real> 0.5, slope = <real> 0.79788456080286535588, cubic = <real> 0.044715, one = 1, three = 3
    cdef real d[TILE]
    cdef real t[TILE]
    cdef real s[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(d, dy + i)
        take(s, x + i)
        inner_tanh(s, t)
        for j in range(TILE):
            d[j] = d[j] * (half * (one + t[j]) + half * s[j] * (one - t[j] * t[j]) * slope * (one + three * cubic * s[j] * s[j]))
        put(dx + i, d, past)
        i += TILE


cdef inline void silu_loop(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real t[TILE]
    cdef real s[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, x + i)
        for j in range(TILE):
            s[j] = t[j]
        sigmoid_tile(s)
        for j in range(TILE):
            t[j] = t[j] * s[j]
        put(y + i, t, past)
        i += TILE


cdef inline void silu_slope(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real one = 1
    cdef real d[TILE]
    cdef real t[TILE]
    cdef real s[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(d, dy + i)
        take(t, x + i)
        for j in range(TILE):
            s[j] = t[j]
        sigmoid_tile(s)
        for j in range(TILE):
            d[j] = d[j] * s[j] * (one + t[j] * (one - s[j]))
        put(dx + i, d, past)
        i += TILE


cdef inline void softplus_loop(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    """log(1 + e^z) / p with z = p x. exp overflows float32 past 88, so the large part of the logarithm is taken out first."""
    cdef real t[TILE]
    cdef real e[TILE]
    cdef real z
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, x + i)
        for j in range(TILE):
            z = p * t[j]
            e[j] = -z if z > 0 else z
        exp_tile(e)
        for j in range(TILE):
            z = p * t[j]
            t[j] = t[j] if z > q else ((z if z > 0 else 0) + log1p_(e[j])) / p
        put(y + i, t, past)
        i += TILE


cdef inline void softplus_slope(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real d[TILE]
    cdef real s[TILE]
    cdef real t[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(d, dy + i)
        take(t, x + i)
        for j in range(TILE):
            t[j] = p * t[j]
            s[j] = t[j]
        sigmoid_tile(s)
        for j in range(TILE):
            d[j] = d[j] if t[j] > q else d[j] * s[j]
        put(dx + i, d, past)
        i += TILE
