/* Planes of windows, row by row and one vector of windows after the other. Part of pooling.h, which includes it after pooling_lanes.h. */

/* What is known of a vector of windows so far. */
typedef struct {
    REALS best; /* or the sum */
    INTEGERS where;
} NAME(windows);

/* One more element of each. NaN is larger than everything, and the later of two; the first of other equals stays. */
FASTNN_POOL_INLINE void NAME(take)(REALS v, INTEGERS position, fastnn_pool_mode mode, NAME(windows) *windows) {
    if (mode == FASTNN_POOL_MEAN) {
        windows->best += v;
        return;
    }
#ifdef FASTNN_POOL_MASKS
    const MASK kept = MM512(mask_cmp, _mask)(MM512(cmp, _mask)(v, v, _CMP_ORD_Q), v, windows->best, _CMP_NGT_UQ);
    windows->best = (REALS)MM512(mask_mov, )(v, kept, windows->best);
    if (mode == FASTNN_POOL_ARGMAX)
        windows->where = (INTEGERS)MM512I(mask_mov, )((__m512i)position, kept, (__m512i)windows->where);
#else
    const INTEGERS taken = (v > windows->best) | (v != v);
    windows->best = (REALS)((taken & (INTEGERS)v) | (~taken & (INTEGERS)windows->best));
    if (mode == FASTNN_POOL_ARGMAX)
        windows->where = (taken & position) | (~taken & windows->where);
#endif
}

/* The columns first <= n < last of a row, for windows that start at ``at`` + lane stride; row[lane stride] is at ``position``. */
FASTNN_POOL_INLINE void NAME(take_row)(
    const REAL *row, ptrdiff_t size, ptrdiff_t first, ptrdiff_t last, ptrdiff_t at, fastnn_strides columns, INTEGERS position,
    fastnn_pool_mode mode, int edge, NAME(windows) *windows) {
    const REAL outside = mode == FASTNN_POOL_MEAN ? 0 : -(REAL)INFINITY;
    for (ptrdiff_t n = first; n < last; n++) {
        const ptrdiff_t w = at + n * columns.dilation;
        REALS v;
        if (columns.stride == 2) {
            const REALS left = NAME(load)(row + w, edge, NAME(fence_at)(w, size), outside);
            const REALS right = NAME(load)(row + w + LANES, edge, NAME(fence_at)(w + LANES, size), outside);
            NAME(take)(SHUFFLE(left, right, EVEN), position + (INTEGER)w, mode, windows);
            if (columns.dilation == 1 && n + 1 < last) {
                NAME(take)(SHUFFLE(left, right, ODD), position + (INTEGER)(w + 1), mode, windows);
                n++;
            }
            continue;
        }
        if (columns.stride == 1)
            v = NAME(load)(row + w, edge, NAME(fence_at)(w, size), outside);
        else
            FASTNN_POOL_UNROLL for (int l = 0; l < LANES; l++) {
                const ptrdiff_t column = w + l * columns.stride;
                v[l] = !edge || (column >= 0 && column < size) ? row[column] : outside;
            }
        NAME(take)(v, position + (INTEGER)w, mode, windows);
    }
}

/* The position of the first element inside, for windows where it is negative: they have nothing larger than -inf. */
static INTEGERS NAME(first_inside)(
    INTEGERS where, ptrdiff_t size, ptrdiff_t rows, ptrdiff_t at, fastnn_strides columns, ptrdiff_t position) {
    for (int l = 0; l < LANES && rows > 0; l++, at += columns.stride) {
        const ptrdiff_t n = at < 0 ? (columns.dilation - 1 - at) / columns.dilation : 0;
        if (where[l] < 0 && n < columns.kernel && at + n * columns.dilation < size)
            where[l] = (INTEGER)(position + at + n * columns.dilation);
    }
    return where;
}

/* The means of windows of which some have a float32 sum that is not finite. */
static REALS NAME(means_in_double)(
    const REAL *row, ptrdiff_t pitch, ptrdiff_t size, ptrdiff_t rows, ptrdiff_t at, fastnn_strides columns, const double *divisors,
    double divisor) {
    REALS means = {0};
    for (int l = 0; l < LANES; l++, at += columns.stride) {
        double sum = 0;
        for (ptrdiff_t m = 0; m < rows; m++)
            for (ptrdiff_t w = at < 0 ? 0 : at; w < at + columns.kernel && w < size; w++)
                sum += row[m * pitch + w];
        means[l] = (REAL)(sum / (divisors[l] * divisor));
    }
    return means;
}

/* The column weights of a vector of windows. */
FASTNN_POOL_INLINE REALS NAME(weights)(const double *weights) {
    return __builtin_convertvector(*(const NAME(weights64) *)weights, REALS);
}

/* The windows (i, j + lane); those of row i have the rows above <= m < below inside, from x[start] on. ``single`` says that a row has no
   more than LANES windows. */
