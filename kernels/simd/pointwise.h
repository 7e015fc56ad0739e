/* Elementary functions of a tile: FASTNN_TILE numbers side by side, in place. A tile that is a local variable stays in registers.

   With AVX-512 they are written by hand, for doubles in pointwise_wide.h: tables of 32 entries are looked up by permutation, and exp leaves
   its exponent to `scalef`. tanh, 1 - exp(-a), gelu, its derivative and the logistic function are piecewise polynomials (see
   benchmarks/fit_tables.py): eight cycles for 16 numbers, where one division takes ten. Elsewhere the loops run over the functions of
   elementary.h and become vector code.
   The docstrings of fastnn.functional name the bounds of the errors; tests/families/test_activation.py holds them. */
#ifndef FASTNN_POINTWISE_H
#define FASTNN_POINTWISE_H

#include <stddef.h>
#include <stdint.h>

#include "elementary.h"

#if defined(__AVX512F__)
#include <immintrin.h>

#include "pointwise_wide.h"
#include "tables.h"
#elif defined(__SSE2__)
#include <immintrin.h>
#endif

enum { FASTNN_TILE = 64, FASTNN_AHEAD = 2048 };  /* numbers; bytes */

/* exp(x) - 1 where x < 0, else 0 */
static inline float fastnn_decay_f32(float x) { return fastnn_expm1_f32(x > 0 ? 0.0f : x); }
static inline double fastnn_decay_f64(double x) { return fastnn_expm1_f64(x > 0 ? 0.0 : x); }

/* x Phi(x), and its derivative Phi(x) + x phi(x) */
#define FASTNN_DEFINE_GELU(real, suffix)                                                                            \
    static inline real fastnn_gelu_##suffix(real x) {                                                               \
        return (real)0.5 * x * ((real)1 + fastnn_erf_##suffix(x * (real)0.70710678118654752440));                   \
    }                                                                                                               \
    static inline real fastnn_gelu_slope_##suffix(real x) {                                                         \
        const real density = (real)0.39894228040143267794 * fastnn_exp_##suffix((real)-0.5 * x * x);                \
        return (real)0.5 * ((real)1 + fastnn_erf_##suffix(x * (real)0.70710678118654752440)) + x * density;         \
    }

FASTNN_DEFINE_GELU(float, f32)
FASTNN_DEFINE_GELU(double, f64)

#if defined(__AVX512F__)
#define FASTNN_ALL(value) _mm512_set1_ps(value)

static inline __m512 fastnn_look_up(const float *table, __m512i index) {
    return _mm512_permutex2var_ps(_mm512_load_ps(table), index, _mm512_load_ps(table + 16));
}

/* The piecewise polynomial at a in [0, top]; NaN stays. */
static inline __m512 fastnn_piecewise(const float (*table)[32], float scale, __m512 a) {
    const __m512i index = _mm512_srli_epi32(_mm512_castps_si512(_mm512_fmadd_ps(a, FASTNN_ALL(scale), FASTNN_ALL(1.0f))), 20);
    const __m512 r = _mm512_sub_ps(a, fastnn_look_up(table[5], index));
    __m512 p = fastnn_look_up(table[4], index);
#pragma GCC unroll 4
    for (int power = 3; power >= 0; power--)
        p = _mm512_fmadd_ps(p, r, fastnn_look_up(table[power], index));
    return p;
}

/* min(|x|, top); the second operand of a minimum is its result where one is NaN. */
static inline __m512 fastnn_size(__m512 x, float top) { return _mm512_min_ps(FASTNN_ALL(top), _mm512_abs_ps(x)); }

/* `size`, which has no sign, with the sign of x. */
static inline __m512 fastnn_signed(__m512 size, __m512 x) {
    const __m512i sign = _mm512_set1_epi32((int)0x80000000u);
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(_mm512_castps_si512(size), _mm512_castps_si512(x), sign, 0xF8));  /* size | (x & sign) */
}

