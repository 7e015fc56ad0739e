# cython: cdivision=True
"""Activations made of straight pieces, and those that need no elementary function."""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.tiles cimport TILE, put, take


cdef inline void identity_loop(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real t[TILE]
    cdef Py_ssize_t i = 0
    while i < n:
        take(t, x + i)
        put(y + i, t, past)
        i += TILE


cdef inline void threshold_loop(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    """relu too."""
    cdef real t[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, x + i)
        for j in range(TILE):
            t[j] = q if t[j] <= p else t[j]
        put(y + i, t, past)
        i += TILE


cdef inline void threshold_slope(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    """relu too: its result is above 0 where its argument is."""
    cdef real t[TILE]
    cdef real s[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, dy + i)
        take(s, x + i)
        for j in range(TILE):
            t[j] = 0 if s[j] <= p else t[j]
        put(dx + i, t, past)
        i += TILE


cdef inline void step_loop(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real t[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, x + i)
        for j in range(TILE):
            t[j] = 1 if t[j] > 0 else (0 if t[j] <= 0 else t[j])
        put(y + i, t, past)
        i += TILE


cdef inline void zero_loop(const real* dy, const real* b, real* dx, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real t[TILE]
    cdef Py_ssize_t i = 0, j
    for j in range(TILE):
        t[j] = 0
    while i < n:
        put(dx + i, t, past)
        i += TILE


cdef inline void hardtanh_loop(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real t[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, x + i)
        for j in range(TILE):
            t[j] = p if t[j] < p else (q if t[j] > q else t[j])
        put(y + i, t, past)
        i += TILE


cdef inline void hardtanh_slope(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real t[TILE]
    cdef real s[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, dy + i)
        take(s, x + i)
        for j in range(TILE):
            t[j] = 0 if (s[j] <= p) | (s[j] >= q) else t[j]
        put(dx + i, t, past)
        i += TILE


cdef inline void leaky_relu_loop(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real t[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, x + i)
        for j in range(TILE):
            t[j] = t[j] if t[j] > 0 else p * t[j]
        put(y + i, t, past)
        i += TILE


cdef inline void leaky_relu_slope(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real t[TILE]
    cdef real s[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, dy + i)
        take(s, x + i)
        for j in range(TILE):
            t[j] = t[j] if s[j] > 0 else p * t[j]
        put(dx + i, t, past)
        i += TILE


cdef inline void softsign_loop(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real one = 1
    cdef real t[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, x + i)
        for j in range(TILE):
            t[j] = t[j] / (one + (-t[j] if t[j] < 0 else t[j]))
        put(y + i, t, past)
        i += TILE


cdef inline void softsign_slope(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q, bint past) noexcept nogil:
    cdef real one = 1
    cdef real t[TILE]
    cdef real s[TILE]
    cdef Py_ssize_t i = 0, j
    while i < n:
        take(t, dy + i)
        take(s, x + i)
        for j in range(TILE):
            s[j] = one + (-s[j] if s[j] < 0 else s[j])
            t[j] = t[j] / (s[j] * s[j])
        put(dx + i, t, past)
        i += TILE
