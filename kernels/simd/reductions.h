/* Leaf loops of reductions: sums in double, and extrema. The file includes itself once for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_REDUCTIONS_H
#define FASTNN_REDUCTIONS_H

#include "runs.h"

typedef double fastnn_doubles __attribute__((vector_size(FASTNN_SPAN_BYTES), aligned(8), may_alias));

#define FASTNN_TEMPLATE "reductions.h"
#include "dtypes.h"

#endif
#else

typedef FASTNN_REAL FASTNN_OF(part)
    __attribute__((vector_size(FASTNN_SPAN_BYTES / (8 / sizeof(FASTNN_REAL))), aligned(sizeof(FASTNN_REAL)), may_alias));

/* As many elements as a vector has doubles, as doubles. */
static inline fastnn_doubles FASTNN_OF(widen)(const FASTNN_REAL *p) {
    return __builtin_convertvector(*(const FASTNN_OF(part) *)p, fastnn_doubles);
}

/* Sum of n elements in double. */
static inline double FASTNN_OF(run_wide_sum)(const FASTNN_REAL *x, ptrdiff_t n) {
    enum { lanes = FASTNN_SPAN_BYTES / 8 };
    fastnn_doubles sum[4] = {{0}, {0}, {0}, {0}};
    ptrdiff_t i = 0;
    double total = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            sum[j] += FASTNN_OF(widen)(x + i + j * lanes);
    for (; i + lanes <= n; i += lanes)
        sum[0] += FASTNN_OF(widen)(x + i);
    for (; i < n; i++)
        total += x[i];
    sum[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
#pragma GCC unroll 8
    for (int j = 0; j < lanes; j++)
        total += sum[0][j];
    return total;
}

/* total[j] += the sum of column j over so many rows, in double; eight rows at a time so that the totals are seldom loaded. */
static inline void FASTNN_OF(run_add_rows)(const FASTNN_REAL *x, ptrdiff_t step, ptrdiff_t rows, double *total, ptrdiff_t n) {
    enum { lanes = FASTNN_SPAN_BYTES / 8 };
    ptrdiff_t r = 0;
    for (; r + 8 <= rows; r += 8, x += 8 * step) {
        ptrdiff_t i = 0;
        for (; i + lanes <= n; i += lanes) {
            fastnn_doubles sum = *(fastnn_doubles *)(total + i);
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++)
                sum += FASTNN_OF(widen)(x + k * step + i);
            *(fastnn_doubles *)(total + i) = sum;
        }
        for (int k = 0; k < 8; k++)
            for (ptrdiff_t j = i; j < n; j++)
                total[j] += x[k * step + j];
    }
    for (; r < rows; r++, x += step)
        for (ptrdiff_t i = 0; i < n; i++)
            total[i] += x[i];
}

/* The largest sign * x that is no NaN of n >= 1 elements; sets *unordered where one is. */
static inline FASTNN_REAL FASTNN_OF(run_extremum)(const FASTNN_REAL *x, ptrdiff_t n, FASTNN_REAL sign, int *unordered) {
    enum { lanes = sizeof(FASTNN_SPAN) / sizeof(FASTNN_REAL) };
    FASTNN_REAL top = -(FASTNN_REAL)INFINITY;
    ptrdiff_t i = 0;
    FASTNN_SPAN tops[4];
    unsigned wrong = 0;
    tops[0] = tops[1] = tops[2] = tops[3] = FASTNN_OF(all)(top);
    for (; i + 4 * lanes <= n; i += 4 * lanes)
#pragma GCC unroll 2
        for (int j = 0; j < 4; j += 2) {
            const FASTNN_SPAN a = FASTNN_OF(load)(x + i + j * lanes), b = FASTNN_OF(load)(x + i + (j + 1) * lanes);
            tops[j] = FASTNN_OF(larger)(a * sign, tops[j]);
            tops[j + 1] = FASTNN_OF(larger)(b * sign, tops[j + 1]);
            wrong |= FASTNN_OF(unordered)(a, b);
        }
    for (; i + lanes <= n; i += lanes) {
        const FASTNN_SPAN a = FASTNN_OF(load)(x + i);
        tops[0] = FASTNN_OF(larger)(a * sign, tops[0]);
        wrong |= FASTNN_OF(unordered)(a, a);
    }
    for (; i < n; i++) {
        top = x[i] * sign > top ? x[i] * sign : top;
        *unordered |= x[i] != x[i];
    }
    tops[0] = FASTNN_OF(larger)(FASTNN_OF(larger)(tops[0], tops[1]), FASTNN_OF(larger)(tops[2], tops[3]));
    *unordered |= wrong != 0;
    const FASTNN_REAL other = FASTNN_OF(largest_lane)(tops[0]);
    return other > top ? other : top;
}

#endif
