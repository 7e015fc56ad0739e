/* Register tiles of a convolution that reads its input in place: a tap is an offset into a padded block, so that no patch is ever
   gathered. The file includes itself once for each dtype.

   taps_R      R output channels x FASTNN_TAPS_SPANS(R) vectors of pixels, which may lie anywhere; one broadcast a channel and tap
   products_D_T   the weight gradient: D channels of dy x T taps, a vector of partial sums each, pixels in lanes */
#ifndef FASTNN_REAL
#ifndef FASTNN_FEW_CHANNELS_H
#define FASTNN_FEW_CHANNELS_H

#include "partial.h"

/* A vector of pixels: where its window begins, where its result goes, how many of its lanes count. */
typedef struct {
    ptrdiff_t source, target, count;
} fastnn_unit;

/* As many sums as there are registers, less the operands. */
#if defined(__AVX512F__)
#define FASTNN_TAPS_CHANNELS 8
#define FASTNN_PRODUCTS_CHANNELS 4
#define FASTNN_PRODUCTS_TAPS 6
#define FASTNN_TAPS_SPANS(R) ((R) == 8 ? 3 : (R) == 6 ? 4 : (R) == 4 ? 6 : 8)
#else
#define FASTNN_TAPS_CHANNELS 4
#define FASTNN_PRODUCTS_CHANNELS 4
#define FASTNN_PRODUCTS_TAPS 3
#define FASTNN_TAPS_SPANS(R) ((R) == 4 ? 3 : (R) == 3 ? 4 : (R) == 2 ? 6 : 8)
#endif
#define FASTNN_MOST_SPANS 8
#define FASTNN_TAPS_CHUNK 96

/* Channels of the tile that takes up to that many. */
static inline ptrdiff_t fastnn_taps_channels(ptrdiff_t channels) {
    if (channels >= FASTNN_TAPS_CHANNELS)
        return FASTNN_TAPS_CHANNELS;
    return channels <= 4 ? channels : channels <= 6 ? 6 : 8;
}

static inline ptrdiff_t fastnn_taps_spans(ptrdiff_t channels) { return FASTNN_TAPS_SPANS(channels); }

/* Lanes of two vectors in turn, from lane i of each on. */
#define FASTNN_INTERLEAVED_2(i, L) i, i + L
#define FASTNN_INTERLEAVED_4(i, L) FASTNN_INTERLEAVED_2(i, L), FASTNN_INTERLEAVED_2(i + 1, L)
#define FASTNN_INTERLEAVED_8(i, L) FASTNN_INTERLEAVED_4(i, L), FASTNN_INTERLEAVED_4(i + 2, L)
#define FASTNN_INTERLEAVED_16(i, L) FASTNN_INTERLEAVED_8(i, L), FASTNN_INTERLEAVED_8(i + 4, L)
#define FASTNN_INTERLEAVED_(lanes, i) FASTNN_INTERLEAVED_##lanes(i, lanes)
#define FASTNN_INTERLEAVED(lanes, i) FASTNN_INTERLEAVED_(lanes, i)

#define FASTNN_TEMPLATE "few_channels.h"
#include "dtypes.h"

#endif
#else

/* out[channel i][unit j] = or += panel[0][i] + sum over taps of panel[1 + tap][i] * source[unit j + offset[tap]].
   At most FASTNN_TAPS_CHUNK taps share a sum in registers: a float32 sum of 128 equal products may err by 16 eps. */
