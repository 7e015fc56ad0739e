# cython: cdivision=True
"""1x1 convolution of stride 1 and its gradients: matrix products on the planes of the images where they lie.

y (O, pixels) = w (O, C) x (C, pixels)
dx (C, pixels) = w^T (C, O) dy (O, pixels)
dw (O, C) = dy (O, pixels) x^T (pixels, C)

For y and dx the pixels of all images are the columns of one product: the weights are packed once, and no tile is cut at the end
of an image.
"""

from cython.parallel cimport prange
from libc.string cimport memcpy, memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport fill_rows_f32, fill_rows_f64, round_up
from fastnn.kernels.convolution.geometry cimport LONGEST, Geometry
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done
from fastnn.kernels.gemm cimport (
    BLOCK_COLUMNS, CHUNK, IN_PLACE_COLUMNS, MOST_DEPTH, TILE_BYTES, TILE_ELEMENTS, TILE_ROWS, even_part, gemm_workspace, product, tile,
)
from fastnn.kernels.packing cimport pack
from fastnn.kernels.parallel cimport threads_for


cdef enum:
    BLOCK = 1024 * 1024    # bytes of columns that are packed together and stay in L2


cdef inline bint pointwise_fits(const Geometry* g, bint weights) noexcept nogil:
    if weights and g.N * g.P * g.Q == 0:
        return False
    return g.KH == 1 and g.KW == 1 and g.sh == 1 and g.sw == 1 and g.P == g.H and g.Q == g.W and g.top == 0 and g.left == 0


cdef struct Columns:                  # of one group
    Py_ssize_t pixels, C, O           # of an image; channels that are read and that result
    Py_ssize_t x_image, y_image       # elements from image to image
    Py_ssize_t columns, size, blocks  # pixels of the batch; of a block; blocks
    Py_ssize_t width, step            # columns and rows of a tile
    Py_ssize_t w_group                # elements of the weights from group to group
    Py_ssize_t w_row, w_channel, w_tile  # elements of the weights from row to row of a tile, channel to channel, tile to tile


cdef inline void pack_columns(const real* x, const Columns* s, Py_ssize_t first, Py_ssize_t last, real* panels) noexcept nogil:
    """panels[column / width][channel][column % width], counted over the pixels of all images; zeros fill up the last panel."""
    cdef Py_ssize_t j = first, at, lane, run
    cdef const real* source
    cdef real* target
    while j < round_up(last, s.width):
        at = j % s.pixels
        lane = (j - first) % s.width
        source = x + j // s.pixels * s.x_image + at
        target = panels + (j - first - lane) * s.C + lane
        run = min(s.pixels - at, last - j)
        if lane == 0 and run >= s.width:
            run = run // s.width * s.width
            pack(source, 1, s.pixels, run, s.C, s.width, target)
        else:
            run = min(run, s.width - lane) if j < last else s.width - lane
            if real is float:
                fill_rows_f32(target, s.width, s.C, run, source, s.pixels, 0, s.C if j < last else 0, 0, run)
            else:
                fill_rows_f64(target, s.width, s.C, run, source, s.pixels, 0, s.C if j < last else 0, 0, run)
        j += run


