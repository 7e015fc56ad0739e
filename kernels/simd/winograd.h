/* Winograd's minimal filtering for 3x3 kernels: m x m outputs from a window of m + 2 by m + 2, m = 2 or 4, with (m + 2)^2 products.

   y = A^T [(G w G^T) * (B^T x B)] A

   Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016). Every lane of a vector is a tile of its own, or, for
   the weights, an output channel, so that nothing is ever transposed but the weights. The file includes itself once for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_WINOGRAD_H
#define FASTNN_WINOGRAD_H

#include "padded_rows.h"
#include "winograd_weights.h"

#define FASTNN_WINOGRAD_VECTORS 3 /* of a register tile */
#define FASTNN_WINOGRAD_CHUNK 64  /* products summed in a row before they join the others: the error of a long float32 sum */

/* Neighbouring tiles of a row, at most as many as a vector has lanes. */
typedef struct {
    ptrdiff_t phase, row, column;     /* of the first tile; phases are counted over the images */
    ptrdiff_t image, p, q;            /* of its first output */
    ptrdiff_t panel, vectors, lane;   /* where its panel begins, how wide it is, and the first tile's lane in it */
    ptrdiff_t source, target;         /* in the phases of the input, in the first channel of the output */
    ptrdiff_t rows, columns;          /* how many outputs of the tiles exist */
} fastnn_tiles;

/* Lanes 0, L, 1, L + 1, ... of a pair of vectors, and the rest of them. */
#define FASTNN_ZIP_LOW(j, s, L) ((j) & 1 ? (L) + (j) / 2 : (j) / 2)
#define FASTNN_ZIP_HIGH(j, s, L) ((L) / 2 + FASTNN_ZIP_LOW(j, s, L))

#define FASTNN_ZIP__(lanes, pick) FASTNN_LANES_##lanes(pick, 0, lanes)
#define FASTNN_ZIP_(lanes, pick) FASTNN_ZIP__(lanes, pick)
#define FASTNN_ZIP(pick) FASTNN_ZIP_(FASTNN_LANES, pick)

#define FASTNN_TEMPLATE "winograd.h"
#include "dtypes.h"

#endif
#else

/* d[0], d[step], ... = B^T of them. */
FASTNN_INLINE void FASTNN_OF(winograd_input_line)(int m, FASTNN_OF(span) *d, int step) {
    const FASTNN_OF(span) a = d[0], b = d[step], c = d[2 * step], e = d[3 * step];
    if (m == 2) {
        d[0] = a - c;
        d[step] = b + c;
        d[2 * step] = c - b;
        d[3 * step] = b - e;
    } else {
        const FASTNN_OF(span) f = d[4 * step], g = d[5 * step];
        const FASTNN_OF(span) even = f - 4 * c, odd = e - 4 * b, even2 = f - c, odd2 = 2 * (e - b);
        d[0] = 4 * a - 5 * c + f;
        d[step] = even + odd;
        d[2 * step] = even - odd;
        d[3 * step] = even2 + odd2;
        d[4 * step] = even2 - odd2;
        d[5 * step] = 4 * b - 5 * e + g;
    }
}

/* y[0], y[step], ... = A^T of m + 2 products. */
FASTNN_INLINE void FASTNN_OF(winograd_output_line)(int m, const FASTNN_OF(span) *p, int p_step, FASTNN_OF(span) *y, int step) {
    const FASTNN_OF(span) sum = p[p_step] + p[2 * p_step], difference = p[p_step] - p[2 * p_step];
    if (m == 2) {
        y[0] = p[0] + sum;
        y[step] = difference - p[3 * p_step];
    } else {
        const FASTNN_OF(span) sum2 = p[3 * p_step] + p[4 * p_step], difference2 = p[3 * p_step] - p[4 * p_step];
        y[0] = p[0] + sum + sum2;
        y[step] = difference + 2 * difference2;
        y[2 * step] = sum + 4 * sum2;
        y[3 * step] = difference + 8 * difference2 + p[5 * p_step];
    }
}

