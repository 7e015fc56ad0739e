/* Register tiles of the matrix product, from one source for every instruction set: GCC and Clang vector extensions.

   A tile is up to TILE_ROWS x (2 vectors): v4 14x32 float32 (28 accumulators, 2 loads, 1 broadcast: 31 of 32 registers),
   v3 6x16, otherwise 6x8. Double has half as many columns. */
#ifndef FASTNN_TILE_H
#define FASTNN_TILE_H

#include <stddef.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define FASTNN_VECTOR_BYTES 64
#define FASTNN_TILE_ROWS 14
#elif defined(__AVX__)
#define FASTNN_VECTOR_BYTES 32
#define FASTNN_TILE_ROWS 6
#else
#define FASTNN_VECTOR_BYTES 16
#define FASTNN_TILE_ROWS 6
#endif
#define FASTNN_TILE_BYTES (2 * FASTNN_VECTOR_BYTES)
/* Products that are added up before their sum joins the others: costs 2 to 3 %, but 128 equal ones may err by 16 eps. */
#define FASTNN_CHUNK 96
#define FASTNN_TILE_AHEAD 16 /* rows of B that are fetched ahead */
#define FASTNN_UNROLL _Pragma("GCC unroll 16")
/* A pointer that is known to step on: GCC would compute all its later values beforehand, and spill them. */
#define FASTNN_OPAQUE(pointer) __asm__("" : "+r"(pointer))
#define FASTNN_INLINE static inline __attribute__((always_inline))

typedef float fastnn_vector_f32 __attribute__((vector_size(FASTNN_VECTOR_BYTES), aligned(sizeof(float)), may_alias));
typedef double fastnn_vector_f64 __attribute__((vector_size(FASTNN_VECTOR_BYTES), aligned(sizeof(double)), may_alias));

/* load_first: the first n elements, zero beyond. store_first: writes only the first n. Both take 0 <= n <= lanes. */
#if defined(__AVX512F__)
#define FASTNN_DEFINE_PARTS(real, suffix, intrinsic)                                                                \
    FASTNN_INLINE fastnn_vector_##suffix fastnn_load_first_##suffix(const real *source, ptrdiff_t n) {              \
        return (fastnn_vector_##suffix)_mm512_maskz_loadu_##intrinsic((1u << n) - 1, source);                       \
    }                                                                                                               \
    FASTNN_INLINE void fastnn_store_first_##suffix(real *out, fastnn_vector_##suffix v, ptrdiff_t n) {              \
        _mm512_mask_storeu_##intrinsic(out, (1u << n) - 1, v);                                                      \
    }
#else
#define FASTNN_DEFINE_PARTS(real, suffix, intrinsic)                                                                \
    FASTNN_INLINE fastnn_vector_##suffix fastnn_load_first_##suffix(const real *source, ptrdiff_t n) {              \
        if (n == FASTNN_VECTOR_BYTES / sizeof(real))                                                                \
            return *(const fastnn_vector_##suffix *)source;                                                         \
        fastnn_vector_##suffix v = {0};                                                                             \
        for (ptrdiff_t i = 0; i < n; i++)                                                                           \
            v[i] = source[i];                                                                                       \
        return v;                                                                                                   \
    }                                                                                                               \
    FASTNN_INLINE void fastnn_store_first_##suffix(real *out, fastnn_vector_##suffix v, ptrdiff_t n) {              \
        if (n == FASTNN_VECTOR_BYTES / sizeof(real)) {                                                              \
            *(fastnn_vector_##suffix *)out = v;                                                                     \
            return;                                                                                                 \
        }                                                                                                           \
        for (ptrdiff_t i = 0; i < n; i++)                                                                           \
            out[i] = v[i];                                                                                          \
    }
#endif
FASTNN_DEFINE_PARTS(float, f32, ps)
FASTNN_DEFINE_PARTS(double, f64, pd)

