# cython: cdivision=True
"""Tiles of a direct convolution: their sums of products, and the way into the output."""

from libc.string cimport memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.geometry cimport LONGEST
from fastnn.kernels.convolution.passes cimport ROWS, SPAN_BYTES, Pass, Piece, Tap

cdef extern from "simd/direct.h" nogil:
    void tile_f32 "fastnn_direct_tile_f32"(
        Py_ssize_t vectors, Py_ssize_t channels, Py_ssize_t taps, const Tap* tap, const float* x, const Py_ssize_t* start,
        Py_ssize_t plane, const float* w, Py_ssize_t w_row, Py_ssize_t w_channel, Py_ssize_t rows, int add, float* p) noexcept
    void tile_f64 "fastnn_direct_tile_f64"(
        Py_ssize_t vectors, Py_ssize_t channels, Py_ssize_t taps, const Tap* tap, const double* x, const Py_ssize_t* start,
        Py_ssize_t plane, const double* w, Py_ssize_t w_row, Py_ssize_t w_channel, Py_ssize_t rows, int add, double* p) noexcept
    void blocked_tile_f32 "fastnn_blocked_tile_f32"(
        Py_ssize_t channels, Py_ssize_t taps, const Tap* tap, const float* x, const Py_ssize_t* start, Py_ssize_t plane,
        const float* w, Py_ssize_t w_channel, int add, float* p) noexcept
    void blocked_tile_f64 "fastnn_blocked_tile_f64"(
        Py_ssize_t channels, Py_ssize_t taps, const Tap* tap, const double* x, const Py_ssize_t* start, Py_ssize_t plane,
        const double* w, Py_ssize_t w_channel, int add, double* p) noexcept
    void fetch_f32 "fastnn_blocked_fetch_f32"(
        const Piece* piece, Py_ssize_t pieces, Py_ssize_t channels, float* y, Py_ssize_t y_channel, Py_ssize_t step) noexcept
    void fetch_f64 "fastnn_blocked_fetch_f64"(
        const Piece* piece, Py_ssize_t pieces, Py_ssize_t channels, double* y, Py_ssize_t y_channel, Py_ssize_t step) noexcept
    void blocked_store_f32 "fastnn_blocked_store_f32"(
        const Piece* piece, Py_ssize_t pieces, const float* p, Py_ssize_t channels, const float* bias, float* y,
        Py_ssize_t y_channel, Py_ssize_t step) noexcept
    void blocked_store_f64 "fastnn_blocked_store_f64"(
        const Piece* piece, Py_ssize_t pieces, const double* p, Py_ssize_t channels, const double* bias, double* y,
        Py_ssize_t y_channel, Py_ssize_t step) noexcept
    void store_f32 "fastnn_direct_store_f32"(
        const Piece* piece, Py_ssize_t pieces, const float* p, float bias, float* y, Py_ssize_t step) noexcept
    void store_f64 "fastnn_direct_store_f64"(
        const Piece* piece, Py_ssize_t pieces, const double* p, double bias, double* y, Py_ssize_t step) noexcept


cdef inline Py_ssize_t tile_elements(const Pass* s) noexcept nogil:
    return s.channels * s.spans * s.span


cdef inline void sum_tile(
    const real* x, const real* w, const Pass* s, const Py_ssize_t* start, Py_ssize_t vectors, Py_ssize_t o, Py_ssize_t c,
    Py_ssize_t channels, const Tap* tap, Py_ssize_t taps, bint add, real* p,
) noexcept nogil:
    """p = or += a tile of some input channels and taps. ``start`` is that of its first vector or pair."""
    cdef Py_ssize_t rows = min(<Py_ssize_t> ROWS, s.O - o)
    x += c * s.plane
    w += o * s.w_row + c * s.w_channel
    if s.packed:
        if real is float:
            blocked_tile_f32(channels, taps, tap, x, start, s.plane, w, s.w_channel, add, p)
        else:
            blocked_tile_f64(channels, taps, tap, x, start, s.plane, w, s.w_channel, add, p)
    elif real is float:
        tile_f32(vectors, channels, taps, tap, x, start, s.plane, w, s.w_row, s.w_channel, rows, add, p)
    else:
        tile_f64(vectors, channels, taps, tap, x, start, s.plane, w, s.w_row, s.w_channel, rows, add, p)


cdef inline bint has_long_sums(const Pass* s, Py_ssize_t itemsize) noexcept nogil:
    return itemsize == sizeof(float) and s.C * s.taps > LONGEST


cdef inline void sum_long_tile(
    const real* x, const real* w, const Pass* s, const Py_ssize_t* start, Py_ssize_t vectors, Py_ssize_t o, Py_ssize_t c,
    Py_ssize_t channels, real* p, double* totals,
) noexcept nogil:
    """``sum_tile``, with LONGEST products in a sum, which join in double; p has the totals after the last channel."""
    cdef Py_ssize_t most = max(LONGEST // s.taps, 1), end = c + channels, t, i, some, size = tile_elements(s)
    if c == 0:
        memset(totals, 0, size * sizeof(double))
    while c < end:
        some = min(most - c % most, end - c)
        t = 0
        while t < s.taps:
            sum_tile(x, w, s, start, vectors, o, c, some, s.tap + t, min(<Py_ssize_t> LONGEST, s.taps - t), c % most > 0, p)
            if (c + some) % most == 0 or c + some == s.C:
                for i in range(size):
                    totals[i] += p[i]
            t += LONGEST
        c += some
    if end == s.C:
        for i in range(size):
            p[i] = <real> totals[i]


cdef inline void fetch_tile(
    real* y, const Pass* s, const Py_ssize_t* first_piece, const Piece* piece, Py_ssize_t o
) noexcept nogil:
    """Packed weights: the cache lines that a tile's results will go to, while its sums are computed."""
    cdef Py_ssize_t plane = s.out_rows * s.out_columns, pieces = first_piece[1] - first_piece[0]
    if real is float:
        fetch_f32(piece + first_piece[0], pieces, min(s.channels, s.O - o), y + o * plane, plane, s.step)
    else:
        fetch_f64(piece + first_piece[0], pieces, min(s.channels, s.O - o), y + o * plane, plane, s.step)


cdef inline void store_tile(
    const real* b, real* y, const Pass* s, const Py_ssize_t* first_piece, const Piece* piece, Py_ssize_t units, Py_ssize_t o,
    const real* p,
) noexcept nogil:
    """Adds the bias."""
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), plane = s.out_rows * s.out_columns, channels = min(s.channels, s.O - o), i, j
    cdef const real* bias = b + o if b != NULL else b
    if s.packed:
        if real is float:
            blocked_store_f32(
                piece + first_piece[0], first_piece[1] - first_piece[0], p, channels, bias, y + o * plane, plane, s.step)
        else:
            blocked_store_f64(
                piece + first_piece[0], first_piece[1] - first_piece[0], p, channels, bias, y + o * plane, plane, s.step)
        return
    for i in range(channels):
        for j in range(units):
            if real is float:
                store_f32(
                    piece + first_piece[j], first_piece[j + 1] - first_piece[j], p + (i * units + j) * lanes,
                    bias[i] if b != NULL else 0, y + (o + i) * plane, s.step)
            else:
                store_f64(
                    piece + first_piece[j], first_piece[j + 1] - first_piece[j], p + (i * units + j) * lanes,
                    bias[i] if b != NULL else 0, y + (o + i) * plane, s.step)