/* target[phase * width + t] = row[4 t + phase] for t < width, zero where that is not in begin to end - 1. */
static void FASTNN_OF(winograd_row)(FASTNN_REAL *target, ptrdiff_t width, const FASTNN_REAL *row, ptrdiff_t begin, ptrdiff_t end) {
    enum { lanes = FASTNN_LANES };
    for (ptrdiff_t t = 0; t < width; t += lanes) {
        FASTNN_OF(span) part[4], even[2], odd[2];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            part[i] = FASTNN_OF(load_inside)(row, 4 * t + i * lanes, begin, end);
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            even[i] = FASTNN_SHUFFLE(part[2 * i], part[2 * i + 1], FASTNN_EVEN(FASTNN_LANES));
            odd[i] = FASTNN_SHUFFLE(part[2 * i], part[2 * i + 1], FASTNN_ODD(FASTNN_LANES));
        }
        FASTNN_OF(store_row)(target, t, width, FASTNN_SHUFFLE(even[0], even[1], FASTNN_EVEN(FASTNN_LANES)));
        FASTNN_OF(store_row)(target + width, t, width, FASTNN_SHUFFLE(odd[0], odd[1], FASTNN_EVEN(FASTNN_LANES)));
        FASTNN_OF(store_row)(target + 2 * width, t, width, FASTNN_SHUFFLE(even[0], even[1], FASTNN_ODD(FASTNN_LANES)));
        FASTNN_OF(store_row)(target + 3 * width, t, width, FASTNN_SHUFFLE(odd[0], odd[1], FASTNN_ODD(FASTNN_LANES)));
    }
}

/* The same of many rows, of which first to last - 1 exist. */
static void FASTNN_OF(winograd_rows)(int m, FASTNN_REAL *target, ptrdiff_t width, ptrdiff_t rows, const FASTNN_REAL *source,
                                     ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, ptrdiff_t begin, ptrdiff_t end) {
    if (m == 2) {
        FASTNN_OF(fill_phases)(target, width, 2 * width, rows, width, source, row, first, last, begin, end);
        return;
    }
    for (ptrdiff_t r = 0; r < rows; r++, target += 4 * width)
        if (r < first || r >= last)
            memset(target, 0, 4 * width * sizeof(FASTNN_REAL));
        else
            FASTNN_OF(winograd_row)(target, width, source + r * row, begin, end);
}

/* The windows of `count` neighbouring tiles of one channel: v[xi * stride + tile], xi in rows of m + 2. The rows of the input are split
   into m phases (columns 0, m, 2 m, ...; 1, m + 1, ...) that lie `phase` apart. */
FASTNN_INLINE void FASTNN_OF(winograd_input_of)(int m, const FASTNN_REAL *x, ptrdiff_t pitch, ptrdiff_t phase, FASTNN_REAL *v,
                                                ptrdiff_t stride) {
    FASTNN_OF(span) d[FASTNN_WINOGRAD_WINDOW * FASTNN_WINOGRAD_WINDOW];
    const int n = m + 2;
#pragma GCC unroll 6
    for (int r = 0; r < n; r++)
#pragma GCC unroll 6
        for (int s = 0; s < n; s++)
            d[r * n + s] = FASTNN_OF(load)(x + r * pitch + s % m * phase + s / m);
#pragma GCC unroll 6
    for (int s = 0; s < n; s++)
        FASTNN_OF(winograd_input_line)(m, d + s, n);
#pragma GCC unroll 6
    for (int r = 0; r < n; r++) {
        FASTNN_OF(winograd_input_line)(m, d + r * n, 1);
#pragma GCC unroll 6
        for (int s = 0; s < n; s++)
            *(FASTNN_OF(span) *)(v + (r * n + s) * stride) = d[r * n + s];
    }
}

/* Two functions: in one, GCC shares the loads of both, and spills for both. */
static __attribute__((noinline)) void FASTNN_OF(winograd_input_2)(const FASTNN_REAL *x, ptrdiff_t pitch, ptrdiff_t phase, FASTNN_REAL *v,
                                                                  ptrdiff_t stride) {
    FASTNN_OF(winograd_input_of)(2, x, pitch, phase, v, stride);
}

static __attribute__((noinline)) void FASTNN_OF(winograd_input_4)(const FASTNN_REAL *x, ptrdiff_t pitch, ptrdiff_t phase, FASTNN_REAL *v,
                                                                  ptrdiff_t stride) {
    FASTNN_OF(winograd_input_of)(4, x, pitch, phase, v, stride);
}

static inline void FASTNN_OF(winograd_input)(int m, const FASTNN_REAL *x, ptrdiff_t pitch, ptrdiff_t phase, FASTNN_REAL *v,
                                             ptrdiff_t stride) {
    if (m == 2)
        FASTNN_OF(winograd_input_2)(x, pitch, phase, v, stride);
    else
        FASTNN_OF(winograd_input_4)(x, pitch, phase, v, stride);
}

