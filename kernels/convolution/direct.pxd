# cython: cdivision=True
"""Any convolution and its data gradient, on padded blocks of the input in which a tap is one offset for all pixels."""

from cython.parallel cimport prange
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport even_shares, round_up
from fastnn.kernels.convolution.direct_tiles cimport fetch_tile, has_long_sums, store_tile, sum_long_tile, sum_tile, tile_elements
from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.convolution.passes cimport SPAN_BYTES, Pass, Piece, Tap, list_pairs, list_units, make_pass
from fastnn.kernels.convolution.strands cimport fill_strands, lines_space, place_lines
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done
from fastnn.kernels.packing cimport pack_transposed
from fastnn.kernels.parallel cimport threads_for

cdef enum:
    BEHIND = 2 * SPAN_BYTES * SPAN_BYTES // 4  # bytes behind the last tile that turning it reads


cdef inline void multiply(
    const real* x, const real* w, const real* b, real* y, const Pass* s, const Py_ssize_t* start, const Py_ssize_t* first_piece,
    const Piece* piece, Py_ssize_t units, Py_ssize_t o0, Py_ssize_t o1, real* sums, double* totals,
) noexcept nogil:
    """Output channels o0 to o1 of all vectors of a block, in the order that the plan found; with ``totals`` where sums are long."""
    cdef Py_ssize_t size = tile_elements(s), u0 = 0, t0, u, o, c, channels, vectors
    cdef real* p
    while u0 < units:
        t0 = o0
        while t0 < o1:
            c = 0
            while c == 0 or c < s.C:
                p = sums
                channels = min(s.part_channels, s.C - c)
                o = t0
                while o < min(t0 + s.tile_channels, o1):
                    u = u0
                    while u < min(u0 + s.group_units, units):
                        vectors = min(s.spans, units - u)
                        if s.packed and c + s.part_channels >= s.C:
                            fetch_tile(y, s, first_piece + u, piece, o)
                        if s.C * s.taps == 0:
                            memset(p, 0, size * sizeof(real))
                        elif totals != NULL:
                            sum_long_tile(x, w, s, start + u * s.starts, vectors, o, c, channels, p, totals + (p - sums))
                        else:
                            sum_tile(x, w, s, start + u * s.starts, vectors, o, c, channels, s.tap, s.taps, c > 0, p)
                        if c + s.part_channels >= s.C:
                            store_tile(b, y, s, first_piece + u, piece, vectors, o, p)
                        p += size
                        u += s.spans
                    o += s.channels
                c += s.part_channels
            t0 += s.tile_channels
        u0 += s.group_units


cdef inline Py_ssize_t sums_elements(const Pass* s, Py_ssize_t itemsize) noexcept nogil:
    cdef Py_ssize_t tiles = (min(s.tile_channels, s.O) + s.channels - 1) // s.channels
    tiles *= (min(s.group_units, s.units) + s.spans - 1) // s.spans
    return tiles * tile_elements(s) + BEHIND // itemsize


cdef inline Py_ssize_t totals_space(const Pass* s, Py_ssize_t itemsize) noexcept nogil:
    return round_up(sums_elements(s, itemsize) * sizeof(double), 64) if has_long_sums(s, itemsize) else 0


cdef inline Py_ssize_t block_space(const Pass* s, Py_ssize_t itemsize) noexcept nogil:
    """Bytes that one thread needs."""
    return totals_space(s, itemsize) + round_up(
        (sums_elements(s, itemsize) + (0 if s.in_place else s.C * s.plane)) * itemsize + SPAN_BYTES
        + ((s.starts + 1) * s.units + 1) * sizeof(Py_ssize_t) + (s.units + s.images * s.rows) * sizeof(Piece), 64)


