# cython: cdivision=True
"""Strided windows, a vector of them at a time.

A position is a flat index in its plane, of 2, 4 or 8 bytes; -1 where a window has no element.
"""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.pooling.windows cimport Pooling, ceil_div

cdef extern from "simd/pooling.h" nogil:
    enum:
        VECTOR "FASTNN_POOL_BYTES"
    ctypedef enum Mode "fastnn_pool_mode":
        MAX "FASTNN_POOL_MAX"
        ARGMAX "FASTNN_POOL_ARGMAX"
        MEAN "FASTNN_POOL_MEAN"
    void strip_f32 "fastnn_pool_strip_f32"(
        const float* x, float* y, char* indices, int bytes, const Pooling* pooling, Py_ssize_t i0, Py_ssize_t i1, Py_ssize_t j,
        Mode mode) noexcept
    void strip_f64 "fastnn_pool_strip_f64"(
        const double* x, double* y, char* indices, int bytes, const Pooling* pooling, Py_ssize_t i0, Py_ssize_t i1, Py_ssize_t j,
        Mode mode) noexcept
    void gradient_strip_f32 "fastnn_pool_gradient_strip_f32"(
        const float* dy, const char* indices, int bytes, float* dx, const Pooling* pooling, Py_ssize_t h0, Py_ssize_t h1, Py_ssize_t j
    ) noexcept
    void gradient_strip_f64 "fastnn_pool_gradient_strip_f64"(
        const double* dy, const char* indices, int bytes, double* dx, const Pooling* pooling, Py_ssize_t h0, Py_ssize_t h1, Py_ssize_t j
    ) noexcept

cdef enum:
    BAND = 4096  # elements of the input that strips, one vector of windows wide, work through together: they stay in the first cache


cdef inline void pool_plane(
    const real* x, real* y, char* indices, int bytes, const Pooling* pooling, Mode mode
) noexcept nogil:
    """Maxima, their positions or means; ``y`` may be NULL where positions are wanted."""
    cdef Py_ssize_t height = max(<Py_ssize_t> 1, BAND // (pooling.W * pooling.rows.stride)), i = 0, j, end
    while i < pooling.OH:
        end = min(i + height, pooling.OH)
        j = 0
        while j < pooling.OW:
            if real is float:
                strip_f32(x, y, indices, bytes, pooling, i, end, j, mode)
            else:
                strip_f64(x, y, indices, bytes, pooling, i, end, j, mode)
            j += <Py_ssize_t> (VECTOR // sizeof(real))
        i = end


cdef inline bint can_add_up(const Pooling* pooling) noexcept nogil:
    """Whether ``pool_plane`` takes these windows for means and is the fastest way: they are of one size and small."""
    return (
        pooling.rows.kernel > 0 and pooling.columns.kernel > 0 and pooling.columns.stride <= 2
        and pooling.rows.kernel <= 16 and pooling.rows.kernel * pooling.columns.kernel <= 16
    )


cdef inline bint can_gather(const Pooling* pooling, int bytes) noexcept nogil:
    """Whether ``gather_plane`` takes these windows and is the fastest way: few of them share an element."""
    return (
        pooling.rows.kernel > 0 and pooling.columns.kernel > 0 and pooling.columns.stride <= 2 and bytes <= 4
        and pooling.rows.dilation == 1 and pooling.columns.dilation == 1
        and ceil_div(pooling.rows.kernel, pooling.rows.stride) * ceil_div(pooling.columns.kernel, pooling.columns.stride) <= 4
    )


cdef inline void gather_plane(const real* dy, const char* indices, int bytes, real* dx, const Pooling* pooling) noexcept nogil:
    """The gradient of maxima, or of means where there are no positions; each element is written once."""
    cdef Py_ssize_t height = max(<Py_ssize_t> 1, BAND // pooling.W), h = 0, j, end
    while h < pooling.H:
        end = min(h + height, pooling.H)
        j = 0
        while j * pooling.columns.stride - pooling.columns.padding < pooling.W:
            if real is float:
                gradient_strip_f32(dy, indices, bytes, dx, pooling, h, end, j)
            else:
                gradient_strip_f64(dy, indices, bytes, dx, pooling, h, end, j)
            j += <Py_ssize_t> (VECTOR // sizeof(real))
        h = end
