/* Windows of 2x2 side by side that take all of their planes. Part of pooling.h, which includes it after pooling_strips.h. */

/* Maxima of windows of 2x2 side by side, ``rows`` of ``width`` of them, which take all of their planes: one run of memory, so that no vector
   of the first step, the maxima of pairs in a row, is partly empty. The first of the rows is row ``i`` of a plane that has ``height``.
   Maxima in rows of 4 windows took four times as long one by one, in rows of 12 twice; with positions 2.3 and 1.9 times. */
FASTNN_POOL_INLINE void NAME(halve)(
    const REAL *x, REAL *y, char *indices, int bytes, ptrdiff_t rows, ptrdiff_t i, ptrdiff_t height, ptrdiff_t width,
    fastnn_pool_mode mode) {
    enum { room = 2048 };
    const INTEGERS lane = {FASTNN_JOIN(FASTNN_POOL_COUNT_, LANES)};
    REAL pairs[room + LANES];
    INTEGER where[room + LANES]; /* counted from x */
    for (ptrdiff_t row = 0, some; row < rows; row += some, x += some * 4 * width) {
        some = rows - row < room / (2 * width) ? rows - row : room / (2 * width);
        for (ptrdiff_t n = 0, count = some * 2 * width; n < count; n += LANES) {
            const int edge = n + LANES > count;
            FASTNN_POOL_FETCH(x + 2 * n, 2 * LANES, 0);
            const REALS left = NAME(load)(x + 2 * n, edge, NAME(fence_at)(2 * n, 2 * count), 0);
            const REALS right = NAME(load)(x + 2 * n + LANES, edge, NAME(fence_at)(2 * n + LANES, 2 * count), 0);
            NAME(windows) windows = {SHUFFLE(left, right, EVEN), 2 * (lane + (INTEGER)n)};
            NAME(take)(SHUFFLE(left, right, ODD), windows.where + 1, mode, &windows);
            *(REALS *)(pairs + n) = windows.best;
            if (mode == FASTNN_POOL_ARGMAX)
                memcpy(where + n, &windows.where, sizeof windows.where);
        }
        for (ptrdiff_t r = 0; r < some; r++, i = i + 1 < height ? i + 1 : 0) {
            if (y)
                FASTNN_POOL_FETCH(y + (row + r) * width, width, 1);
            for (ptrdiff_t j = 0; j < width; j += LANES) {
                const ptrdiff_t upper = 2 * r * width + j, lower = upper + width, target = (row + r) * width + j;
                const int edge = j + LANES > width;
                const FENCE fence = NAME(fence_at)(j, width);
                NAME(windows) windows = {*(const REALS *)(pairs + upper), {0}};
                INTEGERS below = {0};
                if (mode == FASTNN_POOL_ARGMAX) {
                    memcpy(&windows.where, where + upper, sizeof below);
                    memcpy(&below, where + lower, sizeof below);
                }
                NAME(take)(*(const REALS *)(pairs + lower), below, mode, &windows);
                if (y)
                    NAME(store)(y + target, edge, fence, windows.best);
                if (mode == FASTNN_POOL_ARGMAX)
                    NAME(store_indices)(
                        indices + target * bytes, bytes, edge, fence, edge ? width - j : LANES,
                        windows.where + (INTEGER)((i - r) * 4 * width));
            }
        }
    }
}

static void NAME(halves)(
    const REAL *x, REAL *y, char *indices, int bytes, ptrdiff_t rows, ptrdiff_t i, ptrdiff_t height, ptrdiff_t width) {
    if (indices)
        NAME(halve)(x, y, indices, bytes, rows, i, height, width, FASTNN_POOL_ARGMAX);
    else
        NAME(halve)(x, y, indices, bytes, rows, i, height, width, FASTNN_POOL_MAX);
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
#undef FENCE
