# cython: cdivision=True
"""What Winograd's minimal filtering computes, and its weights: m x m outputs a tile, m = 2 or 4."""

from libc.string cimport memcpy, memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.geometry cimport Geometry

cdef extern from "simd/winograd_weights.h" nogil:
    enum:
        SPAN_BYTES "FASTNN_SPAN_BYTES"
        ROWS "FASTNN_WINOGRAD_ROWS"
    void taps_f32 "fastnn_winograd_taps_f32"(const float* source, Py_ssize_t stride, float* taps) noexcept
    void taps_f64 "fastnn_winograd_taps_f64"(const double* source, Py_ssize_t stride, double* taps) noexcept
    void weights_f32 "fastnn_winograd_weights_f32"(int m, const float* w, int turn, float* u, Py_ssize_t stride) noexcept
    void weights_f64 "fastnn_winograd_weights_f64"(int m, const double* w, int turn, double* u, Py_ssize_t stride) noexcept

cdef enum:
    TAPS = 9
    PHASE = 7  # rows and columns of a dilation's phase, at least

cdef struct Correlation:  # what is computed; the data gradient is one of dy with the weights turned and their channels exchanged
    Py_ssize_t N, C, H, W, O, P, Q, top, left, dh, dw
    Py_ssize_t w_out, w_in  # elements from one output or input channel's weights to the next's
    int turn                # 1, or -1 for turned weights
    int m
    Py_ssize_t down, across, tiles  # tiles of a phase of an image, and of the batch


cdef inline bint winograd_fits(const Geometry* g, bint gradient) noexcept nogil:
    """Where the error bound allows it: by default for at least 64 channels. Small phases would be margin for the most part."""
    if g.dh * g.dw > 1 and (g.dh > 2 or g.dw > 2 or min(g.P, g.H) < PHASE * g.dh or min(g.Q, g.W) < PHASE * g.dw):
        return False
    return (
        g.groups == 1 and g.KH == 3 and g.KW == 3 and g.sh == 1 and g.sw == 1
        and g.C >= 64 and (g.O >= 64 or not gradient) and g.N * g.P * g.Q * g.O > 0 and g.H * g.W > 0
    )


cdef inline Correlation correlation(const Geometry* g, bint gradient, int m) noexcept nogil:
    cdef Correlation s
    s.N, s.m, s.dh, s.dw = g.N, m, g.dh, g.dw
    if gradient:
        s.C, s.H, s.W, s.O, s.P, s.Q = g.O, g.P, g.Q, g.C, g.H, g.W
        s.top, s.left = 2 * g.dh - g.top, 2 * g.dw - g.left
        s.w_out, s.w_in, s.turn = TAPS, g.C * TAPS, -1
    else:
        s.C, s.H, s.W, s.O, s.P, s.Q = g.C, g.H, g.W, g.O, g.P, g.Q
        s.top, s.left = g.top, g.left
        s.w_out, s.w_in, s.turn = g.C * TAPS, TAPS, 1
    s.down, s.across = (s.P + m * s.dh - 1) // (m * s.dh), (s.Q + m * s.dw - 1) // (m * s.dw)
    s.tiles = s.N * s.dh * s.dw * s.down * s.across
    return s


cdef inline Py_ssize_t slab(Py_ssize_t itemsize) noexcept nogil:
    """Output channels whose weights are transformed together."""
    return max(<Py_ssize_t> ROWS, SPAN_BYTES // itemsize)


cdef inline Py_ssize_t weights_stride(Py_ssize_t C, Py_ssize_t itemsize) noexcept nogil:
    """Elements from xi to xi + 1: a cache line more than a slab, lest all of them fall into one set of L1."""
    return slab(itemsize) * C + 64 // itemsize


cdef inline void transform_slab(const real* w, const Correlation* s, Py_ssize_t o0, real* u) noexcept nogil:
    """u[xi][c][channel] for the slab of output channels from o0 on; zeros for those that do not exist."""
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), width = slab(sizeof(real)), c, o = 0, i, stride
    cdef Py_ssize_t u_stride = weights_stride(s.C, sizeof(real)), first = 0 if s.turn == 1 else (TAPS - 1) * lanes
    cdef real copied[16 * TAPS]
    cdef real taps[16 * TAPS]
    cdef const real* source
    while o < width:
        for c in range(s.C):
            source = w + (o0 + o) * s.w_out + c * s.w_in
            stride = s.w_out
            if o0 + o + lanes > s.O:
                memset(copied, 0, sizeof(copied))
                for i in range(min(lanes, s.O - o0 - o)):
                    memcpy(copied + i * TAPS, source + i * stride, TAPS * sizeof(real))
                source = copied
                stride = TAPS
            if real is float:
                taps_f32(source, stride, taps)
                weights_f32(s.m, taps + first, s.turn, u + o + c * width, u_stride)
            else:
                taps_f64(source, stride, taps)
                weights_f64(s.m, taps + first, s.turn, u + o + c * width, u_stride)
        o += lanes
