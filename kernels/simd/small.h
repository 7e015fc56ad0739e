/* Gradients of a linear map of a few numbers, which take no longer than finding the way to a product of blocks.

   With masks a row is one vector; loops over its elements take twice as long. */
#ifndef FASTNN_SMALL_H
#define FASTNN_SMALL_H

#include "tile.h"

#if defined(__AVX512F__)
#define FASTNN_SMALL_BYTES 64 /* of a row that is taken as one vector */

#define FASTNN_DEFINE_SMALL(real, suffix)                                                                           \
    /* out[j] = sum of a[k * a_k] b[k * b_k + j] for k < count and j < n; a may be NULL, which counts as ones */    \
    FASTNN_INLINE void fastnn_small_row_##suffix(                                                                   \
        const real *a, ptrdiff_t a_k, const real *b, ptrdiff_t b_k, ptrdiff_t count, ptrdiff_t n, real *out) {      \
        fastnn_vector_##suffix sum = {0};                                                                           \
        for (ptrdiff_t k = 0; k < count; k++)                                                                       \
            if (a)                                                                                                  \
                sum += a[k * a_k] * fastnn_load_first_##suffix(b + k * b_k, n);                                     \
            else                                                                                                    \
                sum += fastnn_load_first_##suffix(b + k * b_k, n);                                                  \
        fastnn_store_first_##suffix(out, sum, n);                                                                   \
    }                                                                                                               \
                                                                                                                    \
    /* dx = dy w, dw = dy^T x, db = the column sums of dy; each may be NULL */                                      \
    static void fastnn_small_gradients_##suffix(                                                                    \
        const real *dy, const real *x, const real *w, real *dx, real *dw, real *db, ptrdiff_t rows, ptrdiff_t inputs, \
        ptrdiff_t outputs) {                                                                                        \
        if (db)                                                                                                     \
            fastnn_small_row_##suffix(NULL, 0, dy, outputs, rows, outputs, db);                                     \
        for (ptrdiff_t n = 0; dx && n < rows; n++)                                                                  \
            fastnn_small_row_##suffix(dy + n * outputs, 1, w, inputs, outputs, inputs, dx + n * inputs);            \
        for (ptrdiff_t o = 0; dw && o < outputs; o++)                                                               \
            fastnn_small_row_##suffix(dy + o, outputs, x, inputs, rows, inputs, dw + o * inputs);                   \
    }
#else
#define FASTNN_SMALL_BYTES 0 /* without masks loops are faster */

#define FASTNN_DEFINE_SMALL(real, suffix)                                                                           \
    static inline void fastnn_small_gradients_##suffix(                                                             \
        const real *dy, const real *x, const real *w, real *dx, real *dw, real *db, ptrdiff_t rows, ptrdiff_t inputs, \
        ptrdiff_t outputs) {                                                                                        \
        (void)dy, (void)x, (void)w, (void)dx, (void)dw, (void)db, (void)rows, (void)inputs, (void)outputs;          \
    }
#endif

FASTNN_DEFINE_SMALL(float, f32)
FASTNN_DEFINE_SMALL(double, f64)

#endif
