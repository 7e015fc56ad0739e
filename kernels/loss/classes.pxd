# cython: cdivision=True
"""Cross entropy of one row of scores, and its gradient from the row's largest score and sum of exponentials, all that it saves.

The target of a position is a class (``target``) or a distribution ``p`` over the classes; the other of the two is NULL. With
q_c = w_c ((1 - s) t_c + s / C):  loss = sum_c q_c (top - x_c + log total),  gradient_c = softmax_c sum(q) - q_c,
where total = sum exp(x - top). Top and log(total) stay apart: their sum would lose the digits of the logarithm beside a large top.
To compute the exponentials again is cheaper than to keep them: a saved gradient is written, read, and belongs to fresh memory.
"""

cimport numpy as cnp

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport exp_, log_
from fastnn.kernels.lanes cimport CHUNK, chunk_sum, exponentials_beside, maximum

cdef extern from "simd/exponentials.h" nogil:
    void gradient_f32 "fastnn_run_gradient_f32"(
        const float* x, float top, float factor, float share, float* dx, Py_ssize_t n, bint past) noexcept
    void gradient_f64 "fastnn_run_gradient_f64"(
        const double* x, double top, double factor, double share, double* dx, Py_ssize_t n, bint past) noexcept

cdef struct Target:
    const cnp.int64_t* classes
    Py_ssize_t ignored
    Py_ssize_t C
    double smoothing
    double weights  # of all classes together


cdef inline bint is_class(const Target* target, Py_ssize_t n) noexcept nogil:
    """Whether position n counts. A class is checked again: its array may have changed since the forward pass."""
    return target.classes[n] != target.ignored and <size_t> target.classes[n] < <size_t> target.C


cdef inline real at_target(const Target* target, Py_ssize_t n, const real* w) noexcept nogil:
    """The part of q that the target class has by itself."""
    return <real> (1 - target.smoothing) * (1 if w == NULL else w[target.classes[n]])


cdef inline real share(const Target* target, const real* w, const real* p, Py_ssize_t c, Py_ssize_t at) noexcept nogil:
    """q_c without that part."""
    cdef real q = <real> (target.smoothing / target.C)
    if p != NULL:
        q += (1 - <real> target.smoothing) * p[at]
    return q if w == NULL else q * w[c]


cdef inline double row_shares(const Target* target, const real* w, const real* p) noexcept nogil:
    """Sum of the shares of a row."""
    cdef real terms[CHUNK]
    cdef double total = 0
    cdef Py_ssize_t C = target.C, c, count, i = 0
    if p == NULL:
        return target.smoothing / C * target.weights
    while i < C:
        count = min(<Py_ssize_t> CHUNK, C - i)
        for c in range(count):
            terms[c] = share(target, w, p, i + c, i + c)
        total += chunk_sum(<const real*> terms, count)
        i += CHUNK
    return total


cdef inline double shared_loss(
    const real* x, const Target* target, const real* w, const real* p, real top, real log_total
) noexcept nogil:
    """The part of a row's loss that comes from the shares."""
    cdef real terms[CHUNK]
    cdef double loss = 0
    cdef Py_ssize_t C = target.C, c, count, i = 0
    while i < C:
        count = min(<Py_ssize_t> CHUNK, C - i)
        for c in range(count):
            terms[c] = share(target, w, p, i + c, i + c) * (top - x[i + c] + log_total)
        loss += chunk_sum(<const real*> terms, count)
        i += CHUNK
    return loss


cdef inline void row_loss(
    const real* x, const Target* target, Py_ssize_t n, const real* w, const real* p, const real* next, real* next_top,
    real* loss, real* top, real* total,
) noexcept nogil:
    """``next_top`` is the largest score of this row, which becomes that of ``next``."""
    cdef real log_total, q
    cdef double found = 0
    loss[0] = 0
    top[0] = 0
    total[0] = 1
    if target.C == 0:
        return
    if p == NULL and not is_class(target, n):
        next_top[0] = maximum(next, target.C)
        return
    top[0] = next_top[0]
    total[0] = <real> exponentials_beside(x, top[0], <real*> NULL, next, next_top, target.C)
    log_total = log_(total[0])
    if p != NULL or target.smoothing > 0:
        found = shared_loss(x, target, w, p, top[0], log_total)
    if p == NULL:
        q = at_target(target, n, w)
        if q != 0:
            found += q * (top[0] - x[target.classes[n]] + log_total)
    loss[0] = <real> found


cdef inline void row_gradient(
    const real* x, const Target* target, Py_ssize_t n, const real* w, const real* p, real top, real total, real dy, real* dx, bint past
) noexcept nogil:
    """dx = dy (softmax sum(q) - q)"""
    cdef Py_ssize_t C = target.C, c
    cdef bint uneven = p != NULL or (w != NULL and target.smoothing > 0)  # shares differ from class to class
    cdef real even = 0 if uneven else dy * <real> (target.smoothing / C), q = 0, factor
    if p == NULL and not is_class(target, n):
        for c in range(C):
            dx[c] = 0
        return
    if p == NULL:
        q = at_target(target, n, w)
    factor = dy * <real> ((q + row_shares(target, w, p)) / total)
    if real is float:
        gradient_f32(x, top, factor, even, dx, C, past and not uneven)
    else:
        gradient_f64(x, top, factor, even, dx, C, past and not uneven)
    if uneven:
        for c in range(C):
            dx[c] -= dy * share(target, w, p, c, c)
    if p == NULL:  # from x again: what went past the caches is far away
        c = target.classes[n]
        dx[c] = exp_(x[c] - top) * factor - dy * (q + share(target, w, p, c, c))


cdef inline void row_target_gradient(
    const real* x, const Target* target, const real* w, real top, real total, real dy, real* dt
) noexcept nogil:
    """dt_c = -dy (1 - s) w_c log softmax(x)_c"""
    cdef real log_total = log_(total), scale = dy * <real> (1 - target.smoothing)
    cdef Py_ssize_t c
    for c in range(target.C):
        dt[c] = (top - x[c] + log_total) * scale * (1 if w == NULL else w[c])
