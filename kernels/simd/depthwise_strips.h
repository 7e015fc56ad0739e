/* Depthwise convolution of stride 1 on planes where they lie, in strips of one vector of columns: masks keep what is beyond a
   plane's ends. From row to row, the sums of the K results that see a row of x stay in registers, so that a row is loaded once for
   each column of taps. Results and the products with what has their shape come together: dx and dw from one pass over dy.

   What will be written is fetched ahead too: stores into lines that are not in L1 run at a quarter of a copy's speed. Stores past
   the caches took 2.5 times a copy's time. The file includes itself once for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_DEPTHWISE_STRIPS_H
#define FASTNN_DEPTHWISE_STRIPS_H

#include "partial.h"

#define FASTNN_ALWAYS_INLINE static inline __attribute__((always_inline))
#define FASTNN_UNROLL _Pragma("GCC unroll 16")

/* Whether vectors of which some lanes count cost no more than whole ones. */
#if defined(__AVX2__)
enum { FASTNN_MASKS = 1 };
#else
enum { FASTNN_MASKS = 0 };
#endif

/* Whether the registers hold what results and products of 3x3 need together. */
#if defined(__AVX512F__)
enum { FASTNN_STRIP_BOTH = 1 };
#else
enum { FASTNN_STRIP_BOTH = 0 };
#endif

#define FASTNN_TEMPLATE "depthwise_strips.h"
#include "dtypes.h"

#endif
#else

#if defined(__AVX2__)
typedef struct {
    const FASTNN_REAL *x;     /* row of the plane, from the first column that the strip's first tap sees */
    FASTNN_REAL *y;           /* the oldest row of results that sees it, from the strip's first column on */
    const FASTNN_REAL *other; /* the newest such row of what has the results' shape */
    ptrdiff_t rows, row;      /* how many rows of results; which row of the plane x is, which may lie outside */
    ptrdiff_t H, W, Q;        /* rows and columns of the plane, columns of the results */
    ptrdiff_t begin, end, columns; /* where the row begins and ends, counted from x; columns of results, from y on */
    ptrdiff_t ahead;          /* elements to what is fetched: a vector more for each row, whatever the strip */
} FASTNN_OF(strip);

/* y[p] = bias + sum over u, v of w[u][v] * x[p + u - top][v];  product[u][v] += sum over p of other[p] * x[p + u - top][v]

   Row i of x is tap u of result i + top - u. Of its K results those from u0 to u1 - 1 are there; where that is not all of them, the
   row may lie outside the plane. From row to row everything moves up by one u: after K rows, counted by `turn`, all is in place. */
#define FASTNN_TURNED(u) (((u) + 2 * K - turn) % K)
FASTNN_ALWAYS_INLINE void FASTNN_OF(strip_row)(
    const int K, const int turn, const int u0, const int u1, const int v0, const int v1, const int with_y, const int with_other,
    const FASTNN_OF(span) *w, FASTNN_OF(span) bias, FASTNN_OF(strip) *s, const ptrdiff_t *low, const ptrdiff_t *high,
    ptrdiff_t count, FASTNN_OF(span) *sum, FASTNN_OF(span) *other, FASTNN_OF(span) *product) {
    FASTNN_FETCH(s->x + s->ahead, 0, 0);
    if (with_y) {
        FASTNN_FETCH(s->y + s->ahead, 0, 1);
        if (u0 == 0)
            sum[FASTNN_TURNED(0)] = bias;
    }
    if (with_other) {
        FASTNN_FETCH(s->other + s->ahead, 0, 0);
        if (u0 == 0)
            other[FASTNN_TURNED(0)] = FASTNN_OF(load_part)(s->other, count);
    }
    if (u1 - u0 == K || (s->row >= 0 && s->row < s->H))
        FASTNN_UNROLL for (int v = v0; v < v1; v++) {
            FASTNN_OF(span) value = FASTNN_OF(load_between)(s->x + v, low[v], high[v]);
            FASTNN_IN_REGISTER(value);
            FASTNN_UNROLL for (int u = u0; u < u1; u++) {
                if (with_y)
                    sum[FASTNN_TURNED(u)] += w[u * K + v] * value;
                if (with_other)
                    product[u * K + v] += other[FASTNN_TURNED(u)] * value;
            }
        }
    if (with_y && u1 == K)
        FASTNN_OF(store_part)(s->y, sum[FASTNN_TURNED(K - 1)], count);
    s->row++;
    s->x += s->W;
    FASTNN_ADDRESS(s->x);
    s->ahead += FASTNN_LANES - s->Q;
    FASTNN_ADDRESS(s->ahead);
    if (with_y) {
        s->y += s->Q;
        FASTNN_ADDRESS(s->y);
    }
    if (with_other) {
        s->other += s->Q;
        FASTNN_ADDRESS(s->other);
    }
}

/* K - 1 rows or more of results; columns v0 to v1 - 1 of the products, added to sums from the last one on: where the kernel is turned
   by 180 degrees, as for dx of dy, they are the weight gradient of the one that is not. Of tap v, lanes low[v] to high[v] - 1 count. */
#define FASTNN_ROW(turn, u0, u1) \
    FASTNN_OF(strip_row)(K, turn, u0, u1, v0, v1, with_y, with_other, w, start, &s, low, high, count, sum, other, product)
