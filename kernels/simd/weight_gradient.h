/* Register tile of a convolution's weight gradient: ROWS taps x (2 vectors of output channels), summed over pixels.

   Every tap is an offset into the padded input and gives one broadcast a pixel; dy lies transposed, output channels in lanes, so that
   nothing is added up across lanes. v4: 24 sums, 2 vectors, 1 broadcast; otherwise 12, 2, 1. The file includes itself for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_WEIGHT_GRADIENT_H
#define FASTNN_WEIGHT_GRADIENT_H

#include "partial.h"

#if defined(__AVX512F__)
#define FASTNN_WEIGHT_ROWS 12
#else
#define FASTNN_WEIGHT_ROWS 6
#endif

/* Neighbouring pixels of an output row: where the input of the first one lies, and how many they are. */
typedef struct {
    ptrdiff_t source, count;
} fastnn_segment;

#define FASTNN_TEMPLATE "weight_gradient.h"
#include "dtypes.h"

#endif
#else

/* out[r][channel] = or += sum over the pixels of x[offset[r] + source + i] * dy[pixel][channel] */
static void FASTNN_OF(weight_tile)(const FASTNN_REAL *x, const ptrdiff_t *offset, const fastnn_segment *segment, ptrdiff_t segments,
                                   const FASTNN_REAL *dy, FASTNN_REAL *out, int add) {
    enum { lanes = FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL), R = FASTNN_WEIGHT_ROWS };
    FASTNN_OF(span) sum[R][2];
    ptrdiff_t row[R];
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
        row[r] = (offset[r] - offset[0]) * (ptrdiff_t)sizeof(FASTNN_REAL);
        sum[r][0] = sum[r][1] = (FASTNN_OF(span)){0};
    }
    for (ptrdiff_t s = 0; s < segments; s++) {
        const char *at = (const char *)(x + offset[0] + segment[s].source);
        for (ptrdiff_t i = segment[s].count; i > 0; i--, dy += 2 * lanes) {
            const FASTNN_OF(span) left = FASTNN_OF(load)(dy), right = FASTNN_OF(load)(dy + lanes);
            __builtin_prefetch(dy + 16 * lanes);
            __builtin_prefetch(dy + 17 * lanes);
#pragma GCC unroll 12
            for (int r = 0; r < R; r++) {
                const FASTNN_REAL value = *(const FASTNN_REAL *)(at + row[r]);
                sum[r][0] += value * left;
                sum[r][1] += value * right;
            }
            at += sizeof(FASTNN_REAL);
            __asm__("" : "+r"(at)); /* GCC would keep ROWS pointers instead of one, more than there are registers */
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            FASTNN_OF(span) *const to = (FASTNN_OF(span) *)(out + (2 * r + j) * lanes);
            if (add)
                sum[r][j] += *to;
            *to = sum[r][j];
        }
}

#endif