FASTNN_POOL_INLINE void NAME(block)(
    const REAL *x, REAL *y, char *indices, int bytes, fastnn_pooling p, fastnn_strides columns, ptrdiff_t i, ptrdiff_t j,
    ptrdiff_t rows, ptrdiff_t start, REALS divisors, fastnn_pool_mode mode, int single, int edge) {
    const INTEGERS lane = {FASTNN_JOIN(FASTNN_POOL_COUNT_, LANES)}, step = lane * (INTEGER)columns.stride;
    const ptrdiff_t at = j * columns.stride - columns.padding, count = single ? p.OW : LANES;
    const FENCE counted = NAME(fence_at)(0, count);
    const ptrdiff_t pitch = p.rows.dilation * p.W, reach = at + (columns.kernel - 1) * columns.dilation;
    ptrdiff_t first = 0, last = columns.kernel;
    if (edge && columns.kernel > 3) { /* of a window much larger than the row only what is inside for some lane */
        const ptrdiff_t rightmost = at + (LANES - 1) * columns.stride;
        first = rightmost < 0 ? (columns.dilation - 1 - rightmost) / columns.dilation : 0;
        last = reach < p.W ? last : (p.W - at + columns.dilation - 1) / columns.dilation;
    }
    NAME(windows) windows = {(REALS){0} - (mode == FASTNN_POOL_MEAN ? 0 : (REAL)INFINITY), lane < (INTEGER)count};
    for (ptrdiff_t m = 0, position = start; m < rows; m++, position += pitch)
        NAME(take_row)(x + position, p.W, first, last, at, columns, step + (INTEGER)position, mode, edge, &windows);
    if (mode == FASTNN_POOL_MEAN) {
        const int overflow = sizeof(REAL) == sizeof(float) && NAME(any)(windows.best - windows.best != 0);
        windows.best /= divisors * (REAL)p.row_weights[i];
        if (overflow)
            windows.best = NAME(means_in_double)(x + start, pitch, p.W, rows, at, columns, p.column_weights + j, p.row_weights[i]);
    }
    if (y)
        NAME(store)(y + i * p.OW + j, single, counted, windows.best);
    if (mode == FASTNN_POOL_ARGMAX) {
        if (NAME(any)(windows.where))
            windows.where = NAME(first_inside)(windows.where, p.W, rows, at, columns, start);
        NAME(store_indices)(indices + (i * p.OW + j) * bytes, bytes, single, counted, count, windows.where);
    }
}

FASTNN_POOL_INLINE void NAME(rows)(
    const REAL *x, REAL *y, char *indices, int bytes, fastnn_pooling p, fastnn_strides columns, fastnn_pool_mode mode, int single) {
    const fastnn_strides rows = p.rows;
    const REALS divisors = mode == FASTNN_POOL_MEAN ? NAME(weights)(p.column_weights) : (REALS){0};
    for (ptrdiff_t i = 0; i < p.OH; i++) {
        const ptrdiff_t top = i * rows.stride - rows.padding, reach = top + (rows.kernel - 1) * rows.dilation;
        const ptrdiff_t above = top < 0 ? (rows.dilation - 1 - top) / rows.dilation : 0;
        const ptrdiff_t below = reach < p.H ? rows.kernel : (p.H - top + rows.dilation - 1) / rows.dilation;
        const ptrdiff_t start = (top + above * rows.dilation) * p.W;
        FASTNN_POOL_FETCH(x + i * rows.stride * p.W, rows.stride * p.W, 0);
        if (y)
            FASTNN_POOL_FETCH(y + i * p.OW, p.OW, 1);
        for (ptrdiff_t j = 0; j < (single ? 1 : p.OW); j += LANES) {
            j = single || j + LANES <= p.OW ? j : p.OW - LANES; /* some windows twice rather than half a vector */
            const ptrdiff_t at = j * columns.stride - columns.padding;
            const REALS column_divisors = mode == FASTNN_POOL_MEAN && !single ? NAME(weights)(p.column_weights + j) : divisors;
            if (single || at < 0 || at + (columns.kernel - 1) * columns.dilation + LANES * columns.stride > p.W)
                NAME(block)(x, y, indices, bytes, p, columns, i, j, below - above, start, column_divisors, mode, single, 1);
            else
                NAME(block)(x, y, indices, bytes, p, columns, i, j, below - above, start, column_divisors, mode, 0, 0);
        }
    }
}

