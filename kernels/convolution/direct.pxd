# cython: cdivision=True
"""Any convolution and its data gradient, on padded blocks of the input in which a tap is one offset for all pixels.

forward  one pass; the block is split into strands (rows 0, sh, 2 sh, ...; 1, sh + 1, ... and so for columns), so that neighbouring outputs
         always see neighbouring elements
dx       one pass for each of the sh x sw phases of dx, every one a convolution of dy of stride 1 with some of the taps

The pixels of a block's rows, the margin between them included, form one line that is cut into vectors.
"""

from cython.parallel cimport prange
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport round_up
from fastnn.kernels.convolution.patches cimport Geometry
from fastnn.kernels.convolution.strands cimport Line, fill_strands, find_strands, forward_line, lines_space, place_lines
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done
from fastnn.kernels.gemm cimport pack_transposed
from fastnn.kernels.parallel cimport threads_for

cdef extern from "simd/direct.h" nogil:
    enum:
        SPAN_BYTES "FASTNN_SPAN_BYTES"
        ROWS "FASTNN_DIRECT_ROWS"
        VECTORS "FASTNN_DIRECT_VECTORS"
    ctypedef struct Tap "fastnn_tap":
        Py_ssize_t source, weight
    ctypedef struct Piece "fastnn_piece":
        Py_ssize_t lane, target, count
    void tile_f32 "fastnn_direct_tile_f32"(
        Py_ssize_t vectors, Py_ssize_t channels, Py_ssize_t taps, const Tap* tap, const float* x, const Py_ssize_t* start,
        Py_ssize_t plane, const float* w, Py_ssize_t window, float* p) noexcept
    void tile_f64 "fastnn_direct_tile_f64"(
        Py_ssize_t vectors, Py_ssize_t channels, Py_ssize_t taps, const Tap* tap, const double* x, const Py_ssize_t* start,
        Py_ssize_t plane, const double* w, Py_ssize_t window, double* p) noexcept
    void store_f32 "fastnn_direct_store_f32"(
        const Piece* piece, Py_ssize_t pieces, const float* p, float bias, float* y, Py_ssize_t step) noexcept
    void store_f64 "fastnn_direct_store_f64"(
        const Piece* piece, Py_ssize_t pieces, const double* p, double bias, double* y, Py_ssize_t step) noexcept

cdef enum:
    BLOCK_BYTES = 1024 * 1024    # of L2, for the padded input of a block
    WEIGHT_BYTES = 1024 * 1024   # weights up to which a group of vectors meets all of them before the next group

cdef struct Pass:
    Line down, across
    Py_ssize_t N, groups, C, H, W, O, P, Q      # C and O of one group; P and Q of the output's phase
    Py_ssize_t out_rows, out_columns            # of the whole output
    Py_ssize_t row, column, row_step, step      # where the phase begins in the output, and its steps
    Py_ssize_t window, taps                     # taps of the kernel, and of the pass
    Py_ssize_t slabs                            # of weights
    Tap* tap
    # blocks
    Py_ssize_t images, rows, columns            # of a block; images is 1 where a block is a part of an image
    Py_ssize_t blocks_down, blocks_across, blocks  # blocks of an image (or 1), of the batch
    Py_ssize_t in_rows, pitch, plane            # of one strand; plane is of a channel, all strands and images
    Py_ssize_t units                            # vectors of a block, at most
    bint in_place                               # the input needs no margin: a block is an image and never copied


