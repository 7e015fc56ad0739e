/* Register tiles of a convolution in which a tap is an offset into a padded input, so that no patch is ever gathered.

   direct_tile    ROWS output channels x up to 3 vectors of pixels; reads the weights where they lie. v4: 24 sums, 3 vectors, 1 broadcast
   blocked_tile   pairs of pixels, PIXELS in all, x 2 vectors of output channels, from packed weights w[c][tap][channel], all of whose
                  loads are aligned: a fifth faster. v4: 28 sums, 2 vectors, 1 broadcast

   The file includes itself for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_DIRECT_H
#define FASTNN_DIRECT_H

#include "partial.h"
#include "taps.h"
#include "transpose.h"

#if defined(__AVX512F__)
#define FASTNN_DIRECT_ROWS 8
#define FASTNN_DIRECT_PIXELS 14
#else
#define FASTNN_DIRECT_ROWS 4
#define FASTNN_DIRECT_PIXELS 6
#endif
#define FASTNN_DIRECT_VECTORS 3
#define FASTNN_DIRECT_SUM 96 /* products summed in a row before they join the others: 128 equal ones may err by 16 eps */

/* The end of a vector's life: `count` lanes from `lane` on go to `target`. */
typedef struct {
    ptrdiff_t lane, target, count;
} fastnn_piece;

#define FASTNN_TEMPLATE "direct.h"
#include "dtypes.h"

#endif
#else

/* target[t] = row[t step] for t < width, zero where t step is not in begin to end - 1 */
static void FASTNN_OF(strand_row)(FASTNN_REAL *target, ptrdiff_t width, const FASTNN_REAL *row, ptrdiff_t step, ptrdiff_t begin,
                                  ptrdiff_t end) {
    enum { lanes = FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL) };
    if (step == 2)
        for (ptrdiff_t t = 0; t < width; t += lanes)
            FASTNN_OF(store_row)(target, t, width, FASTNN_SHUFFLE(
                FASTNN_OF(load_inside)(row, 2 * t, begin, end), FASTNN_OF(load_inside)(row, 2 * t + lanes, begin, end),
                FASTNN_EVEN(FASTNN_LANES)));
    else
        for (ptrdiff_t t = 0; t < width; t++)
            target[t] = t * step >= begin && t * step < end ? row[t * step] : 0;
}

/* p[row i][vector j] = or += sum over channels c and taps t of w[i w_row + c w_channel + t.weight] * x[from[j] + c plane + t.source];
   rows that do not exist repeat the last one. The addresses are written so that they fit into the general registers. */
