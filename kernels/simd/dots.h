/* Dot products of rows that lie contiguous in memory: eight rows of one matrix with one to three of another, read in place.

   Every product has a vector of partial sums. At the end eight such vectors are added crosswise, as a transposition goes: each
   round halves the lanes of a sum and the number of vectors, so that eight sums leave in one vector. */
#ifndef FASTNN_DOTS_H
#define FASTNN_DOTS_H

#include "cross.h"

#include <stdint.h>

#define FASTNN_DOT_ROWS 8
#if FASTNN_VECTOR_BYTES == 64
#define FASTNN_DOT_SHARED 3 /* 24 accumulators of 32 registers */
#else
#define FASTNN_DOT_SHARED 1
#endif
#define FASTNN_DOT_CHUNK 64 /* products of a lane that are added up before their sum joins the others */
#define FASTNN_DOT_AHEAD 2048 /* bytes of a row that are fetched ahead */
/* Bytes of a row from which they are: three vectors times rows of 16 KiB take 14 % less, short rows more. */
#define FASTNN_DOT_LONG 8192

/* Rows of that length which all begin inside a cache line, at the same place: whole lines are loaded, and vectors cut out
   of two of them. 256 x 256, which the second-level cache gives: 2.6 us against 3.5 (rows at the start of lines: 2.1). */
