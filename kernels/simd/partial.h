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
#define FASTNN_LANES_f32 16
#define FASTNN_LANES_f64 8
#elif defined(__AVX2__)
#include <immintrin.h>
#define FASTNN_SPAN_BYTES 32
#define FASTNN_LANES_f32 8
#define FASTNN_LANES_f64 4
/* A window of eight lanes that begins at 8 - count has count lanes set. */
static const int fastnn_lane_mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
static const long long fastnn_lane_mask_wide[8] = {-1, -1, -1, -1, 0, 0, 0, 0};
#else
#define FASTNN_SPAN_BYTES 16
#define FASTNN_LANES_f32 4
#define FASTNN_LANES_f64 2
#endif

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define FASTNN_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#ifndef FASTNN_SHUFFLE
#define FASTNN_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (FASTNN_OF(lane_numbers)){__VA_ARGS__})
#endif

#define FASTNN_SUM_TERMS 48

/* n lanes, no fewer than low and no more than there are */
#define FASTNN_CLAMP(n, low) ((n) < (low) ? (low) : (n) < FASTNN_LANES ? (n) : FASTNN_LANES)

/* What the compiler cannot see through it computes once: otherwise GCC reads a shared vector anew for every product, and keeps
   the address of every row of a tile. */
#if defined(__x86_64__)
#define FASTNN_IN_REGISTER(v) __asm__("" : "+v"(v))
#elif defined(__aarch64__)
#define FASTNN_IN_REGISTER(v) __asm__("" : "+w"(v))
#else
#define FASTNN_IN_REGISTER(v) (void)0
#endif
#define FASTNN_ADDRESS(p) __asm__("" : "+r"(p))

/* What lies ``bytes`` further on will be read, or written: planes follow each other, but pages and rows cut the processor's own
   guesses short. Depthwise 3x3 on 96x56x56 took 10 % longer without. */
#define FASTNN_FETCH(p, bytes, write) __builtin_prefetch((const char *)(p) + (bytes), write)

/* Every other lane of two vectors. */
#define FASTNN_EVEN_2(i) i, i + 2
#define FASTNN_EVEN_4(i) FASTNN_EVEN_2(i), FASTNN_EVEN_2(i + 4)
#define FASTNN_EVEN_8(i) FASTNN_EVEN_4(i), FASTNN_EVEN_4(i + 8)
#define FASTNN_EVEN_16(i) FASTNN_EVEN_8(i), FASTNN_EVEN_8(i + 16)
#define FASTNN_LANES_OF_(lanes, i) FASTNN_EVEN_##lanes(i)
#define FASTNN_LANES_OF(lanes, i) FASTNN_LANES_OF_(lanes, i)
#define FASTNN_EVEN(lanes) FASTNN_LANES_OF(lanes, 0)
#define FASTNN_ODD(lanes) FASTNN_LANES_OF(lanes, 1)

#define FASTNN_REAL float
#define FASTNN_OF(name) fastnn_##name##_f32
#define FASTNN_LANES FASTNN_LANES_f32
#define FASTNN_REAL_INTEGER int
#if defined(__AVX512F__)
#define FASTNN_LOAD_BETWEEN(p, low, high) _mm512_maskz_loadu_ps((__mmask16)(((1u << (high)) - 1) & ~0u << (low)), p)
#define FASTNN_LOAD_MASKED(p, n) _mm512_maskz_loadu_ps((__mmask16)((1u << (n)) - 1), p)
#define FASTNN_STORE_MASKED(p, v, n) _mm512_mask_storeu_ps(p, (__mmask16)((1u << (n)) - 1), (__m512)(v))
#define FASTNN_STORE_BETWEEN(p, v, low, high) _mm512_mask_storeu_ps(p, (__mmask16)(((1u << (high)) - 1) & ~0u << (low)), (__m512)(v))
#define FASTNN_KEEP_MASKED(v, n) _mm512_maskz_mov_ps((__mmask16)((1u << (n)) - 1), (__m512)(v))
#define FASTNN_FOLD(v) _mm512_reduce_add_ps((__m512)(v))
#elif defined(__AVX2__)
#define FASTNN_MASK(n) _mm256_loadu_si256((const __m256i *)(fastnn_lane_mask + 8 - (n)))
#define FASTNN_LOAD_MASKED(p, n) _mm256_maskload_ps(p, FASTNN_MASK(n))
#define FASTNN_LOAD_BETWEEN(p, low, high) _mm256_maskload_ps(p, _mm256_andnot_si256(FASTNN_MASK(low), FASTNN_MASK(high)))
#define FASTNN_STORE_MASKED(p, v, n) _mm256_maskstore_ps(p, FASTNN_MASK(n), (__m256)(v))
#define FASTNN_STORE_BETWEEN(p, v, low, high) \
    _mm256_maskstore_ps(p, _mm256_andnot_si256(FASTNN_MASK(low), FASTNN_MASK(high)), (__m256)(v))
