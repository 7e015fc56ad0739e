/* Leaf loops of normalization: sums for means, variances and gradients of up to a chunk of elements, and what is made of them.
   The file includes itself once for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_MOMENTS_H
#define FASTNN_MOMENTS_H

#include "runs.h"

#define FASTNN_TEMPLATE "moments.h"
#include "dtypes.h"

#endif
#else

/* Sums of x - shift and of its square, added to *first and *second. */
static inline void FASTNN_OF(run_deviations)(const FASTNN_REAL *x, FASTNN_REAL shift, ptrdiff_t n, double *first, double *second) {
    enum { lanes = sizeof(FASTNN_SPAN) / sizeof(FASTNN_REAL) };
    FASTNN_SPAN sum[2] = {{0}, {0}}, squares[2] = {{0}, {0}};
    ptrdiff_t i = 0;
    for (; i + 2 * lanes <= n; i += 2 * lanes)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            const FASTNN_SPAN d = FASTNN_OF(load)(x + i + j * lanes) - shift;
            sum[j] += d;
            squares[j] += d * d;
        }
    for (; i < n; i += lanes) {
        const ptrdiff_t count = n - i < lanes ? n - i : lanes;
        const FASTNN_SPAN d = FASTNN_OF(keep)(FASTNN_OF(load_part)(x + i, count) - shift, count);
        sum[0] += d;
        squares[0] += d * d;
    }
    *first += FASTNN_OF(fold)(sum[0] + sum[1]);
    *second += FASTNN_OF(fold)(squares[0] + squares[1]);
}

/* Sums of dy w and of dy w (x - mean), added to *first and *second; w may be NULL. */
static inline __attribute__((always_inline)) void FASTNN_OF(run_products)(
    const FASTNN_REAL *dy, const FASTNN_REAL *x, const FASTNN_REAL *w, FASTNN_REAL mean, ptrdiff_t n, double *first, double *second) {
    enum { lanes = sizeof(FASTNN_SPAN) / sizeof(FASTNN_REAL) };
    FASTNN_SPAN sum[2] = {{0}, {0}}, along[2] = {{0}, {0}};
    ptrdiff_t i = 0;
    for (; i + 2 * lanes <= n; i += 2 * lanes)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            FASTNN_SPAN g = FASTNN_OF(load)(dy + i + j * lanes);
            if (w)
                g *= FASTNN_OF(load)(w + i + j * lanes);
            sum[j] += g;
            along[j] += g * (FASTNN_OF(load)(x + i + j * lanes) - mean);
        }
    for (; i < n; i += lanes) {
        const ptrdiff_t count = n - i < lanes ? n - i : lanes;
        FASTNN_SPAN g = FASTNN_OF(load_part)(dy + i, count);
        if (w)
            g *= FASTNN_OF(load_part)(w + i, count);
        sum[0] += g;
        along[0] += FASTNN_OF(keep)(g * (FASTNN_OF(load_part)(x + i, count) - mean), count);
    }
    *first += FASTNN_OF(fold)(sum[0] + sum[1]);
    *second += FASTNN_OF(fold)(along[0] + along[1]);
}

/* y = (x - mean) scale + shift */
static inline void FASTNN_OF(run_normalize)(
    const FASTNN_REAL *x, FASTNN_REAL mean, FASTNN_REAL scale, FASTNN_REAL shift, FASTNN_REAL *y, ptrdiff_t n, int past) {
    FASTNN_MAP(y, n, past, FASTNN_AHEAD(x, n), (FASTNN_GET(x) - mean) * scale + shift);
}

/* y = (x - mean) scale w + b, with a weight and a bias, either of which may be NULL, for each element */
static inline void FASTNN_OF(run_normalize_each)(
    const FASTNN_REAL *x, FASTNN_REAL mean, FASTNN_REAL scale, const FASTNN_REAL *w, const FASTNN_REAL *b, FASTNN_REAL *y, ptrdiff_t n,
    int past) {
    if (w && b)
        FASTNN_MAP(y, n, past, FASTNN_AHEAD(x, n), (FASTNN_GET(x) - mean) * scale * FASTNN_GET(w) + FASTNN_GET(b));
    else if (w)
        FASTNN_MAP(y, n, past, FASTNN_AHEAD(x, n), (FASTNN_GET(x) - mean) * scale * FASTNN_GET(w));
    else if (b)
        FASTNN_MAP(y, n, past, FASTNN_AHEAD(x, n), (FASTNN_GET(x) - mean) * scale + FASTNN_GET(b));
    else
        FASTNN_OF(run_normalize)(x, mean, scale, 0, y, n, past);
}

/* dx = dy slope - average - (x - mean) along */
static inline void FASTNN_OF(run_center)(
    const FASTNN_REAL *dy, const FASTNN_REAL *x, FASTNN_REAL mean, FASTNN_REAL slope, FASTNN_REAL average, FASTNN_REAL along,
    FASTNN_REAL *dx, ptrdiff_t n, int past) {
    FASTNN_MAP(dx, n, past, FASTNN_AHEAD(dy, n) FASTNN_AHEAD(x, n), FASTNN_GET(dy) * slope - average - (FASTNN_GET(x) - mean) * along);
}

/* dx = factor (dy w - average - (x - mean) along), with a weight for each element */
static inline void FASTNN_OF(run_center_each)(
    const FASTNN_REAL *dy, const FASTNN_REAL *x, const FASTNN_REAL *w, FASTNN_REAL mean, FASTNN_REAL factor, FASTNN_REAL average,
    FASTNN_REAL along, FASTNN_REAL *dx, ptrdiff_t n, int past) {
    FASTNN_MAP(dx, n, past, FASTNN_AHEAD(dy, n) FASTNN_AHEAD(x, n),
               (FASTNN_GET(dy) * FASTNN_GET(w) - average - (FASTNN_GET(x) - mean) * along) * factor);
}

/* first += dy and second += dy (x - mean) rstd, element by element */
static inline void FASTNN_OF(run_add_products)(
    const FASTNN_REAL *dy, const FASTNN_REAL *x, FASTNN_REAL mean, FASTNN_REAL rstd, FASTNN_REAL *first, FASTNN_REAL *second, ptrdiff_t n) {
    FASTNN_MAP(first, n, 0, , FASTNN_GET(first) + FASTNN_GET(dy));
    FASTNN_MAP(second, n, 0, , FASTNN_GET(second) + FASTNN_GET(dy) * ((FASTNN_GET(x) - mean) * rstd));
}

#endif