#define FASTNN_DEFINE_TAPS(R)                                                                                                    \
    static void FASTNN_OF(taps_##R)(ptrdiff_t taps, const ptrdiff_t *offset, const FASTNN_REAL *panel, const FASTNN_REAL *source,\
                                    const fastnn_unit *unit, FASTNN_REAL *out, ptrdiff_t stride, ptrdiff_t channels, int add) {  \
        enum { J = FASTNN_TAPS_SPANS(R) };                                                                                       \
        FASTNN_OF(span) sum[R][J];                                                                                               \
        const FASTNN_REAL *from[J];                                                                                              \
        ptrdiff_t tap = 0, end = 0;                                                                                              \
        _Pragma("GCC unroll 8") for (int j = 0; j < J; j++)                                                                      \
            from[j] = source + unit[j].source;                                                                                   \
        _Pragma("GCC unroll 8") for (int i = 0; i < R; i++)                                                                      \
            _Pragma("GCC unroll 8") for (int j = 0; j < J; j++)                                                                  \
                sum[i][j] = panel[i] - (FASTNN_OF(span)){0};                                                                     \
        do {                                                                                                                     \
            end = taps - end > FASTNN_TAPS_CHUNK ? end + FASTNN_TAPS_CHUNK : taps;                                               \
            for (; tap < end; tap++) {                                                                                           \
                const ptrdiff_t at = offset[tap];                                                                                \
                panel += R;                                                                                                      \
                if (R < J) {                                                                                                     \
                    FASTNN_OF(span) w[R];                                                                                        \
                    _Pragma("GCC unroll 8") for (int i = 0; i < R; i++)                                                          \
                        w[i] = panel[i] - (FASTNN_OF(span)){0};                                                                  \
                    _Pragma("GCC unroll 8") for (int j = 0; j < J; j++) {                                                        \
                        FASTNN_OF(span) x = FASTNN_OF(load)(from[j] + at);                                                       \
                        FASTNN_IN_REGISTER(x);                                                                                   \
                        _Pragma("GCC unroll 8") for (int i = 0; i < R; i++)                                                      \
                            sum[i][j] += w[i] * x;                                                                               \
                    }                                                                                                            \
                } else {                                                                                                         \
                    FASTNN_OF(span) x[J];                                                                                        \
                    _Pragma("GCC unroll 8") for (int j = 0; j < J; j++)                                                          \
                        x[j] = FASTNN_OF(load)(from[j] + at);                                                                    \
                    _Pragma("GCC unroll 8") for (int i = 0; i < R; i++)                                                          \
                        _Pragma("GCC unroll 8") for (int j = 0; j < J; j++)                                                      \
                            sum[i][j] += panel[i] * x[j];                                                                        \
                }                                                                                                                \
            }                                                                                                                    \
            _Pragma("GCC unroll 8") for (int i = 0; i < R; i++)                                                                  \
                _Pragma("GCC unroll 8") for (int j = 0; j < J; j++) {                                                            \
                    FASTNN_REAL *const to = out + i * stride + unit[j].target;                                                   \
                    if (i < channels) {                                                                                          \
                        if (add)                                                                                                 \
                            sum[i][j] += FASTNN_OF(load_part)(to, unit[j].count);                                                \
                        FASTNN_OF(store_part)(to, sum[i][j], unit[j].count);                                                     \
                    }                                                                                                            \
                    sum[i][j] = (FASTNN_OF(span)){0};                                                                            \
                }                                                                                                                \
            add = 1;                                                                                                             \
        } while (tap < taps);                                                                                                    \
    }

FASTNN_DEFINE_TAPS(1)
FASTNN_DEFINE_TAPS(2)
FASTNN_DEFINE_TAPS(3)
FASTNN_DEFINE_TAPS(4)
#if FASTNN_TAPS_CHANNELS == 8
FASTNN_DEFINE_TAPS(6)
FASTNN_DEFINE_TAPS(8)
#endif
#undef FASTNN_DEFINE_TAPS