#endif
#include "partial.h"
#undef FASTNN_REAL
#undef FASTNN_OF
#undef FASTNN_LANES
#undef FASTNN_REAL_INTEGER
#undef FASTNN_LOAD_BETWEEN
#undef FASTNN_LOAD_MASKED
#undef FASTNN_STORE_MASKED
#undef FASTNN_STORE_BETWEEN
#undef FASTNN_KEEP_MASKED
#undef FASTNN_FOLD
#undef FASTNN_MASK

#define FASTNN_REAL double
#define FASTNN_OF(name) fastnn_##name##_f64
#define FASTNN_LANES FASTNN_LANES_f64
#define FASTNN_REAL_INTEGER long long
#if defined(__AVX512F__)
#define FASTNN_LOAD_BETWEEN(p, low, high) _mm512_maskz_loadu_pd((__mmask8)(((1u << (high)) - 1) & ~0u << (low)), p)
#define FASTNN_LOAD_MASKED(p, n) _mm512_maskz_loadu_pd((__mmask8)((1u << (n)) - 1), p)
#define FASTNN_STORE_MASKED(p, v, n) _mm512_mask_storeu_pd(p, (__mmask8)((1u << (n)) - 1), (__m512d)(v))
#define FASTNN_STORE_BETWEEN(p, v, low, high) _mm512_mask_storeu_pd(p, (__mmask8)(((1u << (high)) - 1) & ~0u << (low)), (__m512d)(v))
#define FASTNN_KEEP_MASKED(v, n) _mm512_maskz_mov_pd((__mmask8)((1u << (n)) - 1), (__m512d)(v))
#define FASTNN_FOLD(v) _mm512_reduce_add_pd((__m512d)(v))
#elif defined(__AVX2__)
#define FASTNN_MASK(n) _mm256_loadu_si256((const __m256i *)(fastnn_lane_mask_wide + 4 - (n)))
#define FASTNN_LOAD_MASKED(p, n) _mm256_maskload_pd(p, FASTNN_MASK(n))
#define FASTNN_LOAD_BETWEEN(p, low, high) _mm256_maskload_pd(p, _mm256_andnot_si256(FASTNN_MASK(low), FASTNN_MASK(high)))
#define FASTNN_STORE_MASKED(p, v, n) _mm256_maskstore_pd(p, FASTNN_MASK(n), (__m256d)(v))
#define FASTNN_STORE_BETWEEN(p, v, low, high) \
    _mm256_maskstore_pd(p, _mm256_andnot_si256(FASTNN_MASK(low), FASTNN_MASK(high)), (__m256d)(v))
#endif
#include "partial.h"
#undef FASTNN_REAL
#undef FASTNN_OF
#undef FASTNN_LANES
#undef FASTNN_REAL_INTEGER
#undef FASTNN_LOAD_BETWEEN
#undef FASTNN_LOAD_MASKED
#undef FASTNN_STORE_MASKED
#undef FASTNN_STORE_BETWEEN
#undef FASTNN_KEEP_MASKED
#undef FASTNN_FOLD
#undef FASTNN_MASK

#endif
#else

typedef FASTNN_REAL FASTNN_OF(span) __attribute__((vector_size(FASTNN_SPAN_BYTES), aligned(sizeof(FASTNN_REAL)), may_alias));

typedef FASTNN_REAL_INTEGER FASTNN_OF(lane_numbers) __attribute__((vector_size(FASTNN_SPAN_BYTES)));

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

