# cython: cdivision=True
"""Convolution, compiled ahead of time: for each task and shape one of several algorithms."""

cimport numpy as cnp

from fastnn.kernels.arrays cimport data, is_float32, length, real
from fastnn.kernels.convolution.direct cimport direct_dx, direct_forward
from fastnn.kernels.convolution.depthwise cimport depthwise_backward, depthwise_fits, depthwise_forward
from fastnn.kernels.convolution.few_channels cimport few_channels_fits, few_channels_forward
from fastnn.kernels.convolution.patches cimport Geometry
from fastnn.kernels.convolution.weight_gradient cimport weight_gradient
from fastnn.kernels.convolution.winograd cimport winograd_dx, winograd_fits, winograd_forward

cnp.import_array()

cdef enum:  # what is computed
    FORWARD
    DATA_GRADIENT
    WEIGHT_GRADIENT

cdef enum:  # and how
    DIRECT
    FEW_CHANNELS
    DEPTHWISE
    WINOGRAD


cdef Geometry _geometry(
    cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, tuple stride, tuple padding, tuple dilation, Py_ssize_t groups
):
    cdef Geometry g
    g.N, g.C, g.H, g.W = length(x, 0), length(w, 1), length(x, 2), length(x, 3)
    g.O, g.P, g.Q = length(w, 0) // groups, length(y, 2), length(y, 3)
    g.KH, g.KW = length(w, 2), length(w, 3)
    g.sh, g.sw = stride
    g.top, g.left = padding[0], padding[2]
    g.dh, g.dw = dilation
    g.groups = groups
    return g


cdef int algorithm(const Geometry* g, int task) noexcept nogil:
    """How to compute one task (FORWARD, DATA_GRADIENT or WEIGHT_GRADIENT) of this shape."""
    if depthwise_fits(g):
        return DEPTHWISE
    if task == FORWARD and few_channels_fits(g):
        return FEW_CHANNELS
    if task != WEIGHT_GRADIENT and winograd_fits(g, task == DATA_GRADIENT):
        return WINOGRAD
    return DIRECT


cdef int _forward(const real* x, const real* w, const real* b, real* y, const Geometry* g) noexcept nogil:
    cdef int how = algorithm(g, FORWARD)
    if how == FEW_CHANNELS:
        return few_channels_forward(x, w, b, y, g)
    if how == DEPTHWISE:
        return depthwise_forward(x, w, b, y, g)
    if how == WINOGRAD:
        return winograd_forward(x, w, b, y, g, 2)
    return direct_forward(x, w, b, y, g)


def conv2d(
    cnp.ndarray x not None, cnp.ndarray w not None, cnp.ndarray b, tuple stride, tuple padding, tuple dilation, Py_ssize_t groups,
    cnp.ndarray y not None,
):
    cdef Geometry g = _geometry(x, w, y, stride, padding, dilation, groups)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _forward(<const float*> data(x), <const float*> data(w), <const float*> data(b), <float*> data(y), &g)
    else:
        with nogil:
            failed = _forward(<const double*> data(x), <const double*> data(w), <const double*> data(b), <double*> data(y), &g)
    if failed:
        raise MemoryError("conv2d: no room for the packed panels")


cdef int _dx(const real* dy, const real* w, real* dx, const Geometry* g) noexcept nogil:
    cdef int how = algorithm(g, DATA_GRADIENT)
    if how == WINOGRAD:
        return winograd_dx(dy, w, dx, g, 2)
    return direct_dx(dy, w, dx, g)


cdef int _dw(const real* dy, const real* x, real* dw, const Geometry* g) noexcept nogil:
    cdef int how = algorithm(g, WEIGHT_GRADIENT)
    return weight_gradient(dy, x, dw, g)


cdef void _db(const real* dy, real* db, const Geometry* g) noexcept nogil:
    """Sums over images and pixels, each row of pixels in 16 interleaved parts."""
    cdef Py_ssize_t pixels = g.P * g.Q, channels = g.groups * g.O, o, n, i, j
    cdef real parts[16]
    cdef real total
    cdef const real* row
    for o in range(channels):
        total = 0
        for n in range(g.N):
            row = dy + (n * channels + o) * pixels
            for j in range(16):
                parts[j] = 0
            for i in range(pixels // 16):
                for j in range(16):
                    parts[j] += row[16 * i + j]
            for i in range(pixels // 16 * 16, pixels):
                parts[0] += row[i]
            for j in range(1, 16):
                parts[0] += parts[j]
            total += parts[0]
        db[o] = total


cdef int _backward(const real* dy, const real* x, const real* w, real* dx, real* dw, real* db, const Geometry* g) noexcept nogil:
    cdef int failed = 0
    if algorithm(g, DATA_GRADIENT) == DEPTHWISE:
        return depthwise_backward(dy, x, w, dx, dw, db, g)
    if dx != NULL:
        failed |= _dx(dy, w, dx, g)
    if dw != NULL:
        failed |= _dw(dy, x, dw, g)
    if db != NULL:
        _db(dy, db, g)
    return failed


def conv2d_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray w not None, tuple stride, tuple padding, tuple dilation,
    Py_ssize_t groups, cnp.ndarray dx, cnp.ndarray dw, cnp.ndarray db,
):
    cdef Geometry g = _geometry(x, w, dy, stride, padding, dilation, groups)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _backward(
                <const float*> data(dy), <const float*> data(x), <const float*> data(w),
                <float*> data(dx), <float*> data(dw), <float*> data(db), &g)
    else:
        with nogil:
            failed = _backward(
                <const double*> data(dy), <const double*> data(x), <const double*> data(w),
                <double*> data(dx), <double*> data(dw), <double*> data(db), &g)
    if failed:
        raise MemoryError("conv2d_backward: no room for the packed panels")
