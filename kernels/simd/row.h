/* One row times the rows of a matrix, which are read in place: a linear map of a single sample, its bias and relu.

   As many rows of the matrix at a time as a vector has lanes, at least eight: their sums are added crosswise (cross.h) and leave in
   whole vectors, so that the next layer's loads find them in the store buffer. */
#ifndef FASTNN_ROW_H
#define FASTNN_ROW_H

#include "cross.h"

#define FASTNN_ROW_BYTES (64 * FASTNN_VECTOR_BYTES) /* of a row: more products of a lane would have to be added up in chunks */

#ifdef FASTNN_HAS_TRANSPOSE
#define FASTNN_ROW_CROSSES_2(suffix, R, L) FASTNN_CROSS(suffix, R, 1, L, 1)
#define FASTNN_ROW_CROSSES_4(suffix, R, L) FASTNN_CROSS(suffix, R, 2, L, 2) FASTNN_ROW_CROSSES_2(suffix, R, L)
#define FASTNN_ROW_CROSSES_8(suffix, R, L) FASTNN_CROSS(suffix, R, 4, L, 4) FASTNN_ROW_CROSSES_4(suffix, R, L)
#define FASTNN_ROW_CROSSES_16(suffix, R, L) FASTNN_CROSS(suffix, R, 8, L, 8) FASTNN_ROW_CROSSES_8(suffix, R, L)
#else
#define FASTNN_ROW_CROSSES_2(suffix, R, L) FASTNN_ADD_LANES(R, L)
#define FASTNN_ROW_CROSSES_4(suffix, R, L) FASTNN_ADD_LANES(R, L)
#define FASTNN_ROW_CROSSES_8(suffix, R, L) FASTNN_ADD_LANES(R, L)
#define FASTNN_ROW_CROSSES_16(suffix, R, L) FASTNN_ADD_LANES(R, L)
#endif

#define FASTNN_DEFINE_ROW(real, suffix, R, L)                                                                       \
    /* y[i] = b[i] + x w[i], or its relu, for i < rows <= R; whole: rows = R */                                     \
    FASTNN_INLINE void fastnn_row_part_##suffix(                                                                    \
        const int whole, const real *x, ptrdiff_t k, const real *w, ptrdiff_t rows, const real *b, int relu, real *y) {\
        const fastnn_vector_##suffix zero = {0};                                                                    \
        const ptrdiff_t stop = k / L * L, rest = k - stop;                                                          \
        fastnn_vector_##suffix v[R];                                                                                \
        const real *row[R];                                                                                         \
        FASTNN_UNROLL for (int i = 0; i < R; i++) {                                                                 \
            v[i] = zero;                                                                                            \
            row[i] = w + (whole || i < rows ? i : rows - 1) * k;                                                    \
        }                                                                                                           \
        _Pragma("GCC unroll 2") /* 5 % at 784x128, 8 % at 512x512 */                                                \
        for (ptrdiff_t p = 0; p < stop; p += L) {                                                                   \
            const fastnn_vector_##suffix given = *(const fastnn_vector_##suffix *)(x + p);                          \
            FASTNN_UNROLL for (int i = 0; i < R; i++)                                                               \
                v[i] += given * *(const fastnn_vector_##suffix *)(row[i] + p);                                      \
        }                                                                                                           \
        if (rest) {                                                                                                 \
            const fastnn_vector_##suffix given = fastnn_load_first_##suffix(x + stop, rest);                        \
            FASTNN_UNROLL for (int i = 0; i < R; i++)                                                               \
                v[i] += given * fastnn_load_first_##suffix(row[i] + stop, rest);                                    \
        }                                                                                                           \
        FASTNN_ROW_CROSSES_##L(suffix, R, L)                                                                        \
        FASTNN_UNROLL for (int i = 0; i < R; i += L) {                                                              \
            const ptrdiff_t left = rows - i, count = whole ? L : left < 0 ? 0 : left < L ? left : L;                \
            if (b)                                                                                                  \
                v[i] += whole ? *(const fastnn_vector_##suffix *)(b + i) : fastnn_load_first_##suffix(b + i, count);\
            if (relu) { /* NaN stays */                                                                             \
                const __typeof__(zero <= zero) positive = ~(v[i] <= zero);                                          \
                v[i] = (fastnn_vector_##suffix)(positive & (__typeof__(positive))v[i]);                             \
            }                                                                                                       \
            if (whole)                                                                                              \
                *(fastnn_vector_##suffix *)(y + i) = v[i];                                                          \
            else                                                                                                    \
                fastnn_store_first_##suffix(y + i, v[i], count);                                                    \
        }                                                                                                           \
    }                                                                                                               \
                                                                                                                    \
    /* y[o] = b[o] + x w[o], or its relu, for ``rows`` of w, each of k elements; b may be NULL */                   \
    __attribute__((noinline, noclone)) static void fastnn_row_##suffix(                                             \
        const real *x, ptrdiff_t k, const real *w, ptrdiff_t rows, const real *b, int relu, real *y) {              \
        for (; rows >= R; rows -= R, w += R * k, y += R) {                                                          \
            fastnn_row_part_##suffix(1, x, k, w, R, b, relu, y);                                                    \
            b = b ? b + R : b;                                                                                      \
        }                                                                                                           \
        if (rows > 0)                                                                                               \
            fastnn_row_part_##suffix(0, x, k, w, rows, b, relu, y);                                                 \
    }

#if FASTNN_VECTOR_BYTES == 64
FASTNN_DEFINE_ROW(float, f32, 16, 16)
FASTNN_DEFINE_ROW(double, f64, 8, 8)
#elif FASTNN_VECTOR_BYTES == 32
FASTNN_DEFINE_ROW(float, f32, 8, 8)
FASTNN_DEFINE_ROW(double, f64, 8, 4)
#else
FASTNN_DEFINE_ROW(float, f32, 8, 4)
FASTNN_DEFINE_ROW(double, f64, 8, 2)
#endif

#endif
