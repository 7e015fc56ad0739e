# cython: cdivision=True
"""Strided windows, a vector of them at a time.

A position is a flat index in its plane, of 2, 4 or 8 bytes; -1 where a window has no element.
"""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.pooling.windows cimport Pooling, ceil_div

cdef extern from "simd/pooling.h" nogil:
    ctypedef enum Mode "fastnn_pool_mode":
        MAX "FASTNN_POOL_MAX"
        ARGMAX "FASTNN_POOL_ARGMAX"
        MEAN "FASTNN_POOL_MEAN"
    void plane_f32 "fastnn_pool_plane_f32"(
        const float* x, float* y, char* indices, int bytes, const Pooling* pooling, Mode mode) noexcept
    void plane_f64 "fastnn_pool_plane_f64"(
        const double* x, double* y, char* indices, int bytes, const Pooling* pooling, Mode mode) noexcept
    void halves_f32 "fastnn_pool_halves_f32"(
        const float* x, float* y, char* indices, int bytes, Py_ssize_t rows, Py_ssize_t i, Py_ssize_t height, Py_ssize_t width) noexcept
    void halves_f64 "fastnn_pool_halves_f64"(
        const double* x, double* y, char* indices, int bytes, Py_ssize_t rows, Py_ssize_t i, Py_ssize_t height, Py_ssize_t width) noexcept
    void gradient_plane_f32 "fastnn_pool_gradient_plane_f32"(const float* dy, float* dx, const Pooling* pooling) noexcept
    void gradient_plane_f64 "fastnn_pool_gradient_plane_f64"(const double* dy, double* dx, const Pooling* pooling) noexcept


cdef inline void pool_plane(
    const real* x, real* y, char* indices, int bytes, const Pooling* pooling, Mode mode
) noexcept nogil:
    """Maxima, maxima and positions, or means; ``y`` may be NULL where positions are wanted."""
    if real is float:
        plane_f32(x, y, indices, bytes, pooling, mode)
    else:
        plane_f64(x, y, indices, bytes, pooling, mode)


cdef inline bint can_halve(const Pooling* pooling) noexcept nogil:
    """Whether ``halve_rows`` takes these windows and is the fastest way: they are 2x2 side by side, few in a row."""
    return (
        pooling.rows.kernel == 2 and pooling.rows.stride == 2 and pooling.rows.padding == 0 and pooling.rows.dilation == 1
        and pooling.columns.kernel == 2 and pooling.columns.stride == 2 and pooling.columns.padding == 0
        and pooling.columns.dilation == 1 and pooling.H == 2 * pooling.OH and pooling.W == 2 * pooling.OW and pooling.OW <= 16
    )


cdef inline void halve_rows(
    const real* x, real* y, char* indices, int bytes, const Pooling* pooling, Py_ssize_t begin, Py_ssize_t end
) noexcept nogil:
    """Maxima of 2x2, and positions: the rows begin <= row < end of all planes below each other. Either result may be NULL."""
    cdef Py_ssize_t width = pooling.OW, height = pooling.OH
    x += 4 * begin * width
    y = NULL if y == NULL else y + begin * width
    indices = NULL if indices == NULL else indices + begin * width * bytes
    if real is float:
        halves_f32(x, y, indices, bytes, end - begin, begin % height, height, width)
    else:
        halves_f64(x, y, indices, bytes, end - begin, begin % height, height, width)


cdef inline bint can_add_up(const Pooling* pooling) noexcept nogil:
    """Whether ``pool_plane`` takes these windows for means and is the fastest way: they are of one size and small."""
    return (
        pooling.rows.kernel > 0 and pooling.columns.kernel > 0 and pooling.columns.stride <= 2
        and pooling.rows.kernel <= 16 and pooling.rows.kernel * pooling.columns.kernel <= 16
    )


cdef inline bint can_gather(const Pooling* pooling) noexcept nogil:
    """Whether ``gather_plane`` takes these windows and is the fastest way: they are of one size, and few share an element."""
    return (
        pooling.rows.kernel > 0 and pooling.columns.kernel > 0 and pooling.columns.stride <= 2
        and ceil_div(pooling.rows.kernel, pooling.rows.stride) * ceil_div(pooling.columns.kernel, pooling.columns.stride) <= 4
    )


cdef inline void gather_plane(const real* dy, real* dx, const Pooling* pooling) noexcept nogil:
    """The gradient of means; each element is written once."""
    if real is float:
        gradient_plane_f32(dy, dx, pooling)
    else:
        gradient_plane_f64(dy, dx, pooling)
