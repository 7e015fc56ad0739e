/* Register tiles of a convolution with images in lanes: R output channels x V vectors of images, one pixel. Nothing is lost at the ends
   of rows, however short they are, and a pixel meets those taps alone that see the input. v4: up to 24 sums, 4 vectors, 1 broadcast;
   otherwise 12, 2, 1. The file includes itself for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_IMAGES_H
#define FASTNN_IMAGES_H

#include "partial.h"
#include "taps.h"

#if defined(__AVX512F__)
#define FASTNN_IMAGES_VECTORS 4
#else
#define FASTNN_IMAGES_VECTORS 2
#endif
#define FASTNN_IMAGES_SUM 96 /* products summed in a row before they join the others: the error of a long float32 sum */

/* Channels of the tile that takes up to that many. */
static inline ptrdiff_t fastnn_images_channels(ptrdiff_t channels) { return channels <= 4 ? channels : 6; }

#define FASTNN_TEMPLATE "images.h"
#include "dtypes.h"

#endif
#else

/* y[channel i][pixel][vector j] = w[0][i] + sum over channels c and taps t of
   w[1 + c w_channel + t.weight][i] * x[pixel step + c plane + t.source][vector j] */
#define FASTNN_DEFINE_IMAGES_TILE(R, V)                                                                                          \
    static void FASTNN_OF(images_tile_##R##_##V)(                                                                                \
        ptrdiff_t pixels, ptrdiff_t step, ptrdiff_t channels, ptrdiff_t taps, const fastnn_tap *tap, const FASTNN_REAL *x,       \
        ptrdiff_t plane, const FASTNN_REAL *w, ptrdiff_t w_channel, FASTNN_REAL *y, ptrdiff_t y_channel) {                       \
        const ptrdiff_t chunk = taps ? FASTNN_IMAGES_SUM / taps : channels;                                                      \
        for (; pixels > 0; pixels--, x += step, y += V * FASTNN_LANES) {                                                         \
            const FASTNN_REAL *channel = x, *panel = w + R;                                                                      \
            FASTNN_OF(span) sum[R][V];                                                                                           \
            ptrdiff_t c = 0;                                                                                                     \
            _Pragma("GCC unroll 8") for (int i = 0; i < R; i++)                                                                  \
                _Pragma("GCC unroll 4") for (int j = 0; j < V; j++)                                                              \
                    sum[i][j] = w[i] - (FASTNN_OF(span)){0};                                                                     \
            do {                                                                                                                 \
                const ptrdiff_t first = c, last = channels - c > chunk ? c + chunk : channels;                                   \
                for (; c < last; c++, channel += plane, panel += w_channel)                                                      \
                    for (const fastnn_tap *t = tap, *const end = tap + taps; t != end; t++) {                                    \
                        const FASTNN_REAL *const pixel = (const FASTNN_REAL *)((const char *)channel + t->source);               \
                        const FASTNN_REAL *const weight = (const FASTNN_REAL *)((const char *)panel + t->weight);                \
                        FASTNN_OF(span) right[V];                                                                                \
                        _Pragma("GCC unroll 4") for (int j = 0; j < V; j++)                                                      \
                            right[j] = FASTNN_OF(load)(pixel + j * FASTNN_LANES);                                                \
                        _Pragma("GCC unroll 8") for (int i = 0; i < R; i++)                                                      \
                            _Pragma("GCC unroll 4") for (int j = 0; j < V; j++)                                                  \
                                sum[i][j] += weight[i] * right[j];                                                               \
                    }                                                                                                            \
                _Pragma("GCC unroll 8") for (int i = 0; i < R; i++)                                                              \
                    _Pragma("GCC unroll 4") for (int j = 0; j < V; j++) {                                                        \
                        FASTNN_OF(span) *const to = (FASTNN_OF(span) *)(y + i * y_channel + j * FASTNN_LANES);                   \
                        if (first)                                                                                               \
                            sum[i][j] += *to;                                                                                    \
                        *to = sum[i][j];                                                                                         \
                        sum[i][j] = (FASTNN_OF(span)){0};                                                                        \
                    }                                                                                                            \
            } while (c < channels);                                                                                              \
        }                                                                                                                        \
    }
#define FASTNN_DEFINE_IMAGES_TILES(V)                                                                                            \
    FASTNN_DEFINE_IMAGES_TILE(1, V)                                                                                              \
    FASTNN_DEFINE_IMAGES_TILE(2, V)                                                                                              \
    FASTNN_DEFINE_IMAGES_TILE(3, V)                                                                                              \
    FASTNN_DEFINE_IMAGES_TILE(4, V)                                                                                              \
    FASTNN_DEFINE_IMAGES_TILE(6, V)

FASTNN_DEFINE_IMAGES_TILES(1)
FASTNN_DEFINE_IMAGES_TILES(2)
#if FASTNN_IMAGES_VECTORS == 4
FASTNN_DEFINE_IMAGES_TILES(3)
FASTNN_DEFINE_IMAGES_TILES(4)
#endif
#undef FASTNN_DEFINE_IMAGES_TILE
#undef FASTNN_DEFINE_IMAGES_TILES

static inline void FASTNN_OF(images_tile)(ptrdiff_t rows, ptrdiff_t vectors, ptrdiff_t pixels, ptrdiff_t step, ptrdiff_t channels,
                                          ptrdiff_t taps, const fastnn_tap *tap, const FASTNN_REAL *x, ptrdiff_t plane,
                                          const FASTNN_REAL *w, ptrdiff_t w_channel, FASTNN_REAL *y, ptrdiff_t y_channel) {
    typedef void (*tile)(ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t, const fastnn_tap *, const FASTNN_REAL *, ptrdiff_t, const FASTNN_REAL *, ptrdiff_t,
                         FASTNN_REAL *, ptrdiff_t);
#define FASTNN_TILES_OF(V)                                                                                             \
    {FASTNN_OF(images_tile_1_##V), FASTNN_OF(images_tile_2_##V), FASTNN_OF(images_tile_3_##V),                      \
     FASTNN_OF(images_tile_4_##V), FASTNN_OF(images_tile_6_##V)}
    static const tile tiles[FASTNN_IMAGES_VECTORS][5] = {
        FASTNN_TILES_OF(1), FASTNN_TILES_OF(2),
#if FASTNN_IMAGES_VECTORS == 4
        FASTNN_TILES_OF(3), FASTNN_TILES_OF(4),
#endif
    };
#undef FASTNN_TILES_OF
    tiles[vectors - 1][rows == 6 ? 4 : rows - 1](
        pixels, step, channels, taps, tap, x, plane, w, w_channel, y, y_channel);
}

#endif
