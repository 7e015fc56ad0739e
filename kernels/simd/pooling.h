/* Strided windows, one vector of them at a time, from one source for every instruction set: GCC and Clang vector extensions. Each
   lane is a window; lanes outside the plane read as a filler and are not stored.

   Positions are flat indices in a plane: in memory integers of 2, 4 or 8 bytes, in registers as wide as the reals. Planes are
   the caller's. */
#ifndef FASTNN_POOLING_H
#define FASTNN_POOLING_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>
#define FASTNN_POOL_MASKS 1
#define FASTNN_POOL_BYTES 64
#elif defined(__AVX__)
#define FASTNN_POOL_BYTES 32
#else
#define FASTNN_POOL_BYTES 16
#endif

#define FASTNN_POOL_INLINE static inline __attribute__((always_inline))
#define FASTNN_POOL_UNROLL _Pragma("GCC unroll 16")

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define FASTNN_POOL_SHUFFLE(a, b, integers, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#ifndef FASTNN_POOL_SHUFFLE
#define FASTNN_POOL_SHUFFLE(a, b, integers, ...) __builtin_shuffle(a, b, (integers){__VA_ARGS__})
#endif

/* Lanes of two vectors: every other one of both, or one of each in turn. */
#define FASTNN_POOL_EVEN_2 0, 2
#define FASTNN_POOL_EVEN_4 FASTNN_POOL_EVEN_2, 4, 6
#define FASTNN_POOL_EVEN_8 FASTNN_POOL_EVEN_4, 8, 10, 12, 14
#define FASTNN_POOL_EVEN_16 FASTNN_POOL_EVEN_8, 16, 18, 20, 22, 24, 26, 28, 30
#define FASTNN_POOL_ODD_2 1, 3
#define FASTNN_POOL_ODD_4 FASTNN_POOL_ODD_2, 5, 7
#define FASTNN_POOL_ODD_8 FASTNN_POOL_ODD_4, 9, 11, 13, 15
#define FASTNN_POOL_ODD_16 FASTNN_POOL_ODD_8, 17, 19, 21, 23, 25, 27, 29, 31
#define FASTNN_POOL_LOW_2 0, 2
#define FASTNN_POOL_LOW_4 0, 4, 1, 5
#define FASTNN_POOL_LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define FASTNN_POOL_LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define FASTNN_POOL_HIGH_2 1, 3
#define FASTNN_POOL_HIGH_4 2, 6, 3, 7
#define FASTNN_POOL_HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define FASTNN_POOL_HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define FASTNN_POOL_COUNT_2 0, 1
#define FASTNN_POOL_COUNT_4 FASTNN_POOL_COUNT_2, 2, 3
#define FASTNN_POOL_COUNT_8 FASTNN_POOL_COUNT_4, 4, 5, 6, 7
#define FASTNN_POOL_COUNT_16 FASTNN_POOL_COUNT_8, 8, 9, 10, 11, 12, 13, 14, 15
#define FASTNN_JOIN_(a, b) a##b
#define FASTNN_JOIN(a, b) FASTNN_JOIN_(a, b)

/* What comes 8 KiB later than these elements of a stream goes to the first cache, ready to be written to where that is wanted. The
   processor looks less far ahead: means of 50 MB took 3.3 ms without and 1.9 ms with it, filling 3 MB 0.22 ms and 0.10 ms. */
#define FASTNN_POOL_FETCH(elements, count, writing)                                                                    \
    for (ptrdiff_t ahead = 0; ahead < (count) * (ptrdiff_t)sizeof *(elements); ahead += 64)                            \
        __builtin_prefetch((const char *)(elements) + 8192 + ahead, writing, 3);

/* One dimension of windows, and all that says which elements a plane's windows have. */
typedef struct {
    ptrdiff_t kernel, stride, padding, dilation;
} fastnn_strides;

/* Weights are for means, where the divisor of a window is that of its row times that of its column: divisors, but reciprocals for
   the gradient. Those of the columns have ones for a vector on both sides. */
typedef struct {
    ptrdiff_t H, W, OH, OW;
    fastnn_strides rows, columns;
    const double *row_weights, *column_weights;
} fastnn_pooling;

typedef enum { FASTNN_POOL_MAX, FASTNN_POOL_ARGMAX, FASTNN_POOL_MEAN } fastnn_pool_mode;

#define REAL float
#define INTEGER int32_t
#define NAME(name) fastnn_pool_##name##_f32
#define MM512(operation, tail) _mm512_##operation##_ps##tail
#define MM512I(operation, tail) _mm512_##operation##_epi32##tail
#define INDEX16(operation) _mm256_##operation
#define INDEX32(operation) _mm512_##operation
#define MASK __mmask16
#define M16 __m256i
#define M32 __m512i
#if FASTNN_POOL_BYTES == 64
#define LANES 16
#elif FASTNN_POOL_BYTES == 32
#define LANES 8
#else
#define LANES 4
#endif
#include "pooling_lanes.h"
#include "pooling_strips.h"
#include "pooling_halves.h"

#define REAL double
#define INTEGER int64_t
#define NAME(name) fastnn_pool_##name##_f64
#define MM512(operation, tail) _mm512_##operation##_pd##tail
#define MM512I(operation, tail) _mm512_##operation##_epi64##tail
#define INDEX16(operation) _mm_##operation
#define INDEX32(operation) _mm256_##operation
#define MASK __mmask8
#define M16 __m128i
#define M32 __m256i
#if FASTNN_POOL_BYTES == 64
#define LANES 8
#elif FASTNN_POOL_BYTES == 32
#define LANES 4
#else
#define LANES 2
#endif
#include "pooling_lanes.h"
#include "pooling_strips.h"
#include "pooling_halves.h"

#endif