/* Lanes low to high - 1 of p, zeros in the rest; nothing else is touched. */
static inline FASTNN_OF(span) FASTNN_OF(load_between)(const FASTNN_REAL *p, ptrdiff_t low, ptrdiff_t high) {
#ifdef FASTNN_LOAD_BETWEEN
    return (FASTNN_OF(span))FASTNN_LOAD_BETWEEN(p, low, high);
#else
    FASTNN_REAL lanes[FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL)] = {0};
    for (ptrdiff_t i = low; i < high; i++)
        lanes[i] = p[i];
    return FASTNN_OF(load)(lanes);
#endif
}

/* Lanes low to high - 1 of v; nothing else is touched. */
static inline void FASTNN_OF(store_between)(FASTNN_REAL *p, FASTNN_OF(span) v, ptrdiff_t low, ptrdiff_t high) {
#ifdef FASTNN_STORE_BETWEEN
    FASTNN_STORE_BETWEEN(p, v, low, high);
#else
    for (ptrdiff_t i = low; i < high; i++)
        p[i] = v[i];
#endif
}

/* target[i step] = v[i] for low <= i < high; nothing else is touched. */
static inline void FASTNN_OF(spread)(FASTNN_REAL *target, FASTNN_OF(span) v, ptrdiff_t low, ptrdiff_t high, ptrdiff_t step) {
#if defined(__AVX512F__)
    if (step == 2) {
        const unsigned all = _pdep_u32(((1u << high) - 1) & ~0u << low, 0x55555555);
        const __m512i first = (__m512i)v, second = _mm512_shuffle_i64x2(first, first, 0xee);
        if (sizeof(FASTNN_REAL) == 4) {
            _mm512_mask_storeu_epi32(target, (__mmask16)all, _mm512_maskz_expand_epi32(0x5555, first));
            _mm512_mask_storeu_epi32(target + 16, (__mmask16)(all >> 16), _mm512_maskz_expand_epi32(0x5555, second));
        } else {
            _mm512_mask_storeu_epi64(target, (__mmask8)all, _mm512_maskz_expand_epi64(0x55, first));
            _mm512_mask_storeu_epi64(target + 8, (__mmask8)(all >> 8), _mm512_maskz_expand_epi64(0x55, second));
        }
        return;
    }
#endif
    for (ptrdiff_t i = low; i < high; i++)
        target[i * step] = v[i];
}

/* A vector of a row whose elements begin to end - 1 exist, from t on; zeros outside. */
static inline FASTNN_OF(span) FASTNN_OF(load_inside)(const FASTNN_REAL *row, ptrdiff_t t, ptrdiff_t begin, ptrdiff_t end) {
    if (t >= begin && t + FASTNN_LANES <= end)
        return FASTNN_OF(load)(row + t);
    const ptrdiff_t low = FASTNN_CLAMP(begin - t, 0), high = FASTNN_CLAMP(end - t, low);
    return FASTNN_OF(load_between)(row + t, low, high);
}

static inline void FASTNN_OF(store_row)(FASTNN_REAL *row, ptrdiff_t t, ptrdiff_t end, FASTNN_OF(span) v) {
    if (t + FASTNN_LANES <= end)
        *(FASTNN_OF(span) *)(row + t) = v;
    else
        FASTNN_OF(store_part)(row + t, v, end - t);
}

/* Sum of n elements: eight vectors of at most FASTNN_SUM_TERMS terms each, the rest in double. */
static double FASTNN_OF(sum_row)(const FASTNN_REAL *p, ptrdiff_t n) {
    double total = 0;
    while (n > 0) {
        const ptrdiff_t most = 8 * FASTNN_SUM_TERMS * FASTNN_LANES, chunk = n < most ? n : most;
        const ptrdiff_t whole = chunk - chunk % (8 * FASTNN_LANES);
        FASTNN_OF(span) part[8] = {{0}};
        for (ptrdiff_t i = 0; i < whole; i += 8 * FASTNN_LANES)
            _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++)
                part[j] += FASTNN_OF(load)(p + i + j * FASTNN_LANES);
        for (ptrdiff_t i = whole; i < chunk; i += FASTNN_LANES)
            part[0] += FASTNN_OF(load_part)(p + i, FASTNN_CLAMP(chunk - i, 0));
        _Pragma("GCC unroll 8") for (int j = 1; j < 8; j++)
            part[0] += part[j];
        total += FASTNN_OF(fold)(part[0]);
        p += chunk;
        n -= chunk;
    }
    return total;
}

#endif
