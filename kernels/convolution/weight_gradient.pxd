# cython: cdivision=True
"""The weight gradient of any convolution: dw[o, k] = sum over pixels of dy[o, pixel] x[pixel + tap k], k = (c, u, v).

Units of work are some input channels and some panels of output channels (as many as two vectors hold). A unit goes over the pixels in
blocks, for which it pads the input and transposes dy; what a block gives is added up in double. A patch is never gathered.
"""

from cython.parallel cimport prange
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport even_shares, round_up
from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.convolution.strands cimport Line, fill_strands, find_strands, forward_line, lines_space, place_lines
from fastnn.kernels.convolution.transpose cimport transpose
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done
from fastnn.kernels.parallel cimport threads_for

cdef extern from "simd/weight_gradient.h" nogil:
    enum:
        SPAN_BYTES "FASTNN_SPAN_BYTES"
        ROWS "FASTNN_WEIGHT_ROWS"
    ctypedef struct Segment "fastnn_segment":
        Py_ssize_t source, count
    void weight_tile_f32 "fastnn_weight_tile_f32"(
        const float* x, const Py_ssize_t* offset, const Segment* segment, Py_ssize_t segments,
        const float* dy, float* out, int add) noexcept
    void weight_tile_f64 "fastnn_weight_tile_f64"(
        const double* x, const Py_ssize_t* offset, const Segment* segment, Py_ssize_t segments,
        const double* dy, double* out, int add) noexcept

cdef enum:
    SUM = 96           # pixels whose products are summed in registers: 128 equal ones may err by 16 eps
    BLOCK = 3200       # pixels in a block: dy's panel and the input of a unit stay in L2
    UNIT_TAPS = 432    # taps of a unit, so that transposing dy is a small part of it

cdef struct Plan:
    Py_ssize_t images, rows, columns  # of a block; images is 1 where a block is a part of an image, rows where it is a part of a row
    Py_ssize_t blocks_down, blocks_across, blocks  # of an image (or 1), of the batch
    Py_ssize_t in_rows, pitch, plane  # of one strand; plane is of a channel, all strands and images
    Line down, across
    Py_ssize_t channels, taps       # of a unit
    Py_ssize_t width, panels        # output channels in a panel, panels of a group