/* A plane; ``mode`` says what is computed. ``y`` may be NULL where positions are wanted. */
static void NAME(plane)(const REAL *x, REAL *y, char *indices, int bytes, const fastnn_pooling *p, fastnn_pool_mode mode) {
    const fastnn_strides columns = p->columns;
    const int dense = columns.dilation == 1;
#define ROWS(mode, ...)                                                                                                \
    if (p->OW <= LANES)                                                                                                \
        NAME(rows)(x, y, indices, bytes, *p, (fastnn_strides){__VA_ARGS__}, mode, 1);                                  \
    else                                                                                                               \
        NAME(rows)(x, y, indices, bytes, *p, (fastnn_strides){__VA_ARGS__}, mode, 0);
#define MODES(...)                                                                                                     \
    if (mode == FASTNN_POOL_MEAN) {                                                                                    \
        ROWS(FASTNN_POOL_MEAN, __VA_ARGS__)                                                                            \
    } else if (mode == FASTNN_POOL_MAX) {                                                                              \
        ROWS(FASTNN_POOL_MAX, __VA_ARGS__)                                                                             \
    } else {                                                                                                           \
        ROWS(FASTNN_POOL_ARGMAX, __VA_ARGS__)                                                                          \
    }
    if (columns.kernel == 2 && columns.stride == 2 && dense) {
        MODES(2, 2, columns.padding, 1)
    } else if (columns.kernel == 3 && columns.stride == 2 && dense) {
        MODES(3, 2, columns.padding, 1)
    } else if (columns.stride == 2) {
        MODES(columns.kernel, 2, columns.padding, columns.dilation)
    } else if (columns.stride == 1) {
        MODES(columns.kernel, 1, columns.padding, columns.dilation)
    } else {
        MODES(columns.kernel, columns.stride, columns.padding, columns.dilation)
    }
#undef MODES
#undef ROWS
}

/* The gradient of means for row h and, for each lane, the columns from the start of window j + lane to the next one's. The windows that
   cover an element are in the rows first <= i < last, and there they are the last few that start no later. */
FASTNN_POOL_INLINE void NAME(gradient_block)(
    const REAL *dy, REAL *dx, fastnn_pooling p, fastnn_strides columns, ptrdiff_t h, ptrdiff_t j, ptrdiff_t first, ptrdiff_t last, int edge) {
    const ptrdiff_t kernel = columns.kernel, stride = columns.stride, at = j * stride - columns.padding;
    const FENCE left = NAME(fence_at)(at, p.W), right = NAME(fence_at)(at + LANES, p.W);
    REALS sum[2] = {{0}, {0}};
    for (ptrdiff_t i = first; i < last; i++)
        for (ptrdiff_t reached = 0; reached < kernel; reached += stride) {
            const ptrdiff_t window = j - reached / stride;
            const REALS value = NAME(load)(dy + i * p.OW + window, edge, NAME(fence_at)(window, p.OW), 0);
            const REALS share = value * (NAME(weights)(p.column_weights + window) * (REAL)p.row_weights[i]);
            for (ptrdiff_t n = 0; n < stride && reached + n < kernel; n++)
                sum[n] += share;
        }
    if (stride == 1)
        NAME(store)(dx + h * p.W + at, edge, left, sum[0]);
    else {
        NAME(store)(dx + h * p.W + at, edge, left, SHUFFLE(sum[0], sum[1], LOW));
        NAME(store)(dx + h * p.W + at + LANES, edge, right, SHUFFLE(sum[0], sum[1], HIGH));
    }
}

FASTNN_POOL_INLINE void NAME(gradient_rows)(const REAL *dy, REAL *dx, fastnn_pooling p, fastnn_strides columns, int single) {
    const ptrdiff_t stride = columns.stride, count = (p.W + columns.padding + stride - 1) / stride;
    ptrdiff_t first = 0, last = 0, begin = -p.rows.padding, end = begin + p.rows.kernel; /* of windows last and first */
    for (ptrdiff_t h = 0; h < p.H; h++) {
        for (; end <= h; first++)
            end += p.rows.stride;
        for (; begin <= h && last < p.OH; last++) {
            begin += p.rows.stride;
            FASTNN_POOL_FETCH(dy + last * p.OW, p.OW, 0);
        }
        FASTNN_POOL_FETCH(dx + h * p.W, p.W, 1);
        for (ptrdiff_t j = 0; j < (single ? 1 : count); j += LANES) {
            j = single || j + LANES <= count ? j : count - LANES;
            const ptrdiff_t at = j * stride - columns.padding;
            if (single || at < 0 || at + LANES * stride > p.W || j < (columns.kernel - 1) / stride || j + LANES > p.OW)
                NAME(gradient_block)(dy, dx, p, columns, h, j, first, last, 1);
            else
                NAME(gradient_block)(dy, dx, p, columns, h, j, first, last, 0);
        }
    }
}

/* The gradient of the means of a plane, for a stride of 1 or 2. */
static void NAME(gradient_plane)(const REAL *dy, REAL *dx, const fastnn_pooling *p) {
    const ptrdiff_t kernel = p->columns.kernel, stride = p->columns.stride, padding = p->columns.padding;
#define ROWS(kernel, stride)                                                                                           \
    if (padding + p->W <= LANES * stride)                                                                              \
        NAME(gradient_rows)(dy, dx, *p, (fastnn_strides){kernel, stride, padding, 1}, 1);                              \
    else                                                                                                               \
        NAME(gradient_rows)(dy, dx, *p, (fastnn_strides){kernel, stride, padding, 1}, 0);
    if (kernel == 2 && stride == 2) {
        ROWS(2, 2)
    } else if (kernel == 3 && stride == 2) {
        ROWS(3, 2)
    } else if (stride == 2) {
        ROWS(kernel, 2)
    } else {
        ROWS(kernel, 1)
    }
#undef ROWS
}
