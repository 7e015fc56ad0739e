/* Copies for packing operands into panels: rows as they are, and square blocks transposed in registers where rows run along k.

   A block of lanes x lanes elements is exchanged in log2(lanes) rounds: round s swaps the off-diagonal s x s sub-blocks of every
   2s x 2s block. One shuffle for every lane and round; element by element the same copy took four times as long. */
#ifndef FASTNN_TRANSPOSE_H
#define FASTNN_TRANSPOSE_H

#include "tile.h"

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define FASTNN_HAS_TRANSPOSE 1
#endif
#endif

/* Lane j of the two results of round s, out of lanes 0..L-1 of the upper row and L..2L-1 of the lower one. */
#define FASTNN_UPPER(j, s, L) ((j) & (s) ? (L) + (j) - (s) : (j))
#define FASTNN_LOWER(j, s, L) ((j) & (s) ? (L) + (j) : (j) + (s))
#define FASTNN_LANES_2(pick, s, L) pick(0, s, L), pick(1, s, L)
#define FASTNN_LANES_4(pick, s, L) FASTNN_LANES_2(pick, s, L), pick(2, s, L), pick(3, s, L)
#define FASTNN_LANES_8(pick, s, L) FASTNN_LANES_4(pick, s, L), pick(4, s, L), pick(5, s, L), pick(6, s, L), pick(7, s, L)
#define FASTNN_LANES_16(pick, s, L)                                                                                 \
    FASTNN_LANES_8(pick, s, L), pick(8, s, L), pick(9, s, L), pick(10, s, L), pick(11, s, L), pick(12, s, L),       \
        pick(13, s, L), pick(14, s, L), pick(15, s, L)

