/* Leaf loops over contiguous memory, from one source for every instruction set: sums, maxima, and the frame of all that maps elements
   to elements. exponentials.h, reductions.h and moments.h build on it. Four vectors of partial results hide the latency of an addition;
   plain loops with partial results in an array keep them in memory (128 dot products of 1000: 15 us instead of 5). The file includes
   itself once for each dtype. The order of a sum depends on its length alone. */
#ifndef FASTNN_REAL
#ifndef FASTNN_RUNS_H
#define FASTNN_RUNS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "partial.h"

enum { FASTNN_FLOOR = 9 };  /* of _mm512_reduce_*: the remainder is y - floor(y), and 0 of an infinity */

/* 2^r for r in [0, 1], exact at 0: minimax polynomials of relative error 8.2e-8 and 3.2e-18, highest power first. */
static const float fastnn_power_terms_f32[] = {
    0.00186713021195f, 0.00901702996253f, 0.0557999134252f, 0.240164450039f, 0.693151311818f, 1.0f};
static const double fastnn_power_terms_f64[] = {
    6.2634661422960210149e-10, 6.559529322770528367e-9, 1.0253212435721934234e-7, 1.3208367288951140366e-6, 0.000015253175055562795993,
    0.00015403512309628660399, 0.0013333558629566755226, 0.0096181290995507955717, 0.055504108665602253297, 0.24022650695906330204,
    0.69314718055994592842, 1.0};

#define FASTNN_SPAN FASTNN_OF(span)

/* y[i] = value for n elements, whole vectors at addresses that a vector divides: past the caches (see stream.h) or not. In the value
   FASTNN_GET(x) is x[i]. An output may be the very memory of an input. */
#define FASTNN_GET(x) (whole ? FASTNN_OF(load)((x) + i) : FASTNN_OF(load_part)((x) + i, count))
#define FASTNN_AHEAD(x, ahead) __builtin_prefetch((x) + i + (ahead), 0, 3);
#define FASTNN_MAP(y, n, past, fetches, value)                                                                      \
    do {                                                                                                            \
        enum { lanes = sizeof(FASTNN_SPAN) / sizeof(FASTNN_REAL) };                                                 \
        ptrdiff_t i = 0, count = (ptrdiff_t)(-(uintptr_t)(y) % sizeof(FASTNN_SPAN) / sizeof(FASTNN_REAL));          \
        count = count < (n) ? count : (n);                                                                          \
        if (count) {                                                                                                \
            const int whole = 0;                                                                                    \
            FASTNN_OF(store_part)(y, value, count);                                                                 \
        }                                                                                                           \
        _Pragma("GCC unroll 4") for (i = count; i + lanes <= (n); i += lanes) {                                     \
            const int whole = 1;                                                                                    \
            fetches                                                                                                 \
            FASTNN_OF(put)((y) + i, value, past);                                                                   \
        }                                                                                                           \
        if (i < (n)) {                                                                                              \
            const int whole = 0;                                                                                    \
            count = (n) - i;                                                                                        \
            FASTNN_OF(store_part)((y) + i, value, count);                                                           \
        }                                                                                                           \
    } while (0)

#define FASTNN_REAL float
#define FASTNN_OF(name) fastnn_##name##_f32
#define FASTNN_BITS uint32_t
#define FASTNN_MAGIC 12582912.0f /* 1.5 2^23: adding it rounds to an integer */
#define FASTNN_BIAS 127
#define FASTNN_MANTISSA 23
#define FASTNN_LOWEST -250.0f /* its power is 0 */
#if defined(__AVX512F__)
#define FASTNN_X86(name) _mm512_##name##_ps
#define FASTNN_UNORDERED(a, b) _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q)
#elif defined(__AVX2__)
#define FASTNN_X86(name) _mm256_##name##_ps
#define FASTNN_UNORDERED(a, b) _mm256_cmp_ps(a, b, _CMP_UNORD_Q)
#elif defined(__SSE2__)
#define FASTNN_X86(name) _mm_##name##_ps
#define FASTNN_UNORDERED(a, b) _mm_cmpunord_ps(a, b)
#endif
#include "runs.h"
#undef FASTNN_REAL
#undef FASTNN_OF
#undef FASTNN_BITS
#undef FASTNN_MAGIC
#undef FASTNN_BIAS
#undef FASTNN_MANTISSA
#undef FASTNN_LOWEST
#undef FASTNN_X86
#undef FASTNN_UNORDERED