static inline void FASTNN_OF(taps)(ptrdiff_t tile, ptrdiff_t taps, const ptrdiff_t *offset, const FASTNN_REAL *panel,
                                   const FASTNN_REAL *source, const fastnn_unit *unit, FASTNN_REAL *out, ptrdiff_t stride,
                                   ptrdiff_t channels, int add) {
    switch (tile) {
    case 1: FASTNN_OF(taps_1)(taps, offset, panel, source, unit, out, stride, channels, add); break;
    case 2: FASTNN_OF(taps_2)(taps, offset, panel, source, unit, out, stride, channels, add); break;
    case 3: FASTNN_OF(taps_3)(taps, offset, panel, source, unit, out, stride, channels, add); break;
    case 4: FASTNN_OF(taps_4)(taps, offset, panel, source, unit, out, stride, channels, add); break;
#if FASTNN_TAPS_CHANNELS == 8
    case 6: FASTNN_OF(taps_6)(taps, offset, panel, source, unit, out, stride, channels, add); break;
    default: FASTNN_OF(taps_8)(taps, offset, panel, source, unit, out, stride, channels, add);
#endif
    }
}

/* total[channel i][tap t] += sum over rows r and columns q of dy[i dy_channel + r dy_row + q] * x[r x_row + q + offset[t]].
   The columns behind the last whole vector come first: what their spare lanes hold is then dropped once for the whole block. */
#define FASTNN_DEFINE_PRODUCTS(D, T)                                                                                             \
    static void FASTNN_OF(products_##D##_##T)(                                                                                   \
        const FASTNN_REAL *dy, ptrdiff_t dy_channel, ptrdiff_t dy_row, const FASTNN_REAL *x, ptrdiff_t x_row,                    \
        const ptrdiff_t *offset, ptrdiff_t rows, ptrdiff_t columns, double *total, ptrdiff_t total_channel) {                    \
        enum { lanes = FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL) };                                                                \
        const ptrdiff_t whole = columns / lanes * lanes, tail = columns - whole;                                                 \
        FASTNN_OF(span) sum[D][T], left[D];                                                                                      \
        const FASTNN_REAL *from[T];                                                                                              \
        _Pragma("GCC unroll 8") for (int t = 0; t < T; t++)                                                                      \
            from[t] = x + offset[t];                                                                                             \
        _Pragma("GCC unroll 8") for (int i = 0; i < D; i++)                                                                      \
            _Pragma("GCC unroll 8") for (int t = 0; t < T; t++)                                                                  \
                sum[i][t] = (FASTNN_OF(span)){0};                                                                                \
        if (tail) {                                                                                                              \
            for (ptrdiff_t r = 0; r < rows; r++) {                                                                               \
                _Pragma("GCC unroll 8") for (int i = 0; i < D; i++)                                                              \
                    left[i] = FASTNN_OF(load_part)(dy + i * dy_channel + r * dy_row + whole, tail);                              \
                _Pragma("GCC unroll 8") for (int t = 0; t < T; t++) {                                                            \
                    const FASTNN_OF(span) right = FASTNN_OF(load)(from[t] + r * x_row + whole);                                  \
                    _Pragma("GCC unroll 8") for (int i = 0; i < D; i++)                                                          \
                        sum[i][t] += left[i] * right;                                                                            \
                }                                                                                                                \
            }                                                                                                                    \
            _Pragma("GCC unroll 8") for (int i = 0; i < D; i++)                                                                  \
                _Pragma("GCC unroll 8") for (int t = 0; t < T; t++)                                                              \
                    sum[i][t] = FASTNN_OF(keep)(sum[i][t], tail);                                                                \
        }                                                                                                                        \
        for (ptrdiff_t r = 0; r < rows; r++)                                                                                     \
            for (ptrdiff_t q = 0; q < whole; q += lanes) {                                                                       \
                _Pragma("GCC unroll 8") for (int i = 0; i < D; i++)                                                              \
                    left[i] = FASTNN_OF(load)(dy + i * dy_channel + r * dy_row + q);                                             \
                _Pragma("GCC unroll 8") for (int t = 0; t < T; t++) {                                                            \
                    const FASTNN_OF(span) right = FASTNN_OF(load)(from[t] + r * x_row + q);                                      \
                    _Pragma("GCC unroll 8") for (int i = 0; i < D; i++)                                                          \
                        sum[i][t] += left[i] * right;                                                                            \
                }                                                                                                                \
            }                                                                                                                    \
        _Pragma("GCC unroll 8") for (int i = 0; i < D; i++)                                                                      \
            _Pragma("GCC unroll 8") for (int t = 0; t < T; t++)                                                                  \
                total[i * total_channel + t] += FASTNN_OF(fold)(sum[i][t]);                                                      \
    }
