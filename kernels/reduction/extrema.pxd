# cython: cdivision=True
"""Extrema of the middle dimension of (A, R, B) and where they are. The smallest x is where -x is largest, and a change of sign is exact."""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdint cimport int32_t
from libc.string cimport memset

from fastnn.kernels.arrays cimport offset, real
from fastnn.kernels.parallel cimport threads_for
from fastnn.kernels.softmax.columns cimport SHORT, WIDTH, gather

cdef extern from "simd/reductions.h" nogil:
    float extremum_f32 "fastnn_run_extremum_f32"(const float* x, Py_ssize_t n, float sign, int* unordered) noexcept
    double extremum_f64 "fastnn_run_extremum_f64"(const double* x, Py_ssize_t n, double sign, int* unordered) noexcept

cdef enum:
    CHUNK = 4096
    STRIP = 1024


cdef inline real largest(const real* x, Py_ssize_t n, real sign, int* unordered) noexcept nogil:
    """The largest ``sign * x`` that is no NaN; sets ``unordered`` where there is a NaN."""
    if real is float:
        return extremum_f32(x, n, sign, unordered)
    else:
        return extremum_f64(x, n, sign, unordered)


cdef inline void extremum_run(const real* x, Py_ssize_t R, real sign, real* y, cnp.int64_t* index) noexcept nogil:
    """The chunk of the largest value, or of the first NaN, is found first, and its place in the chunk only then."""
    cdef Py_ssize_t begin = 0, found = 0
    cdef real value, best = -INFINITY
    cdef int unordered = 0
    while begin < R and not unordered:
        value = largest(x + begin, min(<Py_ssize_t> CHUNK, R - begin), sign, &unordered)
        if unordered or value > best:
            best = value
            found = begin
        begin += CHUNK
    if unordered:
        while x[found] == x[found]:
            found += 1
    elif index != NULL or best == 0:  # of zeros the first one's sign
        while sign * x[found] != best:
            found += 1
    if y != NULL:
        y[0] = x[found] if unordered or index != NULL or best == 0 else sign * best
    if index != NULL:
        index[0] = found


cdef inline void strip_values(const real* x, Py_ssize_t R, Py_ssize_t step, Py_ssize_t width, real sign, real* y) noexcept nogil:
    cdef real best[STRIP]
    cdef Py_ssize_t r, j
    cdef real value
    for j in range(width):
        best[j] = x[j]
    for r in range(1, R):
        for j in range(width):
            value = x[r * step + j]
            best[j] = value if (sign * value > sign * best[j]) | ((value != value) & (best[j] == best[j])) else best[j]
    for j in range(width):
        y[j] = best[j]


cdef inline void strip_places(
    const real* x, Py_ssize_t R, Py_ssize_t step, Py_ssize_t width, real sign, real* y, cnp.int64_t* indices
) noexcept nogil:
    cdef real best[STRIP]
    cdef int32_t where[STRIP]
    cdef Py_ssize_t r, j
    cdef real value
    cdef bint taken
    for j in range(width):
        best[j] = x[j]
        where[j] = 0
    for r in range(1, R):
        for j in range(width):
            value = x[r * step + j]
            taken = (sign * value > sign * best[j]) | ((value != value) & (best[j] == best[j]))
            best[j] = value if taken else best[j]
            where[j] = <int32_t> r if taken else where[j]
    for j in range(width):
        if y != NULL:
            y[j] = best[j]
        indices[j] = where[j]


cdef inline void extremum_strip(
    const real* x, Py_ssize_t R, Py_ssize_t step, Py_ssize_t width, real sign, real* y, cnp.int64_t* indices
) noexcept nogil:
    if indices != NULL:
        strip_places(x, R, step, width, sign, y, indices)
    elif y != NULL:
        strip_values(x, R, step, width, sign, y)


cdef inline Py_ssize_t extremum_items(Py_ssize_t A, Py_ssize_t R, Py_ssize_t B) noexcept nogil:
    if B == 1 and R <= SHORT:
        return (A + WIDTH - 1) // WIDTH
    return A * ((B + STRIP - 1) // STRIP)


cdef inline void extremum_item(
    Py_ssize_t item, const real* x, real* y, cnp.int64_t* indices, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, real sign
) noexcept nogil:
    """A block of short rows side by side, a run, or a strip."""
    cdef real block[SHORT * WIDTH]
    cdef Py_ssize_t strips = (B + STRIP - 1) // STRIP, at, b, count
    if B == 1 and R <= SHORT:
        at = item * WIDTH
        count = min(<Py_ssize_t> WIDTH, A - at)
        gather(x + at * R, R, count, block)
        extremum_strip(<const real*> block, R, WIDTH, count, sign, offset(y, at), NULL if indices == NULL else indices + at)
        return
    b = item % strips * STRIP
    at = item // strips * B + b
    if B == 1:
        extremum_run(x + at * R, R, sign, offset(y, at), NULL if indices == NULL else indices + at)
    else:
        extremum_strip(x + item // strips * R * B + b, R, B, min(<Py_ssize_t> STRIP, B - b), sign,
                       offset(y, at), NULL if indices == NULL else indices + at)


cdef inline void extrema(
    const real* x, real* y, cnp.int64_t* indices, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, real sign
) noexcept nogil:
    cdef int threads = threads_for(A * R * B // 4)
    cdef Py_ssize_t items = extremum_items(A, R, B), item
    if threads == 1:
        for item in range(items):
            extremum_item(item, x, y, indices, A, R, B, sign)
    else:
        for item in prange(items, num_threads=threads, schedule="static"):
            extremum_item(item, x, y, indices, A, R, B, sign)


cdef inline void extremum_gradient(
    Py_ssize_t a, const real* dy, const cnp.int64_t* indices, real* dx, Py_ssize_t R, Py_ssize_t B
) noexcept nogil:
    cdef Py_ssize_t b
    memset(dx + a * R * B, 0, R * B * sizeof(real))
    for b in range(B):
        if <size_t> indices[a * B + b] < <size_t> R:
            dx[(a * R + indices[a * B + b]) * B + b] = dy[a * B + b]


cdef inline void extremum_gradients(
    const real* dy, const cnp.int64_t* indices, real* dx, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B
) noexcept nogil:
    cdef int threads = threads_for(A * R * B // 4)
    cdef Py_ssize_t a
    if threads == 1:
        for a in range(A):
            extremum_gradient(a, dy, indices, dx, R, B)
    else:
        for a in prange(A, num_threads=threads, schedule="static"):
            extremum_gradient(a, dy, indices, dx, R, B)