cdef inline Py_ssize_t slab(Py_ssize_t itemsize) noexcept nogil:
    """Output channels whose weights lie together: as many as a vector has lanes, or a tile rows."""
    return max(<Py_ssize_t> ROWS, SPAN_BYTES // itemsize)


cdef inline Py_ssize_t slab_elements(Py_ssize_t C, Py_ssize_t window, Py_ssize_t itemsize) noexcept nogil:
    return C * window * slab(itemsize)


cdef inline void pack_slab(
    const real* w, const Geometry* g, bint gradient, Py_ssize_t index, real* panel
) noexcept nogil:
    """panel[c][tap][o] for a slab of output channels, counted over the groups; dx exchanges input and output channels."""
    cdef Py_ssize_t width = slab(sizeof(real)), window = g.KH * g.KW, O = g.C if gradient else g.O, c
    cdef Py_ssize_t slabs = (O + width - 1) // width, o = index % slabs * width, count = min(width, O - o)
    w += index // slabs * g.O * g.C * window
    if gradient:
        for c in range(g.O):
            pack_transposed(w + (c * g.C + o) * window, window, count, window, width, panel + c * window * width)
    else:
        pack_transposed(w + o * g.C * window, g.C * window, count, g.C * window, width, panel)


cdef inline void plan(Pass* s, Py_ssize_t KW, Py_ssize_t itemsize) noexcept nogil:
    """Blocks whose padded input fits, of whole rows if it can be; then the taps."""
    cdef Py_ssize_t lanes = SPAN_BYTES // itemsize, fit, u, v, strands
    cdef Py_ssize_t most  # pixels of a strand in a block
    s.taps = s.down.taps * s.across.taps
    if s.taps == 0:
        s.down.strands = s.down.reach = s.across.strands = s.across.reach = 0
    else:
        find_strands(&s.down)
        find_strands(&s.across)
    strands = s.down.strands * s.across.strands
    s.in_place = (
        strands == 1 and s.down.reach + s.across.reach == 0 and s.down.first[0] == 0 and s.across.first[0] == 0
        and s.down.step == 1 and s.across.step == 1 and s.P == s.H and s.Q == s.W and s.P * s.Q >= lanes
    )
    most = s.P * s.Q if s.in_place else max(BLOCK_BYTES // (itemsize * max(s.C * strands, 1)), 1)
    s.columns = s.Q if s.in_place else min(s.Q, max(most // (s.down.reach + 4) - s.across.reach, 4 * lanes))
    s.blocks_across = (s.Q + s.columns - 1) // s.columns
    s.columns = (s.Q + s.blocks_across - 1) // s.blocks_across
    s.pitch = s.columns + s.across.reach
    fit = max(most // s.pitch - s.down.reach, 1)
    s.blocks_down = (s.P + fit - 1) // fit
    s.rows = (s.P + s.blocks_down - 1) // s.blocks_down
    s.blocks_down = (s.P + s.rows - 1) // s.rows
    s.in_rows = s.rows + s.down.reach
    s.images = 1
    if not s.in_place and s.blocks_down * s.blocks_across == 1:
        s.images = min(s.N, max(most // (s.in_rows * s.pitch), 1))
    s.blocks = (s.N + s.images - 1) // s.images * s.blocks_down * s.blocks_across
    s.plane = strands * s.images * s.in_rows * s.pitch
    s.units = s.images * ((s.rows * s.pitch + lanes - 1) // lanes)
    for u in range(s.down.taps):
        for v in range(s.across.taps):
            s.tap[u * s.across.taps + v].source = (
                ((s.down.strand[u] * s.across.strands + s.across.strand[v]) * s.images * s.in_rows + s.down.ahead[u]) * s.pitch
                + s.across.ahead[v])
            s.tap[u * s.across.taps + v].weight = s.down.tap[u] * KW + s.across.tap[v]


cdef inline void forward_pass(Pass* s, const Geometry* g, Py_ssize_t itemsize) noexcept nogil:
    s.N, s.groups, s.C, s.H, s.W, s.O, s.P, s.Q = g.N, g.groups, g.C, g.H, g.W, g.O, g.P, g.Q
    s.out_rows, s.out_columns, s.row, s.column, s.row_step, s.step = g.P, g.Q, 0, 0, 1, 1
    s.window = g.KH * g.KW
    forward_line(&s.down, g.KH, g.sh, g.top, g.dh)
    forward_line(&s.across, g.KW, g.sw, g.left, g.dw)
    plan(s, g.KW, itemsize)


cdef inline void gradient_line(
    Line* line, Py_ssize_t start, Py_ssize_t taps, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation
) noexcept nogil:
    """Element ``start + i stride`` of dx meets dy at ``i + (start + padding - u dilation) / stride`` where that is whole."""
    cdef Py_ssize_t u
    line.taps, line.step = 0, 1
    for u in range(taps):
        if (start + padding - u * dilation) % stride == 0:
            line.tap[line.taps], line.at[line.taps] = u, (start + padding - u * dilation) // stride
            line.taps += 1


cdef inline void gradient_pass(Pass* s, const Geometry* g, Py_ssize_t row, Py_ssize_t column, Py_ssize_t itemsize) noexcept nogil:
    """The phase of dx that begins at (row, column)."""
    s.N, s.groups, s.C, s.H, s.W, s.O = g.N, g.groups, g.O, g.P, g.Q, g.C
    s.P, s.Q = (g.H - row + g.sh - 1) // g.sh, (g.W - column + g.sw - 1) // g.sw
    s.out_rows, s.out_columns, s.row, s.column, s.row_step, s.step = g.H, g.W, row, column, g.sh, g.sw
    s.window = g.KH * g.KW
    gradient_line(&s.down, row, g.KH, g.sh, g.top, g.dh)
    gradient_line(&s.across, column, g.KW, g.sw, g.left, g.dw)
    plan(s, g.KW, itemsize)


cdef inline void make_pass(
    Pass* s, const Geometry* g, bint gradient, Py_ssize_t row, Py_ssize_t column, Py_ssize_t itemsize
) noexcept nogil:
    if gradient:
        gradient_pass(s, g, row, column, itemsize)
    else:
        forward_pass(s, g, itemsize)


cdef inline Py_ssize_t list_units(
    Py_ssize_t* start, Py_ssize_t* first_piece, Piece* piece, const Pass* s, Py_ssize_t images, Py_ssize_t rows, Py_ssize_t columns,
    Py_ssize_t lanes,
) noexcept nogil:
    """The vectors of a block and the outputs in them, those of the first channel. Returns their number; first_piece has one more."""
    cdef Py_ssize_t n, at, lane, p, q, units = 0, pieces = 0, line = (rows - 1) * s.pitch + columns
    for n in range(images):
        at = 0
        while at < line:
            # The last vector of a line begins earlier, so that it reads nothing behind the line.
            start[units] = n * s.in_rows * s.pitch + max(min(at, line - lanes), 0)
            first_piece[units] = pieces
            lane = at - max(min(at, line - lanes), 0)
            while lane < lanes and at < line:
                p = at // s.pitch
                q = at % s.pitch
                if q < columns:
                    piece[pieces].lane = lane
                    piece[pieces].count = min(columns - q, lanes - lane)
                    piece[pieces].target = (
                        (n * s.groups * s.O * s.out_rows + p * s.row_step) * s.out_columns + q * s.step)
                    pieces += 1
                lane += s.pitch - q
                at += s.pitch - q
            at = start[units] - n * s.in_rows * s.pitch + lanes
            units += 1
    first_piece[units] = pieces
    return units


cdef inline void tile(
    const real* x, const real* w, const real* b, real* y, const Pass* s, const Py_ssize_t* start,
    const Py_ssize_t* first_piece, const Piece* piece, Py_ssize_t vectors, Py_ssize_t o, real* p,
) noexcept nogil:
    """Up to ROWS output channels of up to VECTORS vectors; w is their panel, b and y begin at the group."""
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), rows = min(<Py_ssize_t> ROWS, s.O - o), i, j
    cdef real bias
    if s.C * s.taps == 0:
        memset(p, 0, rows * vectors * SPAN_BYTES)
    elif real is float:
        tile_f32(vectors, s.C, s.taps, s.tap, x, start, s.plane, w, s.window, p)
    else:
        tile_f64(vectors, s.C, s.taps, s.tap, x, start, s.plane, w, s.window, p)
    for i in range(rows):
        bias = b[o + i] if b != NULL else 0
        for j in range(vectors):
            if real is float:
                store_f32(
                    piece + first_piece[j], first_piece[j + 1] - first_piece[j], p + (i * vectors + j) * lanes, bias,
                    y + (o + i) * s.out_rows * s.out_columns, s.step)
            else:
                store_f64(
                    piece + first_piece[j], first_piece[j + 1] - first_piece[j], p + (i * vectors + j) * lanes, bias,
                    y + (o + i) * s.out_rows * s.out_columns, s.step)


cdef inline Py_ssize_t block_elements(const Pass* s, Py_ssize_t itemsize) noexcept nogil:
    """Of the padded input and one tile."""
    return (0 if s.in_place else s.C * s.plane) + (ROWS * VECTORS + 1) * SPAN_BYTES // itemsize


cdef inline Py_ssize_t block_space(const Pass* s, Py_ssize_t itemsize) noexcept nogil:
    """Bytes that one thread needs."""
    return round_up(
        block_elements(s, itemsize) * itemsize + (2 * s.units + 1) * sizeof(Py_ssize_t)
        + (s.units + s.images * s.rows) * sizeof(Piece), 64)


cdef inline void direct_block(
    const real* x, const real* w, const real* b, real* y, const Pass* s, Py_ssize_t block, Py_ssize_t o0,
    Py_ssize_t o1, char* space,
) noexcept nogil:
    """Output channels o0 to o1 of one block of one group, at which all arrays begin, w as packed."""
    cdef Py_ssize_t n0 = block // (s.blocks_down * s.blocks_across) * s.images, p0 = block // s.blocks_across % s.blocks_down * s.rows
    cdef Py_ssize_t q0 = block % s.blocks_across * s.columns, images = min(s.images, s.N - n0), columns = min(s.columns, s.Q - q0)
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), units, o, unit
    cdef Py_ssize_t width = slab(sizeof(real)), elements = slab_elements(s.C, s.window, sizeof(real))
    cdef real* p = <real*> space
    cdef const real* source = x + n0 * s.groups * s.C * s.H * s.W
    cdef Py_ssize_t* start = <Py_ssize_t*> (p + block_elements(s, sizeof(real)))
    cdef Py_ssize_t* first_piece = start + s.units
    cdef Piece* piece = <Piece*> (first_piece + s.units + 1)
    units = list_units(start, first_piece, piece, s, images, min(s.rows, s.P - p0), columns, lanes)
    if not s.in_place:
        source = p + (ROWS * VECTORS + 1) * lanes
        fill_strands(
            <real*> source, &s.down, &s.across, s.in_rows, s.pitch, x + n0 * s.groups * s.C * s.H * s.W, s.C, images, s.images,
            s.groups * s.C, s.H, s.W, p0, q0)
    y += (n0 * s.groups * s.O * s.out_rows + s.row + p0 * s.row_step) * s.out_columns + s.column + q0 * s.step
    if s.O * s.C * s.window * <Py_ssize_t> sizeof(real) <= WEIGHT_BYTES:
        unit = 0
        while unit < units:
            o = o0
            while o < o1:
                tile(
                    source, w + o // width * elements + o % width, b, y, s, start + unit, first_piece + unit, piece,
                    min(<Py_ssize_t> VECTORS, units - unit), o, p)
                o += ROWS
            unit += VECTORS
    else:
        o = o0
        while o < o1:
            unit = 0
            while unit < units:
                tile(
                    source, w + o // width * elements + o % width, b, y, s, start + unit, first_piece + unit, piece,
                    min(<Py_ssize_t> VECTORS, units - unit), o, p)
                unit += VECTORS
            o += ROWS


cdef inline void run_pass(
    const real* x, const real* w, const real* b, real* y, const Pass* s, int threads, char* memory
) noexcept nogil:
    """Units of work are blocks of one group, and parts of its output channels where there are fewer blocks than threads."""
    cdef Py_ssize_t tiles = (s.O + ROWS - 1) // ROWS, shares = 1, units, unit, group, share, space = block_space(s, sizeof(real))
    cdef Py_ssize_t w_group = s.slabs * slab_elements(s.C, s.window, sizeof(real))
    cdef int t
    while s.groups * s.blocks * shares < threads and shares < tiles:
        shares += 1
    units = s.groups * s.blocks * shares
    if threads == 1:
        for unit in range(units):
            group = unit // s.blocks
            direct_block(
                x + group * s.C * s.H * s.W, w + group * w_group, b + group * s.O if b != NULL else b,
                y + group * s.O * s.out_rows * s.out_columns, s, unit % s.blocks, 0, s.O, memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            for unit in range(units * t // threads, units * (t + 1) // threads):
                share = unit % shares
                group = unit // shares // s.blocks
                direct_block(
                    x + group * s.C * s.H * s.W, w + group * w_group, b + group * s.O if b != NULL else b,
                    y + group * s.O * s.out_rows * s.out_columns, s, unit // shares % s.blocks,
                    tiles * share // shares * ROWS, min(tiles * (share + 1) // shares * ROWS, s.O), memory + t * space)


cdef inline int run(
    const real* x, const real* w, const real* b, real* y, const Geometry* g, bint gradient, Py_ssize_t* lines
) noexcept nogil:
    """All passes, after the weights are packed."""
    cdef Pass s
    cdef Py_ssize_t window = g.KH * g.KW, C = g.O if gradient else g.C, O = g.C if gradient else g.O, width = slab(sizeof(real))
    cdef Py_ssize_t elements = slab_elements(C, window, sizeof(real)), slabs = (O + width - 1) // width, index, space = 0
    cdef Py_ssize_t passes = min(g.sh, g.H) * min(g.sw, g.W) if gradient else 1, down = min(g.sw, g.W) if gradient else 1
    cdef Py_ssize_t packed = round_up(g.groups * slabs * elements * sizeof(real), 64)
    cdef int threads = threads_for(g.N * g.groups * g.P * g.Q * g.O * g.C * window // 16)
    cdef char* memory
    s.tap = <Tap*> (lines + 5 * (g.KH + g.KW))
    s.slabs = slabs
    place_lines(&s.down, &s.across, g, lines)
    for index in range(passes):
        make_pass(&s, g, gradient, index // down, index % down, sizeof(real))
        space = max(space, block_space(&s, sizeof(real)))
    memory = workspace(packed + threads * space)
    if memory == NULL:
        return -1
    if threads == 1:
        for index in range(g.groups * slabs):
            pack_slab(w, g, gradient, index, <real*> memory + index * elements)
    else:
        for index in prange(g.groups * slabs, num_threads=threads, schedule="static"):
            pack_slab(w, g, gradient, index, <real*> memory + index * elements)
    for index in range(passes):
        make_pass(&s, g, gradient, index // down, index % down, sizeof(real))
        run_pass(x, <real*> memory, b, y, &s, threads, memory + packed)
    workspace_done()
    return 0


cdef inline int direct(const real* x, const real* w, const real* b, real* y, const Geometry* g, bint gradient) noexcept nogil:
    """y of x, or dx of dy."""
    cdef char* memory
    cdef int failed
    if g.N * g.groups == 0 or (g.C * g.H * g.W if gradient else g.O * g.P * g.Q) == 0:
        return 0
    memory = <char*> malloc(lines_space(g) + g.KH * g.KW * sizeof(Tap))
    if memory == NULL:
        return -1
    failed = run(x, w, b, y, g, gradient, <Py_ssize_t*> memory)
    free(memory)
    return failed


cdef inline int direct_forward(const real* x, const real* w, const real* b, real* y, const Geometry* g) noexcept nogil:
    return direct(x, w, b, y, g, False)


cdef inline int direct_dx(const real* dy, const real* w, real* dx, const Geometry* g) noexcept nogil:
    cdef const real* none = NULL
    return direct(dy, w, none, dx, g, True)