cdef inline void sum_parts(
    const real* w, const real* panel, const real* start, real* y, Py_ssize_t y_row, const Columns* s, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """y = start + w x of one tile, in parts of up to LONGEST products, which have sums of their own."""
    cdef Py_ssize_t depth = even_part(max(s.C, <Py_ssize_t> 1), LONGEST), p = depth
    tile(rows, columns, min(depth, s.C), w, s.w_row, s.w_channel, panel, s.width, y, y_row, start, s.width)
    while p < s.C:
        tile(
            rows, columns, min(depth, s.C - p), w + p * s.w_channel, s.w_row, s.w_channel, panel + p * s.width, s.width,
            y, y_row, y, y_row)
        p += depth


cdef inline void compute_tile(
    const real* w, const real* panel, const real* start, real* y, const Columns* s, Py_ssize_t rows, Py_ssize_t first,
    Py_ssize_t columns,
) noexcept nogil:
    """Columns from ``first`` on, which may lie in several images; y begins at the tile's first row."""
    cdef Py_ssize_t at = first % s.pixels, done = 0, many, r
    cdef real[TILE_ELEMENTS] part
    y += first // s.pixels * s.y_image
    if at + columns <= s.pixels:
        sum_parts(w, panel, start, y + at, s.pixels, s, rows, columns)
        return
    sum_parts(w, panel, start, part, s.width, s, rows, columns)
    while done < columns:
        many = min(s.pixels - at, columns - done)
        for r in range(rows):
            memcpy(y + r * s.pixels + at, part + r * s.width + done, many * sizeof(real))
        done += many
        at = 0
        y += s.y_image


cdef inline void compute_columns(
    const real* x, const real* w, const real* b, real* y, const Columns* s, Py_ssize_t first, Py_ssize_t last, real* panels
) noexcept nogil:
    """Columns first to last, packed together."""
    cdef Py_ssize_t i = 0, j, r, rows
    cdef real[TILE_ELEMENTS] bias
    cdef const real* start = NULL
    pack_columns(x, s, first, last, panels)
    while i < s.O:
        rows = min(s.step, s.O - i)
        if b != NULL:
            start = bias
            for r in range(rows):
                for j in range(s.width):
                    bias[r * s.width + j] = b[i + r]
        j = first
        while j < last:
            compute_tile(
                w, panels + (j - first) * s.C, start, y + i * s.pixels, s, rows, j,
                min(s.width, last - j))
            j += s.width
        w += s.w_tile
        i += s.step


cdef inline void compute_blocks(
    const real* x, const real* w, const real* b, real* y, const Columns* s, Py_ssize_t first, Py_ssize_t last, real* panels
) noexcept nogil:
    """Blocks first to last, counted over all groups."""
    cdef Py_ssize_t index, group, column
    for index in range(first, last):
        group = index // s.blocks
        column = index % s.blocks * s.size
        compute_columns(
            x + group * s.C * s.pixels, w + group * s.w_group, b + group * s.O if b != NULL else b, y + group * s.O * s.pixels, s,
            column, min(column + s.size, s.columns), panels)


cdef inline void plan_columns(Columns* s, const Geometry* g, Py_ssize_t C, Py_ssize_t O, int threads, Py_ssize_t itemsize) noexcept nogil:
    """Blocks of whole tiles, as many as give the threads even shares."""
    cdef Py_ssize_t most, blocks
    s.pixels, s.C, s.O = g.H * g.W, C, O
    s.columns = g.N * s.pixels
    s.x_image, s.y_image = g.groups * C * s.pixels, g.groups * O * s.pixels
    s.width, s.step = TILE_BYTES // itemsize, even_part(O, TILE_ROWS)
    most = max(min(BLOCK // (max(C, 1) * itemsize), <Py_ssize_t> BLOCK_COLUMNS) // s.width, 1) * s.width
    blocks = round_up((s.columns + most - 1) // most, threads)
    s.size = round_up((s.columns + blocks - 1) // blocks, s.width)
    s.blocks = (s.columns + s.size - 1) // s.size


cdef inline int pointwise(
    const real* x, const real* w, const real* b, real* y, const Geometry* g, Py_ssize_t C, Py_ssize_t O, Py_ssize_t w_row,
    Py_ssize_t w_channel,
) noexcept nogil:
    cdef Columns s
    cdef Py_ssize_t columns = g.N * g.H * g.W, blocks, group, shared = 0, space
    cdef int threads = threads_for(columns * g.groups * C * O // 16), t
    cdef char* memory
    cdef const real* weights = w
    cdef bint in_place = columns <= IN_PLACE_COLUMNS and w_channel == 1
    if columns * O == 0:
        return 0
    plan_columns(&s, g, C, O, threads, sizeof(real))
    blocks = g.groups * s.blocks
    threads = <int> min(<Py_ssize_t> threads, blocks)
    if in_place:
        s.w_group, s.w_row, s.w_channel, s.w_tile = O * C, w_row, w_channel, s.step * w_row
    else:
        s.w_group, s.w_row, s.w_channel, s.w_tile = round_up(O, s.step) * C, 1, s.step, s.step * C
        shared = round_up(g.groups * s.w_group * sizeof(real), 64)
    space = round_up(s.size * C * sizeof(real), 64)
    memory = workspace(shared + threads * space)
    if memory == NULL:
        return -1
    if not in_place:
        weights = <real*> memory
        for group in range(g.groups):
            pack(w + group * O * C, w_row, w_channel, O, C, s.step, <real*> memory + group * s.w_group)
    memory += shared
    if threads == 1:
        compute_blocks(x, weights, b, y, &s, 0, blocks, <real*> memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            compute_blocks(
                x, weights, b, y, &s, blocks * t // threads, blocks * (t + 1) // threads, <real*> (memory + t * space))
    workspace_done()
    return 0


cdef inline int pointwise_forward(const real* x, const real* w, const real* b, real* y, const Geometry* g) noexcept nogil:
    return pointwise(x, w, b, y, g, g.C, g.O, g.C, 1)


cdef inline int pointwise_dx(const real* dy, const real* w, real* dx, const Geometry* g) noexcept nogil:
    cdef const real* none = NULL
    return pointwise(dy, w, none, dx, g, g.O, g.C, 1, g.C)


cdef inline void weight_rows(
    const real* dy, const real* x, real* dw, const Geometry* g, Py_ssize_t o, Py_ssize_t rows, double* totals, char* space
) noexcept nogil:
    """Some output channels of one group, at which dy, x and dw begin; image after image. Sums of LONGEST products join in ``totals``."""
    cdef Py_ssize_t pixels = g.P * g.Q, depth = even_part(pixels, MOST_DEPTH) if totals != NULL else pixels
    cdef Py_ssize_t size = rows * g.C, summed = 0, n, p, i
    dw += o * g.C
    if totals != NULL:
        memset(totals, 0, size * sizeof(double))
    for n in range(g.N):
        p = 0
        while p < pixels:
            product(
                dw, g.C, dw if summed > 0 else <real*> NULL, g.C, dy + (n * g.groups * g.O + o) * pixels + p, pixels, 1,
                x + n * g.groups * g.C * pixels + p, 1, pixels, rows, g.C, min(depth, pixels - p), space)
            summed += max(depth, <Py_ssize_t> CHUNK)
            p += depth
            if totals != NULL and summed + max(depth, <Py_ssize_t> CHUNK) > LONGEST:
                for i in range(size):
                    totals[i] += dw[i]
                summed = 0
    if totals != NULL:
        for i in range(size):
            dw[i] = <real> (totals[i] + (dw[i] if summed > 0 else 0))


cdef inline int pointwise_dw(const real* dy, const real* x, real* dw, const Geometry* g) noexcept nogil:
    cdef int threads = threads_for(g.N * g.groups * g.H * g.W * g.C * g.O // 16), t
    cdef Py_ssize_t pixels = g.P * g.Q, step = (g.O + threads - 1) // threads, blocks = (g.O + step - 1) // max(step, 1)
    cdef Py_ssize_t units = g.groups * blocks, unit, group, o
    cdef bint is_long = sizeof(real) == sizeof(float) and g.N * max(pixels, <Py_ssize_t> CHUNK) > LONGEST
    cdef Py_ssize_t most = round_up(step * g.C * sizeof(double), 64) if is_long else 0, space = most + gemm_workspace(sizeof(real))
    cdef char* memory = workspace(threads * space)
    if memory == NULL:
        return -1
    if threads == 1:
        for group in range(g.groups):
            weight_rows(
                dy + group * g.O * pixels, x + group * g.C * pixels, dw + group * g.O * g.C, g, 0, g.O,
                <double*> memory if is_long else NULL, memory + most)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            for unit in range(units * t // threads, units * (t + 1) // threads):
                group = unit // blocks
                o = unit % blocks * step
                weight_rows(
                    dy + group * g.O * pixels, x + group * g.C * pixels, dw + group * g.O * g.C, g, o, min(step, g.O - o),
                    <double*> (memory + t * space) if is_long else NULL, memory + t * space + most)
    workspace_done()
    return 0