#define FASTNN_DEFINE_TILE(real, suffix)                                                                            \
    /* c = start + sum over k of a[k] b[k]^T in (rows, columns), where start may be c itself, one row (start_row 0) or\
       NULL, and 0 < columns <= width vectors; each element in ascending order of k. Chunks have a sum of their own, so\
       that the error of a long float32 sum stays small (constant data: 16 eps at depth 576 without them).          \
       Rows of A are reached by threes from a pointer, as an x86 address is base + {0, 1, 2} strides; where they lie \
       side by side (dense, a_row 1) one pointer does: adding to five took ports that multiply-adds need, 5 %. */    \
    FASTNN_INLINE void fastnn_tile_of_##suffix(                                                                     \
        const int rows, const int width, const int dense, ptrdiff_t k, const real *a, ptrdiff_t a_row, ptrdiff_t a_k, \
        const real *b, ptrdiff_t b_k, ptrdiff_t columns,                                                            \
        real *c, ptrdiff_t c_row, const real *start, ptrdiff_t start_row) {                                         \
        enum { lanes = FASTNN_VECTOR_BYTES / sizeof(real), most = (FASTNN_TILE_ROWS + 2) / 3 };                     \
        const int groups = dense ? 1 : (rows + 2) / 3;                                                              \
        fastnn_vector_##suffix total[FASTNN_TILE_ROWS][2], sum[FASTNN_TILE_ROWS][2];                                \
        const ptrdiff_t last = columns - (width - 1) * lanes;                                                       \
        __asm__("" : "=m"(total)); /* read from the second chunk on only, which GCC cannot see */                   \
        const real *row[most];                                                                                      \
        FASTNN_UNROLL for (int g = 0; g < groups; g++)                                                              \
            row[g] = a + 3 * g * a_row;                                                                             \
        real *ahead = c;                                                                                            \
        FASTNN_UNROLL for (int i = 0; i < rows; i++, ahead += c_row) { /* waiting for C at the end costs 1 to 4 % */ \
            FASTNN_OPAQUE(ahead);                                                                                   \
            FASTNN_UNROLL for (int j = 0; j < width; j++)                                                           \
                __builtin_prefetch(ahead + j * lanes, 1);                                                           \
        }                                                                                                           \
        for (ptrdiff_t left = k;; left -= FASTNN_CHUNK) {                                                           \
            const ptrdiff_t depth = left < FASTNN_CHUNK ? left : FASTNN_CHUNK;                                      \
            FASTNN_UNROLL for (int i = 0; i < rows; i++)                                                            \
                sum[i][0] = sum[i][1] = (fastnn_vector_##suffix){0};                                                \
            for (ptrdiff_t p = 0; p < depth; p++, b += b_k) { /* four at a time take 5 % more: GCC moves sums about */ \
                const fastnn_vector_##suffix near = *(const fastnn_vector_##suffix *)b;                             \
                const fastnn_vector_##suffix far = *(const fastnn_vector_##suffix *)(b + (width - 1) * lanes);      \
                FASTNN_UNROLL for (int j = 0; j < width; j++)                                                       \
                    __builtin_prefetch(b + FASTNN_TILE_AHEAD * b_k + j * lanes);                                    \
                FASTNN_UNROLL for (int i = 0; i < rows; i++) {                                                      \
                    const real scale = dense ? row[0][i] : row[i / 3][i % 3 * a_row];                               \
                    sum[i][0] += scale * near;                                                                      \
                    if (width > 1)                                                                                  \
                        sum[i][1] += scale * far;                                                                   \
                }                                                                                                   \
                FASTNN_UNROLL for (int g = 0; g < groups; g++) {                                                    \
                    row[g] += a_k;                                                                                  \
                    FASTNN_OPAQUE(row[g]);                                                                          \
                }                                                                                                   \
            }                                                                                                       \
            if (left < k)                                                                                           \
                FASTNN_UNROLL for (int i = 0; i < rows; i++)                                                        \
                    FASTNN_UNROLL for (int j = 0; j < width; j++)                                                   \
                        sum[i][j] += total[i][j];                                                                   \
            if (left <= FASTNN_CHUNK)                                                                               \
                break;                                                                                              \
            FASTNN_UNROLL for (int i = 0; i < rows; i++)                                                            \
                FASTNN_UNROLL for (int j = 0; j < width; j++)                                                       \
                    total[i][j] = sum[i][j];                                                                        \
        }                                                                                                           \
        if (start)                                                                                                  \
            FASTNN_UNROLL for (int i = 0; i < rows; i++, start += start_row) {                                      \
                FASTNN_OPAQUE(start);                                                                               \
                FASTNN_UNROLL for (int j = 0; j < width; j++)                                                       \
                    sum[i][j] += fastnn_load_first_##suffix(start + j * lanes, j < width - 1 ? lanes : last);       \
            }                                                                                                       \
        FASTNN_UNROLL for (int i = 0; i < rows; i++, c += c_row) {                                                  \
            FASTNN_OPAQUE(c);                                                                                       \
            FASTNN_UNROLL for (int j = 0; j < width; j++)                                                           \
                fastnn_store_first_##suffix(c + j * lanes, sum[i][j], j < width - 1 ? lanes : last);                \
        }                                                                                                           \
    }                                                                                                               \
                                                                                                                    \
    /* The same for a number of rows and columns that is known at run time only. */                                 \
    static void fastnn_tile_##suffix(                                                                               \
        ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t k, const real *a, ptrdiff_t a_row, ptrdiff_t a_k,              \
        const real *b, ptrdiff_t b_k, real *c, ptrdiff_t c_row, const real *start, ptrdiff_t start_row) {           \
        const int wide = columns > FASTNN_VECTOR_BYTES / (ptrdiff_t)sizeof(real);                                   \
        switch (4 * rows + 2 * wide + (a_row == 1)) {                                                               \
            FASTNN_TILES(suffix)                                                                                    \
        }                                                                                                           \
    }

