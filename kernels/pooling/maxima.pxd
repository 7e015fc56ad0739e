# cython: cdivision=True
"""Maxima where windows are of different sizes, and the gradient of any maxima, plane by plane."""

cimport numpy as cnp
from libc.string cimport memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.pooling.windows cimport Axis

ctypedef fused position:
    cnp.int16_t
    cnp.int32_t
    cnp.int64_t


cdef inline void scatter_plane(
    const real* dy, const position* indices, real* dx, Py_ssize_t outputs, Py_ssize_t inputs
) noexcept nogil:
    """The gradient for windows of any kind."""
    cdef Py_ssize_t o
    memset(dx, 0, inputs * sizeof(real))
    for o in range(outputs):
        if indices[o] >= 0:
            dx[indices[o]] += dy[o]


cdef inline void adaptive_max_plane(
    const real* x, real* y, position* indices, Axis rows, Axis columns
) noexcept nogil:
    cdef Py_ssize_t i, j, h, w, where, o = 0
    cdef real best, value
    for i in range(rows.count):
        for j in range(columns.count):
            where = rows.begin[i] * columns.size + columns.begin[j]
            best = x[where]
            for h in range(rows.begin[i], rows.end[i]):
                for w in range(columns.begin[j], columns.end[j]):
                    value = x[h * columns.size + w]
                    if value > best or value != value:
                        best = value
                        where = h * columns.size + w
            if y != NULL:
                y[o] = best
            if indices != NULL:
                indices[o] = <position> where
            o += 1