cdef inline Plan plan_blocks(const Geometry* g, Py_ssize_t itemsize, Py_ssize_t* memory) noexcept nogil:
    cdef Plan a
    cdef Py_ssize_t units, pixels = max(g.P * g.Q, 1), window = g.KH * g.KW
    place_lines(&a.down, &a.across, g, memory)
    a.images = min(max(BLOCK // pixels, 1), g.N)
    a.blocks_across = max((g.Q + BLOCK // 2) // BLOCK, 1)
    a.columns = (g.Q + a.blocks_across - 1) // a.blocks_across
    a.blocks_across = (g.Q + a.columns - 1) // a.columns
    a.blocks_down = max((pixels + BLOCK // 2) // BLOCK, 1) if a.blocks_across == 1 else g.P
    a.rows = (g.P + a.blocks_down - 1) // a.blocks_down
    a.blocks_down = (g.P + a.rows - 1) // a.rows
    a.blocks = a.blocks_down * a.blocks_across * ((g.N + a.images - 1) // a.images)
    forward_line(&a.down, g.KH, g.sh, g.top, g.dh)
    forward_line(&a.across, g.KW, g.sw, g.left, g.dw)
    find_strands(&a.down)
    find_strands(&a.across)
    a.in_rows = a.rows + a.down.reach
    a.pitch = a.columns + a.across.reach
    a.plane = a.down.strands * a.across.strands * a.images * a.in_rows * a.pitch
    units = max((g.C * window + UNIT_TAPS // 2) // UNIT_TAPS, 1)
    a.channels = min(round_up((g.C + units - 1) // units, 4), g.C)
    a.taps = round_up(a.channels * window, ROWS)
    a.width = 2 * SPAN_BYTES // itemsize
    a.panels = (g.O + a.width - 1) // a.width
    return a


cdef inline Py_ssize_t list_segments(
    Segment* segment, const Plan* a, Py_ssize_t images, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """The pixels of a block, cut at ends of rows and after every SUM of them. Returns the number of segments."""
    cdef Py_ssize_t n, p, q, filled = 0, count = 0
    for n in range(images):
        for p in range(rows):
            q = 0
            while q < columns:
                segment[count].source = (n * a.in_rows + p) * a.pitch + q
                segment[count].count = min(SUM - filled, columns - q)
                q += segment[count].count
                filled = (filled + segment[count].count) % SUM
                count += 1
    return count


cdef inline void list_offsets(Py_ssize_t* offset, const Geometry* g, const Plan* a, Py_ssize_t channels) noexcept nogil:
    """Where the taps of a unit lie in the padded input; those that fill up the last tile repeat the last one."""
    cdef Py_ssize_t c, u, v, k = 0
    for c in range(channels):
        for u in range(g.KH):
            for v in range(g.KW):
                offset[k] = (
                    c * a.plane
                    + ((a.down.strand[u] * a.across.strands + a.across.strand[v]) * a.images * a.in_rows + a.down.ahead[u]) * a.pitch
                    + a.across.ahead[v])
                k += 1
    for k in range(k, round_up(k, ROWS)):
        offset[k] = offset[k - 1]


cdef inline void multiply(
    const real* x, const real* dy, real* sums, const Geometry* g, const Plan* a, Py_ssize_t channels,
    const Py_ssize_t* offset, const Segment* segment, Py_ssize_t segments,
) noexcept nogil:
    """sums[k][output channel] over one block, for the taps of a unit and one panel of dy."""
    cdef Py_ssize_t taps = channels * g.KH * g.KW, k = 0, i, j, pixels, before
    while k < taps:
        i = 0
        before = 0
        while i < segments:
            j = i
            pixels = 0
            while j < segments and (j == i or pixels + segment[j].count <= SUM):
                pixels += segment[j].count
                j += 1
            if real is float:
                weight_tile_f32(x, offset + k, segment + i, j - i, dy + before * a.width, sums + k * a.width, i > 0)
            else:
                weight_tile_f64(x, offset + k, segment + i, j - i, dy + before * a.width, sums + k * a.width, i > 0)
            before += pixels
            i = j
        k += ROWS


cdef inline void weight_unit(
    const real* dy, const real* x, real* dw, const Geometry* g, const Plan* a, Py_ssize_t c0, Py_ssize_t panel0, Py_ssize_t panel1,
    char* space,
) noexcept nogil:
    """Input channels from c0 on, output panels panel0 to panel1 of one group; dy, x and dw begin at the group."""
    cdef Py_ssize_t channels = min(a.channels, g.C - c0), window = g.KH * g.KW, taps = channels * window, pixels = g.P * g.Q
    cdef Py_ssize_t block, n0, p0, q0, images, rows, columns, segments, panel, i, n, o, size = a.taps * a.width
    cdef real* padded = <real*> space
    cdef real* turned = padded + round_up(a.channels * a.plane + SPAN_BYTES, 16)
    cdef real* sums = turned + a.images * a.rows * a.columns * a.width
    cdef double* totals = <double*> (sums + size)
    cdef double* total
    cdef Py_ssize_t* offset = <Py_ssize_t*> (totals + (panel1 - panel0) * size if a.blocks > 1 else totals)
    cdef Segment* segment = <Segment*> (offset + a.taps)
    list_offsets(offset, g, a, channels)
    for block in range(a.blocks):
        n0 = block // (a.blocks_down * a.blocks_across) * a.images
        p0 = block // a.blocks_across % a.blocks_down * a.rows
        q0 = block % a.blocks_across * a.columns
        images = min(a.images, g.N - n0)
        rows = min(a.rows, g.P - p0)
        columns = min(a.columns, g.Q - q0)
        fill_strands(
            padded, &a.down, &a.across, a.in_rows, a.pitch, x + (n0 * g.groups * g.C + c0) * g.H * g.W, channels, images, a.images,
            g.groups * g.C, g.H, g.W, p0, q0)
        segments = list_segments(segment, a, images, rows, columns)
        for panel in range(panel0, panel1):
            o = panel * a.width
            if g.O - o < a.width:
                memset(turned, 0, images * rows * columns * a.width * sizeof(real))
            for n in range(images):
                transpose(
                    dy + ((n0 + n) * g.groups * g.O + o) * pixels + p0 * g.Q + q0, pixels, min(a.width, g.O - o), rows * columns,
                    turned + n * rows * columns * a.width, a.width)
            multiply(padded, turned, sums, g, a, channels, offset, segment, segments)
            total = totals + (panel - panel0) * size
            if block > 0:
                for i in range(size):
                    total[i] += sums[i]
            elif a.blocks > 1:
                for i in range(size):
                    total[i] = sums[i]
            if block == a.blocks - 1:
                if block > 0:
                    for i in range(size):
                        sums[i] = <real> total[i]
                transpose(sums, a.width, taps, min(a.width, g.O - o), dw + o * g.C * window + c0 * window, g.C * window)


cdef inline int weight_units(const real* dy, const real* x, real* dw, const Geometry* g, Plan a) noexcept nogil:
    cdef Py_ssize_t K = g.C * g.KH * g.KW, parts, shares, units, unit, group, share
    cdef int threads = threads_for(g.N * g.groups * g.O * g.P * g.Q * K // 16), t
    cdef Py_ssize_t space
    cdef char* memory
    parts = (g.C + a.channels - 1) // a.channels
    shares = even_shares(g.groups * parts, a.panels, threads)
    units = g.groups * parts * shares
    threads = <int> min(<Py_ssize_t> threads, units)
    space = round_up(a.channels * a.plane + SPAN_BYTES, 16) + a.images * a.rows * a.columns * a.width + a.taps * a.width
    space *= sizeof(real)
    space += a.images * a.rows * (1 + (a.columns + SUM - 1) // SUM) * sizeof(Segment) + a.taps * sizeof(Py_ssize_t)
    if a.blocks > 1:
        space += a.panels * a.taps * a.width * sizeof(double)
    space = round_up(space, 64)
    memory = workspace(threads * space)
    if memory == NULL:
        return -1
    if threads == 1:
        for unit in range(units):
            group = unit // parts
            weight_unit(
                dy + group * g.O * g.P * g.Q, x + group * g.C * g.H * g.W, dw + group * g.O * K, g, &a, unit % parts * a.channels,
                0, a.panels, memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            for unit in range(units * t // threads, units * (t + 1) // threads):
                share = unit % shares
                group = unit // (shares * parts)
                weight_unit(
                    dy + group * g.O * g.P * g.Q, x + group * g.C * g.H * g.W, dw + group * g.O * K, g, &a,
                    unit // shares % parts * a.channels, a.panels * share // shares, a.panels * (share + 1) // shares,
                    memory + t * space)
    workspace_done()
    return 0


cdef inline int weight_gradient(const real* dy, const real* x, real* dw, const Geometry* g) noexcept nogil:
    cdef Py_ssize_t* lines
    cdef int failed
    if g.N * g.P * g.Q * g.groups * g.O * g.C == 0:
        memset(dw, 0, g.groups * g.O * g.C * g.KH * g.KW * sizeof(real))
        return 0
    lines = <Py_ssize_t*> malloc(lines_space(g))
    if lines == NULL:
        return -1
    failed = weight_units(dy, x, dw, g, plan_blocks(g, sizeof(real), lines))
    free(lines)
    return failed
