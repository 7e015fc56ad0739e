/* Dot products of rows that lie contiguous in memory: eight rows of one matrix with one to three of another, read in place.

   Every product has a vector of partial sums. At the end eight such vectors are added crosswise, as a transposition goes: each
   round halves the lanes of a sum and the number of vectors, so that eight sums leave in one vector. */
#ifndef FASTNN_DOTS_H
#define FASTNN_DOTS_H

#include "transpose.h"

#define FASTNN_DOT_ROWS 8
#if FASTNN_VECTOR_BYTES == 64
#define FASTNN_DOT_SHARED 3 /* 24 accumulators of 32 registers */
#else
#define FASTNN_DOT_SHARED 1
#endif
#define FASTNN_DOT_CHUNK 64 /* products of a lane that are added up before their sum joins the others */
#define FASTNN_DOT_AHEAD 2048 /* bytes of a row that are fetched ahead */
#define FASTNN_DOT_LONG 8192 /* bytes of a row from which they are: three vectors times rows of 16 KiB take 14 % less, short rows more */

#ifdef FASTNN_HAS_TRANSPOSE
#define FASTNN_CROSS(suffix, s, L, distance)                                                                        \
    FASTNN_UNROLL for (int i = 0; i < FASTNN_DOT_ROWS; i++)                                                         \
        if (i % L < distance) {                                                                                     \
            const fastnn_vector_##suffix upper = v[i], lower = v[i + distance];                                     \
            v[i] = __builtin_shufflevector(upper, lower, FASTNN_LANES_##L(FASTNN_UPPER, s, L))                      \
                 + __builtin_shufflevector(upper, lower, FASTNN_LANES_##L(FASTNN_LOWER, s, L));                     \
        }
#define FASTNN_CROSSES_2(suffix) FASTNN_CROSS(suffix, 1, 2, 1)
#define FASTNN_CROSSES_4(suffix) FASTNN_CROSS(suffix, 2, 4, 2) FASTNN_CROSS(suffix, 1, 4, 1)
#define FASTNN_CROSSES_8(suffix) FASTNN_CROSS(suffix, 4, 8, 4) FASTNN_CROSS(suffix, 2, 8, 2) FASTNN_CROSS(suffix, 1, 8, 1)
/* Sixteen lanes: eight sums of two lanes are left, whose halves end side by side in the lower half. */
#define FASTNN_CROSSES_16(suffix)                                                                                   \
    FASTNN_CROSS(suffix, 8, 16, 4) FASTNN_CROSS(suffix, 4, 16, 2) FASTNN_CROSS(suffix, 2, 16, 1)                    \
    v[0] = __builtin_shufflevector(v[0], v[0], 0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14)                \
         + __builtin_shufflevector(v[0], v[0], 1, 3, 5, 7, 9, 11, 13, 15, 1, 3, 5, 7, 9, 11, 13, 15);
#else
#define FASTNN_CROSSES(suffix, L)                                                                                   \
    for (int i = 0; i < FASTNN_DOT_ROWS; i++) {                                                                     \
        for (int lane = 1; lane < L; lane++)                                                                        \
            v[i][0] += v[i][lane];                                                                                  \
        v[i / L * L][i % L] = v[i][0];                                                                              \
    }
#define FASTNN_CROSSES_2(suffix) FASTNN_CROSSES(suffix, 2)
#define FASTNN_CROSSES_4(suffix) FASTNN_CROSSES(suffix, 4)
#define FASTNN_CROSSES_8(suffix) FASTNN_CROSSES(suffix, 8)
#define FASTNN_CROSSES_16(suffix) FASTNN_CROSSES(suffix, 16)
#endif

#define FASTNN_DEFINE_DOTS(real, suffix, L)                                                                         \
    /* out[i] = or += sum of the lanes of v[i] */                                                                   \
    FASTNN_INLINE void fastnn_cross_##suffix(fastnn_vector_##suffix *v, real *out, int accumulate) {                \
        FASTNN_CROSSES_##L(suffix)                                                                                  \
        FASTNN_UNROLL for (int i = 0; i < FASTNN_DOT_ROWS; i += L) {                                                \
            const ptrdiff_t count = L < FASTNN_DOT_ROWS ? L : FASTNN_DOT_ROWS;                                      \
            if (accumulate)                                                                                         \
                v[i] += fastnn_load_first_##suffix(out + i, count);                                                 \
            fastnn_store_first_##suffix(out + i, v[i], count);                                                      \
        }                                                                                                           \
    }                                                                                                               \
                                                                                                                    \
    /* out[s * DOT_ROWS + i] = w[i] x[s], for 0 < rows <= DOT_ROWS of w (the others repeat the last one) */         \
    FASTNN_INLINE void fastnn_dots_of_##suffix(                                                                     \
        const int shared, ptrdiff_t k, const real *w, ptrdiff_t w_row, ptrdiff_t rows, const real *x, ptrdiff_t x_row, \
        real *out) {                                                                                                \
        const real *row[FASTNN_DOT_ROWS];                                                                           \
        const int is_long = k * (ptrdiff_t)sizeof(real) >= FASTNN_DOT_LONG;                                         \
        FASTNN_UNROLL for (int i = 0; i < FASTNN_DOT_ROWS; i++)                                                     \
            row[i] = w + (i < rows ? i : rows - 1) * w_row;                                                         \
        for (ptrdiff_t done = 0;;) {                                                                                \
            const ptrdiff_t stop = k - done < FASTNN_DOT_CHUNK * L ? k : done + FASTNN_DOT_CHUNK * L;               \
            fastnn_vector_##suffix sum[FASTNN_DOT_SHARED][FASTNN_DOT_ROWS];                                         \
            ptrdiff_t p = done;                                                                                     \
            FASTNN_UNROLL for (int s = 0; s < shared; s++)                                                          \
                FASTNN_UNROLL for (int i = 0; i < FASTNN_DOT_ROWS; i++)                                             \
                    sum[s][i] = (fastnn_vector_##suffix){0};                                                        \
            for (; p + L <= stop; p += L)                                                                           \
                FASTNN_UNROLL for (int i = 0; i < FASTNN_DOT_ROWS; i++) {                                           \
                    if (is_long)                                                                                    \
                        __builtin_prefetch((const char *)(row[i] + p) + FASTNN_DOT_AHEAD);                          \
                    const fastnn_vector_##suffix weights = *(const fastnn_vector_##suffix *)(row[i] + p);           \
                    FASTNN_UNROLL for (int s = 0; s < shared; s++)                                                  \
                        sum[s][i] += weights * *(const fastnn_vector_##suffix *)(x + s * x_row + p);                \
                }                                                                                                   \
            if (p < stop)                                                                                           \
                FASTNN_UNROLL for (int i = 0; i < FASTNN_DOT_ROWS; i++) {                                           \
                    const fastnn_vector_##suffix weights = fastnn_load_first_##suffix(row[i] + p, stop - p);        \
                    FASTNN_UNROLL for (int s = 0; s < shared; s++)                                                  \
                        sum[s][i] += weights * fastnn_load_first_##suffix(x + s * x_row + p, stop - p);             \
                }                                                                                                   \
            FASTNN_UNROLL for (int s = 0; s < shared; s++)                                                          \
                fastnn_cross_##suffix(sum[s], out + s * FASTNN_DOT_ROWS, done > 0);                                 \
            done = stop;                                                                                            \
            if (done >= k)                                                                                          \
                return;                                                                                             \
        }                                                                                                           \
    }                                                                                                               \
                                                                                                                    \
    /* One copy for all callers: in two of them GCC contracted other sums to FMA, and bits depended on the caller. */ \
    __attribute__((noinline, noclone)) static void fastnn_dots_##suffix(                                            \
        ptrdiff_t shared, ptrdiff_t k, const real *w, ptrdiff_t w_row, ptrdiff_t rows, const real *x, ptrdiff_t x_row, \
        real *out) {                                                                                                \
        if (shared == 1)                                                                                            \
            fastnn_dots_of_##suffix(1, k, w, w_row, rows, x, x_row, out);                                           \
        FASTNN_MORE_DOTS(suffix)                                                                                    \
    }
#if FASTNN_DOT_SHARED == 3
#define FASTNN_MORE_DOTS(suffix)                                                                                    \
    else if (shared == 2)                                                                                           \
        fastnn_dots_of_##suffix(2, k, w, w_row, rows, x, x_row, out);                                               \
    else                                                                                                            \
        fastnn_dots_of_##suffix(3, k, w, w_row, rows, x, x_row, out);
#else
#define FASTNN_MORE_DOTS(suffix)
#endif

#if FASTNN_VECTOR_BYTES == 64
FASTNN_DEFINE_DOTS(float, f32, 16)
FASTNN_DEFINE_DOTS(double, f64, 8)
#elif FASTNN_VECTOR_BYTES == 32
FASTNN_DEFINE_DOTS(float, f32, 8)
FASTNN_DEFINE_DOTS(double, f64, 4)
#else
FASTNN_DEFINE_DOTS(float, f32, 4)
FASTNN_DEFINE_DOTS(double, f64, 2)
#endif

#endif
