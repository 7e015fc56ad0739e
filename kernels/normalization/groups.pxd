# cython: cdivision=True
"""Normalization of groups of channels of x (N, C, L): each example's groups of K channels are contiguous."""

from cython.parallel cimport parallel, prange
from libc.math cimport sqrt
from libc.stdlib cimport free, malloc

from fastnn.kernels.arrays cimport real
from fastnn.kernels.lanes cimport LARGE, fence
from fastnn.kernels.normalization.moments cimport Moments, add_products, center, normalize, run_moments
from fastnn.kernels.parallel cimport threads_for

cdef struct Groups:
    Py_ssize_t N
    Py_ssize_t C
    Py_ssize_t L
    Py_ssize_t groups
    Py_ssize_t K
    bint past


cdef inline Groups groups_of(Py_ssize_t N, Py_ssize_t C, Py_ssize_t L, Py_ssize_t groups, Py_ssize_t itemsize) noexcept nogil:
    return Groups(N, C, L, groups, C // groups, N * C * L * itemsize >= LARGE)


cdef inline void group_norm_group(
    const Groups* shape, Py_ssize_t i, const real* x, const real* w, const real* b, double eps, real* y, real* mean, real* rstd
) noexcept nogil:
    """Group i of all examples' groups."""
    cdef Py_ssize_t K = shape.K, L = shape.L, k, c, at
    cdef Moments moments = run_moments(x + i * K * L, K * L)
    cdef real scale = <real> (1 / sqrt(moments.var + eps))
    if mean != NULL:
        mean[i] = <real> moments.mean
    if rstd != NULL:
        rstd[i] = scale
    for k in range(K if y != NULL else 0):
        c = i % shape.groups * K + k
        at = (i * K + k) * L
        normalize(x + at, <real> moments.mean, scale * (1 if w == NULL else w[c]), 0 if b == NULL else b[c], y + at, L, shape.past)


cdef inline void group_norm_forward(
    const Groups* shape, const real* x, const real* w, const real* b, double eps, real* y, real* mean, real* rstd
) noexcept nogil:
    cdef int threads = threads_for(shape.N * shape.C * shape.L // 2)
    cdef Py_ssize_t i
    if threads == 1:
        for i in range(shape.N * shape.groups):
            group_norm_group(shape, i, x, w, b, eps, y, mean, rstd)
        fence()
    else:
        with parallel(num_threads=threads):
            for i in prange(shape.N * shape.groups, schedule="static"):
                group_norm_group(shape, i, x, w, b, eps, y, mean, rstd)
            fence()


cdef inline void group_gradient(
    const Groups* shape, Py_ssize_t i, const real* dy, const real* x, const real* w, const real* means, const real* rstds,
    real* dx, double* sums,
) noexcept nogil:
    """The two sums of each of the group's channels, and dx."""
    cdef Py_ssize_t K = shape.K, L = shape.L, first = i % shape.groups * K, k, at
    cdef double count = <double> max(K * L, <Py_ssize_t> 1), sum_dy = 0, sum_dyx = 0
    cdef real mean = means[i], rstd = rstds[i], average, along, weight
    cdef double* of_channel = sums + 2 * i * K
    for k in range(K):
        at = (i * K + k) * L
        weight = 1 if w == NULL else w[first + k]
        of_channel[2 * k] = 0
        of_channel[2 * k + 1] = 0
        add_products(dy + at, x + at, <const real*> NULL, mean, L, &of_channel[2 * k], &of_channel[2 * k + 1])
        sum_dy += weight * of_channel[2 * k]
        sum_dyx += weight * of_channel[2 * k + 1]
        of_channel[2 * k + 1] *= rstd
    average = <real> (sum_dy / count)
    along = rstd * rstd * <real> (sum_dyx / count)
    for k in range(K if dx != NULL else 0):
        at = (i * K + k) * L
        weight = 1 if w == NULL else w[first + k]
        center(dy + at, x + at, mean, rstd * weight, rstd * average, rstd * along, dx + at, L, shape.past)


cdef inline void add_examples(const Groups* shape, const double* sums, Py_ssize_t which, real* result) noexcept nogil:
    """result[c] = the sum over the examples of each channel's first or second sum."""
    cdef Py_ssize_t n, c
    cdef double total
    for c in range(shape.C):
        total = 0
        for n in range(shape.N):
            total += sums[2 * (n * shape.C + c) + which]
        result[c] = <real> total


cdef inline int group_norm_gradients(
    const Groups* shape, const real* dy, const real* x, const real* w, const real* mean, const real* rstd, real* dx, real* dw, real* db
) noexcept nogil:
    """Returns 0, or -1 without memory."""
    cdef int threads = threads_for(shape.N * shape.C * shape.L // 2)
    cdef double* sums = <double*> malloc((2 * shape.N * shape.C + 1) * sizeof(double))
    cdef Py_ssize_t i
    if sums == NULL:
        return -1
    if threads == 1:
        for i in range(shape.N * shape.groups):
            group_gradient(shape, i, dy, x, w, mean, rstd, dx, sums)
        fence()
    else:
        with parallel(num_threads=threads):
            for i in prange(shape.N * shape.groups, schedule="static"):
                group_gradient(shape, i, dy, x, w, mean, rstd, dx, sums)
            fence()
    if db != NULL:
        add_examples(shape, <const double*> sums, 0, db)
    if dw != NULL:
        add_examples(shape, <const double*> sums, 1, dw)
    free(sums)
    return 0
