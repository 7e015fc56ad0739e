# cython: cdivision=True
"""Normalization of the channels of x (N, C, L). Threads share out units of neighbouring channels.

A unit has so many channels that its values stay in the second-level cache from the first pass to the last, and is read example by
example: single channels with short runs read far-apart pieces of 200 bytes, which took five times as long.
"""

from cython.parallel cimport parallel, prange
from libc.math cimport sqrt

from fastnn.kernels.arrays cimport real
from fastnn.kernels.lanes cimport LARGE, fence, long_sum, scale
from fastnn.kernels.normalization.moments cimport (
    STRIP, Moments, add_deviations, add_products, center, corrected, normalize, strip_moments, strip_products,
)
from fastnn.kernels.parallel cimport threads_for

cdef enum:
    SHORT = 16  # runs up to this length are walked in strips of whole channels
    UNIT = 1 << 18  # bytes of a unit's values, about


cdef struct Batch:
    Py_ssize_t N
    Py_ssize_t C
    Py_ssize_t L
    double eps
    bint training
    bint sums  # whether the backward pass needs more than the gradient of x
    bint past
    Py_ssize_t together  # channels of a unit


cdef inline Batch batch_of(
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t L, double eps, bint training, bint sums, Py_ssize_t itemsize
) noexcept nogil:
    cdef Py_ssize_t channel = max(N * L * itemsize, <Py_ssize_t> 1), together
    if 0 < L <= SHORT:
        together = STRIP // L
    else:
        together = min(max(UNIT // channel, <Py_ssize_t> 1), <Py_ssize_t> STRIP)
    return Batch(N, C, L, eps, training, sums, N * C * L * itemsize >= LARGE, together)


cdef inline void unit_moments(
    const Batch* batch, Py_ssize_t channels, const real* x, double* means, double* vars
) noexcept nogil:
    """Statistics of the channels from x on."""
    cdef Py_ssize_t L = batch.L, row = batch.C * L, n, c
    cdef double count = <double> max(batch.N * L, <Py_ssize_t> 1)
    cdef double deviations[STRIP]
    cdef real shifts[STRIP]
    cdef Moments moments
    if 0 < L <= SHORT:
        strip_moments(x, batch.N, row, channels, L, means, vars)
        return
    for c in range(channels):
        means[c] = 0
        vars[c] = 0
        deviations[c] = 0
    for n in range(batch.N):
        for c in range(channels):
            means[c] += long_sum(x + n * row + c * L, L)
    for c in range(channels):
        shifts[c] = <real> (means[c] / count)
    for n in range(batch.N):
        for c in range(channels):
            add_deviations(x + n * row + c * L, shifts[c], L, &deviations[c], &vars[c])
    for c in range(channels):
        moments = corrected(shifts[c], deviations[c], vars[c], count)
        means[c] = moments.mean
        vars[c] = moments.var


cdef inline void normalize_channels(
    const Batch* batch, Py_ssize_t c0, Py_ssize_t channels, const real* x, const real* w, const real* b,
    const real* mean, const real* var, real* y,
) noexcept nogil:
    """y of the channels from c0 on; ``mean`` and ``var`` start at c0."""
    cdef Py_ssize_t L = batch.L, row = batch.C * L, n, j, c, at
    cdef real means[STRIP]
    cdef real scales[STRIP]
    cdef real shifts[STRIP]
    cdef Py_ssize_t share = L if L <= SHORT else 1  # columns of a channel
    for j in range(channels * share):
        c = j // share
        means[j] = mean[c]
        scales[j] = <real> (1 / sqrt(var[c] + batch.eps)) * (1 if w == NULL else w[c0 + c])
        shifts[j] = 0 if b == NULL else b[c0 + c]
    for n in range(batch.N):
        at = n * row + c0 * L
        if L > SHORT:
            for c in range(channels):
                normalize(x + at + c * L, means[c], scales[c], shifts[c], y + at + c * L, L, batch.past)
        else:
            for j in range(channels * L):
                y[at + j] = (x[at + j] - means[j]) * scales[j] + shifts[j]


cdef inline void batch_norm_unit(
    const Batch* batch, Py_ssize_t i, const real* x, const real* w, const real* b, real* y, real* mean, real* var
) noexcept nogil:
    """With statistics of the batch, which are stored, or with those given."""
    cdef Py_ssize_t c0 = i * batch.together, channels = min(batch.together, batch.C - c0), c
    cdef double means[STRIP]
    cdef double vars[STRIP]
    cdef real local_mean[STRIP]
    cdef real local_var[STRIP]
    if not batch.training:
        normalize_channels(batch, c0, channels, x, w, b, <const real*> mean + c0, <const real*> var + c0, y)
        return
    unit_moments(batch, channels, x + c0 * batch.L, means, vars)
    for c in range(channels):
        local_mean[c] = <real> means[c]
        local_var[c] = <real> vars[c]
        if mean != NULL:
            mean[c0 + c] = local_mean[c]
        if var != NULL:
            var[c0 + c] = local_var[c]
    if y != NULL:
        normalize_channels(batch, c0, channels, x, w, b, <const real*> local_mean, <const real*> local_var, y)


cdef inline void batch_norm_forward(
    const Batch* batch, const real* x, const real* w, const real* b, real* y, real* mean, real* var
) noexcept nogil:
    cdef Py_ssize_t units = (batch.C + batch.together - 1) // batch.together, i
    cdef int threads = threads_for(batch.N * batch.C * batch.L // (2 if batch.training else 4))
    if threads == 1:
        for i in range(units):
            batch_norm_unit(batch, i, x, w, b, y, mean, var)
        fence()
    else:
        with parallel(num_threads=threads):
            for i in prange(units, schedule="static"):
                batch_norm_unit(batch, i, x, w, b, y, mean, var)
            fence()


cdef inline void unit_gradient(
    const Batch* batch, Py_ssize_t c0, Py_ssize_t channels, const real* dy, const real* x, const real* w,
    const real* means, const real* rstds, const double* sum_dy, const double* sum_dyx, real* dx,
) noexcept nogil:
    """dx of the channels from c0 on; ``means`` and ``rstds`` by column where channels are short, else by channel."""
    cdef Py_ssize_t L = batch.L, row = batch.C * L, at, n, j, c
    cdef Py_ssize_t share = L if L <= SHORT else 1
    cdef double count = <double> max(batch.N * L, <Py_ssize_t> 1)
    cdef real factors[STRIP]
    cdef real averages[STRIP]
    cdef real alongs[STRIP]
    for j in range(channels * share):
        c = j // share
        factors[j] = rstds[j] * (1 if w == NULL else w[c0 + c])
        averages[j] = factors[j] * <real> (sum_dy[c] / count) if batch.training else 0
        alongs[j] = factors[j] * rstds[j] * <real> (sum_dyx[c] / count) if batch.training else 0
    for n in range(batch.N):
        at = n * row + c0 * L
        if L > SHORT and not batch.training:
            for c in range(channels):
                scale(dy + at + c * L, factors[c], dx + at + c * L, L, batch.past)
        elif L > SHORT:
            for c in range(channels):
                center(dy + at + c * L, x + at + c * L, means[c], factors[c], averages[c], alongs[c], dx + at + c * L, L, batch.past)
        else:
            for j in range(channels * L):
                dx[at + j] = dy[at + j] * factors[j] - averages[j] - (x[at + j] - means[j]) * alongs[j]


cdef inline void batch_norm_backward_unit(
    const Batch* batch, Py_ssize_t i, const real* dy, const real* x, const real* w, const real* mean, const real* var,
    real* dx, real* dw, real* db,
) noexcept nogil:
    cdef Py_ssize_t L = batch.L, row = batch.C * L, c0 = i * batch.together, channels = min(batch.together, batch.C - c0), n, j, c, at
    cdef double sum_dy[STRIP]
    cdef double sum_dyx[STRIP]
    cdef real means[STRIP]
    cdef real rstds[STRIP]
    cdef Py_ssize_t share = L if 0 < L <= SHORT else 1
    for j in range(channels * share):
        means[j] = mean[c0 + j // share]
        rstds[j] = <real> (1 / sqrt(var[c0 + j // share] + batch.eps))
    for c in range(channels):
        sum_dy[c] = 0
        sum_dyx[c] = 0
    if batch.sums and 0 < L <= SHORT:
        strip_products(dy + c0 * L, x + c0 * L, <const real*> means, <const real*> rstds, batch.N, row, channels, L, sum_dy, sum_dyx)
    elif batch.sums:
        for n in range(batch.N):
            at = n * row + c0 * L
            for c in range(channels):
                add_products(dy + at + c * L, x + at + c * L, <const real*> NULL, means[c], L, &sum_dy[c], &sum_dyx[c])
        for c in range(channels):
            sum_dyx[c] *= rstds[c]
    if dx != NULL:
        unit_gradient(batch, c0, channels, dy, x, w, <const real*> means, <const real*> rstds, sum_dy, sum_dyx, dx)
    for c in range(channels):
        if dw != NULL:
            dw[c0 + c] = <real> sum_dyx[c]
        if db != NULL:
            db[c0 + c] = <real> sum_dy[c]


cdef inline void batch_norm_gradients(
    const Batch* batch, const real* dy, const real* x, const real* w, const real* mean, const real* var, real* dx, real* dw, real* db
) noexcept nogil:
    cdef Py_ssize_t units = (batch.C + batch.together - 1) // batch.together, i
    cdef int threads = threads_for(batch.N * batch.C * batch.L // 2)
    if threads == 1:
        for i in range(units):
            batch_norm_backward_unit(batch, i, dy, x, w, mean, var, dx, dw, db)
        fence()
    else:
        with parallel(num_threads=threads):
            for i in prange(units, schedule="static"):
                batch_norm_backward_unit(batch, i, dy, x, w, mean, var, dx, dw, db)
            fence()
