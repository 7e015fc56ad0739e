# cython: cdivision=True
"""3x3 convolution of stride 1 and its data gradient by Winograd's minimal filtering: m x m outputs a tile, m = 2 or 4.

The tiles of a batch, counted over images, rows and columns, go in blocks whose windows fit into L2; within a block in panels as wide as
a register tile. Each of the (m + 2)^2 products of windows and weights is a matrix product over the channels.

With a dilation of dh x dw, rows a, a + dh, a + 2 dh, ... of the output meet every dh-th row of the input, and columns likewise: dh x dw
phases, each of which is computed like an image without dilation. dw is 2 at most, and 1 where m is 4.
"""

from cython.parallel cimport prange
from libc.math cimport isfinite

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport round_up
from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.convolution.winograd_weights cimport (
    SPAN_BYTES, TAPS, Correlation, correlation, slab, transform_slab, weights_stride,
)
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done
from fastnn.kernels.parallel cimport threads_for

cdef extern from "simd/winograd.h" nogil:
    enum:
        VECTORS "FASTNN_WINOGRAD_VECTORS"
    ctypedef struct Run "fastnn_tiles":
        Py_ssize_t phase, row, column, image, p, q, panel, vectors, lane, source, target, rows, columns
    void rows_f32 "fastnn_winograd_rows_f32"(
        int m, float* target, Py_ssize_t width, Py_ssize_t rows, const float* source, Py_ssize_t row, Py_ssize_t first,
        Py_ssize_t last, Py_ssize_t begin, Py_ssize_t end) noexcept
    void rows_f64 "fastnn_winograd_rows_f64"(
        int m, double* target, Py_ssize_t width, Py_ssize_t rows, const double* source, Py_ssize_t row, Py_ssize_t first,
        Py_ssize_t last, Py_ssize_t begin, Py_ssize_t end) noexcept
    void input_f32 "fastnn_winograd_input_f32"(
        int m, const float* x, Py_ssize_t pitch, Py_ssize_t phase, float* v, Py_ssize_t stride) noexcept
    void input_f64 "fastnn_winograd_input_f64"(
        int m, const double* x, Py_ssize_t pitch, Py_ssize_t phase, double* v, Py_ssize_t stride) noexcept
    void tiles_f32 "fastnn_winograd_tiles_f32"(Py_ssize_t vectors, Py_ssize_t depth, const float* u, const float* v, float* p) noexcept
    void tiles_f64 "fastnn_winograd_tiles_f64"(Py_ssize_t vectors, Py_ssize_t depth, const double* u, const double* v, double* p) noexcept
    float output_f32 "fastnn_winograd_output_f32"(
        int m, const float* p, Py_ssize_t stride, float bias, float* y, Py_ssize_t pitch, Py_ssize_t step, const Run* run,
        Py_ssize_t runs) noexcept
    double output_f64 "fastnn_winograd_output_f64"(
        int m, const double* p, Py_ssize_t stride, double bias, double* y, Py_ssize_t pitch, Py_ssize_t step, const Run* run,
        Py_ssize_t runs) noexcept

cdef enum:
    WINDOW_BYTES = 600 * 1024  # of L2, for the windows of a block; the weights stream past them


# ------------------------------------------------------------------------------------------------------------------------- tiles