static inline __m512 fastnn_vector_tanh(__m512 x) {
    return fastnn_signed(fastnn_piecewise(fastnn_tanh_table, fastnn_tanh_scale, fastnn_size(x, fastnn_tanh_top)), x);
}

static inline __m512 fastnn_vector_decay(__m512 x) {
    const __m512 negative = _mm512_max_ps(FASTNN_ALL(-fastnn_decay_top), _mm512_min_ps(FASTNN_ALL(0.0f), x));
    return fastnn_signed(fastnn_piecewise(fastnn_decay_table, fastnn_decay_scale, _mm512_abs_ps(negative)), FASTNN_ALL(-0.0f));
}

/* max(x, 0) - |x| Phi(-|x|) */
static inline __m512 fastnn_vector_gelu(__m512 x) {
    const __m512 loss = fastnn_piecewise(fastnn_gelu_table, fastnn_gelu_scale, fastnn_size(x, fastnn_gelu_top));
    return _mm512_sub_ps(_mm512_max_ps(FASTNN_ALL(0.0f), x), loss);
}

static inline __m512 fastnn_vector_gelu_slope(__m512 x) {
    const __m512 odd = fastnn_piecewise(fastnn_gelu_slope_table, fastnn_gelu_slope_scale, fastnn_size(x, fastnn_gelu_slope_top));
    return _mm512_add_ps(fastnn_signed(odd, x), FASTNN_ALL(0.5f));
}

/* exp(x) for x from -104, where it vanishes, to `highest`. x log2(e) is rounded to k + j/32, whose bits are the low ones of the sum with a
   magic number; 2^(j/32) comes from a table, 2^f from a polynomial. */
static inline __m512 fastnn_bounded_exp(__m512 unbounded, float highest) {
    static const float powers[32] __attribute__((aligned(64))) = {
        1.00000000f, 1.02189720f, 1.04427378f, 1.06714046f, 1.09050775f, 1.11438680f, 1.13878870f, 1.16372490f,
        1.18920708f, 1.21524739f, 1.24185777f, 1.26905096f, 1.29683959f, 1.32523668f, 1.35425556f, 1.38390982f,
        1.41421354f, 1.44518077f, 1.47682619f, 1.50916445f, 1.54221082f, 1.57598090f, 1.61049032f, 1.64575553f,
        1.68179286f, 1.71861923f, 1.75625217f, 1.79470909f, 1.83400810f, 1.87416768f, 1.91520655f, 1.95714414f};
    const __m512 x = _mm512_max_ps(FASTNN_ALL(-104.0f), _mm512_min_ps(FASTNN_ALL(highest), unbounded));
    const __m512 log2_e = FASTNN_ALL(1.44269502f), rest = FASTNN_ALL(1.92596299e-8f), magic = FASTNN_ALL(393216.0f);
    const __m512 lifted = _mm512_fmadd_ps(x, log2_e, magic);
    const __m512 rounded = _mm512_sub_ps(lifted, magic);
    const __m512 f = _mm512_fmadd_ps(x, rest, _mm512_fmsub_ps(x, log2_e, rounded));
    const __m512 power = fastnn_look_up(powers, _mm512_castps_si512(lifted));
    __m512 p = _mm512_fmadd_ps(f, FASTNN_ALL(0.0555045679f), FASTNN_ALL(0.240228459f));
    p = _mm512_fmadd_ps(f, p, FASTNN_ALL(0.693147182f));
    return _mm512_scalef_ps(_mm512_fmadd_ps(_mm512_mul_ps(power, f), p, power), rounded);
}

static inline __m512 fastnn_vector_exp(__m512 x) { return fastnn_bounded_exp(x, 89.0f); }