/* p[row i][vector j] = or += sum over k of u[k][i] v[k][j], for R rows of a slab of FASTNN_WINOGRAD_SLAB. */
#define FASTNN_DEFINE_WINOGRAD_TILE(R, J)                                                                                        \
    static void FASTNN_OF(winograd_tile_##J)(ptrdiff_t depth, const FASTNN_REAL *u, const FASTNN_REAL *v, FASTNN_REAL *p,        \
                                             int add) {                                                                          \
        enum { lanes = FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL) };                                                                \
        FASTNN_OF(span) sum[R][J];                                                                                               \
        _Pragma("GCC unroll 16") for (int i = 0; i < R; i++)                                                                     \
            _Pragma("GCC unroll 3") for (int j = 0; j < J; j++)                                                                  \
                sum[i][j] = (FASTNN_OF(span)){0};                                                                                \
        for (ptrdiff_t k = 0; k < depth; k++, u += FASTNN_WINOGRAD_SLAB, v += J * lanes) {                                       \
            FASTNN_OF(span) right[J];                                                                                            \
            _Pragma("GCC unroll 3") for (int j = 0; j < J; j++)                                                                  \
                right[j] = FASTNN_OF(load)(v + j * lanes);                                                                       \
            _Pragma("GCC unroll 16") for (int i = 0; i < R; i++)                                                                 \
                _Pragma("GCC unroll 3") for (int j = 0; j < J; j++)                                                              \
                    sum[i][j] += u[i] * right[j];                                                                                \
        }                                                                                                                        \
        _Pragma("GCC unroll 16") for (int i = 0; i < R; i++)                                                                     \
            _Pragma("GCC unroll 3") for (int j = 0; j < J; j++) {                                                                \
                FASTNN_OF(span) *const to = (FASTNN_OF(span) *)(p + (i * J + j) * lanes);                                        \
                if (add)                                                                                                         \
                    sum[i][j] += *to;                                                                                            \
                *to = sum[i][j];                                                                                                 \
            }                                                                                                                    \
    }

FASTNN_DEFINE_WINOGRAD_TILE(FASTNN_WINOGRAD_SLAB, 1)
FASTNN_DEFINE_WINOGRAD_TILE(FASTNN_WINOGRAD_ROWS, 2)
FASTNN_DEFINE_WINOGRAD_TILE(FASTNN_WINOGRAD_ROWS, 3)
#undef FASTNN_DEFINE_WINOGRAD_TILE

/* All rows of a slab, chunk by chunk: the windows of a chunk stay in L1 for all of its tiles. Those of one vector are one tile, whose sums
   would otherwise be too few to hide the time that each takes. */
static inline void FASTNN_OF(winograd_tiles)(ptrdiff_t vectors, ptrdiff_t depth, const FASTNN_REAL *u, const FASTNN_REAL *v,
                                             FASTNN_REAL *p) {
    enum { lanes = FASTNN_SPAN_BYTES / sizeof(FASTNN_REAL) };
    for (ptrdiff_t done = 0; done < depth; done += FASTNN_WINOGRAD_CHUNK) {
        const ptrdiff_t chunk = depth - done < FASTNN_WINOGRAD_CHUNK ? depth - done : FASTNN_WINOGRAD_CHUNK;
        const FASTNN_REAL *const weights = u + done * FASTNN_WINOGRAD_SLAB, *const windows = v + done * vectors * lanes;
        if (vectors == 1)
            FASTNN_OF(winograd_tile_1)(chunk, weights, windows, p, done > 0);
        else
            for (ptrdiff_t i = 0; i < FASTNN_WINOGRAD_SLAB; i += FASTNN_WINOGRAD_ROWS)
                if (vectors == 2)
                    FASTNN_OF(winograd_tile_2)(chunk, weights + i, windows, p + i * 2 * lanes, done > 0);
                else
                    FASTNN_OF(winograd_tile_3)(chunk, weights + i, windows, p + i * 3 * lanes, done > 0);
    }
}

FASTNN_INLINE FASTNN_OF(span) FASTNN_OF(zip_low)(FASTNN_OF(span) a, FASTNN_OF(span) b) {
    return FASTNN_SHUFFLE(a, b, FASTNN_ZIP(FASTNN_ZIP_LOW));
}

FASTNN_INLINE FASTNN_OF(span) FASTNN_OF(zip_high)(FASTNN_OF(span) a, FASTNN_OF(span) b) {
    return FASTNN_SHUFFLE(a, b, FASTNN_ZIP(FASTNN_ZIP_HIGH));
}

/* The outputs of one vector of tiles, of which so many count, for those of the runs that lie in it; `place` is its first lane, and outputs
   of a row lie `step` apart. Returns a vector of zeros, but NaN in the lane of a tile whose outputs are not all finite. */
