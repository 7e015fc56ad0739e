/* Register tiles of the matrix product, from one source for every instruction set: GCC and Clang vector extensions.

   A tile is TILE_ROWS x (2 vectors): v4 14x32 float32 (28 accumulators, 2 loads, 1 broadcast: 31 of 32 registers),
   v3 6x16, otherwise 6x8. Double has half as many columns. Packed panels: a[k][TILE_ROWS], b[k][columns]. */
#ifndef FASTNN_TILE_H
#define FASTNN_TILE_H

#include <stddef.h>
#include <string.h>

#if defined(__AVX512F__)
#define FASTNN_VECTOR_BYTES 64
#define FASTNN_TILE_ROWS 14
#elif defined(__AVX__)
#define FASTNN_VECTOR_BYTES 32
#define FASTNN_TILE_ROWS 6
#else
#define FASTNN_VECTOR_BYTES 16
#define FASTNN_TILE_ROWS 6
#endif
#define FASTNN_CHUNK 96
#define FASTNN_TILE_BYTES (2 * FASTNN_VECTOR_BYTES)

#define FASTNN_DEFINE_TILE(real, suffix)                                                                            \
    typedef real fastnn_vector_##suffix                                                                             \
        __attribute__((vector_size(FASTNN_VECTOR_BYTES), aligned(sizeof(real)), may_alias));                        \
                                                                                                                    \
    /* out[TILE_ROWS][2 vectors] = sum over k of a[k] b[k]^T, each element in ascending order of k; chunks of FASTNN_CHUNK have a sum  \
       of their own, so that the error of a long float32 sum stays small (constant data: 16 eps at depth 576 without them) */       \
    static void fastnn_tile_##suffix(ptrdiff_t k, const real *a, const real *b, real *out) {                        \
        enum { lanes = FASTNN_VECTOR_BYTES / sizeof(real), columns = 2 * lanes };                                   \
        ptrdiff_t done = 0;                                                                                         \
        do {                                                                                                        \
            const ptrdiff_t depth = k - done < FASTNN_CHUNK ? k - done : FASTNN_CHUNK;                              \
            fastnn_vector_##suffix sum[FASTNN_TILE_ROWS][2];                                                        \
            _Pragma("GCC unroll 16") for (int i = 0; i < FASTNN_TILE_ROWS; i++)                                     \
                sum[i][0] = sum[i][1] = (fastnn_vector_##suffix){0};                                                \
            for (ptrdiff_t p = 0; p < depth; p++, a += FASTNN_TILE_ROWS, b += columns) {                            \
                const fastnn_vector_##suffix left = *(const fastnn_vector_##suffix *)b;                             \
                const fastnn_vector_##suffix right = *(const fastnn_vector_##suffix *)(b + lanes);                  \
                _Pragma("GCC unroll 16") for (int i = 0; i < FASTNN_TILE_ROWS; i++) {                               \
                    sum[i][0] += a[i] * left;                                                                       \
                    sum[i][1] += a[i] * right;                                                                      \
                }                                                                                                   \
            }                                                                                                       \
            _Pragma("GCC unroll 16") for (int i = 0; i < FASTNN_TILE_ROWS; i++)                                     \
                _Pragma("GCC unroll 2") for (int j = 0; j < 2; j++) {                                               \
                    fastnn_vector_##suffix *const target = (fastnn_vector_##suffix *)(out + i * columns + j * lanes); \
                    if (done)                                                                                       \
                        sum[i][j] += *target;                                                                       \
                    *target = sum[i][j];                                                                            \
                }                                                                                                   \
            done += depth;                                                                                          \
        } while (done < k);                                                                                         \
    }                                                                                                               \
                                                                                                                    \
    /* sum of a[i] b[i]: four vectors of partial sums, added up in a fixed order, then the tail */                  \
    static real fastnn_dot_##suffix(ptrdiff_t n, const real *a, const real *b) {                                    \
        enum { lanes = FASTNN_VECTOR_BYTES / sizeof(real) };                                                        \
        fastnn_vector_##suffix sum[4] = {{0}, {0}, {0}, {0}};                                                       \
        ptrdiff_t i = 0;                                                                                            \
        for (; i + 4 * lanes <= n; i += 4 * lanes)                                                                  \
            _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++)                                                     \
                sum[j] += *(const fastnn_vector_##suffix *)(a + i + j * lanes)                                      \
                        * *(const fastnn_vector_##suffix *)(b + i + j * lanes);                                     \
        for (; i + lanes <= n; i += lanes)                                                                          \
            sum[0] += *(const fastnn_vector_##suffix *)(a + i) * *(const fastnn_vector_##suffix *)(b + i);          \
        sum[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);                                                             \
        real total = 0;                                                                                             \
        for (int j = 0; j < lanes; j++)                                                                             \
            total += sum[0][j];                                                                                     \
        for (; i < n; i++)                                                                                          \
            total += a[i] * b[i];                                                                                   \
        return total;                                                                                               \
    }

FASTNN_DEFINE_TILE(float, f32)
FASTNN_DEFINE_TILE(double, f64)

#endif
