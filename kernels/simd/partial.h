/* Vectors of which only the first lanes count: ends of rows. Where the instruction set has masks they cost no more than whole
   vectors; elsewhere the lanes go one by one. The file includes itself once for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_PARTIAL_H
#define FASTNN_PARTIAL_H

#include <stddef.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define FASTNN_SPAN_BYTES 64
#elif defined(__AVX2__)
#include <immintrin.h>
#define FASTNN_SPAN_BYTES 32
/* A window of eight lanes that begins at 8 - count has count lanes set. */
static const int fastnn_lane_mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
static const long long fastnn_lane_mask_wide[8] = {-1, -1, -1, -1, 0, 0, 0, 0};
#else
#define FASTNN_SPAN_BYTES 16
#endif

#define FASTNN_REAL float
#define FASTNN_OF(name) fastnn_##name##_f32
#if defined(__AVX512F__)
#define FASTNN_LOAD_MASKED(p, n) _mm512_maskz_loadu_ps((__mmask16)((1u << (n)) - 1), p)
#define FASTNN_STORE_MASKED(p, v, n) _mm512_mask_storeu_ps(p, (__mmask16)((1u << (n)) - 1), (__m512)(v))
#define FASTNN_KEEP_MASKED(v, n) _mm512_maskz_mov_ps((__mmask16)((1u << (n)) - 1), (__m512)(v))
#define FASTNN_FOLD(v) _mm512_reduce_add_ps((__m512)(v))
#elif defined(__AVX2__)
#define FASTNN_MASK(n) _mm256_loadu_si256((const __m256i *)(fastnn_lane_mask + 8 - (n)))
#define FASTNN_LOAD_MASKED(p, n) _mm256_maskload_ps(p, FASTNN_MASK(n))
#define FASTNN_STORE_MASKED(p, v, n) _mm256_maskstore_ps(p, FASTNN_MASK(n), (__m256)(v))
#endif
#include "partial.h"
#undef FASTNN_REAL
#undef FASTNN_OF
#undef FASTNN_LOAD_MASKED
#undef FASTNN_STORE_MASKED
#undef FASTNN_KEEP_MASKED
#undef FASTNN_FOLD
#undef FASTNN_MASK

#define FASTNN_REAL double
#define FASTNN_OF(name) fastnn_##name##_f64
#if defined(__AVX512F__)
#define FASTNN_LOAD_MASKED(p, n) _mm512_maskz_loadu_pd((__mmask8)((1u << (n)) - 1), p)
#define FASTNN_STORE_MASKED(p, v, n) _mm512_mask_storeu_pd(p, (__mmask8)((1u << (n)) - 1), (__m512d)(v))
#define FASTNN_KEEP_MASKED(v, n) _mm512_maskz_mov_pd((__mmask8)((1u << (n)) - 1), (__m512d)(v))
#define FASTNN_FOLD(v) _mm512_reduce_add_pd((__m512d)(v))
#elif defined(__AVX2__)
#define FASTNN_MASK(n) _mm256_loadu_si256((const __m256i *)(fastnn_lane_mask_wide + 4 - (n)))
#define FASTNN_LOAD_MASKED(p, n) _mm256_maskload_pd(p, FASTNN_MASK(n))
#define FASTNN_STORE_MASKED(p, v, n) _mm256_maskstore_pd(p, FASTNN_MASK(n), (__m256d)(v))
#endif
#include "partial.h"
#undef FASTNN_REAL
#undef FASTNN_OF
#undef FASTNN_LOAD_MASKED
#undef FASTNN_STORE_MASKED
#undef FASTNN_KEEP_MASKED
#undef FASTNN_FOLD
#undef FASTNN_MASK

#endif
#else

typedef FASTNN_REAL FASTNN_OF(span) __attribute__((vector_size(FASTNN_SPAN_BYTES), aligned(sizeof(FASTNN_REAL)), may_alias));

static inline FASTNN_OF(span) FASTNN_OF(load)(const FASTNN_REAL *p) { return *(const FASTNN_OF(span) *)p; }

/* The first count <= lanes elements, then zeros; nothing behind them is touched. */
static inline FASTNN_OF(span) FASTNN_OF(load_part)(const FASTNN_REAL *p, ptrdiff_t count) {
#ifdef FASTNN_LOAD_MASKED
    return (FASTNN_OF(span))FASTNN_LOAD_MASKED(p, count);
#else
    FASTNN_REAL lanes[FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL)] = {0};
    for (ptrdiff_t i = 0; i < count; i++)
        lanes[i] = p[i];
    return FASTNN_OF(load)(lanes);
#endif
}

static inline void FASTNN_OF(store_part)(FASTNN_REAL *p, FASTNN_OF(span) v, ptrdiff_t count) {
#ifdef FASTNN_STORE_MASKED
    FASTNN_STORE_MASKED(p, v, count);
#else
    if (count == FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL)) {
        *(FASTNN_OF(span) *)p = v;
        return;
    }
    for (ptrdiff_t i = 0; i < count; i++)
        p[i] = v[i];
#endif
}

/* v with zeros in all but the first count lanes, whatever was there. */
static inline FASTNN_OF(span) FASTNN_OF(keep)(FASTNN_OF(span) v, ptrdiff_t count) {
#ifdef FASTNN_KEEP_MASKED
    return (FASTNN_OF(span))FASTNN_KEEP_MASKED(v, count);
#else
    FASTNN_REAL lanes[FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL)];
    *(FASTNN_OF(span) *)lanes = v;
    return FASTNN_OF(load_part)(lanes, count);
#endif
}

/* Sum of the lanes, halves added to halves. */
static inline FASTNN_REAL FASTNN_OF(fold)(FASTNN_OF(span) v) {
#ifdef FASTNN_FOLD
    return FASTNN_FOLD(v);
#else
    enum { lanes = FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL) };
    FASTNN_REAL part[lanes];
    *(FASTNN_OF(span) *)part = v;
#pragma GCC unroll 4
    for (int half = lanes / 2; half; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; i++)
            part[i] += part[i + half];
    return part[0];
#endif
}

/* target[0..width) = zeros, then source[0..end - begin) at begin, then zeros; up to a vector behind it may be overwritten. */
static inline void FASTNN_OF(fill_row)(FASTNN_REAL *target, ptrdiff_t width, ptrdiff_t begin, ptrdiff_t end, const FASTNN_REAL *source) {
    enum { lanes = FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL) };
    const FASTNN_OF(span) zero = {0};
    ptrdiff_t t = 0;
    for (; t < begin; t += lanes)
        *(FASTNN_OF(span) *)(target + t) = zero;
    for (t = begin; t + lanes <= end; t += lanes)
        *(FASTNN_OF(span) *)(target + t) = FASTNN_OF(load)(source + t - begin);
    if (t < end) {
        *(FASTNN_OF(span) *)(target + t) = FASTNN_OF(load_part)(source + t - begin, end - t);
        t += lanes;
    }
    for (; t < width; t += lanes)
        *(FASTNN_OF(span) *)(target + t) = zero;
}

#endif