#define FASTNN_DEFINE_DIRECT_TILE(J)                                                                                             \
    static void FASTNN_OF(direct_tile_##J)(ptrdiff_t channels, ptrdiff_t taps, const fastnn_tap *tap, const FASTNN_REAL *x,      \
                                           const ptrdiff_t *from, ptrdiff_t plane, const FASTNN_REAL *w, ptrdiff_t w_row,        \
                                           ptrdiff_t w_channel, ptrdiff_t rows, int add, FASTNN_REAL *p) {                       \
        enum { lanes = FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL), R = FASTNN_DIRECT_ROWS, size = sizeof(FASTNN_REAL) };            \
        ptrdiff_t row[R], ahead[J];                                                                                              \
        _Pragma("GCC unroll 8") for (int i = 0; i < R; i++)                                                                      \
            row[i] = (i < rows ? i : rows - 1) * w_row * size;                                                                   \
        _Pragma("GCC unroll 3") for (int j = 0; j < J; j++)                                                                      \
            ahead[j] = (from[j] - from[0]) * size;                                                                               \
        for (ptrdiff_t t0 = 0; t0 < taps; t0 += FASTNN_DIRECT_SUM) {                                                             \
            const ptrdiff_t some = taps - t0 < FASTNN_DIRECT_SUM ? taps - t0 : FASTNN_DIRECT_SUM;                                \
            const ptrdiff_t chunk = FASTNN_DIRECT_SUM / some;                                                                    \
            const char *pixels = (const char *)(x + from[0]), *weights = (const char *)w;                                        \
            for (ptrdiff_t c0 = 0; c0 < channels; c0 += chunk) {                                                                 \
                FASTNN_OF(span) sum[R][J];                                                                                       \
                _Pragma("GCC unroll 8") for (int i = 0; i < R; i++)                                                              \
                    _Pragma("GCC unroll 3") for (int j = 0; j < J; j++)                                                          \
                        sum[i][j] = (FASTNN_OF(span)){0};                                                                        \
                for (ptrdiff_t c = channels - c0 < chunk ? channels - c0 : chunk; c > 0; c--) {                                  \
                    const fastnn_tap *t = tap + t0, *const end = t + some;                                                       \
                    do {                                                                                                         \
                        const char *const pixel = pixels + t->source, *weight = weights + t->weight;                             \
                        FASTNN_OF(span) right[J];                                                                                \
                        __asm__("" : "+r"(weight));                                                                              \
                        _Pragma("GCC unroll 3") for (int j = 0; j < J; j++)                                                      \
                            right[j] = FASTNN_OF(load)((const FASTNN_REAL *)(pixel + ahead[j]));                                 \
                        _Pragma("GCC unroll 8") for (int i = 0; i < R; i++) {                                                    \
                            const FASTNN_REAL left = *(const FASTNN_REAL *)(weight + row[i]);                                    \
                            _Pragma("GCC unroll 3") for (int j = 0; j < J; j++)                                                  \
                                sum[i][j] += left * right[j];                                                                    \
                        }                                                                                                        \
                    } while (++t != end);                                                                                        \
                    pixels += plane * size;                                                                                      \
                    weights += w_channel * size;                                                                                 \
                }                                                                                                                \
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
                                          ptrdiff_t w_row, ptrdiff_t w_channel, ptrdiff_t rows, int add, FASTNN_REAL *p) {
    switch (vectors) {
    case 1: FASTNN_OF(direct_tile_1)(channels, taps, tap, x, from, plane, w, w_row, w_channel, rows, add, p); break;
    case 2: FASTNN_OF(direct_tile_2)(channels, taps, tap, x, from, plane, w, w_row, w_channel, rows, add, p); break;
    default: FASTNN_OF(direct_tile_3)(channels, taps, tap, x, from, plane, w, w_row, w_channel, rows, add, p);
    }
}

/* p[pixel 2 i + j][channel] = or += sum over channels c and taps t of x[from[i] + j + c plane + t.source] * w[c w_channel + t.weight]
   [channel] */
static void FASTNN_OF(blocked_tile)(ptrdiff_t channels, ptrdiff_t taps, const fastnn_tap *tap, const FASTNN_REAL *x,
                                    const ptrdiff_t *from, ptrdiff_t plane, const FASTNN_REAL *w, ptrdiff_t w_channel, int add,
                                    FASTNN_REAL *p) {
    enum { lanes = FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL), R = FASTNN_DIRECT_PIXELS, size = sizeof(FASTNN_REAL) };
    const FASTNN_REAL *pair[R / 2];
#pragma GCC unroll 7
    for (int i = 0; i < R / 2; i++)
        pair[i] = x + from[i];
    for (ptrdiff_t t0 = 0; t0 < taps; t0 += FASTNN_DIRECT_SUM) {
        const ptrdiff_t some = taps - t0 < FASTNN_DIRECT_SUM ? taps - t0 : FASTNN_DIRECT_SUM, chunk = FASTNN_DIRECT_SUM / some;
        const char *weights = (const char *)w;
        ptrdiff_t channel = 0;
        for (ptrdiff_t c0 = 0; c0 < channels; c0 += chunk) {
            FASTNN_OF(span) sum[R][2];
#pragma GCC unroll 14
            for (int i = 0; i < R; i++)
                sum[i][0] = sum[i][1] = (FASTNN_OF(span)){0};
            for (ptrdiff_t c = channels - c0 < chunk ? channels - c0 : chunk; c > 0; c--) {
                const fastnn_tap *t = tap + t0, *const end = t + some;
                do {
                    const ptrdiff_t at = channel + t->source;
                    const FASTNN_REAL *const weight = (const FASTNN_REAL *)(weights + t->weight);
                    const FASTNN_OF(span) left = FASTNN_OF(load)(weight), right = FASTNN_OF(load)(weight + lanes);
#pragma GCC unroll 14
                    for (int i = 0; i < R; i++) {
                        const FASTNN_REAL pixel = ((const FASTNN_REAL *)((const char *)pair[i / 2] + at))[i % 2];
                        sum[i][0] += pixel * left;
                        sum[i][1] += pixel * right;
                    }
                } while (++t != end);
                channel += plane * size;
                weights += w_channel * size;
            }
#pragma GCC unroll 14
            for (int i = 0; i < R; i++)
#pragma GCC unroll 2
                for (int j = 0; j < 2; j++) {
                    FASTNN_OF(span) *const to = (FASTNN_OF(span) *)(p + (2 * i + j) * lanes);
                    if (add)
                        sum[i][j] += *to;
                    *to = sum[i][j];
                }
            add = 1;
        }
    }
}