/* e / (1 + e) with e = exp(x). The approximate reciprocal and its correction take less time than a quotient. */
static inline __m512 fastnn_vector_sigmoid(__m512 x) {
    const __m512 e = fastnn_bounded_exp(x, 30.0f);
    const __m512 divisor = _mm512_add_ps(e, FASTNN_ALL(1.0f));
    const __m512 reciprocal = _mm512_rcp14_ps(divisor);
    const __m512 y = _mm512_mul_ps(e, reciprocal);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(divisor, y, e), reciprocal, y);
}

/* The same where |x| < 15.5 widths, by a polynomial around the nearest multiple of the width. */
static inline __m512 fastnn_vector_near_sigmoid(__m512 x) {
    const __m512 magic = FASTNN_ALL(12582912.0f);
    const __m512 lifted = _mm512_fmadd_ps(x, FASTNN_ALL(1.0f / fastnn_sigmoid_width), magic);
    const __m512i index = _mm512_castps_si512(lifted);
    const __m512 r = _mm512_fnmadd_ps(_mm512_sub_ps(lifted, magic), FASTNN_ALL(fastnn_sigmoid_width), x);
    __m512 p = fastnn_look_up(fastnn_sigmoid_table[5], index);
#pragma GCC unroll 5
    for (int power = 4; power >= 0; power--)
        p = _mm512_fmadd_ps(p, r, fastnn_look_up(fastnn_sigmoid_table[power], index));
    return p;
}

/* Which numbers the polynomials do not reach; NaN is none of them. */
static inline __mmask16 fastnn_far(__m512 x) {
    return _mm512_cmp_ps_mask(_mm512_abs_ps(x), FASTNN_ALL(15.5f * fastnn_sigmoid_width), _CMP_GE_OQ);
}

/* Any number, by the method that its own size asks for: bits must not depend on the neighbours. */
static inline __m512 fastnn_vector_far_sigmoid(__m512 x) {
    return _mm512_mask_mov_ps(fastnn_vector_near_sigmoid(x), fastnn_far(x), fastnn_vector_sigmoid(x));
}

/* The largest size in a tile, NaN passed over. */
static inline __m512 fastnn_largest_size(const float *x) {
    enum { LARGER_SIZE = 11 };
    __m512 size = _mm512_setzero_ps();
#pragma GCC unroll 8
    for (int i = 0; i < FASTNN_TILE; i += 16)
        size = _mm512_range_ps(size, _mm512_loadu_ps(x + i), LARGER_SIZE);
    return size;
}

