# cython: cdivision=True
"""Cross entropy of up to WIDTH positions side by side: the score of class c and position j lies at x[c step + j]. See classes.pxd."""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport log_
from fastnn.kernels.lanes cimport powers
from fastnn.kernels.loss.classes cimport Target, at_target, is_class, share
from fastnn.kernels.softmax.columns cimport WIDTH


cdef inline void position_losses(
    const real* x, Py_ssize_t step, const Target* target, Py_ssize_t n, const real* w, const real* p, Py_ssize_t count,
    real* loss, real* top, real* total,
) noexcept nogil:
    """Losses, largest scores and sums of exponentials of the positions from n on."""
    cdef real terms[WIDTH]
    cdef real log_total[WIDTH]
    cdef real q
    cdef Py_ssize_t C = target.C, c, j, t
    for j in range(count):
        top[j] = x[j] if C else 0
        total[j] = 0 if C else 1
        loss[j] = 0
    for c in range(1, C):
        for j in range(count):
            top[j] = x[c * step + j] if x[c * step + j] > top[j] else top[j]
    for c in range(C):
        powers(x + c * step, <const real*> top, terms, count)
        for j in range(count):
            total[j] += terms[j]
    for j in range(count):
        log_total[j] = log_(total[j])
    if p != NULL or target.smoothing > 0:
        for c in range(C):
            for j in range(count):
                loss[j] += share(target, w, p, c, c * step + j) * (top[j] - x[c * step + j] + log_total[j])
    if p != NULL:
        return
    for j in range(count):
        if not is_class(target, n + j):
            loss[j] = 0
            top[j] = 0
            total[j] = 1
            continue
        q = at_target(target, n + j, w)
        if q != 0:
            t = target.classes[n + j]
            loss[j] += q * (top[j] - x[t * step + j] + log_total[j])


cdef inline void position_gradients(
    const real* x, Py_ssize_t step, const Target* target, Py_ssize_t n, const real* w, const real* p, Py_ssize_t count,
    const real* top, const real* total, const real* dy, real* dx,
) noexcept nogil:
    """dx = dy (softmax sum(q) - q); dx may be x."""
    cdef real terms[WIDTH]
    cdef real factor[WIDTH]
    cdef Py_ssize_t C = target.C, c, j
    cdef bint shared = p != NULL or target.smoothing > 0
    for j in range(count):
        factor[j] = 0
    if p != NULL:
        for c in range(C):
            for j in range(count):
                factor[j] += share(target, w, p, c, c * step + j)
    else:
        for j in range(count):
            if is_class(target, n + j):
                factor[j] = at_target(target, n + j, w) + <real> (target.smoothing / C * target.weights)
    for j in range(count):
        factor[j] *= dy[j] / total[j]
    for c in range(C):
        powers(x + c * step, top, terms, count)
        for j in range(count):
            dx[c * step + j] = terms[j] * factor[j]
        if shared:
            for j in range(count):
                dx[c * step + j] -= dy[j] * share(target, w, p, c, c * step + j)
    for j in range(count if p == NULL else 0):
        if is_class(target, n + j):
            dx[target.classes[n + j] * step + j] -= dy[j] * at_target(target, n + j, w)
        else:
            for c in range(C):
                dx[c * step + j] = 0


cdef inline void position_target_gradients(
    const real* x, Py_ssize_t step, const Target* target, const real* w, Py_ssize_t count,
    const real* top, const real* total, const real* dy, real* dt,
) noexcept nogil:
    """dt_c = -dy (1 - s) w_c log softmax(x)_c"""
    cdef real log_total[WIDTH]
    cdef real scale[WIDTH]
    cdef Py_ssize_t c, j
    for j in range(count):
        log_total[j] = log_(total[j])
        scale[j] = dy[j] * <real> (1 - target.smoothing)
    for c in range(target.C):
        for j in range(count):
            dt[c * step + j] = (top[j] - x[c * step + j] + log_total[j]) * scale[j] * (1 if w == NULL else w[c])
