# cython: cdivision=True
"""Reductions of the middle dimension, compiled ahead of time."""

cimport numpy as cnp

from fastnn.kernels.entry cimport Argument, Argument32, Argument64, Entry, kernel
from fastnn.kernels.reduction.extrema cimport extrema, extremum_gradients
from fastnn.kernels.reduction.spread cimport spread, spread_variance
from fastnn.kernels.reduction.sums cimport divided_sums, variances


cdef int sum(const Argument* a) noexcept nogil:
    return divided_sums(a[0].input, a[1].output, a[0].dims[0], a[0].dims[1], a[0].dims[2], 1)


cdef int mean(const Argument* a) noexcept nogil:
    return divided_sums(a[0].input, a[1].output, a[0].dims[0], a[0].dims[1], a[0].dims[2], a[0].dims[1])


cdef int sum_backward(const Argument* a) noexcept nogil:
    spread(a[0].input, a[2].output, a[2].dims[0], a[2].dims[1], a[2].dims[2], 1)
    return 0


cdef int mean_backward(const Argument* a) noexcept nogil:
    spread(a[0].input, a[2].output, a[2].dims[0], a[2].dims[1], a[2].dims[2], a[2].dims[1])
    return 0


cdef int var(const Argument* a) noexcept nogil:
    cdef double divisor = max(a[0].dims[1] - a[1].number, 0)
    return variances(a[0].input, a[2].output, a[3].output, a[0].dims[0], a[0].dims[1], a[0].dims[2], divisor)


cdef int var_backward(const Argument* a) noexcept nogil:
    cdef double factor = 2 / max(a[1].dims[1] - a[3].number, 0)
    spread_variance(a[0].input, a[1].input, a[2].input, a[4].output, a[1].dims[0], a[1].dims[1], a[1].dims[2], factor)
    return 0


cdef int amax(const Argument* a) noexcept nogil:
    extrema(a[0].input, a[1].output, <cnp.int64_t*> a[2].output, a[0].dims[0], a[0].dims[1], a[0].dims[2], 1)
    return 0


cdef int amin(const Argument* a) noexcept nogil:
    extrema(a[0].input, a[1].output, <cnp.int64_t*> a[2].output, a[0].dims[0], a[0].dims[1], a[0].dims[2], -1)
    return 0


cdef int extremum_backward(const Argument* a) noexcept nogil:
    extremum_gradients(
        a[0].input, <const cnp.int64_t*> a[1].input, a[3].output, a[3].dims[0], a[3].dims[1], a[3].dims[2])
    return 0


kernel(globals(), "sum(x, y)", <Entry> sum[Argument32], <Entry> sum[Argument64])
kernel(globals(), "mean(x, y)", <Entry> mean[Argument32], <Entry> mean[Argument64])
kernel(globals(), "sum_backward(dy, tuple x_shape, dx)", <Entry> sum_backward[Argument32], <Entry> sum_backward[Argument64])
kernel(globals(), "mean_backward(dy, tuple x_shape, dx)", <Entry> mean_backward[Argument32], <Entry> mean_backward[Argument64])
kernel(globals(), "var(x, float correction, y?, mean?)", <Entry> var[Argument32], <Entry> var[Argument64])
kernel(globals(), "var_backward(dy, x, mean, float correction, dx)",
       <Entry> var_backward[Argument32], <Entry> var_backward[Argument64])
kernel(globals(), "amax(x, y?, indices?)", <Entry> amax[Argument32], <Entry> amax[Argument64])
kernel(globals(), "amin(x, y?, indices?)", <Entry> amin[Argument32], <Entry> amin[Argument64])
kernel(globals(), "extremum_backward(dy, indices, tuple x_shape, dx)",
       <Entry> extremum_backward[Argument32], <Entry> extremum_backward[Argument64])