FASTNN_ALWAYS_INLINE void FASTNN_OF(strip_rows)(
    const int K, const int v0, const int v1, const int with_y, const int with_other, FASTNN_OF(strip) s,
    const FASTNN_REAL *weights, FASTNN_REAL bias, FASTNN_REAL *sums) {
    const FASTNN_OF(span) zero = {0}, start = bias - zero;
    FASTNN_OF(span) w[7 * 7], sum[7], other[7], product[7 * 7];
    ptrdiff_t low[7], high[7], rows = s.rows - (K - 1);
    const ptrdiff_t count = FASTNN_CLAMP(s.columns, 0);
    FASTNN_UNROLL for (int v = 0; v < K; v++) {
        low[v] = FASTNN_CLAMP(s.begin - v, 0);
        high[v] = FASTNN_CLAMP(s.end - v, low[v]);
        if (with_other)
            high[v] = high[v] < count ? high[v] : low[v] < count ? count : low[v];
    }
    _Pragma("GCC unroll 64") for (int t = 0; t < K * K; t++) {
        product[t] = zero;
        if (with_y)
            w[t] = weights[t] - zero;
    }
    FASTNN_UNROLL for (int u = 1; u < K; u++)
        FASTNN_ROW(u - 1, 0, u);
    for (; rows >= K; rows -= K)
        FASTNN_UNROLL for (int turn = K - 1; turn < 2 * K - 1; turn++)
            FASTNN_ROW(turn, 0, K);
    for (; rows > 0; rows--) {
        FASTNN_ROW(K - 1, 0, K);
        const FASTNN_OF(span) last_sum = sum[K - 1], last_other = other[K - 1];
        FASTNN_UNROLL for (int u = K - 1; u > 0; u--) {
            sum[u] = sum[u - 1];
            other[u] = other[u - 1];
        }
        sum[0] = last_sum;
        other[0] = last_other;
    }
    FASTNN_UNROLL for (int u = 1; u < K; u++)
        FASTNN_ROW(K - 2 + u, u, K);
    if (with_other)
        FASTNN_UNROLL for (int u = 0; u < K; u++)
            FASTNN_UNROLL for (int v = v0; v < v1; v++) {
                FASTNN_REAL *const to = sums + (K * K - 1 - u * K - v) * FASTNN_LANES;
                FASTNN_OF(store_between)(to, FASTNN_OF(load)(to) + product[u * K + v], low[v], high[v]);
            }
}
#undef FASTNN_ROW
#undef FASTNN_TURNED

/* STEP columns of products at a time, so that their sums fit into the registers. */
#define FASTNN_DEFINE_STRIP(name, K, STEP, with_y, with_other)                                                                   \
    static void FASTNN_OF(name)(const FASTNN_OF(strip) *s, const FASTNN_REAL *weights, FASTNN_REAL bias, FASTNN_REAL *sums) {    \
        FASTNN_UNROLL for (int v = 0; v < K; v += (STEP))                                                                        \
            FASTNN_OF(strip_rows)(K, v, v + (STEP) < K ? v + (STEP) : K, with_y, with_other, *s, weights, bias, sums);           \
    }

FASTNN_DEFINE_STRIP(strip_3, 3, 3, 1, 0)
FASTNN_DEFINE_STRIP(strip_products_3, 3, 3, 0, 1)
FASTNN_DEFINE_STRIP(strip_both_3, 3, 3, 1, 1)
FASTNN_DEFINE_STRIP(strip_5, 5, 5, 1, 0)
FASTNN_DEFINE_STRIP(strip_products_5, 5, FASTNN_STRIP_BOTH ? 5 : 2, 0, 1)
FASTNN_DEFINE_STRIP(strip_7, 7, 7, 1, 0)
FASTNN_DEFINE_STRIP(strip_products_7, 7, FASTNN_STRIP_BOTH ? 3 : 1, 0, 1)
#undef FASTNN_DEFINE_STRIP

#endif

/* Rows `first` to `last` of the results of a plane in the strip from column q on, where y is given; sums[K K vectors] += products,
   where `other` is. What is worked on next lies `lead` elements ahead of the strip's first one. */
static inline void FASTNN_OF(plane_strip)(
    ptrdiff_t K, const FASTNN_REAL *w, FASTNN_REAL bias, const FASTNN_REAL *x, ptrdiff_t H, ptrdiff_t W, ptrdiff_t top,
    ptrdiff_t left, FASTNN_REAL *y, const FASTNN_REAL *other, ptrdiff_t Q, ptrdiff_t first, ptrdiff_t last, ptrdiff_t q, ptrdiff_t lead,
    FASTNN_REAL *sums) {
#if defined(__AVX2__)
    typedef void (*strip)(const FASTNN_OF(strip) *, const FASTNN_REAL *, FASTNN_REAL, FASTNN_REAL *);
    static const strip results[3] = {FASTNN_OF(strip_3), FASTNN_OF(strip_5), FASTNN_OF(strip_7)};
    static const strip products[3] = {FASTNN_OF(strip_products_3), FASTNN_OF(strip_products_5), FASTNN_OF(strip_products_7)};
    const FASTNN_OF(strip) s = {
        x + (first - top) * W + q - left, y ? y + (first - K + 1) * Q + q : y, other ? other + first * Q + q : other,
        last - first, first - top, H, W, Q, left - q, left - q + W, Q - q, lead + q * (last - first - 1)};
    if (FASTNN_STRIP_BOTH && K == 3 && y && other) {
        FASTNN_OF(strip_both_3)(&s, w, bias, sums);
        return;
    }
    if (y)
        results[(K - 3) / 2](&s, w, bias, sums);
    if (other)
        products[(K - 3) / 2](&s, w, bias, sums);
#endif
}

#endif
