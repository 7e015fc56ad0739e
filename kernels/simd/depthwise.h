/* Tiles of a depthwise convolution: one channel, square kernels, one vector of pixels out of each of some rows. Neighbouring rows
   share what they read: four rows of 3x3 load 18 vectors for 36 products. The file includes itself once for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_DEPTHWISE_H
#define FASTNN_DEPTHWISE_H

#include "partial.h"

#define FASTNN_ALWAYS_INLINE static inline __attribute__((always_inline))
#define FASTNN_UNROLL _Pragma("GCC unroll 16")

/* Rows of a tile: as many as leave room for the sums of a 3x3 kernel. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define FASTNN_BAND_ROWS 4
#else
#define FASTNN_BAND_ROWS 2
#endif

#define FASTNN_TEMPLATE "depthwise.h"
#include "dtypes.h"

#endif
#else

/* y[r] = bias + sum over u, v of w[u][v] * x[(r S + u) pitch + at[v]] for R rows, K x K taps */
FASTNN_ALWAYS_INLINE void FASTNN_OF(depthwise_rows)(const int K, const int S, const int R, const FASTNN_REAL *w, FASTNN_REAL bias,
                                                    const FASTNN_REAL *x, ptrdiff_t pitch, const ptrdiff_t *at, FASTNN_REAL *y,
                                                    ptrdiff_t y_row, ptrdiff_t count) {
    FASTNN_OF(span) sum[FASTNN_BAND_ROWS];
    FASTNN_UNROLL for (int r = 0; r < R; r++)
        sum[r] = bias - (FASTNN_OF(span)){0};
    FASTNN_UNROLL for (int i = 0; i < (R - 1) * S + K; i++) {
        FASTNN_UNROLL for (int v = 0; v < K; v++) {
            FASTNN_OF(span) value = FASTNN_OF(load)(x + at[v]);
            FASTNN_IN_REGISTER(value);
            FASTNN_UNROLL for (int r = 0; r < R; r++)
                if (i >= r * S && i < r * S + K)
                    sum[r] += w[(i - r * S) * K + v] * value;
        }
        x += pitch;
        FASTNN_ADDRESS(x);
    }
    FASTNN_UNROLL for (int r = 0; r < R; r++) {
        FASTNN_FETCH(y + r * y_row, 2048, 1);
        FASTNN_OF(store_part)(y + r * y_row, sum[r], count);
    }
}

/* sum[u][v] += sum over R rows of dy[r] * x[(r S + u) pitch + at[v]] */
FASTNN_ALWAYS_INLINE void FASTNN_OF(depthwise_products)(const int K, const int S, const int R, FASTNN_OF(span) *sum,
                                                        const FASTNN_REAL *x, ptrdiff_t pitch, const ptrdiff_t *at,
                                                        const FASTNN_REAL *dy, ptrdiff_t dy_row, ptrdiff_t count) {
    FASTNN_OF(span) left[FASTNN_BAND_ROWS];
    FASTNN_UNROLL for (int r = 0; r < R; r++)
        left[r] = FASTNN_OF(load_part)(dy + r * dy_row, count);
    FASTNN_UNROLL for (int i = 0; i < (R - 1) * S + K; i++) {
        FASTNN_UNROLL for (int v = 0; v < K; v++) {
            FASTNN_OF(span) value = FASTNN_OF(load)(x + at[v]);
            FASTNN_IN_REGISTER(value);
            FASTNN_UNROLL for (int r = 0; r < R; r++)
                if (i >= r * S && i < r * S + K)
                    sum[(i - r * S) * K + v] += left[r] * value;
        }
        x += pitch;
        FASTNN_ADDRESS(x);
    }
    FASTNN_UNROLL for (int r = 0; r < R; r++)
        sum[K * K] += left[r];
}

/* A band of a plane, rows by columns.
   band            y, as above
   band_products   sum[K K + 1 vectors] += the weight gradient of each tap, then dy itself, pixels in lanes; whole vectors of
                   columns, or one vector that is not */