#define FASTNN_TILE_LOOP(name)                                                                                      \
    _Pragma("GCC unroll 8") for (int i = 0; i < FASTNN_TILE; i += 16)                                               \
        _mm512_storeu_ps(x + i, fastnn_vector_##name(_mm512_loadu_ps(x + i)));
#define FASTNN_WIDE_TILE_LOOP(name)                                                                                 \
    _Pragma("GCC unroll 8") for (int i = 0; i < FASTNN_TILE; i += 8)                                                \
        _mm512_storeu_pd(x + i, fastnn_wide_##name(_mm512_loadu_pd(x + i)));
#else
#define FASTNN_TILE_LOOP(name)                                                                                      \
    for (int i = 0; i < FASTNN_TILE; i++)                                                                           \
        x[i] = fastnn_##name##_f32(x[i]);
#define FASTNN_WIDE_TILE_LOOP(name) FASTNN_PLAIN_WIDE_LOOP(name)
#endif

#define FASTNN_PLAIN_WIDE_LOOP(name)                                                                                \
    for (int i = 0; i < FASTNN_TILE; i++)                                                                           \
        x[i] = fastnn_##name##_f64(x[i]);

#define FASTNN_DEFINE_NARROW_TILE(name)                                                                             \
    static inline __attribute__((always_inline)) void fastnn_##name##_tile_f32(float *x) { FASTNN_TILE_LOOP(name) }

#define FASTNN_DEFINE_WIDE_TILE(name, loop)                                                                         \
    static inline __attribute__((always_inline)) void fastnn_##name##_tile_f64(double *x) { loop(name) }

#define FASTNN_DEFINE_TILE(name) FASTNN_DEFINE_NARROW_TILE(name) FASTNN_DEFINE_WIDE_TILE(name, FASTNN_WIDE_TILE_LOOP)

FASTNN_DEFINE_TILE(exp)
FASTNN_DEFINE_TILE(tanh)
FASTNN_DEFINE_TILE(gelu)
FASTNN_DEFINE_TILE(gelu_slope)
FASTNN_DEFINE_NARROW_TILE(decay)
FASTNN_DEFINE_WIDE_TILE(decay, FASTNN_PLAIN_WIDE_LOOP)
FASTNN_DEFINE_WIDE_TILE(sigmoid, FASTNN_WIDE_TILE_LOOP)

#if defined(__AVX512F__)
/* Seldom is a number of a tile so large that the polynomials do not reach it. */
static inline __attribute__((always_inline)) void fastnn_sigmoid_tile_f32(float *x) {
    if (__builtin_expect(fastnn_far(fastnn_largest_size(x)) == 0, 1)) {
        FASTNN_TILE_LOOP(near_sigmoid)
    } else {
        FASTNN_TILE_LOOP(far_sigmoid)
    }
}
#else
FASTNN_DEFINE_NARROW_TILE(sigmoid)
#endif

/* take: tile = from, and fetches what lies a little further on. put: to = tile; past the caches where `past` is set and `to` aligned to 64
   bytes. Both move whole vectors: GCC keeps a tile in memory that a loop over numbers filled. */
#define FASTNN_DEFINE_MOVES(real, suffix)                                                                           \
    typedef real fastnn_line_##suffix __attribute__((vector_size(64), aligned(sizeof(real)), may_alias));           \
    static inline __attribute__((always_inline)) void fastnn_take_##suffix(real *tile, const real *from) {          \
        _Pragma("GCC unroll 8") for (int i = 0; i < FASTNN_TILE; i += 64 / sizeof(real)) {                          \
            __builtin_prefetch((const char *)(from + i) + FASTNN_AHEAD);                                            \
            *(fastnn_line_##suffix *)(tile + i) = *(const fastnn_line_##suffix *)(from + i);                        \
        }                                                                                                           \
    }                                                                                                               \
    static inline __attribute__((always_inline)) void fastnn_put_##suffix(real *to, const real *tile, int past) {   \
        if (past)                                                                                                   \
            _Pragma("GCC unroll 8") for (int i = 0; i < FASTNN_TILE; i += 64 / sizeof(real))                        \
                FASTNN_STREAM_LINE((char *)(to + i), (const char *)(tile + i));                                     \
        else                                                                                                        \
            _Pragma("GCC unroll 8") for (int i = 0; i < FASTNN_TILE; i += 64 / sizeof(real)) {                      \
                __builtin_prefetch((const char *)(to + i) + FASTNN_AHEAD, 1);                                       \
                *(fastnn_line_##suffix *)(to + i) = *(const fastnn_line_##suffix *)(tile + i);                      \
            }                                                                                                       \
    }

#if defined(__AVX512F__)
#define FASTNN_STREAM_LINE(to, from) _mm512_stream_si512((__m512i *)(to), _mm512_loadu_si512(from))
#elif defined(__SSE2__)
#define FASTNN_STREAM_LINE(to, from)                                                                                \
    for (int part = 0; part < 64; part += 16)                                                                       \
    _mm_stream_si128((__m128i *)((to) + part), _mm_loadu_si128((const __m128i *)((from) + part)))
#else
#define FASTNN_STREAM_LINE(to, from) memcpy(to, from, 64)
#endif

FASTNN_DEFINE_MOVES(float, f32)
FASTNN_DEFINE_MOVES(double, f64)

/* Stores past the caches become visible to other threads. */
static inline void fastnn_settle(void) {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

#endif