#if defined(__AVX512F__)
#define FASTNN_DOT_SHIFTED(bytes, row) ((bytes) >= 512 && (bytes) < FASTNN_DOT_LONG && (row) % 64 == 0)
#define FASTNN_CUT_f32(line, next, lane) (fastnn_vector_f32) _mm512_permutex2var_ps(line, lane, next)
#define FASTNN_CUT_f64(line, next, lane) (fastnn_vector_f64) _mm512_permutex2var_pd(line, lane, next)
#define FASTNN_LANES_FROM_f32(first)                                                                                \
    _mm512_add_epi32(_mm512_set1_epi32((int)(first)), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#define FASTNN_LANES_FROM_f64(first) _mm512_add_epi64(_mm512_set1_epi64(first), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7))
typedef __m512i fastnn_lanes;
#else
#define FASTNN_DOT_SHIFTED(bytes, row) 0
#define FASTNN_CUT_f32(line, next, lane) line
#define FASTNN_CUT_f64(line, next, lane) line
#define FASTNN_LANES_FROM_f32(first) 0
#define FASTNN_LANES_FROM_f64(first) 0
typedef int fastnn_lanes;
#endif

/* Sixteen lanes: eight sums of two lanes are left, whose halves end side by side in the lower half. */
#ifdef FASTNN_HAS_TRANSPOSE
#define FASTNN_CROSSES_2(suffix) FASTNN_CROSS(suffix, FASTNN_DOT_ROWS, 1, 2, 1)
#define FASTNN_CROSSES_4(suffix) FASTNN_CROSS(suffix, FASTNN_DOT_ROWS, 2, 4, 2) FASTNN_CROSS(suffix, FASTNN_DOT_ROWS, 1, 4, 1)
#define FASTNN_CROSSES_8(suffix)                                                                                    \
    FASTNN_CROSS(suffix, FASTNN_DOT_ROWS, 4, 8, 4) FASTNN_CROSS(suffix, FASTNN_DOT_ROWS, 2, 8, 2)                   \
    FASTNN_CROSS(suffix, FASTNN_DOT_ROWS, 1, 8, 1)
#define FASTNN_CROSSES_16(suffix)                                                                                   \
    FASTNN_CROSS(suffix, FASTNN_DOT_ROWS, 8, 16, 4) FASTNN_CROSS(suffix, FASTNN_DOT_ROWS, 4, 16, 2)                 \
    FASTNN_CROSS(suffix, FASTNN_DOT_ROWS, 2, 16, 1)                                                                 \
    v[0] = __builtin_shufflevector(v[0], v[0], 0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14)                \
         + __builtin_shufflevector(v[0], v[0], 1, 3, 5, 7, 9, 11, 13, 15, 1, 3, 5, 7, 9, 11, 13, 15);
#else
#define FASTNN_CROSSES_2(suffix) FASTNN_ADD_LANES(FASTNN_DOT_ROWS, 2)
#define FASTNN_CROSSES_4(suffix) FASTNN_ADD_LANES(FASTNN_DOT_ROWS, 4)
#define FASTNN_CROSSES_8(suffix) FASTNN_ADD_LANES(FASTNN_DOT_ROWS, 8)
#define FASTNN_CROSSES_16(suffix) FASTNN_ADD_LANES(FASTNN_DOT_ROWS, 16)
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
    /* out[s * DOT_ROWS + i] = w[i] x[s], for 0 < rows <= DOT_ROWS of w (the others repeat the last one), which begin \
       ``shift`` elements after a cache line where that matters (then shared is 1), else 0 */                       \
    FASTNN_INLINE void fastnn_dots_of_##suffix(                                                                     \
        const int shared, ptrdiff_t shift, ptrdiff_t k, const real *w, ptrdiff_t w_row, ptrdiff_t rows,             \
        const real *x, ptrdiff_t x_row, real *out) {                                                                \
        const real *row[FASTNN_DOT_ROWS];                                                                           \
        const int is_long = k * (ptrdiff_t)sizeof(real) >= FASTNN_DOT_LONG;                                         \
        FASTNN_UNROLL for (int i = 0; i < FASTNN_DOT_ROWS; i++)                                                     \
            row[i] = w + (i < rows ? i : rows - 1) * w_row;                                                         \
        const fastnn_lanes lane = FASTNN_LANES_FROM_##suffix(shift);                                                \
        for (ptrdiff_t done = 0;;) {                                                                                \
            const ptrdiff_t stop = k - done < FASTNN_DOT_CHUNK * L ? k : done + FASTNN_DOT_CHUNK * L;               \
            fastnn_vector_##suffix sum[FASTNN_DOT_SHARED][FASTNN_DOT_ROWS];                                         \
            ptrdiff_t p = done;                                                                                     \
            FASTNN_UNROLL for (int s = 0; s < shared; s++)                                                          \
                FASTNN_UNROLL for (int i = 0; i < FASTNN_DOT_ROWS; i++)                                             \
                    sum[s][i] = (fastnn_vector_##suffix){0};                                                        \
            if (shift && p + L <= stop) { /* no line is read that holds nothing of the row */                       \
                fastnn_vector_##suffix line[FASTNN_DOT_ROWS];                                                       \
                FASTNN_UNROLL for (int i = 0; i < FASTNN_DOT_ROWS; i++)                                             \
                    line[i] = *(const fastnn_vector_##suffix *)(row[i] + p - shift);                                \
                for (; p + L <= stop; p += L) {                                                                     \
                    const fastnn_vector_##suffix right = *(const fastnn_vector_##suffix *)(x + p);                  \
                    FASTNN_UNROLL for (int i = 0; i < FASTNN_DOT_ROWS; i++) {                                       \
                        const fastnn_vector_##suffix next = *(const fastnn_vector_##suffix *)(row[i] + p - shift + L); \
                        sum[0][i] += FASTNN_CUT_##suffix(line[i], next, lane) * right;                              \
                        line[i] = next;                                                                             \
                    }                                                                                               \
                }                                                                                                   \
            }                                                                                                       \
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
        const ptrdiff_t size = sizeof(real), shift = (uintptr_t)w % 64 / size;                                      \
        if (shared == 1 && shift && FASTNN_DOT_SHIFTED(k * size, w_row * size))                                     \
            fastnn_dots_of_##suffix(1, shift, k, w, w_row, rows, x, x_row, out);                                    \
        else if (shared == 1)                                                                                       \
            fastnn_dots_of_##suffix(1, 0, k, w, w_row, rows, x, x_row, out);                                        \
        FASTNN_MORE_DOTS(suffix)                                                                                    \
    }
#if FASTNN_DOT_SHARED == 3
#define FASTNN_MORE_DOTS(suffix)                                                                                    \
    else if (shared == 2)                                                                                           \
        fastnn_dots_of_##suffix(2, 0, k, w, w_row, rows, x, x_row, out);                                               \
    else                                                                                                            \
        fastnn_dots_of_##suffix(3, 0, k, w, w_row, rows, x, x_row, out);
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
