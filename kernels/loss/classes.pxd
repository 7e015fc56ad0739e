# cython: cdivision=True
"""Cross entropy of classes: the losses and, in the same pass, their gradients.

The target of a position is a class (``target``) or a distribution (``probabilities``); the other of the two is NULL. With
q_c = w_c ((1 - s) t_c + s / C):  loss = sum_c q_c (top - x_c + log_sum),  gradient_c = softmax_c sum(q) - q_c,
where log_sum = log sum exp(x - top). Top and log_sum stay apart: their sum would lose the digits of log_sum beside a large top.
"""

cimport numpy as cnp

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport exp_, log_
from fastnn.kernels.lanes cimport CHUNK, chunk_sum, maximum

cdef enum:
    POSITIONS = 64  # positions side by side in memory that are walked together

cdef struct Target:
    const cnp.int64_t* classes
    Py_ssize_t ignored
    double smoothing
    Py_ssize_t C


cdef inline double row_exponentials(const real* x, real top, real* e, Py_ssize_t C) noexcept nogil:
    """Sum of exp(x - top); the terms go to ``e`` where that is not NULL."""
    cdef real buffer[CHUNK]
    cdef real* terms
    cdef double total = 0
    cdef Py_ssize_t c, n, i = 0
    while i < C:
        n = min(<Py_ssize_t> CHUNK, C - i)
        terms = buffer
        if e != NULL:
            terms = e + i
        for c in range(n):
            terms[c] = exp_(x[i + c] - top)
        total += chunk_sum(<const real*> terms, n)
        i += CHUNK
    return total


cdef inline real share(const Target* target, const real* w, const real* p, Py_ssize_t c, Py_ssize_t at) noexcept nogil:
    """q_c without the part that a target class has by itself."""
    cdef real q = <real> (target.smoothing / target.C)
    if p != NULL:
        q += (1 - <real> target.smoothing) * p[at]
    return q if w == NULL else q * w[c]


cdef inline void row_cross_entropy(
    const real* x, const Target* target, Py_ssize_t n, const real* w, const real* p, real* loss, real* residual
) noexcept nogil:
    """The loss of one contiguous row and its gradient (not wanted where NULL)."""
    cdef Py_ssize_t C = target.C, c, i = 0, count, t = 0 if p != NULL else target.classes[n]
    cdef real buffer[CHUNK]
    cdef real weighted[CHUNK]
    cdef real top, log_sum, scale, at_target = 0
    cdef double exponentials, q_total = 0, total = 0
    if p == NULL and t == target.ignored:
        loss[0] = 0
        if residual != NULL:
            for c in range(C):
                residual[c] = 0
        return
    if C == 0:
        loss[0] = 0
        return
    top = maximum(x, C)
    exponentials = row_exponentials(x, top, residual, C)
    log_sum = log_(<real> exponentials)
    if p != NULL or target.smoothing > 0:
        while i < C:
            count = min(<Py_ssize_t> CHUNK, C - i)
            for c in range(count):
                buffer[c] = share(target, w, p, i + c, i + c)
                weighted[c] = buffer[c] * (top - x[i + c] + log_sum)
            q_total += chunk_sum(<const real*> buffer, count)
            total += chunk_sum(<const real*> weighted, count)
            i += CHUNK
    if p == NULL:
        at_target = <real> (1 - target.smoothing) * (1 if w == NULL else w[t])
        if at_target != 0:
            total += at_target * (top - x[t] + log_sum)
        q_total += at_target
    loss[0] = <real> total
    if residual == NULL:
        return
    scale = <real> (q_total / exponentials)
    if p != NULL or target.smoothing > 0:
        for c in range(C):
            residual[c] = residual[c] * scale - share(target, w, p, c, c)
    else:
        for c in range(C):
            residual[c] *= scale
    if p == NULL:
        residual[t] -= at_target


cdef inline void block_cross_entropy(
    const real* x, const Target* target, Py_ssize_t n, const real* w, const real* p,
    Py_ssize_t L, Py_ssize_t count, real* loss, real* residual,
) noexcept nogil:
    """The same for ``count`` <= POSITIONS positions side by side: x_c of position j lies at x[c L + j]."""
    cdef Py_ssize_t C = target.C, c, j, t
    cdef real top[POSITIONS]
    cdef real log_sum[POSITIONS]
    cdef real exponentials[POSITIONS]
    cdef real q_total[POSITIONS]
    cdef real e, q, at_target
    cdef bint spread = p != NULL or target.smoothing > 0
    if C == 0:
        for j in range(count):
            loss[j] = 0
        return
    for j in range(count):
        top[j] = x[j]
        exponentials[j] = 0
        q_total[j] = 0
        loss[j] = 0
    for c in range(1, C):
        for j in range(count):
            top[j] = x[c * L + j] if x[c * L + j] > top[j] else top[j]
    for c in range(C):
        for j in range(count):
            e = exp_(x[c * L + j] - top[j])
            exponentials[j] += e
            if residual != NULL:
                residual[c * L + j] = e
    for j in range(count):
        log_sum[j] = log_(exponentials[j])
    if spread:
        for c in range(C):
            for j in range(count):
                q = share(target, w, p, c, c * L + j)
                loss[j] += q * (top[j] - x[c * L + j] + log_sum[j])
                q_total[j] += q
    if p == NULL:
        for j in range(count):
            t = target.classes[n + j]
            if t == target.ignored:
                loss[j] = 0
                continue
            at_target = <real> (1 - target.smoothing) * (1 if w == NULL else w[t])
            if at_target != 0:
                loss[j] += at_target * (top[j] - x[t * L + j] + log_sum[j])
            q_total[j] += at_target
    if residual == NULL:
        return
    for c in range(C):
        for j in range(count):
            residual[c * L + j] = residual[c * L + j] * (q_total[j] / exponentials[j])
        if spread:
            for j in range(count):
                residual[c * L + j] -= share(target, w, p, c, c * L + j)
    if p == NULL:
        for j in range(count):
            t = target.classes[n + j]
            if t == target.ignored:
                for c in range(C):
                    residual[c * L + j] = 0
            else:
                residual[t * L + j] -= <real> (1 - target.smoothing) * (1 if w == NULL else w[t])
