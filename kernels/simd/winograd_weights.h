/* The weights of Winograd's minimal filtering, G w G^T (see winograd.h): every lane of a vector is an output channel. The file includes
   itself once for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_WINOGRAD_WEIGHTS_H
#define FASTNN_WINOGRAD_WEIGHTS_H

#include "partial.h"
#include "transpose.h"

/* Rows of a register tile, and vectors in them: 24 sums, 3 vectors, 1 broadcast of 32 registers; 12, 3, 1 of 16. */
#if defined(__AVX512F__)
#define FASTNN_WINOGRAD_ROWS 8
#else
#define FASTNN_WINOGRAD_ROWS 4
#endif
/* Output channels whose weights lie together: a vector of them, and whole tiles. */
#define FASTNN_WINOGRAD_SLAB (FASTNN_LANES > FASTNN_WINOGRAD_ROWS ? FASTNN_LANES : FASTNN_WINOGRAD_ROWS)
#define FASTNN_WINOGRAD_WINDOW 6 /* m + 2, at most */
#define FASTNN_INLINE static inline __attribute__((always_inline))

/* A round of a transposition of up to eight rows, as in transpose.h, in each half of a vector of sixteen lanes. */
#define FASTNN_PICK__(lanes, pick, s) FASTNN_LANES_##lanes(pick, s, lanes)
#define FASTNN_PICK_(lanes, pick, s) FASTNN_PICK__(lanes, pick, s)
#define FASTNN_WINOGRAD_ROUND(s)                                                                                                 \
    _Pragma("GCC unroll 8") for (int i = 0; i + s < rows; i++)                                                                   \
        if (!(i & s)) {                                                                                                          \
            const FASTNN_OF(span) upper = row[i], lower = row[i + s];                                                            \
            row[i] = FASTNN_SHUFFLE(upper, lower, FASTNN_PICK_(FASTNN_LANES, FASTNN_UPPER, s));                                  \
            row[i + s] = FASTNN_SHUFFLE(upper, lower, FASTNN_PICK_(FASTNN_LANES, FASTNN_LOWER, s));                              \
        }

#define FASTNN_TEMPLATE "winograd_weights.h"
#include "dtypes.h"

#endif
#else

/* A vector of neighbours; or, where it has more than eight lanes, eight and the eight that come ``second`` elements later. */
FASTNN_INLINE FASTNN_OF(span) FASTNN_OF(load_eights)(const FASTNN_REAL *p, ptrdiff_t second) {
#if FASTNN_LANES == 16
    const __m256d first = _mm256_loadu_pd((const double *)p), last = _mm256_loadu_pd((const double *)(p + second));
    return (FASTNN_OF(span))_mm512_insertf64x4(_mm512_castpd256_pd512(first), last, 1);
#else
    (void)second;
    return FASTNN_OF(load)(p);
#endif
}

/* t[0], t[step], ... = G of three weights. */
FASTNN_INLINE void FASTNN_OF(winograd_weight_line)(int m, FASTNN_OF(span) a, FASTNN_OF(span) b, FASTNN_OF(span) c,
                                                   FASTNN_OF(span) *t, int step) {
    if (m == 2) {
        const FASTNN_OF(span) half = (FASTNN_REAL)0.5 * (a + c);
        t[0] = a;
        t[step] = half + (FASTNN_REAL)0.5 * b;
        t[2 * step] = half - (FASTNN_REAL)0.5 * b;
        t[3 * step] = c;
    } else {
        const FASTNN_OF(span) even = (a + c) * (FASTNN_REAL)(-1.0 / 6), odd = b * (FASTNN_REAL)(-1.0 / 6);
        const FASTNN_OF(span) even2 = a * (FASTNN_REAL)(1.0 / 24) + c * (FASTNN_REAL)(1.0 / 6), odd2 = b * (FASTNN_REAL)(1.0 / 12);
        t[0] = a * (FASTNN_REAL)0.25;
        t[step] = even + odd;
        t[2 * step] = even - odd;
        t[3 * step] = even2 + odd2;
        t[4 * step] = even2 - odd2;
        t[5 * step] = c;
    }
}

/* taps[tap * lanes + i] = source[i * stride + tap]: eight taps are transposed in registers, and the ninth is picked up. Transposing two
   whole blocks of them took a third longer. */
static void FASTNN_OF(winograd_taps)(const FASTNN_REAL *source, ptrdiff_t stride, FASTNN_REAL *taps) {
    enum { lanes = FASTNN_LANES, rows = lanes < 8 ? lanes : 8 };
    for (ptrdiff_t first = 0; first < 8; first += rows) {
        FASTNN_OF(span) row[rows];
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
            row[i] = FASTNN_OF(load_eights)(source + first + i * stride, 8 * stride);
#if FASTNN_LANES >= 8
        FASTNN_WINOGRAD_ROUND(4)
#endif
#if FASTNN_LANES >= 4
        FASTNN_WINOGRAD_ROUND(2)
#endif
        FASTNN_WINOGRAD_ROUND(1)
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
            *(FASTNN_OF(span) *)(taps + (first + i) * lanes) = row[i];
    }
    for (int i = 0; i < lanes; i++)
        taps[8 * lanes + i] = source[i * stride + 8];
}

/* One vector of output channels and one input channel: u[xi * stride + channel]; w[tap * lanes + channel], taps step by `turn`, which is
   -1 for a kernel turned by 180 degrees. */
FASTNN_INLINE void FASTNN_OF(winograd_weights_of)(int m, const FASTNN_REAL *w, int turn, FASTNN_REAL *u, ptrdiff_t stride) {
    enum { lanes = FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL) };
    FASTNN_OF(span) t[3 * FASTNN_WINOGRAD_WINDOW], line[FASTNN_WINOGRAD_WINDOW];
    const int n = m + 2;
#pragma GCC unroll 3
    for (int c = 0; c < 3; c++)
        FASTNN_OF(winograd_weight_line)(m, FASTNN_OF(load)(w + c * turn * lanes), FASTNN_OF(load)(w + (3 + c) * turn * lanes),
                                        FASTNN_OF(load)(w + (6 + c) * turn * lanes), t + c, 3);
#pragma GCC unroll 6
    for (int r = 0; r < n; r++) {
        FASTNN_OF(winograd_weight_line)(m, t[3 * r], t[3 * r + 1], t[3 * r + 2], line, 1);
#pragma GCC unroll 6
        for (int s = 0; s < n; s++)
            *(FASTNN_OF(span) *)(u + (r * n + s) * stride) = line[s];
    }
}

static void FASTNN_OF(winograd_weights)(int m, const FASTNN_REAL *w, int turn, FASTNN_REAL *u, ptrdiff_t stride) {
    if (m == 2)
        FASTNN_OF(winograd_weights_of)(2, w, turn, u, stride);
    else
        FASTNN_OF(winograd_weights_of)(4, w, turn, u, stride);
}

#endif
