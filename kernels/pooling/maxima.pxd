# cython: cdivision=True
"""Maxima where windows are of different sizes, and the gradient of any maxima, plane by plane.

A position is a flat index in its plane; -1 where a window has no element.
"""

cimport numpy as cnp

from fastnn.kernels.arrays cimport real
from fastnn.kernels.lanes cimport fill
from fastnn.kernels.pooling.windows cimport Axis, Pooling

ctypedef fused position:
    cnp.int16_t
    cnp.int32_t
    cnp.int64_t


cdef inline void scatter_plane(const real* dy, const position* indices, real* dx, const Pooling* pooling) noexcept nogil:
    """The gradient of maxima. Rows are zeroed when windows first reach them, and are in the cache for what is added.

    Vectors of elements that gather from the windows that cover them took as long for windows of 2x2 and longer for 3x3.
    """
    cdef Py_ssize_t i, j, end, ready = 0
    for i in range(pooling.OH):
        end = i * pooling.rows.stride - pooling.rows.padding + (pooling.rows.kernel - 1) * pooling.rows.dilation + 1
        end = pooling.H if i == pooling.OH - 1 else max(ready, min(end, pooling.H))
        fill(<real> 0, dx + ready * pooling.W, (end - ready) * pooling.W, False)
        ready = end
        for j in range(i * pooling.OW, (i + 1) * pooling.OW):
            if indices[j] >= 0:
                dx[indices[j]] += dy[j]


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