#ifdef FASTNN_HAS_TRANSPOSE
#define FASTNN_ROUND(suffix, s, L)                                                                                  \
    _Pragma("GCC unroll 16") for (int i = 0; i < L; i++)                                                            \
        if (!(i & s)) {                                                                                             \
            const fastnn_vector_##suffix upper = row[i], lower = row[i + s];                                        \
            row[i] = __builtin_shufflevector(upper, lower, FASTNN_LANES_##L(FASTNN_UPPER, s, L));                   \
            row[i + s] = __builtin_shufflevector(upper, lower, FASTNN_LANES_##L(FASTNN_LOWER, s, L));               \
        }

#define FASTNN_ROUNDS_2(suffix, L) FASTNN_ROUND(suffix, 1, L)
#define FASTNN_ROUNDS_4(suffix, L) FASTNN_ROUND(suffix, 2, L) FASTNN_ROUNDS_2(suffix, L)
#define FASTNN_ROUNDS_8(suffix, L) FASTNN_ROUND(suffix, 4, L) FASTNN_ROUNDS_4(suffix, L)
#define FASTNN_ROUNDS_16(suffix, L) FASTNN_ROUND(suffix, 8, L) FASTNN_ROUNDS_8(suffix, L)

#else
/* Element by element. */
#define FASTNN_TURN(suffix, L)                                                                                      \
    for (int i = 0; i < L; i++)                                                                                     \
        for (int j = 0; j < i; j++) {                                                                               \
            const __typeof__(row[0][0]) kept = row[i][j];                                                           \
            row[i][j] = row[j][i];                                                                                  \
            row[j][i] = kept;                                                                                       \
        }
#define FASTNN_ROUNDS_2 FASTNN_TURN
#define FASTNN_ROUNDS_4 FASTNN_TURN
#define FASTNN_ROUNDS_8 FASTNN_TURN
#define FASTNN_ROUNDS_16 FASTNN_TURN
#endif

#define FASTNN_DEFINE_TRANSPOSE(real, suffix, L)                                                                    \
    /* out[j * width + i] = source[i * stride + j] for i, j < L */                                                  \
    FASTNN_INLINE void fastnn_transpose_block_##suffix(const real *source, ptrdiff_t stride, real *out, ptrdiff_t width) { \
        fastnn_vector_##suffix row[L];                                                                              \
        FASTNN_UNROLL for (int i = 0; i < L; i++)                                                                   \
            row[i] = *(const fastnn_vector_##suffix *)(source + i * stride);                                        \
        FASTNN_ROUNDS_##L(suffix, L)                                                                                \
        FASTNN_UNROLL for (int i = 0; i < L; i++)                                                                   \
            *(fastnn_vector_##suffix *)(out + i * width) = row[i];                                                  \
    }                                                                                                               \
                                                                                                                    \
    /* row[j][i] = source[i * stride + j] for i < rows and j < columns, zero for i >= rows; both are <= L */        \
    FASTNN_INLINE void fastnn_transpose_rows_##suffix(                                                              \
        const real *source, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns, fastnn_vector_##suffix *row) {     \
        FASTNN_UNROLL for (int i = 0; i < L; i++)                                                                   \
            row[i] = fastnn_load_first_##suffix(source + (i < rows ? i * stride : 0), i < rows ? columns : 0);      \
        FASTNN_ROUNDS_##L(suffix, L)                                                                                \
    }                                                                                                               \
                                                                                                                    \
    /* out[j * width + i] = source[i * stride + j] for i < rows and j < columns, zero for rows <= i < padded; all are <= L */ \
    static void fastnn_transpose_part_##suffix(                                                                     \
        const real *source, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,                                    \
        real *out, ptrdiff_t width, ptrdiff_t padded) {                                                             \
        fastnn_vector_##suffix row[L];                                                                              \
        fastnn_transpose_rows_##suffix(source, stride, rows, columns, row);                                         \
        FASTNN_UNROLL for (int j = 0; j < L; j++)                                                                   \
            if (j < columns)                                                                                        \
                fastnn_store_first_##suffix(out + j * width, row[j], padded);                                       \
    }                                                                                                               \
                                                                                                                    \
    /* out[j * width + i] = start[j * start_row + i] + source[i * stride + j] for i < rows and j < columns; start may be NULL */ \
    static void fastnn_add_transposed_##suffix(                                                                     \
        const real *source, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,                                    \
        real *out, ptrdiff_t width, const real *start, ptrdiff_t start_row) {                                       \
        fastnn_vector_##suffix row[L];                                                                              \
        fastnn_transpose_rows_##suffix(source, stride, rows, columns, row);                                         \
        FASTNN_UNROLL for (int j = 0; j < L; j++)                                                                   \
            if (j < columns) {                                                                                      \
                if (start)                                                                                          \
                    row[j] += fastnn_load_first_##suffix(start + j * start_row, rows);                              \
                fastnn_store_first_##suffix(out + j * width, row[j], rows);                                         \
            }                                                                                                       \
    }                                                                                                               \
                                                                                                                    \
    /* Rows of n elements cut into panels of that width, one behind the other, zero in the last one beyond n:       \
       out[j / width][i][j % width] = source[i * stride + j] for i < rows and j < n. By eight rows, which fill lines \
       of a panel: row by row the panels' lines, at the same place in their pages, drove each other from L1. */     \
    static void fastnn_copy_panels_##suffix(                                                                        \
        const real *source, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, real *out, ptrdiff_t width) {            \
        const ptrdiff_t whole = (width + L - 1) / L * L;                                                            \
        for (ptrdiff_t first = 0; first < rows; first += 8)                                                         \
            for (ptrdiff_t j = 0; j < n; j += width)                                                                \
                for (ptrdiff_t i = first; i < rows && i < first + 8; i++) {                                         \
                    const real *from = source + i * stride + j;                                                     \
                    real *to = out + j * rows + i * width;                                                          \
                    if (j + whole <= n && i + 1 < rows) /* what is too much is overwritten by the next row */       \
                        for (ptrdiff_t l = 0; l < whole; l += L)                                                    \
                            *(fastnn_vector_##suffix *)(to + l) = *(const fastnn_vector_##suffix *)(from + l);      \
                    else                                                                                            \
                        for (ptrdiff_t l = 0; l < width; l += L) {                                                  \
                            const ptrdiff_t left = n - j - l, room = width - l < L ? width - l : L;                 \
                            const ptrdiff_t count = left < 0 ? 0 : left < room ? left : room;                       \
                            fastnn_store_first_##suffix(to + l, fastnn_load_first_##suffix(from + l, count), room); \
                        }                                                                                           \
                }                                                                                                   \
    }

#if FASTNN_VECTOR_BYTES == 64
FASTNN_DEFINE_TRANSPOSE(float, f32, 16)
FASTNN_DEFINE_TRANSPOSE(double, f64, 8)
#elif FASTNN_VECTOR_BYTES == 32
FASTNN_DEFINE_TRANSPOSE(float, f32, 8)
FASTNN_DEFINE_TRANSPOSE(double, f64, 4)
#else
FASTNN_DEFINE_TRANSPOSE(float, f32, 4)
FASTNN_DEFINE_TRANSPOSE(double, f64, 2)
#endif

#endif