#define FASTNN_REAL double
#define FASTNN_OF(name) fastnn_##name##_f64
#define FASTNN_BITS uint64_t
#define FASTNN_MAGIC 6755399441055744.0
#define FASTNN_BIAS 1023
#define FASTNN_MANTISSA 52
#define FASTNN_LOWEST -2000.0
#if defined(__AVX512F__)
#define FASTNN_X86(name) _mm512_##name##_pd
#define FASTNN_UNORDERED(a, b) _mm512_cmp_pd_mask(a, b, _CMP_UNORD_Q)
#elif defined(__AVX2__)
#define FASTNN_X86(name) _mm256_##name##_pd
#define FASTNN_UNORDERED(a, b) _mm256_cmp_pd(a, b, _CMP_UNORD_Q)
#elif defined(__SSE2__)
#define FASTNN_X86(name) _mm_##name##_pd
#define FASTNN_UNORDERED(a, b) _mm_cmpunord_pd(a, b)
#endif
#include "runs.h"
#undef FASTNN_REAL
#undef FASTNN_OF
#undef FASTNN_BITS
#undef FASTNN_MAGIC
#undef FASTNN_BIAS
#undef FASTNN_MANTISSA
#undef FASTNN_LOWEST
#undef FASTNN_X86
#undef FASTNN_UNORDERED

#endif
#else

typedef FASTNN_BITS FASTNN_OF(pattern) __attribute__((vector_size(FASTNN_SPAN_BYTES)));

static inline FASTNN_SPAN FASTNN_OF(all)(FASTNN_REAL value) { return (FASTNN_SPAN){0} + value; }

static inline void FASTNN_OF(put)(FASTNN_REAL *p, FASTNN_SPAN v, int past) {
#ifdef FASTNN_X86
    if (past) {
        FASTNN_X86(stream)(p, v);
        return;
    }
#endif
    *(FASTNN_SPAN *)p = v;
}

/* a > b ? a : b, which is b where either is NaN */
static inline FASTNN_SPAN FASTNN_OF(larger)(FASTNN_SPAN a, FASTNN_SPAN b) {
#ifdef FASTNN_X86
    return (FASTNN_SPAN)FASTNN_X86(max)(a, b);
#else
    const FASTNN_OF(pattern) greater = (FASTNN_OF(pattern))(a > b);
    return (FASTNN_SPAN)(((FASTNN_OF(pattern))a & greater) | ((FASTNN_OF(pattern))b & ~greater));
#endif
}

static inline FASTNN_REAL FASTNN_OF(largest_lane)(FASTNN_SPAN v) {
#if defined(__AVX512F__)
    return FASTNN_X86(reduce_max)(v);
#else
    FASTNN_REAL top = v[0];
    for (size_t j = 1; j < sizeof v / sizeof top; j++)
        top = v[j] > top ? v[j] : top;
    return top;
#endif
}

/* Not 0 where a lane of a or b is NaN. */
static inline unsigned FASTNN_OF(unordered)(FASTNN_SPAN a, FASTNN_SPAN b) {
#if defined(__AVX512F__)
    return FASTNN_UNORDERED(a, b);
#elif defined(FASTNN_X86)
    return (unsigned)FASTNN_X86(movemask)(FASTNN_UNORDERED(a, b));
#else
    unsigned found = 0;
    for (size_t j = 0; j < sizeof a / sizeof a[0]; j++)
        found |= (a[j] != a[j]) | (b[j] != b[j]);
    return found;
#endif
}

#if !defined(__AVX512F__)
static inline FASTNN_SPAN FASTNN_OF(two_to)(FASTNN_SPAN k) { /* of an integer in the exponent's normal range */
    return (FASTNN_SPAN)(((FASTNN_OF(pattern))(k + FASTNN_MAGIC) + FASTNN_BIAS) << FASTNN_MANTISSA);
}
#endif

/* exp(d) for d <= 0 or NaN. Rounding d log2(e) adds |d| / 2 units of the last place, as many as rounding d = x - top did.
   With AVX-512 it takes nine operations and fastnn_exp, which reduces d itself, twice as many: 128 x 1000 in 16 us against 29. */