FASTNN_INLINE FASTNN_OF(span) FASTNN_OF(winograd_output_vector)(int m, const FASTNN_REAL *p, ptrdiff_t stride, FASTNN_REAL bias,
                                                                FASTNN_REAL *y, ptrdiff_t pitch, const int step, const fastnn_tiles *run,
                                                                ptrdiff_t runs, ptrdiff_t place, ptrdiff_t count) {
    enum { lanes = FASTNN_LANES };
    FASTNN_OF(span) products[FASTNN_WINOGRAD_WINDOW], t[FASTNN_WINOGRAD_WINDOW * 4], line[4], zero = {0};
    const int n = m + 2;
#pragma GCC unroll 6
    for (int s = 0; s < n; s++) {
#pragma GCC unroll 6
        for (int r = 0; r < n; r++)
            products[r] = FASTNN_OF(load)(p + (r * n + s) * stride);
        FASTNN_OF(winograd_output_line)(m, products, 1, t + s, n);
    }
#pragma GCC unroll 4
    for (int r = 0; r < m; r++) {
        FASTNN_OF(winograd_output_line)(m, t + r * n, 1, line, 1);
#pragma GCC unroll 4
        for (int s = 0; s < m; s++) {
            line[s] += bias;
            zero += 0 * line[s];
        }
        if (m == 4) {
            const FASTNN_OF(span) even = FASTNN_OF(zip_low)(line[0], line[2]), odd = FASTNN_OF(zip_low)(line[1], line[3]);
            const FASTNN_OF(span) even2 = FASTNN_OF(zip_high)(line[0], line[2]), odd2 = FASTNN_OF(zip_high)(line[1], line[3]);
            line[0] = FASTNN_OF(zip_low)(even, odd);
            line[1] = FASTNN_OF(zip_high)(even, odd);
            line[2] = FASTNN_OF(zip_low)(even2, odd2);
            line[3] = FASTNN_OF(zip_high)(even2, odd2);
        } else {
            const FASTNN_OF(span) even = line[0];
            line[0] = FASTNN_OF(zip_low)(even, line[1]);
            line[1] = FASTNN_OF(zip_high)(even, line[1]);
        }
        for (ptrdiff_t k = 0; k < runs; k++) {
            const ptrdiff_t begin = (run[k].lane - place) * m;
            if (begin >= m * lanes)
                break;
            if (r >= run[k].rows)
                continue;
#pragma GCC unroll 4
            for (int s = 0; s < m; s++) {
                const ptrdiff_t at = begin - s * lanes, low = FASTNN_CLAMP(at, 0), high = FASTNN_CLAMP(at + run[k].columns, low);
                FASTNN_REAL *const to = y + run[k].target + r * pitch - at * step;
                if (step > 1)
                    FASTNN_OF(spread)(to, line[s], low, high, step);
                else if (high - low == lanes)
                    *(FASTNN_OF(span) *)to = line[s];
                else if (high > low)
                    FASTNN_OF(store_between)(to, line[s], low, high);
            }
        }
    }
    return FASTNN_OF(keep)(zero, count);
}

/* The outputs of one channel for the runs of a panel. Returns zero, or NaN where they are not all finite. */
FASTNN_INLINE FASTNN_REAL FASTNN_OF(winograd_output_of)(int m, const FASTNN_REAL *p, ptrdiff_t stride, FASTNN_REAL bias, FASTNN_REAL *y,
                                                        ptrdiff_t pitch, const int step, const fastnn_tiles *run, ptrdiff_t runs) {
    const ptrdiff_t tiles = run[runs - 1].lane + (run[runs - 1].columns + m - 1) / m;
    FASTNN_OF(span) zero = {0};
    for (ptrdiff_t place = 0; place < tiles; place += FASTNN_LANES) {
        while ((run->lane - place) * m + run->columns <= 0) {
            run++;
            runs--;
        }
        zero += FASTNN_OF(winograd_output_vector)(m, p + place, stride, bias, y, pitch, step, run, runs, place,
                                                  FASTNN_CLAMP(tiles - place, 0));
    }
    return FASTNN_OF(fold)(zero);
}

static FASTNN_REAL FASTNN_OF(winograd_output)(int m, const FASTNN_REAL *p, ptrdiff_t stride, FASTNN_REAL bias, FASTNN_REAL *y,
                                              ptrdiff_t pitch, ptrdiff_t step, const fastnn_tiles *run, ptrdiff_t runs) {
    if (step == 2)
        return FASTNN_OF(winograd_output_of)(2, p, stride, bias, y, pitch, 2, run, runs);
    if (m == 2)
        return FASTNN_OF(winograd_output_of)(2, p, stride, bias, y, pitch, 1, run, runs);
    return FASTNN_OF(winograd_output_of)(4, p, stride, bias, y, pitch, 1, run, runs);
}

#endif