#define FASTNN_DEFINE_PRODUCTS_OF(T) \
    FASTNN_DEFINE_PRODUCTS(1, T) FASTNN_DEFINE_PRODUCTS(2, T) FASTNN_DEFINE_PRODUCTS(3, T) FASTNN_DEFINE_PRODUCTS(4, T)

FASTNN_DEFINE_PRODUCTS_OF(1)
FASTNN_DEFINE_PRODUCTS_OF(2)
FASTNN_DEFINE_PRODUCTS_OF(3)
#if FASTNN_PRODUCTS_TAPS == 6
FASTNN_DEFINE_PRODUCTS_OF(4)
FASTNN_DEFINE_PRODUCTS_OF(5)
FASTNN_DEFINE_PRODUCTS_OF(6)
#endif
#undef FASTNN_DEFINE_PRODUCTS
#undef FASTNN_DEFINE_PRODUCTS_OF

static inline void FASTNN_OF(products)(ptrdiff_t channels, ptrdiff_t taps, const FASTNN_REAL *dy, ptrdiff_t dy_channel,
                                       ptrdiff_t dy_row, const FASTNN_REAL *x, ptrdiff_t x_row, const ptrdiff_t *offset,
                                       ptrdiff_t rows, ptrdiff_t columns, double *total, ptrdiff_t total_channel) {
    typedef void (*tile)(const FASTNN_REAL *, ptrdiff_t, ptrdiff_t, const FASTNN_REAL *, ptrdiff_t, const ptrdiff_t *, ptrdiff_t,
                         ptrdiff_t, double *, ptrdiff_t);
#define FASTNN_TILES(T) \
    {FASTNN_OF(products_1_##T), FASTNN_OF(products_2_##T), FASTNN_OF(products_3_##T), FASTNN_OF(products_4_##T)}
    static const tile tiles[FASTNN_PRODUCTS_TAPS][FASTNN_PRODUCTS_CHANNELS] = {
        FASTNN_TILES(1), FASTNN_TILES(2), FASTNN_TILES(3),
#if FASTNN_PRODUCTS_TAPS == 6
        FASTNN_TILES(4), FASTNN_TILES(5), FASTNN_TILES(6),
#endif
    };
#undef FASTNN_TILES
    tiles[taps - 1][channels - 1](dy, dy_channel, dy_row, x, x_row, offset, rows, columns, total, total_channel);
}

/* target[2 t] = even[t], target[2 t + 1] = odd[t], count elements in all; up to a vector of both is read */
static inline void FASTNN_OF(zip_rows)(FASTNN_REAL *target, const FASTNN_REAL *even, const FASTNN_REAL *odd, ptrdiff_t count) {
    for (ptrdiff_t t = 0; t < count; t += 2 * FASTNN_LANES, even += FASTNN_LANES, odd += FASTNN_LANES) {
        const FASTNN_OF(span) a = FASTNN_OF(load)(even), b = FASTNN_OF(load)(odd);
        FASTNN_OF(store_row)(target, t, count, FASTNN_SHUFFLE(a, b, FASTNN_INTERLEAVED(FASTNN_LANES, 0)));
        if (t + FASTNN_LANES < count) {
            const FASTNN_OF(span) second = FASTNN_SHUFFLE(a, b, FASTNN_INTERLEAVED(FASTNN_LANES, FASTNN_LANES / 2));
            FASTNN_OF(store_row)(target, t + FASTNN_LANES, count, second);
        }
    }
}

#endif
