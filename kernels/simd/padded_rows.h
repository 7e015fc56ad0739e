/* Rows of a block, copied with zeros around what exists of them. The file includes itself once for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_PADDED_ROWS_H
#define FASTNN_PADDED_ROWS_H

#include "partial.h"

#define FASTNN_TEMPLATE "padded_rows.h"
#include "dtypes.h"

#endif
#else

/* Column of vectors after column, so that the lanes that exist are found once:
   target[r pitch + t] = source[r row + t] for first <= r < last and begin <= t < end, and zero in the rest of rows x width.
   Nothing beyond is touched. */
static void FASTNN_OF(fill_rows)(FASTNN_REAL *target, ptrdiff_t pitch, ptrdiff_t rows, ptrdiff_t width, const FASTNN_REAL *source,
                                 ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, ptrdiff_t begin, ptrdiff_t end) {
    const FASTNN_OF(span) zero = {0};
    for (ptrdiff_t t = 0; t < width; t += FASTNN_LANES) {
        const ptrdiff_t low = FASTNN_CLAMP(begin - t, 0), high = FASTNN_CLAMP(end - t, low), count = FASTNN_CLAMP(width - t, 0);
        FASTNN_REAL *to = target + t;
        const FASTNN_REAL *from = source + first * row + t;
        ptrdiff_t r = 0;
        for (; r < first; r++, to += pitch)
            FASTNN_OF(store_part)(to, zero, count);
        if (low == 0 && high == FASTNN_LANES && count == FASTNN_LANES)
            for (; r < last; r++, to += pitch, from += row) {
                FASTNN_FETCH(from, 4096, 0);
                *(FASTNN_OF(span) *)to = FASTNN_OF(load)(from);
            }
        else
            for (; r < last; r++, to += pitch, from += row) {
                FASTNN_FETCH(from, 4096, 0);
                FASTNN_OF(store_part)(to, FASTNN_OF(load_between)(from, low, high), count);
            }
        for (; r < rows; r++, to += pitch)
            FASTNN_OF(store_part)(to, zero, count);
    }
}

/* The same with every other element in each of two phases:
   target[t] = source[2 t], target[phase + t] = source[2 t + 1] for t < width */
static void FASTNN_OF(fill_phases)(FASTNN_REAL *target, ptrdiff_t phase, ptrdiff_t pitch, ptrdiff_t rows, ptrdiff_t width,
                                   const FASTNN_REAL *source, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, ptrdiff_t begin,
                                   ptrdiff_t end) {
    const FASTNN_OF(span) zero = {0};
    for (ptrdiff_t t = 0; t < width; t += FASTNN_LANES) {
        const ptrdiff_t low = FASTNN_CLAMP(begin - 2 * t, 0), high = FASTNN_CLAMP(end - 2 * t, low);
        const ptrdiff_t next_low = FASTNN_CLAMP(begin - 2 * t - FASTNN_LANES, 0);
        const ptrdiff_t next_high = FASTNN_CLAMP(end - 2 * t - FASTNN_LANES, next_low), count = FASTNN_CLAMP(width - t, 0);
        FASTNN_REAL *to = target + t;
        const FASTNN_REAL *from = source + first * row + 2 * t;
        for (ptrdiff_t r = 0; r < rows; r++, to += pitch) {
            FASTNN_OF(span) left = zero, right = zero;
            if (r >= first && r < last) {
                left = FASTNN_OF(load_between)(from, low, high);
                right = FASTNN_OF(load_between)(from + FASTNN_LANES, next_low, next_high);
                from += row;
            }
            FASTNN_OF(store_part)(to, FASTNN_SHUFFLE(left, right, FASTNN_EVEN(FASTNN_LANES)), count);
            FASTNN_OF(store_part)(to + phase, FASTNN_SHUFFLE(left, right, FASTNN_ODD(FASTNN_LANES)), count);
        }
    }
}

#endif
