/* Part of pooling.h, which includes it once with REAL float and once with REAL double. */

typedef REAL NAME(reals) __attribute__((vector_size(FASTNN_POOL_BYTES), aligned(sizeof(REAL)), may_alias));
typedef INTEGER NAME(lanes) __attribute__((vector_size(FASTNN_POOL_BYTES)));
typedef int16_t NAME(index16) __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
typedef int32_t NAME(index32) __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int64_t NAME(index64) __attribute__((vector_size(LANES * 8), aligned(8), may_alias));

#define REALS NAME(reals)
#define INTEGERS NAME(lanes)
#define SHUFFLE(a, b, kind) FASTNN_POOL_SHUFFLE(a, b, INTEGERS, FASTNN_JOIN(FASTNN_##kind##_, LANES))

/* Lanes ``at`` ... of a row of ``size``. With a constant ``edge`` of 0 all of them are inside. */
FASTNN_POOL_INLINE REALS NAME(load)(const REAL *row, ptrdiff_t at, ptrdiff_t size, int edge, REAL filler) {
    if (!edge || (at >= 0 && at + LANES <= size))
        return *(const REALS *)(row + at);
#ifdef FASTNN_POOL_MASKS
    return (REALS)MM512(mask_loadu, )(MM512(set1, )(filler), (MASK)fastnn_pool_inside(at, size, LANES), row + at);
#else
    REAL buffer[LANES];
    REALS v;
    FASTNN_POOL_UNROLL for (int l = 0; l < LANES; l++)
        buffer[l] = at + l >= 0 && at + l < size ? row[at + l] : filler;
    memcpy(&v, buffer, sizeof v);
    return v;
#endif
}

FASTNN_POOL_INLINE void NAME(store)(REAL *row, ptrdiff_t at, ptrdiff_t size, REALS v) {
    if (at >= 0 && at + LANES <= size) {
        *(REALS *)(row + at) = v;
        return;
    }
#ifdef FASTNN_POOL_MASKS
    MM512(mask_storeu, )(row + at, (MASK)fastnn_pool_inside(at, size, LANES), v);
#else
    FASTNN_POOL_UNROLL for (int l = 0; l < LANES; l++)
        if (at + l >= 0 && at + l < size)
            row[at + l] = v[l];
#endif
}

/* Positions, of 2 or 4 bytes. */
FASTNN_POOL_INLINE INTEGERS NAME(load_indices)(const void *row, int bytes, ptrdiff_t at, ptrdiff_t size, int edge) {
    const int16_t *const row16 = (const int16_t *)row + at;
    const int32_t *const row32 = (const int32_t *)row + at;
    if (!edge || (at >= 0 && at + LANES <= size))
        return bytes == 2 ? __builtin_convertvector(*(const NAME(index16) *)row16, INTEGERS)
                          : __builtin_convertvector(*(const NAME(index32) *)row32, INTEGERS);
#ifdef FASTNN_POOL_MASKS
    const MASK inside = (MASK)fastnn_pool_inside(at, size, LANES);
    return bytes == 2 ? __builtin_convertvector((NAME(index16))INDEX16(maskz_loadu_epi16)(inside, row16), INTEGERS)
                      : __builtin_convertvector((NAME(index32))INDEX32(maskz_loadu_epi32)(inside, row32), INTEGERS);
#else
    INTEGERS v;
    INTEGER buffer[LANES];
    FASTNN_POOL_UNROLL for (int l = 0; l < LANES; l++)
        buffer[l] = at + l < 0 || at + l >= size ? 0 : bytes == 2 ? row16[l] : row32[l];
    memcpy(&v, buffer, sizeof v);
    return v;
#endif
}