cdef inline void direct_block(
    const real* x, const real* w, const real* b, real* y, const Pass* s, Py_ssize_t block, Py_ssize_t o0, Py_ssize_t o1, char* space,
) noexcept nogil:
    """Output channels o0 to o1 of one block of one group, at which all arrays begin."""
    cdef Py_ssize_t n0 = block // (s.blocks_down * s.blocks_across) * s.images, images = min(s.images, s.N - n0), units
    cdef Py_ssize_t p0 = block // s.blocks_across % s.blocks_down * s.rows, q0 = block % s.blocks_across * s.columns
    cdef double* totals = <double*> space if has_long_sums(s, sizeof(real)) else NULL
    cdef real* sums = <real*> (space + totals_space(s, sizeof(real)))
    cdef real* padded = sums + sums_elements(s, sizeof(real))
    cdef Py_ssize_t* start = <Py_ssize_t*> (padded + (0 if s.in_place else s.C * s.plane) + SPAN_BYTES // sizeof(real))
    cdef Py_ssize_t* first_piece = start + s.starts * s.units
    cdef Piece* piece = <Piece*> (first_piece + s.units + 1)
    x += n0 * s.groups * s.C * s.H * s.W
    y += (n0 * s.groups * s.O * s.out_rows + s.row + p0 * s.row_step) * s.out_columns + s.column + q0 * s.step
    if s.packed:
        units = list_pairs(start, first_piece, piece, s, images, min(s.rows, s.P - p0), min(s.columns, s.Q - q0))
    else:
        units = list_units(start, first_piece, piece, s, images, min(s.rows, s.P - p0), min(s.columns, s.Q - q0))
    if not s.in_place:
        fill_strands(
            padded, &s.down, &s.across, s.in_rows, s.pitch, x, s.C, images, s.images, s.groups * s.C, s.H, s.W, p0, q0)
    multiply(x if s.in_place else padded, w, b, y, s, start, first_piece, piece, units, o0, o1, sums, totals)


cdef inline void pack_slab(const real* w, real* packed, const Pass* s, const Geometry* g, bint gradient, Py_ssize_t index) noexcept nogil:
    """packed[c][tap][o] of a slab of output channels, counted over the groups."""
    cdef Py_ssize_t window = g.KH * g.KW, slabs = (s.O + s.channels - 1) // s.channels, o = index % slabs * s.channels, c
    cdef Py_ssize_t count = min(s.channels, s.O - o)
    w += index // slabs * g.O * g.C * window
    packed += index * s.channels * s.w_row
    if gradient:
        for c in range(s.C):
            pack_transposed(w + (c * g.C + o) * window, window, count, window, s.channels, packed + c * s.w_channel)
    else:
        pack_transposed(w + o * g.C * window, g.C * window, count, g.C * window, s.channels, packed)


cdef inline void run_pass(
    const real* x, const real* w, const real* b, real* y, const Pass* s, int threads, char* memory
) noexcept nogil:
    """Units of work are blocks of one group, and parts of its output channels where there are fewer blocks than threads."""
    cdef Py_ssize_t tiles = (s.O + s.channels - 1) // s.channels, shares, units, unit, group, share
    cdef Py_ssize_t space = block_space(s, sizeof(real))
    cdef int t
    shares = even_shares(s.groups * s.blocks, tiles, threads)
    units = s.groups * s.blocks * shares
    if threads == 1:
        for unit in range(units):
            group = unit // s.blocks
            direct_block(
                x + group * s.C * s.H * s.W, w + group * s.w_group, b + group * s.O if b != NULL else b,
                y + group * s.O * s.out_rows * s.out_columns, s, unit % s.blocks, 0, s.O, memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            for unit in range(units * t // threads, units * (t + 1) // threads):
                share = unit % shares
                group = unit // shares // s.blocks
                direct_block(
                    x + group * s.C * s.H * s.W, w + group * s.w_group, b + group * s.O if b != NULL else b,
                    y + group * s.O * s.out_rows * s.out_columns, s, unit // shares % s.blocks,
                    tiles * share // shares * s.channels, min(tiles * (share + 1) // shares * s.channels, s.O), memory + t * space)


cdef inline int run(
    const real* x, const real* w, const real* b, real* y, Pass* s, const Geometry* g, bint gradient
) noexcept nogil:
    """All passes: one, or one for each phase of dx. The first one's layout of the weights serves them all."""
    cdef Py_ssize_t across = min(g.sw, g.W) if gradient else 1, passes = min(g.sh, g.H) * across if gradient else 1
    cdef Py_ssize_t slabs, index, space = 0, packed = 0
    cdef int threads = threads_for(g.N * g.groups * g.P * g.Q * g.O * g.C * g.KH * g.KW // 16)
    cdef const real* panels
    cdef char* memory
    for index in range(passes):
        make_pass(s, g, gradient, index // across, index % across, sizeof(real))
        space = max(space, block_space(s, sizeof(real)))
        if s.packed:
            packed = round_up(g.groups * s.w_group * sizeof(real), 64)
    memory = workspace(packed + threads * space)
    if memory == NULL:
        return -1
    panels = <real*> memory if packed else w
    if packed:
        slabs = g.groups * ((s.O + s.channels - 1) // s.channels)
        if threads == 1:
            for index in range(slabs):
                pack_slab(w, <real*> memory, s, g, gradient, index)
        else:
            for index in prange(slabs, num_threads=threads, schedule="static"):
                pack_slab(w, <real*> memory, s, g, gradient, index)
    for index in range(passes):
        make_pass(s, g, gradient, index // across, index % across, sizeof(real))
        run_pass(x, panels, b, y, s, threads, memory + packed)
    workspace_done()
    return 0


cdef inline int direct(const real* x, const real* w, const real* b, real* y, const Geometry* g, bint gradient) noexcept nogil:
    """y of x, or dx of dy."""
    cdef Pass s
    cdef char* memory
    cdef int failed
    if g.N * g.groups == 0 or (g.C * g.H * g.W if gradient else g.O * g.P * g.Q) == 0:
        return 0
    memory = <char*> malloc(lines_space(g) + g.KH * g.KW * sizeof(Tap))
    if memory == NULL:
        return -1
    place_lines(&s.down, &s.across, g, <Py_ssize_t*> memory)
    s.tap = <Tap*> (memory + lines_space(g))
    failed = run(x, w, b, y, &s, g, gradient)
    free(memory)
    return failed


cdef inline int direct_forward(const real* x, const real* w, const real* b, real* y, const Geometry* g) noexcept nogil:
    return direct(x, w, b, y, g, False)


cdef inline int direct_dx(const real* dy, const real* w, real* dx, const Geometry* g) noexcept nogil:
    cdef const real* none = NULL
    return direct(dy, w, none, dx, g, True)
