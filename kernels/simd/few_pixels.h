/* Register tile of a convolution into rows of few pixels, where a vector of pixels would be mostly empty: output channels in lanes.

   pixels_tile   runs of FASTNN_RUN neighbouring pixels x 1 vector of output channels. v4: 24 sums, 1 vector, pixels broadcast from memory

   The file includes itself once for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_FEW_PIXELS_H
#define FASTNN_FEW_PIXELS_H

#include "partial.h"
#include "transpose.h"

#if defined(__AVX512F__)
#define FASTNN_RUN 8
#define FASTNN_RUNS 3
#else
#define FASTNN_RUN 4
#define FASTNN_RUNS 3
#endif
#define FASTNN_PIXELS_CHUNK 96 /* taps that share a sum in registers: the error of a long float32 sum */

/* Where the window of a run's first pixel begins, where its result goes, how many of its pixels count. */
typedef struct {
    ptrdiff_t source, target, count;
} fastnn_run;

#define FASTNN_TEMPLATE "few_pixels.h"
#include "dtypes.h"

#endif
#else

/* p[run][pixel i][channel] = panel[0][channel] + sum over taps of panel[1 + tap][channel] * x[run.source + i + offset[tap]] */
#define FASTNN_DEFINE_PIXELS(R)                                                                                                  \
    static void FASTNN_OF(pixels_tile_##R)(ptrdiff_t taps, const ptrdiff_t *offset, const FASTNN_REAL *panel,                    \
                                           const FASTNN_REAL *x, const fastnn_run *run, FASTNN_REAL *p) {                        \
        FASTNN_OF(span) sum[R][FASTNN_RUN];                                                                                      \
        const FASTNN_REAL *from[R];                                                                                              \
        _Pragma("GCC unroll 3") for (int r = 0; r < R; r++) {                                                                    \
            from[r] = x + run[r].source;                                                                                         \
            _Pragma("GCC unroll 8") for (int i = 0; i < FASTNN_RUN; i++)                                                         \
                sum[r][i] = FASTNN_OF(load)(panel);                                                                              \
        }                                                                                                                        \
        for (ptrdiff_t tap = 0, end = 0; tap < taps;) {                                                                          \
            const int first = tap == 0;                                                                                          \
            end = taps - end > FASTNN_PIXELS_CHUNK ? end + FASTNN_PIXELS_CHUNK : taps;                                           \
            for (; tap < end; tap++) {                                                                                           \
                const ptrdiff_t at = offset[tap];                                                                                \
                panel += FASTNN_LANES;                                                                                           \
                const FASTNN_OF(span) weights = FASTNN_OF(load)(panel);                                                          \
                _Pragma("GCC unroll 3") for (int r = 0; r < R; r++)                                                              \
                    _Pragma("GCC unroll 8") for (int i = 0; i < FASTNN_RUN; i++)                                                 \
                        sum[r][i] += (from[r] + at)[i] * weights;                                                                \
            }                                                                                                                    \
            _Pragma("GCC unroll 3") for (int r = 0; r < R; r++)                                                                  \
                _Pragma("GCC unroll 8") for (int i = 0; i < FASTNN_RUN; i++) {                                                   \
                    FASTNN_OF(span) *const to = (FASTNN_OF(span) *)(p + (r * FASTNN_RUN + i) * FASTNN_LANES);                    \
                    if (!first)                                                                                                  \
                        sum[r][i] += *to;                                                                                        \
                    *to = sum[r][i];                                                                                             \
                    sum[r][i] = (FASTNN_OF(span)){0};                                                                            \
                }                                                                                                                \
        }                                                                                                                        \
    }

FASTNN_DEFINE_PIXELS(1)
FASTNN_DEFINE_PIXELS(2)
FASTNN_DEFINE_PIXELS(3)
#undef FASTNN_DEFINE_PIXELS

/* out[channel][run.target + i] for all runs and a vector of output channels, of which the first ``channels`` exist. ``p`` has room for
   all runs, and for a vector of pixels more. */
static void FASTNN_OF(pixels)(ptrdiff_t taps, const ptrdiff_t *offset, const FASTNN_REAL *panel, const FASTNN_REAL *x,
                              const fastnn_run *run, ptrdiff_t runs, FASTNN_REAL *p, FASTNN_REAL *out, ptrdiff_t stride,
                              ptrdiff_t channels) {
    enum { lanes = FASTNN_LANES, together = lanes / FASTNN_RUN > 0 ? lanes / FASTNN_RUN : 1 };
    FASTNN_REAL turned[lanes * lanes + lanes];
    for (ptrdiff_t r = 0; r < runs; r += FASTNN_RUNS) {
        FASTNN_REAL *const to = p + r * FASTNN_RUN * lanes;
        switch (runs - r) {
        case 1: FASTNN_OF(pixels_tile_1)(taps, offset, panel, x, run + r, to); break;
        case 2: FASTNN_OF(pixels_tile_2)(taps, offset, panel, x, run + r, to); break;
        default: FASTNN_OF(pixels_tile_3)(taps, offset, panel, x, run + r, to);
        }
    }
    for (ptrdiff_t r = 0; r < runs; r += together)
        for (ptrdiff_t first = 0; first < FASTNN_RUN; first += lanes) {
            FASTNN_OF(transpose_block)(p + (r * FASTNN_RUN + first) * lanes, lanes, turned, lanes);
            for (ptrdiff_t k = 0; k < together && r + k < runs; k++) {
                const ptrdiff_t left = run[r + k].count - first, count = left < 0 ? 0 : left < lanes ? left : lanes;
                FASTNN_REAL *const to = out + run[r + k].target + first;
                for (ptrdiff_t c = 0; c < channels; c++)
                    FASTNN_OF(store_part)(to + c * stride, FASTNN_OF(load)(turned + c * lanes + k * FASTNN_RUN), count);
            }
        }
}

#endif