static inline FASTNN_SPAN FASTNN_OF(power)(FASTNN_SPAN d) {
    enum { count = sizeof FASTNN_OF(power_terms) / sizeof(FASTNN_REAL) };
#if defined(__AVX512F__)
    const FASTNN_SPAN y = d * (FASTNN_REAL)1.44269504088896340736;
    const FASTNN_SPAN r = (FASTNN_SPAN)FASTNN_X86(reduce)(y, FASTNN_FLOOR);
#else
    const FASTNN_SPAN y = FASTNN_OF(larger)(FASTNN_OF(all)(FASTNN_LOWEST), d * (FASTNN_REAL)1.44269504088896340736);
    const FASTNN_SPAN k = (y - (FASTNN_REAL)0.5 + FASTNN_MAGIC) - FASTNN_MAGIC;
    const FASTNN_SPAN r = y - k;
#endif
    FASTNN_SPAN p = FASTNN_OF(all)(FASTNN_OF(power_terms)[0]);
#pragma GCC unroll 16
    for (int i = 1; i < count; i++)
        p = p * r + FASTNN_OF(power_terms)[i];
#if defined(__AVX512F__)
    return (FASTNN_SPAN)FASTNN_X86(scalef)(p, y);
#else
    const FASTNN_SPAN half = (k * (FASTNN_REAL)0.5 + FASTNN_MAGIC) - FASTNN_MAGIC; /* two factors: 2^k itself may be denormal */
    return p * FASTNN_OF(two_to)(half) * FASTNN_OF(two_to)(k - half);
#endif
}

static inline FASTNN_REAL FASTNN_OF(run_sum)(const FASTNN_REAL *x, ptrdiff_t n) {
    enum { lanes = sizeof(FASTNN_SPAN) / sizeof(FASTNN_REAL) };
    FASTNN_SPAN sum[4] = {{0}, {0}, {0}, {0}};
    ptrdiff_t i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            sum[j] += FASTNN_OF(load)(x + i + j * lanes);
    for (; i + lanes <= n; i += lanes)
        sum[0] += FASTNN_OF(load)(x + i);
    if (i < n)
        sum[1] += FASTNN_OF(load_part)(x + i, n - i);
    return FASTNN_OF(fold)((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static inline FASTNN_REAL FASTNN_OF(run_dot)(const FASTNN_REAL *x, const FASTNN_REAL *y, ptrdiff_t n) {
    enum { lanes = sizeof(FASTNN_SPAN) / sizeof(FASTNN_REAL) };
    FASTNN_SPAN sum[4] = {{0}, {0}, {0}, {0}};
    ptrdiff_t i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            sum[j] += FASTNN_OF(load)(x + i + j * lanes) * FASTNN_OF(load)(y + i + j * lanes);
    for (; i + lanes <= n; i += lanes)
        sum[0] += FASTNN_OF(load)(x + i) * FASTNN_OF(load)(y + i);
    if (i < n)
        sum[1] += FASTNN_OF(load_part)(x + i, n - i) * FASTNN_OF(load_part)(y + i, n - i);
    return FASTNN_OF(fold)((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

/* The largest of n >= 1 elements; a NaN may be passed over. */
static inline FASTNN_REAL FASTNN_OF(run_maximum)(const FASTNN_REAL *x, ptrdiff_t n) {
    enum { lanes = sizeof(FASTNN_SPAN) / sizeof(FASTNN_REAL) };
    FASTNN_REAL top = x[0];
    ptrdiff_t i = 0;
    if (n >= lanes) {
        FASTNN_SPAN tops[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            tops[j] = FASTNN_OF(load)(x + n - lanes); /* the last ones may count twice: no rest is left */
        for (; i + 4 * lanes <= n; i += 4 * lanes)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++)
                tops[j] = FASTNN_OF(larger)(FASTNN_OF(load)(x + i + j * lanes), tops[j]);
        for (; i + lanes <= n; i += lanes)
            tops[0] = FASTNN_OF(larger)(FASTNN_OF(load)(x + i), tops[0]);
        const FASTNN_SPAN last = FASTNN_OF(larger)(FASTNN_OF(larger)(tops[0], tops[1]), FASTNN_OF(larger)(tops[2], tops[3]));
        return FASTNN_OF(largest_lane)(last);
    }
    for (i = 1; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

/* Lines are fetched before they are written, further ahead than the processor looks: 3 MB in 0.10 ms instead of 0.22. */
static inline void FASTNN_OF(run_fill)(FASTNN_REAL value, FASTNN_REAL *y, ptrdiff_t n, int past) {
    FASTNN_MAP(y, n, past, if (!past) __builtin_prefetch((const char *)(y + i) + 8192, 1, 3);, FASTNN_OF(all)(value));
}

static inline void FASTNN_OF(run_scale)(const FASTNN_REAL *x, FASTNN_REAL factor, FASTNN_REAL *y, ptrdiff_t n, int past) {
    FASTNN_MAP(y, n, past, , FASTNN_GET(x) * factor);
}

#endif