#define FASTNN_TILE_CASE(rows, wide, dense, suffix)                                                                 \
    case 4 * rows + 2 * wide + dense:                                                                               \
        fastnn_tile_of_##suffix(rows, 1 + wide, dense, k, a, a_row, a_k, b, b_k, columns, c, c_row, start, start_row); \
        return;
#define FASTNN_TILE_CASES(rows, suffix)                                                                             \
    FASTNN_TILE_CASE(rows, 0, 0, suffix) FASTNN_TILE_CASE(rows, 0, 1, suffix)                                       \
    FASTNN_TILE_CASE(rows, 1, 0, suffix) FASTNN_TILE_CASE(rows, 1, 1, suffix)
#define FASTNN_TILES_6(suffix)                                                                                      \
    FASTNN_TILE_CASES(1, suffix) FASTNN_TILE_CASES(2, suffix) FASTNN_TILE_CASES(3, suffix)                          \
    FASTNN_TILE_CASES(4, suffix) FASTNN_TILE_CASES(5, suffix) FASTNN_TILE_CASES(6, suffix)
#if FASTNN_TILE_ROWS == 14
#define FASTNN_TILES(suffix)                                                                                        \
    FASTNN_TILES_6(suffix)                                                                                          \
    FASTNN_TILE_CASES(7, suffix) FASTNN_TILE_CASES(8, suffix) FASTNN_TILE_CASES(9, suffix) FASTNN_TILE_CASES(10, suffix) \
    FASTNN_TILE_CASES(11, suffix) FASTNN_TILE_CASES(12, suffix) FASTNN_TILE_CASES(13, suffix) FASTNN_TILE_CASES(14, suffix)
#else
#define FASTNN_TILES(suffix) FASTNN_TILES_6(suffix)
#endif

FASTNN_DEFINE_TILE(float, f32)
FASTNN_DEFINE_TILE(double, f64)

#endif