cdef inline Py_ssize_t list_runs(Run* run, const Correlation* s, Py_ssize_t first, Py_ssize_t last, Py_ssize_t lanes) noexcept nogil:
    """The runs of tiles first to last, cut at ends of rows and of panels. Returns their number.

    Of four vectors the first three are a panel: two panels of two took a third longer for 256 channels of 14x14.
    """
    cdef Py_ssize_t n = 0, t = first, place, top = 0, phase = -1, panel, wide = VECTORS * lanes
    while t < last:
        place = t - first
        panel = place // wide
        run[n].column = t % s.across
        run[n].row = t // s.across % s.down
        run[n].phase = t // (s.across * s.down)
        run[n].image = run[n].phase // (s.dh * s.dw)
        run[n].p = run[n].row * s.m * s.dh + run[n].phase // s.dw % s.dh
        run[n].q = run[n].column * s.m * s.dw + run[n].phase % s.dw
        run[n].vectors = min(<Py_ssize_t> VECTORS, (last - first - panel * wide + lanes - 1) // lanes)
        run[n].panel = panel * (wide * s.C + lanes)
        run[n].lane = place % wide
        if run[n].phase != phase:
            phase = run[n].phase
            top = run[n].row
        run[n].source = ((run[n].row - top) * s.m * s.m * s.dw + phase % s.dw) * (s.across + 1) + run[n].column
        place = min(min(s.across - run[n].column, lanes), min(wide - run[n].lane, last - t))
        run[n].rows = min(<Py_ssize_t> s.m, max(s.P - run[n].p + s.dh - 1, 0) // s.dh)
        run[n].columns = min(place * s.m, max(s.Q - run[n].q + s.dw - 1, 0) // s.dw)
        run[n].target = (run[n].image * s.O * s.P + run[n].p) * s.Q + run[n].q
        t += place
        n += 1
    return n


cdef inline void transform_input(
    const real* x, const Correlation* s, const Run* run, Py_ssize_t runs, real* rows, real* v, Py_ssize_t v_stride
) noexcept nogil:
    """The windows of all runs: v[xi * v_stride + panel][c][lane]."""
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), c, i, j, k, width = s.across + 1, pitch = s.m * s.dw * width
    cdef Py_ssize_t top, count, first, last
    cdef real* to
    cdef const real* plane
    for c in range(s.C):
        i = 0
        while i < runs:
            j = i + 1
            while j < runs and run[j].phase == run[i].phase:
                j += 1
            top = run[i].p - s.top
            count = (run[j - 1].row - run[i].row + 1) * s.m + 2
            first = min(max(-top + s.dh - 1, 0) // s.dh, count)
            last = max(min(max(s.H - top + s.dh - 1, 0) // s.dh, count), first)
            plane = x + ((run[i].image * s.C + c) * s.H + top) * s.W - s.left
            if real is float:
                rows_f32(s.m * s.dw, rows, width, count, plane, s.dh * s.W, first, last, s.left, s.W + s.left)
            else:
                rows_f64(s.m * s.dw, rows, width, count, plane, s.dh * s.W, first, last, s.left, s.W + s.left)
            for k in range(i, j):
                to = v + run[k].panel + c * run[k].vectors * lanes + run[k].lane
                if real is float:
                    input_f32(s.m, rows + run[k].source, pitch, s.dw * width, to, v_stride)
                else:
                    input_f64(s.m, rows + run[k].source, pitch, s.dw * width, to, v_stride)
            i = j


cdef inline void mend(
    const real* x, const real* w, real bias, real* y, const Correlation* s, Py_ssize_t o, const Run* run
) noexcept nogil:
    """Those outputs of a run that are not finite, directly: Winograd's sums spread NaN and infinity over a tile, and overflow earlier."""
    cdef Py_ssize_t i, j, p, q, c, t, row, column
    cdef double total
    for i in range(run.rows):
        for j in range(run.columns):
            p = run.p + i * s.dh
            q = run.q + j * s.dw
            if isfinite(y[((run.image * s.O + o) * s.P + p) * s.Q + q]):
                continue
            total = bias
            for c in range(s.C):
                for t in range(TAPS):
                    row = p - s.top + t // 3 * s.dh
                    column = q - s.left + t % 3 * s.dw
                    if 0 <= row < s.H and 0 <= column < s.W:
                        total += <double> w[o * s.w_out + c * s.w_in + (t if s.turn == 1 else TAPS - 1 - t)] * x[
                            ((run.image * s.C + c) * s.H + row) * s.W + column]
            y[((run.image * s.O + o) * s.P + p) * s.Q + q] = <real> total


cdef inline void transform_output(
    const real* x, const real* w, const real* b, real* y, const Correlation* s, const Run* run, Py_ssize_t runs,
    Py_ssize_t o0, const real* products,
) noexcept nogil:
    """A slab of output channels of the runs of one panel."""
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), row = run.vectors * lanes, width = slab(sizeof(real)), o, k
    cdef real bias, unfinite
    for o in range(o0, min(o0 + width, s.O)):
        bias = b[o] if b != NULL else 0
        if real is float:
            unfinite = output_f32(s.m, products + (o - o0) * row, width * row, bias, y + o * s.P * s.Q, s.dh * s.Q, s.dw, run, runs)
        else:
            unfinite = output_f64(s.m, products + (o - o0) * row, width * row, bias, y + o * s.P * s.Q, s.dh * s.Q, s.dw, run, runs)
        if unfinite != 0:
            for k in range(runs):
                mend(x, w, bias, y, s, o, run + k)


# ------------------------------------------------------------------------------------------------------------------------ blocks


cdef struct Spaces:  # in elements but for runs
    Py_ssize_t tiles, runs, v_stride, windows, rows, products, weights


cdef inline Spaces spaces(const Correlation* s, Py_ssize_t tiles, Py_ssize_t itemsize) noexcept nogil:
    """What a block of so many tiles needs."""
    cdef Spaces a
    cdef Py_ssize_t lanes = SPAN_BYTES // itemsize, window = (s.m + 2) * (s.m + 2), wide = VECTORS * lanes
    a.tiles = tiles
    a.runs = tiles * sizeof(Run)
    a.v_stride = (tiles + wide - 1) // wide * lanes + round_up(tiles, lanes) * s.C
    a.windows = window * a.v_stride
    a.rows = (s.m * min(s.down, tiles // s.across + 2) + 2) * s.m * s.dw * (s.across + 1) + 2 * lanes
    a.products = window * slab(itemsize) * wide + lanes
    a.weights = window * weights_stride(s.C, itemsize)
    return a


cdef inline void winograd_block(
    const real* x, const real* w, const real* u, const real* b, real* y, const Correlation* s, const Spaces* a,
    Py_ssize_t first, Py_ssize_t last, Py_ssize_t o0, Py_ssize_t o1, char* space,
) noexcept nogil:
    """Tiles first to last, output channels o0 to o1, a whole number of slabs; u is NULL where the weights are not transformed yet."""
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), window = (s.m + 2) * (s.m + 2), width = slab(sizeof(real))
    cdef Py_ssize_t u_stride = weights_stride(s.C, sizeof(real))
    cdef real* v = <real*> space
    cdef real* products = v + a.windows
    cdef real* rows = products + a.products
    cdef real* local = rows + round_up(a.rows, lanes)
    cdef Run* run = <Run*> (local + (a.weights if u == NULL else 0))
    cdef Py_ssize_t runs = list_runs(run, s, first, last, lanes), i, j, o = o0, xi
    cdef real* to
    cdef const real* weights
    transform_input(x, s, run, runs, rows, v, a.v_stride)
    while o < o1:
        weights = u + o // width * a.weights
        if u == NULL:
            transform_slab(w, s, o, local)
            weights = local
        i = 0
        while i < runs:
            j = i + 1
            while j < runs and run[j].panel == run[i].panel:
                j += 1
            for xi in range(window):
                to = products + xi * width * run[i].vectors * lanes
                if real is float:
                    tiles_f32(run[i].vectors, s.C, weights + xi * u_stride, v + xi * a.v_stride + run[i].panel, to)
                else:
                    tiles_f64(run[i].vectors, s.C, weights + xi * u_stride, v + xi * a.v_stride + run[i].panel, to)
            transform_output(x, w, b, y, s, run + i, j - i, o, products)
            i = j
        o += width


cdef inline Py_ssize_t heaviest(Py_ssize_t all, Py_ssize_t tiles, Py_ssize_t blocks, Py_ssize_t threads) noexcept nogil:
    """The most tiles that a thread has to compute, where threads take neighbouring blocks of so many tiles."""
    cdef Py_ssize_t t, most = 0
    for t in range(threads):
        most = max(most, min(blocks * (t + 1) // threads * tiles, all) - blocks * t // threads * tiles)
    return most


cdef inline int winograd(const real* x, const real* w, const real* b, real* y, const Correlation* s) noexcept nogil:
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), window = (s.m + 2) * (s.m + 2), wide = VECTORS * lanes
    cdef Py_ssize_t slabs = (s.O + slab(sizeof(real)) - 1) // slab(sizeof(real)), width = slab(sizeof(real))
    cdef int threads = threads_for(s.tiles * window * s.C * s.O // 16), t
    cdef Py_ssize_t most = max(WINDOW_BYTES // (window * s.C * <Py_ssize_t> sizeof(real)) // wide, 1) * wide
    cdef Py_ssize_t blocks = round_up((s.tiles + most - 1) // most, threads)
    cdef Py_ssize_t tiles, parts = 1, units, unit
    if threads == 1 and s.tiles <= most + wide // 2:
        blocks = 1  # rather than one of a few tiles, for which the weights would be read again
    tiles = round_up((s.tiles + blocks - 1) // blocks, wide)
    blocks = (s.tiles + tiles - 1) // tiles
    if heaviest(s.tiles, tiles, blocks, threads) * threads * 15 > s.tiles * 16:
        parts = min(<Py_ssize_t> threads, slabs)
    units = blocks * parts
    threads = <int> min(<Py_ssize_t> threads, units)
    cdef Spaces a = spaces(s, min(tiles, s.tiles), sizeof(real))
    cdef Py_ssize_t shared = slabs * a.weights if blocks > 1 else 0, own = a.weights if blocks == 1 else 0
    cdef Py_ssize_t space = round_up((a.windows + a.products + a.rows + own + 2 * lanes) * sizeof(real) + a.runs, 4096) + 192
    cdef char* memory = workspace(round_up(shared * sizeof(real), 64) + threads * space)
    cdef real* u = <real*> memory if shared else NULL
    if memory == NULL:
        return -1
    memory += round_up(shared * sizeof(real), 64)
    if threads == 1:
        if u != NULL:
            for unit in range(slabs):
                transform_slab(w, s, unit * width, u + unit * a.weights)
        for unit in range(units):
            winograd_block(x, w, u, b, y, s, &a, unit * tiles, min((unit + 1) * tiles, s.tiles), 0, slabs * width, memory)
    else:
        if u != NULL:
            for unit in prange(slabs, num_threads=threads, schedule="static"):
                transform_slab(w, s, unit * width, u + unit * a.weights)
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            for unit in range(units * t // threads, units * (t + 1) // threads):
                winograd_block(
                    x, w, u, b, y, s, &a, unit % blocks * tiles, min((unit % blocks + 1) * tiles, s.tiles),
                    unit // blocks * slabs // parts * width, (unit // blocks + 1) * slabs // parts * width, memory + t * space)
    workspace_done()
    return 0


cdef inline int winograd_forward(const real* x, const real* w, const real* b, real* y, const Geometry* g, int m) noexcept nogil:
    cdef Correlation s = correlation(g, False, m)
    return winograd(x, w, b, y, &s)


cdef inline int winograd_dx(const real* dy, const real* w, real* dx, const Geometry* g, int m) noexcept nogil:
    cdef Correlation s = correlation(g, True, m)
    cdef const real* none = NULL
    return winograd(dy, w, none, dx, &s)
