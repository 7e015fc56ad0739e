/* Leaf loops of softmax and cross entropy. The file includes itself once for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_EXPONENTIALS_H
#define FASTNN_EXPONENTIALS_H

#include "runs.h"

#define FASTNN_TEMPLATE "exponentials.h"
#include "dtypes.h"

#endif
#else

/* Sum of exp(x - top), whose terms go to e unless it is NULL, and beside it the largest of *next_top and n elements of `next`, NaN passed
   over: the next row streams in evenly while this one, in the first-level cache, is computed. Fetching it ahead of its own pass instead
   took half as long again. A row of 1000 takes 344 cycles: two of eleven vector operations for each 16 numbers in every one. */
static inline __attribute__((always_inline)) FASTNN_REAL FASTNN_OF(run_exponentials_beside)(
    const FASTNN_REAL *x, FASTNN_REAL top, FASTNN_REAL *e, const FASTNN_REAL *next, FASTNN_REAL *next_top, ptrdiff_t n) {
    enum { lanes = sizeof(FASTNN_SPAN) / sizeof(FASTNN_REAL) };
    FASTNN_SPAN sum[2] = {{0}, {0}}, tops[2] = {FASTNN_OF(all)(*next_top), FASTNN_OF(all)(*next_top)};
    ptrdiff_t i = 0;
    for (; i + 2 * lanes <= n; i += 2 * lanes)
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            const ptrdiff_t at = i + half * lanes;
            __builtin_prefetch((const char *)(next + at) + 2048, 0, 3);
            tops[half] = FASTNN_OF(larger)(FASTNN_OF(load)(next + at), tops[half]);
            const FASTNN_SPAN power = FASTNN_OF(power)(FASTNN_OF(load)(x + at) - top);
            sum[half] += power;
            if (e)
                FASTNN_OF(put)(e + at, power, 0);
        }
    if (i < n && n >= lanes) { /* up to two vectors are left; some elements count twice */
        tops[0] = FASTNN_OF(larger)(FASTNN_OF(load)(next + (i + lanes <= n ? i : n - lanes)), tops[0]);
        tops[1] = FASTNN_OF(larger)(FASTNN_OF(load)(next + n - lanes), tops[1]);
    }
    *next_top = FASTNN_OF(largest_lane)(FASTNN_OF(larger)(tops[0], tops[1]));
    for (ptrdiff_t j = 0; n < lanes && j < n; j++)
        *next_top = next[j] > *next_top ? next[j] : *next_top;
    for (; i < n; i += lanes) {
        const ptrdiff_t count = n - i < lanes ? n - i : lanes;
        const FASTNN_SPAN power = FASTNN_OF(power)(FASTNN_OF(load_part)(x + i, count) - top);
        sum[0] += FASTNN_OF(keep)(power, count);
        if (e)
            FASTNN_OF(store_part)(e + i, power, count);
    }
    return FASTNN_OF(fold)(sum[0] + sum[1]);
}

/* y = (x - top) - log_sum */
static inline void FASTNN_OF(run_shift)(const FASTNN_REAL *x, FASTNN_REAL top, FASTNN_REAL log_sum, FASTNN_REAL *y, ptrdiff_t n, int past) {
    FASTNN_MAP(y, n, past, , (FASTNN_GET(x) - top) - log_sum);
}

/* dx = y (dy - total), softmax's gradient where y is the softmax and total the sum of dy y */
static inline void FASTNN_OF(run_softmax_backward)(
    const FASTNN_REAL *dy, const FASTNN_REAL *y, FASTNN_REAL total, FASTNN_REAL *dx, ptrdiff_t n, int past) {
    FASTNN_MAP(dx, n, past, FASTNN_AHEAD(dy, n) FASTNN_AHEAD(y, n), FASTNN_GET(y) * (FASTNN_GET(dy) - total));
}

/* dx = dy - exp(y) total, log_softmax's gradient where y is the log_softmax and total the sum of dy */
static inline void FASTNN_OF(run_log_softmax_backward)(
    const FASTNN_REAL *dy, const FASTNN_REAL *y, FASTNN_REAL total, FASTNN_REAL *dx, ptrdiff_t n, int past) {
    FASTNN_MAP(dx, n, past, FASTNN_AHEAD(dy, n) FASTNN_AHEAD(y, n), FASTNN_GET(dy) - FASTNN_OF(power)(FASTNN_GET(y)) * total);
}

/* dx = factor exp(x - top) - share, cross entropy's gradient but for the target's own part */
static inline void FASTNN_OF(run_gradient)(
    const FASTNN_REAL *x, FASTNN_REAL top, FASTNN_REAL factor, FASTNN_REAL share, FASTNN_REAL *dx, ptrdiff_t n, int past) {
    FASTNN_MAP(dx, n, past, FASTNN_AHEAD(x, n), FASTNN_OF(power)(FASTNN_GET(x) - top) * factor - share);
}

/* e = exp(x - top), a top for each element */
static inline void FASTNN_OF(run_powers)(const FASTNN_REAL *x, const FASTNN_REAL *top, FASTNN_REAL *e, ptrdiff_t n) {
    FASTNN_MAP(e, n, 0, , FASTNN_OF(power)(FASTNN_GET(x) - FASTNN_GET(top)));
}

#endif
