/* Blocks of windows: one vector wide, any number of rows high. Part of pooling.h, which includes it after pooling_lanes.h. */

/* What is known of a vector of windows so far. */
typedef struct {
    REALS best;
    INTEGERS where;
    SUMS sum;
} NAME(windows);

/* One more element of each. NaN is larger than everything, and the later of two; the first of other equals stays. */
FASTNN_POOL_INLINE void NAME(take)(REALS v, INTEGERS position, fastnn_pool_mode mode, NAME(windows) *windows) {
    if (mode == FASTNN_POOL_MEAN) {
        windows->sum += __builtin_convertvector(v, SUMS);
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

/* The columns first <= n < last of a row, of windows that start at ``at`` + lane stride; ``position`` is that of row[0] + lane stride. */
FASTNN_POOL_INLINE void NAME(take_row)(
    const REAL *row, ptrdiff_t size, ptrdiff_t first, ptrdiff_t last, ptrdiff_t at, fastnn_strides columns, INTEGERS position, fastnn_pool_mode mode,
    int edge, NAME(windows) *windows) {
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
FASTNN_POOL_INLINE INTEGERS NAME(first_inside)(
    INTEGERS where, ptrdiff_t size, ptrdiff_t rows, ptrdiff_t at, fastnn_strides columns, ptrdiff_t position) {
#ifdef FASTNN_POOL_MASKS
    if (!MM512I(cmplt, _mask)((__m512i)where, _mm512_setzero_si512()))
        return where;
#endif
    for (int l = 0; l < LANES && rows > 0; l++, at += columns.stride) {
        const ptrdiff_t n = at < 0 ? (columns.dilation - 1 - at) / columns.dilation : 0;
        if (where[l] < 0 && n < columns.kernel && at + n * columns.dilation < size)
            where[l] = (INTEGER)(position + at + n * columns.dilation);
    }
    return where;
}

/* The windows i0 <= i < i1, j <= j + lane < OW. */
FASTNN_POOL_INLINE void NAME(block)(
    const REAL *x, REAL *y, char *indices, int bytes, fastnn_pooling p, ptrdiff_t i0, ptrdiff_t i1, ptrdiff_t j, fastnn_pool_mode mode, int fixed,
    int edge) {
    const fastnn_strides rows = p.rows, columns = p.columns;
    const INTEGERS lane = {FASTNN_JOIN(FASTNN_COUNT_, LANES)};
    const ptrdiff_t at = j * columns.stride - columns.padding, count = p.OW - j < LANES ? p.OW - j : LANES;
    const FENCE counted = NAME(fence_at)(j, p.OW);
    const SUMS weights = mode == FASTNN_POOL_MEAN ? *(const SUMS *)(p.column_weights + j) : (SUMS){0};
    ptrdiff_t first = 0, last = columns.kernel;
    if (!fixed && edge) { /* of a window much larger than the row only what is inside for some lane */
        const ptrdiff_t rightmost = at + (LANES - 1) * columns.stride;
        first = rightmost < 0 ? (columns.dilation - 1 - rightmost) / columns.dilation : 0;
        if (at + (columns.kernel - 1) * columns.dilation >= p.W)
            last = (p.W - at + columns.dilation - 1) / columns.dilation;
    }
    for (ptrdiff_t i = i0; i < i1; i++) {
        const ptrdiff_t top = i * rows.stride - rows.padding;
        const ptrdiff_t above = top < 0 ? (rows.dilation - 1 - top) / rows.dilation : 0;
        const int cut = top + (rows.kernel - 1) * rows.dilation >= p.H;
        const ptrdiff_t below = cut ? (p.H - top + rows.dilation - 1) / rows.dilation : rows.kernel;
        const ptrdiff_t start = (top + above * rows.dilation) * p.W;
        NAME(windows) windows = {(REALS){0} - (REAL)INFINITY, lane < (INTEGER)count, {0}};
        for (ptrdiff_t m = above, position = start; m < below; m++, position += rows.dilation * p.W)
            NAME(take_row)(x + position, p.W, first, last, at, columns, lane * (INTEGER)columns.stride + (INTEGER)position, mode, edge, &windows);
        if (mode == FASTNN_POOL_MEAN && sizeof(REAL) == sizeof(float))
            windows.best = __builtin_convertvector(windows.sum * (weights * p.row_weights[i]), REALS);
        else if (mode == FASTNN_POOL_MEAN)
            windows.best = __builtin_convertvector(windows.sum / (weights * p.row_weights[i]), REALS);
        if (y)
            NAME(store)(y + i * p.OW + j, edge, counted, windows.best);
        if (mode == FASTNN_POOL_ARGMAX) {
            windows.where = NAME(first_inside)(windows.where, p.W, below - above, at, columns, start);
            NAME(store_indices)(indices + (i * p.OW + j) * bytes, bytes, edge, counted, count, windows.where);
        }
    }
}

/* The same; ``mode`` says what is computed. ``y`` may be NULL where positions are. */
static void NAME(strip)(
    const REAL *x, REAL *y, char *indices, int bytes, const fastnn_pooling *pooling, ptrdiff_t i0, ptrdiff_t i1, ptrdiff_t j, fastnn_pool_mode mode) {
    fastnn_pooling p = *pooling;
    const ptrdiff_t at = j * p.columns.stride - p.columns.padding;
    const ptrdiff_t end = at + (p.columns.kernel - 1) * p.columns.dilation + LANES * p.columns.stride;
    const int edge = at < 0 || end > p.W || j + LANES > p.OW, dense = p.columns.dilation == 1;
#define BLOCK(mode, fixed)                                                                                                        \
    if (edge)                                                                                                                     \
        NAME(block)(x, y, indices, bytes, p, i0, i1, j, mode, fixed, 1);                                                          \
    else                                                                                                                          \
        NAME(block)(x, y, indices, bytes, p, i0, i1, j, mode, fixed, 0);
#define BLOCKS(fixed)                                                                                                             \
    if (mode == FASTNN_POOL_MEAN) {                                                                                               \
        BLOCK(FASTNN_POOL_MEAN, fixed)                                                                                            \
    } else if (mode == FASTNN_POOL_MAX) {                                                                                         \
        BLOCK(FASTNN_POOL_MAX, fixed)                                                                                             \
    } else {                                                                                                                      \
        BLOCK(FASTNN_POOL_ARGMAX, fixed)                                                                                          \
    }
    if (p.columns.kernel == 2 && p.columns.stride == 2 && dense) {
        p.columns = (fastnn_strides){2, 2, p.columns.padding, 1};
        BLOCKS(1)
    } else if (p.columns.kernel == 3 && p.columns.stride == 2 && dense) {
        p.columns = (fastnn_strides){3, 2, p.columns.padding, 1};
        BLOCKS(1)
    } else if (p.columns.stride == 2) {
        p.columns.stride = 2;
        BLOCKS(0)
    } else if (p.columns.stride == 1) {
        p.columns.stride = 1;
        BLOCKS(0)
    } else {
        BLOCKS(0)
    }
#undef BLOCKS
#undef BLOCK
}

/* What a vector of windows adds to the elements at ``position``: dy where that is the maximum, or a share of it. */
FASTNN_POOL_INLINE REALS NAME(share)(REALS sum, REALS dy, INTEGERS where, INTEGERS position, fastnn_pool_mode mode) {
    if (mode == FASTNN_POOL_MEAN)
        return sum + dy;
#ifdef FASTNN_POOL_MASKS
    return (REALS)MM512(mask_add, )(sum, MM512I(cmpeq, _mask)((__m512i)where, (__m512i)position), sum, dy);
#else
    return sum + (REALS)((where == position) & (INTEGERS)dy);
#endif
}

/* The gradient for the rows h0 <= h < h1 and, for each lane, the columns from the first one of window j + lane to the next window. Each
   element is written once: the windows that cover it lie in a few rows of windows, and in each among the last few that start no later. */
FASTNN_POOL_INLINE void NAME(gradient_block)(
    const REAL *dy, const char *indices, int bytes, REAL *dx, fastnn_pooling p, ptrdiff_t h0, ptrdiff_t h1, ptrdiff_t j, fastnn_pool_mode mode, int edge) {
    const ptrdiff_t kernel = p.columns.kernel, stride = p.columns.stride, at = j * stride - p.columns.padding;
    const INTEGERS step = (INTEGERS){FASTNN_JOIN(FASTNN_COUNT_, LANES)} * (INTEGER)stride + (INTEGER)at;
    const FENCE left = NAME(fence_at)(at, p.W), right = NAME(fence_at)(at + LANES, p.W);
    const ptrdiff_t over = h0 + p.rows.padding - p.rows.kernel;
    ptrdiff_t first = over < 0 ? 0 : over / p.rows.stride + 1, last = first; /* the rows of windows that cover row h */
    for (ptrdiff_t h = h0; h < h1; h++) {
        REALS sum[2] = {{0}, {0}};
        const INTEGERS position = step + (INTEGER)(h * p.W);
        while (first * p.rows.stride - p.rows.padding + p.rows.kernel <= h)
            first++;
        while (last < p.OH && last * p.rows.stride - p.rows.padding <= h)
            last++;
        for (ptrdiff_t i = first; i < last; i++)
            for (ptrdiff_t back = (kernel - 1) / stride; back >= 0; back--) {
                const FENCE fence = NAME(fence_at)(j - back, p.OW);
                REALS value = NAME(load)(dy + i * p.OW + j - back, edge, fence, 0);
                INTEGERS where = position;
                if (mode == FASTNN_POOL_MEAN)
                    value *= (REAL)p.row_weights[i] * __builtin_convertvector(*(const SUMS *)(p.column_weights + j - back), REALS);
                else
                    where = NAME(load_indices)(indices + i * p.OW * bytes, bytes, j - back, edge, fence);
                for (ptrdiff_t n = 0; n < stride; n++)
                    if (back * stride + n < kernel)
                        sum[n] = NAME(share)(sum[n], value, where, position + (INTEGER)n, mode);
            }
        if (stride == 1)
            NAME(store)(dx + h * p.W + at, edge, left, sum[0]);
        else {
            NAME(store)(dx + h * p.W + at, edge, left, SHUFFLE(sum[0], sum[1], LOW));
            NAME(store)(dx + h * p.W + at + LANES, edge, right, SHUFFLE(sum[0], sum[1], HIGH));
        }
    }
}

/* The same for a stride of 1 or 2, no dilation and positions of 2 or 4 bytes; without positions the gradient of means. */
static void NAME(gradient_strip)(
    const REAL *dy, const char *indices, int bytes, REAL *dx, const fastnn_pooling *pooling, ptrdiff_t h0, ptrdiff_t h1, ptrdiff_t j) {
    fastnn_pooling p = *pooling;
    const ptrdiff_t kernel = p.columns.kernel, stride = p.columns.stride, at = j * stride - p.columns.padding;
    const int edge = at < 0 || at + LANES * stride > p.W || j < (kernel - 1) / stride || j + LANES > p.OW;
#define BLOCK(mode)                                                                                                               \
    if (edge)                                                                                                                     \
        NAME(gradient_block)(dy, indices, bytes, dx, p, h0, h1, j, mode, 1);                                                      \
    else                                                                                                                          \
        NAME(gradient_block)(dy, indices, bytes, dx, p, h0, h1, j, mode, 0);
#define BLOCKS                                                                                                                    \
    if (indices) {                                                                                                                \
        BLOCK(FASTNN_POOL_ARGMAX)                                                                                                 \
    } else {                                                                                                                      \
        BLOCK(FASTNN_POOL_MEAN)                                                                                                   \
    }
    if (kernel == 2 && stride == 2) {
        p.columns.kernel = p.columns.stride = 2;
        BLOCKS
    } else if (kernel == 3 && stride == 2) {
        p.columns.kernel = 3;
        p.columns.stride = 2;
        BLOCKS
    } else if (stride == 2) {
        p.columns.stride = 2;
        BLOCKS
    } else {
        p.columns.stride = 1;
        BLOCKS
    }
#undef BLOCKS
#undef BLOCK
}

#undef REAL
#undef INTEGER
#undef NAME
#undef MM512
#undef MM512I
#undef INDEX16
#undef INDEX32
#undef MASK
#undef M16
#undef M32
#undef LANES
#undef REALS
#undef INTEGERS
#undef SUMS
#undef SHUFFLE
#undef FENCE