/* The first ``count`` lanes, as positions of 2, 4 or 8 bytes. */
FASTNN_POOL_INLINE void NAME(store_indices)(char *row, int bytes, ptrdiff_t count, INTEGERS v) {
    const NAME(index16) narrow = __builtin_convertvector(v, NAME(index16));
    const NAME(index32) middle = __builtin_convertvector(v, NAME(index32));
    const NAME(index64) wide = __builtin_convertvector(v, NAME(index64));
    if (bytes == 2 && count >= LANES)
        memcpy(row, &narrow, sizeof narrow);
    else if (bytes == 4 && count >= LANES)
        memcpy(row, &middle, sizeof middle);
    else if (count >= LANES)
        memcpy(row, &wide, sizeof wide);
#ifdef FASTNN_POOL_MASKS
    else if (bytes == 2)
        INDEX16(mask_storeu_epi16)(row, (MASK)fastnn_pool_inside(0, count, LANES), (M16)narrow);
    else if (bytes == 4)
        INDEX32(mask_storeu_epi32)(row, (MASK)fastnn_pool_inside(0, count, LANES), (M32)middle);
#endif
    else
        memcpy(row, bytes == 2 ? (const void *)&narrow : bytes == 4 ? (const void *)&middle : (const void *)&wide, count * bytes);
}

/* One column of a vector of windows ``stride`` apart; -inf outside. */
FASTNN_POOL_INLINE REALS NAME(column)(const REAL *row, ptrdiff_t at, ptrdiff_t stride, ptrdiff_t size, int edge) {
    const REAL lowest = -(REAL)INFINITY;
    if (stride == 1)
        return NAME(load)(row, at, size, edge, lowest);
    if (stride == 2) {
        const REALS left = NAME(load)(row, at, size, edge, lowest), right = NAME(load)(row, at + LANES, size, edge, lowest);
        return SHUFFLE(left, right, EVEN);
    }
    REALS v;
    FASTNN_POOL_UNROLL for (int l = 0; l < LANES; l++, at += stride)
        v[l] = !edge || (at >= 0 && at < size) ? row[at] : lowest;
    return v;
}

/* Keep the larger one and its position; NaN is larger than everything, and the later of two. */
FASTNN_POOL_INLINE void NAME(take)(REALS v, INTEGERS position, int positioned, REALS *best, INTEGERS *where) {
#ifdef FASTNN_POOL_MASKS
    const MASK kept = MM512(mask_cmp, _mask)(MM512(cmp, _mask)(v, v, _CMP_ORD_Q), v, *best, _CMP_NGT_UQ);
    *best = (REALS)MM512(mask_mov, )(v, kept, *best);
    if (positioned)
        *where = (INTEGERS)MM512I(mask_mov, )((__m512i)position, kept, (__m512i)*where);
#else
    const INTEGERS taken = (v > *best) | (v != v);
    *best = (REALS)((taken & (INTEGERS)v) | (~taken & (INTEGERS)*best));
    if (positioned)
        *where = (taken & position) | (~taken & *where);
#endif
}

/* Maxima of the first ``count`` lanes of windows: ``rows`` rows of the plane, ``pitch`` apart from ``row`` on, at the columns
   at + lane stride + n dilation for first <= n < last. ``position`` is that of row[0]. Where no element was larger than -inf, ``where``
   is negative. */
FASTNN_POOL_INLINE REALS NAME(maxima)(
    const REAL *row, ptrdiff_t pitch, ptrdiff_t size, ptrdiff_t rows, ptrdiff_t first, ptrdiff_t last, ptrdiff_t at, ptrdiff_t stride,
    ptrdiff_t dilation, ptrdiff_t position, ptrdiff_t count, int edge, int positioned, INTEGERS *where) {
    const INTEGERS lane = {FASTNN_JOIN(FASTNN_COUNT_, LANES)}, step = lane * (INTEGER)stride;
    REALS best = (REALS){0} - (REAL)INFINITY;
    *where = lane < (INTEGER)(count < LANES ? count : LANES);
    for (ptrdiff_t m = 0; m < rows; m++, row += pitch, position += pitch)
        for (ptrdiff_t n = first; n < last; n++) {
            const ptrdiff_t column = at + n * dilation;
            NAME(take)(NAME(column)(row, column, stride, size, edge), step + (INTEGER)(position + column), positioned, &best, where);
        }
    return best;
}

