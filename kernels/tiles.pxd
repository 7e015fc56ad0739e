"""Tiles: TILE numbers side by side, as local variables that stay in registers.

A loop over tiles fills one, applies a function of ``simd/pointwise.h``, and puts it into memory. All of a tile is read before any of it
is written, so the result may be an operand itself.
"""

from fastnn.kernels.arrays cimport real

cdef extern from "simd/pointwise.h" nogil:
    enum:
        TILE "FASTNN_TILE"
    void exp_f32 "fastnn_exp_tile_f32"(float* x) noexcept
    void exp_f64 "fastnn_exp_tile_f64"(double* x) noexcept
    void decay_f32 "fastnn_decay_tile_f32"(float* x) noexcept
    void decay_f64 "fastnn_decay_tile_f64"(double* x) noexcept
    void tanh_f32 "fastnn_tanh_tile_f32"(float* x) noexcept
    void tanh_f64 "fastnn_tanh_tile_f64"(double* x) noexcept
    void sigmoid_f32 "fastnn_sigmoid_tile_f32"(float* x) noexcept
    void sigmoid_f64 "fastnn_sigmoid_tile_f64"(double* x) noexcept
    void gelu_f32 "fastnn_gelu_tile_f32"(float* x) noexcept
    void gelu_f64 "fastnn_gelu_tile_f64"(double* x) noexcept
    void gelu_slope_f32 "fastnn_gelu_slope_tile_f32"(float* x) noexcept
    void gelu_slope_f64 "fastnn_gelu_slope_tile_f64"(double* x) noexcept
    void take_f32 "fastnn_take_f32"(float* tile, const float* source) noexcept
    void take_f64 "fastnn_take_f64"(double* tile, const double* source) noexcept
    void put_f32 "fastnn_put_f32"(float* to, const float* tile, bint past) noexcept
    void put_f64 "fastnn_put_f64"(double* to, const double* tile, bint past) noexcept
    void settle "fastnn_settle"() noexcept


cdef inline void exp_tile(real* x) noexcept nogil:
    if real is float:
        exp_f32(x)
    else:
        exp_f64(x)


cdef inline void decay_tile(real* x) noexcept nogil:
    """exp(x) - 1 where x < 0, else 0."""
    if real is float:
        decay_f32(x)
    else:
        decay_f64(x)


cdef inline void tanh_tile(real* x) noexcept nogil:
    if real is float:
        tanh_f32(x)
    else:
        tanh_f64(x)


cdef inline void sigmoid_tile(real* x) noexcept nogil:
    """1 / (1 + exp(-x))"""
    if real is float:
        sigmoid_f32(x)
    else:
        sigmoid_f64(x)


cdef inline void gelu_tile(real* x) noexcept nogil:
    """x Phi(x)"""
    if real is float:
        gelu_f32(x)
    else:
        gelu_f64(x)


cdef inline void gelu_slope_tile(real* x) noexcept nogil:
    """Phi(x) + x phi(x), the derivative of gelu."""
    if real is float:
        gelu_slope_f32(x)
    else:
        gelu_slope_f64(x)


cdef inline void take(real* tile, const real* source) noexcept nogil:
    """A tile from memory; fetches what lies a little further on."""
    if real is float:
        take_f32(tile, source)
    else:
        take_f64(tile, source)


cdef inline void put(real* to, const real* tile, bint past) noexcept nogil:
    """A tile into memory, past the caches if wanted: ``to`` is then aligned to 64 bytes."""
    if real is float:
        put_f32(to, tile, past)
    else:
        put_f64(to, tile, past)