#define FASTNN_DEFINE_BAND(K, S)                                                                                                 \
    static void FASTNN_OF(band_##K##_##S)(                                                                                       \
        const FASTNN_REAL *weights, FASTNN_REAL bias, const FASTNN_REAL *x, ptrdiff_t pitch, const ptrdiff_t *taps,              \
        FASTNN_REAL *y, ptrdiff_t y_row, ptrdiff_t rows, ptrdiff_t columns) {                                                    \
        enum { R = FASTNN_BAND_ROWS };                                                                                           \
        FASTNN_REAL w[K * K];                                                                                                    \
        ptrdiff_t at[K];                                                                                                         \
        memcpy(w, weights, sizeof w);                                                                                            \
        memcpy(at, taps, sizeof at);                                                                                             \
        for (; rows >= R; rows -= R, x += R * S * pitch, y += R * y_row)                                                         \
            for (ptrdiff_t q = 0; q < columns; q += FASTNN_LANES)                                                                \
                FASTNN_OF(depthwise_rows)(K, S, R, w, bias, x + q, pitch, at, y + q, y_row, FASTNN_CLAMP(columns - q, 0));       \
        if (R == 4 && rows >= 2) {                                                                                               \
            for (ptrdiff_t q = 0; q < columns; q += FASTNN_LANES)                                                                \
                FASTNN_OF(depthwise_rows)(K, S, 2, w, bias, x + q, pitch, at, y + q, y_row, FASTNN_CLAMP(columns - q, 0));       \
            rows -= 2, x += 2 * S * pitch, y += 2 * y_row;                                                                       \
        }                                                                                                                        \
        for (; rows > 0; rows--, x += S * pitch, y += y_row)                                                                     \
            for (ptrdiff_t q = 0; q < columns; q += FASTNN_LANES)                                                                \
                FASTNN_OF(depthwise_rows)(K, S, 1, w, bias, x + q, pitch, at, y + q, y_row, FASTNN_CLAMP(columns - q, 0));       \
    }                                                                                                                            \
    static void FASTNN_OF(band_products_##K##_##S)(                                                                              \
        const FASTNN_REAL *x, ptrdiff_t pitch, const ptrdiff_t *taps, const FASTNN_REAL *dy, ptrdiff_t dy_row,                   \
        ptrdiff_t rows, ptrdiff_t columns, FASTNN_REAL *sums) {                                                                  \
        enum { R = FASTNN_BAND_ROWS };                                                                                           \
        const ptrdiff_t count = FASTNN_CLAMP(columns, 0);                                                                        \
        FASTNN_OF(span) sum[K * K + 1];                                                                                          \
        ptrdiff_t at[K];                                                                                                         \
        memcpy(at, taps, sizeof at);                                                                                             \
        _Pragma("GCC unroll 64") for (int t = 0; t <= K * K; t++)                                                                \
            sum[t] = (FASTNN_OF(span)){0};                                                                                       \
        for (; rows >= R; rows -= R, x += R * S * pitch, dy += R * dy_row)                                                       \
            for (ptrdiff_t q = 0; q < columns; q += FASTNN_LANES)                                                                \
                FASTNN_OF(depthwise_products)(K, S, R, sum, x + q, pitch, at, dy + q, dy_row, count);                            \
        if (R == 4 && rows >= 2) {                                                                                               \
            for (ptrdiff_t q = 0; q < columns; q += FASTNN_LANES)                                                                \
                FASTNN_OF(depthwise_products)(K, S, 2, sum, x + q, pitch, at, dy + q, dy_row, count);                            \
            rows -= 2, x += 2 * S * pitch, dy += 2 * dy_row;                                                                     \
        }                                                                                                                        \
        for (; rows > 0; rows--, x += S * pitch, dy += dy_row)                                                                   \
            for (ptrdiff_t q = 0; q < columns; q += FASTNN_LANES)                                                                \
                FASTNN_OF(depthwise_products)(K, S, 1, sum, x + q, pitch, at, dy + q, dy_row, count);                            \
        _Pragma("GCC unroll 64") for (int t = 0; t <= K * K; t++)                                                                \
            *(FASTNN_OF(span) *)(sums + t * FASTNN_LANES) += FASTNN_OF(keep)(sum[t], count);                                     \
    }

FASTNN_DEFINE_BAND(3, 1)
FASTNN_DEFINE_BAND(3, 2)
FASTNN_DEFINE_BAND(5, 1)
FASTNN_DEFINE_BAND(5, 2)
FASTNN_DEFINE_BAND(7, 1)
FASTNN_DEFINE_BAND(7, 2)
#undef FASTNN_DEFINE_BAND

static inline void FASTNN_OF(band)(ptrdiff_t kernel, ptrdiff_t stride, const FASTNN_REAL *w, FASTNN_REAL bias,
                                    const FASTNN_REAL *x, ptrdiff_t pitch, const ptrdiff_t *taps, FASTNN_REAL *y,
                                    ptrdiff_t y_row, ptrdiff_t rows, ptrdiff_t columns) {
    typedef void (*band)(const FASTNN_REAL *, FASTNN_REAL, const FASTNN_REAL *, ptrdiff_t, const ptrdiff_t *, FASTNN_REAL *,
                          ptrdiff_t, ptrdiff_t, ptrdiff_t);
    static const band bands[3][2] = {{FASTNN_OF(band_3_1), FASTNN_OF(band_3_2)},
                                       {FASTNN_OF(band_5_1), FASTNN_OF(band_5_2)},
                                       {FASTNN_OF(band_7_1), FASTNN_OF(band_7_2)}};
    bands[(kernel - 3) / 2][stride - 1](w, bias, x, pitch, taps, y, y_row, rows, columns);
}

static inline void FASTNN_OF(band_products)(ptrdiff_t kernel, ptrdiff_t stride, const FASTNN_REAL *x, ptrdiff_t pitch,
                                             const ptrdiff_t *taps, const FASTNN_REAL *dy, ptrdiff_t dy_row, ptrdiff_t rows,
                                             ptrdiff_t columns, FASTNN_REAL *sums) {
    typedef void (*band)(const FASTNN_REAL *, ptrdiff_t, const ptrdiff_t *, const FASTNN_REAL *, ptrdiff_t, ptrdiff_t, ptrdiff_t,
                          FASTNN_REAL *);
    static const band bands[3][2] = {{FASTNN_OF(band_products_3_1), FASTNN_OF(band_products_3_2)},
                                       {FASTNN_OF(band_products_5_1), FASTNN_OF(band_products_5_2)},
                                       {FASTNN_OF(band_products_7_1), FASTNN_OF(band_products_7_2)}};
    bands[(kernel - 3) / 2][stride - 1](x, pitch, taps, dy, dy_row, rows, columns, sums);
}

/* total[i] += the sum of vector i, which becomes zero again */
static inline void FASTNN_OF(fold_sums)(FASTNN_REAL *sums, ptrdiff_t count, double *total) {
    for (ptrdiff_t i = 0; i < count; i++) {
        total[i] += FASTNN_OF(fold)(FASTNN_OF(load)(sums + i * FASTNN_LANES));
        *(FASTNN_OF(span) *)(sums + i * FASTNN_LANES) = (FASTNN_OF(span)){0};
    }
}

#endif
