# cython: cdivision=True
"""Maxima of strided windows and their gradient, plane by plane. A position is a flat index in its plane; -1 where there is none."""

cimport numpy as cnp
from libc.string cimport memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.pooling.windows cimport Axis, Strides, ceil_div

ctypedef fused position:
    cnp.int16_t
    cnp.int32_t
    cnp.int64_t

cdef extern from "simd/pooling.h" nogil:
    void max_row_f32 "fastnn_pool_max_row_f32"(
        const float* row, Py_ssize_t pitch, Py_ssize_t size, Py_ssize_t rows, Py_ssize_t kernel, Py_ssize_t at, Py_ssize_t stride,
        Py_ssize_t dilation, Py_ssize_t position, Py_ssize_t count, float* y, char* indices, int bytes) noexcept
    void max_row_f64 "fastnn_pool_max_row_f64"(
        const double* row, Py_ssize_t pitch, Py_ssize_t size, Py_ssize_t rows, Py_ssize_t kernel, Py_ssize_t at, Py_ssize_t stride,
        Py_ssize_t dilation, Py_ssize_t position, Py_ssize_t count, double* y, char* indices, int bytes) noexcept
    void max_gradient_row_f32 "fastnn_pool_max_gradient_row_f32"(
        const float* dy, const char* indices, int bytes, Py_ssize_t count, Py_ssize_t rows, Py_ssize_t kernel, Py_ssize_t stride,
        Py_ssize_t at, Py_ssize_t position, Py_ssize_t size, float* dx) noexcept
    void max_gradient_row_f64 "fastnn_pool_max_gradient_row_f64"(
        const double* dy, const char* indices, int bytes, Py_ssize_t count, Py_ssize_t rows, Py_ssize_t kernel, Py_ssize_t stride,
        Py_ssize_t at, Py_ssize_t position, Py_ssize_t size, double* dx) noexcept


cdef inline void max_plane(
    const real* x, real* y, char* indices, int bytes, Py_ssize_t H, Py_ssize_t W, Py_ssize_t OH, Py_ssize_t OW,
    Strides rows, Strides columns
) noexcept nogil:
    """``y`` or ``indices`` (positions of so many bytes) may be NULL."""
    cdef Py_ssize_t i, top, first, last, h
    cdef real* line
    cdef char* where
    for i in range(OH):
        top = i * rows.stride - rows.padding
        first = ceil_div(-top, rows.dilation)
        last = min(rows.kernel, ceil_div(H - top, rows.dilation))
        h = top + first * rows.dilation
        line = NULL if y == NULL else y + i * OW
        where = NULL if indices == NULL else indices + i * OW * bytes
        if real is float:
            max_row_f32(x + h * W, rows.dilation * W, W, last - first, columns.kernel, -columns.padding, columns.stride,
                        columns.dilation, h * W, OW, line, where, bytes)
        else:
            max_row_f64(x + h * W, rows.dilation * W, W, last - first, columns.kernel, -columns.padding, columns.stride,
                        columns.dilation, h * W, OW, line, where, bytes)


cdef inline bint can_gather(Strides rows, Strides columns, int bytes) noexcept nogil:
    """Whether ``gather_plane`` takes these windows and is faster than ``scatter_plane``: few of them share an element."""
    return (
        rows.dilation == 1 and columns.dilation == 1 and columns.stride <= 2 and bytes <= 4
        and ceil_div(rows.kernel, rows.stride) * ceil_div(columns.kernel, columns.stride) <= 4
    )


cdef inline void gather_plane(
    const real* dy, const char* indices, real* dx, int bytes, Py_ssize_t H, Py_ssize_t W, Py_ssize_t OH, Py_ssize_t OW,
    Strides rows, Strides columns
) noexcept nogil:
    """The gradient row by row, each element written once: what it is the maximum of lies in a few rows of windows."""
    cdef Py_ssize_t h, first, last
    for h in range(H):
        first = ceil_div(h + rows.padding - rows.kernel + 1, rows.stride)
        last = min((h + rows.padding) // rows.stride, OH - 1)
        if real is float:
            max_gradient_row_f32(dy + first * OW, indices + first * OW * bytes, bytes, OW, last + 1 - first, columns.kernel,
                                 columns.stride, -columns.padding, h * W, W, dx + h * W)
        else:
            max_gradient_row_f64(dy + first * OW, indices + first * OW * bytes, bytes, OW, last + 1 - first, columns.kernel,
                                 columns.stride, -columns.padding, h * W, W, dx + h * W)


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