/* Fetches what blocked_store will write to. */
static inline void FASTNN_OF(blocked_fetch)(const fastnn_piece *piece, ptrdiff_t pieces, ptrdiff_t channels, FASTNN_REAL *y,
                                            ptrdiff_t y_channel, ptrdiff_t step) {
    for (ptrdiff_t k = 0; k < pieces; k++) {
        FASTNN_REAL *const to = y + piece[k].target;
        for (ptrdiff_t c = 0; c < channels; c++) {
            FASTNN_FETCH(to + c * y_channel, 0, 1);
            FASTNN_FETCH(to + c * y_channel + (piece[k].count - 1) * step, 0, 1);
        }
    }
}

/* y[channel][target + i step] = p[lane + i][channel] + bias[channel] for the pieces of a blocked tile */
static void FASTNN_OF(blocked_store)(const fastnn_piece *piece, ptrdiff_t pieces, const FASTNN_REAL *p, ptrdiff_t channels,
                                     const FASTNN_REAL *bias, FASTNN_REAL *y, ptrdiff_t y_channel, ptrdiff_t step) {
    enum { lanes = FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL) };
    FASTNN_REAL turned[lanes * lanes];
    for (ptrdiff_t c0 = 0; c0 < channels; c0 += lanes, y += lanes * y_channel)
        for (ptrdiff_t first = 0; first < FASTNN_DIRECT_PIXELS; first += lanes) {
            const ptrdiff_t some = channels - c0 < lanes ? channels - c0 : lanes;
            FASTNN_OF(transpose_block)(p + first * 2 * lanes + c0, 2 * lanes, turned, lanes);
            if (bias)
                for (ptrdiff_t c = 0; c < some; c++)
                    *(FASTNN_OF(span) *)(turned + c * lanes) += bias[c0 + c];
            for (ptrdiff_t k = 0; k < pieces; k++) {
                const ptrdiff_t at = piece[k].lane - first, low = FASTNN_CLAMP(at, 0), high = FASTNN_CLAMP(at + piece[k].count, low);
                FASTNN_REAL *const to = y + piece[k].target - at * step;
                if (step == 1)
                    for (ptrdiff_t c = 0; c < some; c++)
                        FASTNN_OF(store_between)(to + c * y_channel, FASTNN_OF(load)(turned + c * lanes), low, high);
                else
                    for (ptrdiff_t c = 0; c < some; c++)
                        for (ptrdiff_t i = low; i < high; i++)
                            to[c * y_channel + i * step] = turned[c * lanes + i];
            }
        }
}

/* y[target + i step] = p[lane + i] + bias for the pieces of one channel */
static inline void FASTNN_OF(direct_store)(const fastnn_piece *piece, ptrdiff_t pieces, const FASTNN_REAL *p, FASTNN_REAL bias,
                                           FASTNN_REAL *y, ptrdiff_t step) {
    enum { lanes = FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL) };
    for (ptrdiff_t k = 0; k < pieces; k++) {
        FASTNN_REAL *const to = y + piece[k].target;
        if (step == 1)
            for (ptrdiff_t i = 0; i < piece[k].count; i += lanes)
                FASTNN_OF(store_part)(to + i, FASTNN_OF(load)(p + piece[k].lane + i) + bias,
                                      piece[k].count - i < lanes ? piece[k].count - i : lanes);
        else
            for (ptrdiff_t i = 0; i < piece[k].count; i++)
                to[i * step] = p[piece[k].lane + i] + bias;
    }
}

#endif