/* The position of the first element inside, for windows where it is negative. */
FASTNN_POOL_INLINE void NAME(first_inside)(
    ptrdiff_t size, ptrdiff_t rows, ptrdiff_t kernel, ptrdiff_t at, ptrdiff_t stride, ptrdiff_t dilation, ptrdiff_t position,
    INTEGERS *where) {
#ifdef FASTNN_POOL_MASKS
    if (!MM512I(cmplt, _mask)((__m512i)*where, _mm512_setzero_si512()))
        return;
#endif
    for (int l = 0; l < LANES && rows > 0; l++, at += stride) {
        const ptrdiff_t n = at < 0 ? (dilation - 1 - at) / dilation : 0;
        if ((*where)[l] < 0 && n < kernel && at + n * dilation < size)
            (*where)[l] = (INTEGER)(position + at + n * dilation);
    }
}

FASTNN_POOL_INLINE void NAME(max_strips)(
    const REAL *row, ptrdiff_t pitch, ptrdiff_t size, ptrdiff_t rows, ptrdiff_t kernel, ptrdiff_t at, ptrdiff_t stride,
    ptrdiff_t dilation, ptrdiff_t position, ptrdiff_t count, int fixed, REAL *y, char *indices, int bytes) {
    for (ptrdiff_t j = 0; j < count; j += LANES, at += LANES * stride) {
        const int inside = at >= 0 && at + (kernel - 1) * dilation + LANES * stride <= size;
        ptrdiff_t first = 0, last = kernel;
        INTEGERS where;
        if (!fixed && !inside) { /* of a window much larger than the row only what is inside for some lane */
            const ptrdiff_t rightmost = at + (LANES - 1) * stride;
            first = rightmost < 0 ? (dilation - 1 - rightmost) / dilation : 0;
            last = at + (kernel - 1) * dilation < size ? kernel : (size - at + dilation - 1) / dilation;
        }
        const REALS best =
            inside ? NAME(maxima)(row, pitch, size, rows, 0, kernel, at, stride, dilation, position, count - j, 0, indices != NULL, &where)
                   : NAME(maxima)(row, pitch, size, rows, first, last, at, stride, dilation, position, count - j, 1, indices != NULL, &where);
        if (y)
            NAME(store)(y, j, count, best);
        if (indices) {
            NAME(first_inside)(size, rows, kernel, at, stride, dilation, position, &where);
            NAME(store_indices)(indices + j * bytes, bytes, count - j, where);
        }
    }
}

/* A row of maxima; ``y`` or ``indices`` may be NULL. */
static void NAME(max_row)(
    const REAL *row, ptrdiff_t pitch, ptrdiff_t size, ptrdiff_t rows, ptrdiff_t kernel, ptrdiff_t at, ptrdiff_t stride,
    ptrdiff_t dilation, ptrdiff_t position, ptrdiff_t count, REAL *y, char *indices, int bytes) {
#define STRIPS(kernel, stride, dilation, fixed)                                                                                   \
    if (indices)                                                                                                                  \
        NAME(max_strips)(row, pitch, size, rows, kernel, at, stride, dilation, position, count, fixed, y, indices, bytes);        \
    else                                                                                                                          \
        NAME(max_strips)(row, pitch, size, rows, kernel, at, stride, dilation, position, count, fixed, y, NULL, bytes);
    if (kernel == 2 && stride == 2 && dilation == 1) {
        STRIPS(2, 2, 1, 1)
    } else if (kernel == 3 && stride == 2 && dilation == 1) {
        STRIPS(3, 2, 1, 1)
    } else if (stride == 1) {
        STRIPS(kernel, 1, dilation, 0)
    } else if (stride == 2) {
        STRIPS(kernel, 2, dilation, 0)
    } else {
        STRIPS(kernel, stride, dilation, 0)
    }
#undef STRIPS
}

