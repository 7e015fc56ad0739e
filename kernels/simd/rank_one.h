/* One pass over rows of a matrix that is multiplied by a vector from the left, and over its gradient, an outer product:

       dx += sum over i of d[i] w[i]       dw[i] = d[i] x

   For four rows at a time, so that dx is read and written once for four rows of w; eight are more streams than the caches and the
   buffers of streaming stores take well (1024 x 1024: 333 us against 280, of which a copy needs all). Whole cache lines of dw are
   written, wherever the matrix begins: 6.5 us against 13.7 at 256 x 256. */
#ifndef FASTNN_RANK_ONE_H
#define FASTNN_RANK_ONE_H

#include "tile.h"

#include <stdint.h>

#define FASTNN_PASS_ROWS 4

/* A store past the caches, to an aligned address. */
#if defined(__AVX512F__)
#define FASTNN_STORE_PAST(target, v) _mm512_stream_si512((void *)(target), (__m512i)(v))
#define FASTNN_FENCE() _mm_sfence()
#else
#define FASTNN_STORE_PAST(target, v) (*(target) = (v))
#define FASTNN_FENCE() (void)0
#endif

#define FASTNN_DEFINE_PASS(real, suffix)                                                                            \
    /* Columns j to j + count, at most a vector of them; rows are reached by threes, as in tile.h. */               \
    FASTNN_INLINE void fastnn_pass_step_##suffix(                                                                   \
        const int rows, const int sum, const int product, const int past, ptrdiff_t j, ptrdiff_t count, const real *d, \
        const real *const *w, ptrdiff_t w_row, const real *x, real *dx, real *const *dw, ptrdiff_t dw_row) {        \
        if (sum) {                                                                                                  \
            fastnn_vector_##suffix even = {0}, odd = {0};                                                           \
            FASTNN_UNROLL for (int i = 0; i < rows; i += 2) {                                                       \
                even += d[i] * fastnn_load_first_##suffix(w[i / 3] + i % 3 * w_row + j, count);                     \
                if (i + 1 < rows)                                                                                   \
                    odd += d[i + 1] * fastnn_load_first_##suffix(w[(i + 1) / 3] + (i + 1) % 3 * w_row + j, count);  \
            }                                                                                                       \
            fastnn_store_first_##suffix(dx + j, fastnn_load_first_##suffix(dx + j, count) + (even + odd), count);   \
        }                                                                                                           \
        if (product) {                                                                                              \
            const fastnn_vector_##suffix right = fastnn_load_first_##suffix(x + j, count);                          \
            FASTNN_UNROLL for (int i = 0; i < rows; i++) {                                                          \
                real *const target = dw[i / 3] + i % 3 * dw_row + j;                                                \
                if (past)                                                                                           \
                    FASTNN_STORE_PAST((fastnn_vector_##suffix *)target, d[i] * right);                              \
                else                                                                                                \
                    fastnn_store_first_##suffix(target, d[i] * right, count);                                       \
            }                                                                                                       \
        }                                                                                                           \
    }                                                                                                               \
                                                                                                                    \
    FASTNN_INLINE void fastnn_pass_of_##suffix(                                                                     \
        const int rows, const int sum, const int product, const int past, ptrdiff_t n, const real *d,               \
        const real *w, ptrdiff_t w_row, const real *x, real *dx, real *dw, ptrdiff_t dw_row) {                      \
        enum { lanes = FASTNN_VECTOR_BYTES / sizeof(real) };                                                        \
        const real *from[2];                                                                                        \
        real *to[2], scale[FASTNN_PASS_ROWS];                                                                       \
        /* Do all rows begin at the same place in a line? */                                                        \
        const int alike = product && dw_row * sizeof(real) % FASTNN_VECTOR_BYTES == 0;                              \
        ptrdiff_t j = alike ? (-(uintptr_t)dw & (FASTNN_VECTOR_BYTES - 1)) / sizeof(real) : 0;                      \
        FASTNN_UNROLL for (int g = 0; g < 2; g++) {                                                                 \
            from[g] = w + 3 * g * w_row;                                                                            \
            to[g] = dw + 3 * g * dw_row;                                                                            \
            FASTNN_OPAQUE(from[g]);                                                                                 \
            FASTNN_OPAQUE(to[g]);                                                                                   \
        }                                                                                                           \
        FASTNN_UNROLL for (int i = 0; i < rows; i++)                                                                \
            scale[i] = d[i];                                                                                        \
        if (j) {                                                                                                    \
            j = j < n ? j : n;                                                                                      \
            fastnn_pass_step_##suffix(rows, sum, product, 0, 0, j, scale, from, w_row, x, dx, to, dw_row);          \
        }                                                                                                           \
        for (; j + lanes <= n; j += lanes) {                                                                        \
            if (product && !past) /* the next rows' lines: 6.9 us without and 5.1 us with it at 256 x 256 */        \
                FASTNN_UNROLL for (int i = 0; i < rows; i++)                                                        \
                    __builtin_prefetch(to[i / 3] + (i % 3 + rows) * dw_row + j, 1);                                 \
            fastnn_pass_step_##suffix(rows, sum, product, past, j, lanes, scale, from, w_row, x, dx, to, dw_row);   \
        }                                                                                                           \
        if (j < n)                                                                                                  \
            fastnn_pass_step_##suffix(rows, sum, product, 0, j, n - j, scale, from, w_row, x, dx, to, dw_row);      \
    }                                                                                                               \
                                                                                                                    \
    /* dx or dw may be NULL. past: dw goes past the caches; its rows must then lie whole vectors apart. */          \
    static void fastnn_pass_##suffix(                                                                               \
        ptrdiff_t rows, ptrdiff_t n, const real *d, const real *w, ptrdiff_t w_row, const real *x,                  \
        real *dx, real *dw, ptrdiff_t dw_row, int past) {                                                           \
        for (; rows > 0; d += FASTNN_PASS_ROWS, rows -= FASTNN_PASS_ROWS) {                                         \
            if (rows < FASTNN_PASS_ROWS)                                                                            \
                for (ptrdiff_t i = 0; i < rows; i++)                                                                \
                    fastnn_pass_of_##suffix(                                                                        \
                        1, dx != NULL, dw != NULL, 0, n, d + i, w + i * w_row, 0, x, dx, dw + i * dw_row, 0);       \
            else if (!dw)                                                                                           \
                fastnn_pass_of_##suffix(FASTNN_PASS_ROWS, 1, 0, 0, n, d, w, w_row, x, dx, dw, dw_row);              \
            else if (!dx)                                                                                           \
                fastnn_pass_of_##suffix(FASTNN_PASS_ROWS, 0, 1, past, n, d, w, w_row, x, dx, dw, dw_row);           \
            else                                                                                                    \
                fastnn_pass_of_##suffix(FASTNN_PASS_ROWS, 1, 1, past, n, d, w, w_row, x, dx, dw, dw_row);           \
            w += FASTNN_PASS_ROWS * w_row;                                                                          \
            if (dw)                                                                                                 \
                dw += FASTNN_PASS_ROWS * dw_row;                                                                    \
        }                                                                                                           \
        if (past)                                                                                                   \
            FASTNN_FENCE();                                                                                         \
    }

FASTNN_DEFINE_PASS(float, f32)
FASTNN_DEFINE_PASS(double, f64)

#endif
