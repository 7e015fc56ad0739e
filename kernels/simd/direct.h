/* Register tile of a convolution that reads its input in place: ROWS output channels x up to 3 vectors of pixels.

   A tap is an offset into a padded input, so that no patch is ever gathered; weights lie in panels w[c][tap][channel]. Broadcasts from
   weights that were not packed ran at three quarters of the speed. v4: 24 sums, 3 vectors, 1 broadcast; otherwise 12, 3, 1. The file
   includes itself for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_DIRECT_H
#define FASTNN_DIRECT_H

#include "partial.h"

#if defined(__AVX512F__)
#define FASTNN_DIRECT_ROWS 8
#else
#define FASTNN_DIRECT_ROWS 4
#endif
#define FASTNN_DIRECT_VECTORS 3
#define FASTNN_DIRECT_SUM 128 /* products summed in a row before they join the others: the error of a long float32 sum */

/* Where a tap finds its pixel and its weight. */
typedef struct {
    ptrdiff_t source, weight;
} fastnn_tap;

/* The end of a vector's life: `count` lanes from `lane` on go to `target`. */
typedef struct {
    ptrdiff_t lane, target, count;
} fastnn_piece;

#define FASTNN_REAL float
#define FASTNN_OF(name) fastnn_##name##_f32
#include "direct.h"
#undef FASTNN_REAL
#undef FASTNN_OF

#define FASTNN_REAL double
#define FASTNN_OF(name) fastnn_##name##_f64
#include "direct.h"
#undef FASTNN_REAL
#undef FASTNN_OF

#endif
#else

/* p[row i][vector j] = sum over channels c and taps t of w[c window + t.weight][i] * x[from[j] + c plane + t.source] */
#define FASTNN_DEFINE_DIRECT_TILE(J)                                                                                             \
    static void FASTNN_OF(direct_tile_##J)(ptrdiff_t channels, ptrdiff_t taps, const fastnn_tap *tap, const FASTNN_REAL *x,      \
                                           const ptrdiff_t *from, ptrdiff_t plane, const FASTNN_REAL *w, ptrdiff_t window,       \
                                           FASTNN_REAL *p) {                                                                     \
        enum { lanes = FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL), R = FASTNN_DIRECT_ROWS, width = lanes > R ? lanes : R };         \
        ptrdiff_t ahead[J];                                                                                                      \
        int add = 0;                                                                                                             \
        _Pragma("GCC unroll 3") for (int j = 0; j < J; j++)                                                                      \
            ahead[j] = from[j] - from[0];                                                                                        \
        for (ptrdiff_t t0 = 0; t0 < taps; t0 += FASTNN_DIRECT_SUM) {                                                             \
            const ptrdiff_t some = taps - t0 < FASTNN_DIRECT_SUM ? taps - t0 : FASTNN_DIRECT_SUM;                                \
            const ptrdiff_t chunk = FASTNN_DIRECT_SUM / some;                                                                    \
            for (ptrdiff_t c0 = 0; c0 < channels; c0 += chunk) {                                                                 \
                const ptrdiff_t end = channels - c0 < chunk ? channels : c0 + chunk;                                             \
                FASTNN_OF(span) sum[R][J];                                                                                       \
                _Pragma("GCC unroll 8") for (int i = 0; i < R; i++)                                                              \
                    _Pragma("GCC unroll 3") for (int j = 0; j < J; j++)                                                          \
                        sum[i][j] = (FASTNN_OF(span)){0};                                                                        \
                for (ptrdiff_t c = c0; c < end; c++)                                                                             \
                    for (ptrdiff_t t = t0; t < t0 + some; t++) {                                                                 \
                        const FASTNN_REAL *const pixel = x + from[0] + c * plane + tap[t].source;                                \
                        const FASTNN_REAL *const weight = w + (c * window + tap[t].weight) * width;                              \
                        FASTNN_OF(span) right[J];                                                                                \
                        _Pragma("GCC unroll 3") for (int j = 0; j < J; j++)                                                      \
                            right[j] = FASTNN_OF(load)(pixel + ahead[j]);                                                        \
                        _Pragma("GCC unroll 8") for (int i = 0; i < R; i++)                                                      \
                            _Pragma("GCC unroll 3") for (int j = 0; j < J; j++)                                                  \
                                sum[i][j] += weight[i] * right[j];                                                               \
                    }                                                                                                            \
                _Pragma("GCC unroll 8") for (int i = 0; i < R; i++)                                                              \
                    _Pragma("GCC unroll 3") for (int j = 0; j < J; j++) {                                                        \
                        FASTNN_OF(span) *const to = (FASTNN_OF(span) *)(p + (i * J + j) * lanes);                                \
                        if (add)                                                                                                 \
                            sum[i][j] += *to;                                                                                    \
                        *to = sum[i][j];                                                                                         \
                    }                                                                                                            \
                add = 1;                                                                                                         \
            }                                                                                                                    \
        }                                                                                                                        \
    }

FASTNN_DEFINE_DIRECT_TILE(1)
FASTNN_DEFINE_DIRECT_TILE(2)
FASTNN_DEFINE_DIRECT_TILE(3)
#undef FASTNN_DEFINE_DIRECT_TILE

static inline void FASTNN_OF(direct_tile)(ptrdiff_t vectors, ptrdiff_t channels, ptrdiff_t taps, const fastnn_tap *tap,
                                          const FASTNN_REAL *x, const ptrdiff_t *from, ptrdiff_t plane, const FASTNN_REAL *w,
                                          ptrdiff_t window, FASTNN_REAL *p) {
    switch (vectors) {
    case 1: FASTNN_OF(direct_tile_1)(channels, taps, tap, x, from, plane, w, window, p); break;
    case 2: FASTNN_OF(direct_tile_2)(channels, taps, tap, x, from, plane, w, window, p); break;
    default: FASTNN_OF(direct_tile_3)(channels, taps, tap, x, from, plane, w, window, p);
    }
}

/* y[target + i step] = p[lane + i] + bias for the pieces of one channel */
static inline void FASTNN_OF(direct_store)(const fastnn_piece *piece, ptrdiff_t pieces, const FASTNN_REAL *p, FASTNN_REAL bias,
                                           FASTNN_REAL *y, ptrdiff_t step) {
    for (ptrdiff_t k = 0; k < pieces; k++) {
        FASTNN_REAL *const to = y + piece[k].target;
        if (step == 1)
            FASTNN_OF(store_part)(to, FASTNN_OF(load)(p + piece[k].lane) + bias, piece[k].count);
        else
            for (ptrdiff_t i = 0; i < piece[k].count; i++)
                to[i * step] = p[piece[k].lane + i] + bias;
    }
}

#endif