/* Adds dy of the windows whose maximum is at ``position``. */
FASTNN_POOL_INLINE void NAME(add_where)(INTEGERS indices, INTEGERS position, REALS dy, REALS *sum) {
#ifdef FASTNN_POOL_MASKS
    *sum = (REALS)MM512(mask_add, )(*sum, MM512I(cmpeq, _mask)((__m512i)indices, (__m512i)position), *sum, dy);
#else
    *sum += (REALS)((indices == position) & (INTEGERS)dy);
#endif
}

/* The gradient of a vector of columns for each column of a step: the windows of ``rows`` rows from dy and indices on, and in each the
   window j + lane and those before it that reach as far. */
FASTNN_POOL_INLINE void NAME(gradient)(
    const REAL *dy, const char *indices, int bytes, ptrdiff_t count, ptrdiff_t rows, ptrdiff_t kernel, ptrdiff_t stride, ptrdiff_t j,
    ptrdiff_t position, int edge, REALS *sum) {
    const INTEGERS first = (INTEGERS){FASTNN_JOIN(FASTNN_COUNT_, LANES)} * (INTEGER)stride + (INTEGER)position;
    for (ptrdiff_t i = 0; i < rows; i++, dy += count, indices += count * bytes)
        for (ptrdiff_t back = (kernel - 1) / stride; back >= 0; back--) {
            const INTEGERS where = NAME(load_indices)(indices, bytes, j - back, count, edge);
            const REALS value = NAME(load)(dy, j - back, count, edge, 0);
            for (ptrdiff_t n = 0; n < stride; n++)
                if (back * stride + n < kernel)
                    NAME(add_where)(where, first + (INTEGER)n, value, sum + n);
        }
}

FASTNN_POOL_INLINE void NAME(gradient_strips)(
    const REAL *dy, const char *indices, int bytes, ptrdiff_t count, ptrdiff_t rows, ptrdiff_t kernel, ptrdiff_t stride, ptrdiff_t at,
    ptrdiff_t position, ptrdiff_t size, REAL *dx) {
    for (ptrdiff_t j = 0; at < size; j += LANES, at += LANES * stride) {
        REALS sum[2] = {{0}, {0}};
        if (j < (kernel - 1) / stride || j + LANES > count)
            NAME(gradient)(dy, indices, bytes, count, rows, kernel, stride, j, position + at, 1, sum);
        else
            NAME(gradient)(dy, indices, bytes, count, rows, kernel, stride, j, position + at, 0, sum);
        if (stride == 1)
            NAME(store)(dx, at, size, sum[0]);
        else {
            NAME(store)(dx, at, size, SHUFFLE(sum[0], sum[1], LOW));
            NAME(store)(dx, at + LANES, size, SHUFFLE(sum[0], sum[1], HIGH));
        }
    }
}

/* A row of the gradient of maxima, each element written once: from ``rows`` rows of windows, stride 1 or 2, dilation 1, positions of 2 or
   4 bytes. Column ``at`` is where the first window starts, ``position`` that of dx[0]. */
static void NAME(max_gradient_row)(
    const REAL *dy, const char *indices, int bytes, ptrdiff_t count, ptrdiff_t rows, ptrdiff_t kernel, ptrdiff_t stride, ptrdiff_t at,
    ptrdiff_t position, ptrdiff_t size, REAL *dx) {
    if (kernel == 2 && stride == 2)
        NAME(gradient_strips)(dy, indices, bytes, count, rows, 2, 2, at, position, size, dx);
    else if (kernel == 3 && stride == 2)
        NAME(gradient_strips)(dy, indices, bytes, count, rows, 3, 2, at, position, size, dx);
    else if (stride == 2)
        NAME(gradient_strips)(dy, indices, bytes, count, rows, kernel, 2, at, position, size, dx);
    else
        NAME(gradient_strips)(dy, indices, bytes, count, rows, kernel, 1, at, position, size, dx);
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
#undef SHUFFLE
