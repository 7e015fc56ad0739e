# cython: cdivision=True
"""Convolution and its data gradient with images in lanes: for a batch of many small images with few channels.

A block of images is transposed, so that the same pixel of all of them lies side by side. Every output pixel then is a sum over those taps
that see the input: nothing is lost at the ends of rows of 8 or 12 pixels, and no zero is ever multiplied.
"""

from cython.parallel cimport prange
from libc.string cimport memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport round_up
from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.convolution.transpose cimport transpose
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done
from fastnn.kernels.parallel cimport threads_for

cdef extern from "simd/images.h" nogil:
    enum:
        SPAN_BYTES "FASTNN_SPAN_BYTES"
        VECTORS "FASTNN_IMAGES_VECTORS"
    ctypedef struct Tap "fastnn_tap":
        Py_ssize_t source, weight
    Py_ssize_t tile_channels "fastnn_images_channels"(Py_ssize_t channels) noexcept
    void tile_f32 "fastnn_images_tile_f32"(
        Py_ssize_t rows, Py_ssize_t vectors, Py_ssize_t pixels, Py_ssize_t step, Py_ssize_t channels, Py_ssize_t taps,
        const Tap* tap, const float* x, Py_ssize_t plane, const float* w, Py_ssize_t w_channel, float* y, Py_ssize_t y_channel) noexcept
    void tile_f64 "fastnn_images_tile_f64"(
        Py_ssize_t rows, Py_ssize_t vectors, Py_ssize_t pixels, Py_ssize_t step, Py_ssize_t channels, Py_ssize_t taps,
        const Tap* tap, const double* x, Py_ssize_t plane, const double* w, Py_ssize_t w_channel, double* y, Py_ssize_t y_channel) noexcept

cdef enum:
    MOST_CHANNELS = 32       # of one group: a block of transposed images stays in L2
    MOST_TAPS = 64
    MOST_SIDE = 14           # pixels of a row, above which pixels in lanes lose little
    LEAST_IMAGES = 16
    LEAST_TERMS = 48         # products of an output, below which transposing costs more than it saves
    PART_BYTES = 128 * 1024  # of results that wait in the caches to be transposed back

cdef struct Meeting:  # of one row (or column) of the output with the rows of the kernel
    Py_ssize_t taps
    Py_ssize_t tap[MOST_TAPS]
    Py_ssize_t source[MOST_TAPS]

cdef struct Run:
    Py_ssize_t C, H, W, O, P, Q     # channels of one group, sizes of what is read and of what results
    Py_ssize_t K                    # taps of a channel
    Py_ssize_t width                # images of a block, a whole number of vectors
    Py_ssize_t padded               # channels in the tiles that cover O
    Py_ssize_t rows                 # of the result that are transposed back together
    bint gradient


cdef inline bint images_fit(const Geometry* g, bint gradient) noexcept nogil:
    """Where images in lanes win, for y or for dx."""
    return (
        g.N >= LEAST_IMAGES and max(g.C, g.O) <= MOST_CHANNELS and g.KH * g.KW <= MOST_TAPS
        and max(g.P, g.Q, g.H, g.W) <= 2 * MOST_SIDE and (g.W if gradient else g.Q) <= MOST_SIDE
        and (g.O if gradient else g.C) * g.KH * g.KW >= LEAST_TERMS
    )


cdef inline void meet(
    Meeting* m, Py_ssize_t i, Py_ssize_t taps, Py_ssize_t size, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation, bint gradient
) noexcept nogil:
    """Output i meets the input at i stride - padding + u dilation, and dx meets dy at (i + padding - u dilation) / stride."""
    cdef Py_ssize_t u, at
    m.taps = 0
    for u in range(taps):
        if gradient:
            at = i + padding - u * dilation
            if at < 0 or at % stride != 0:
                continue
            at = at // stride
        else:
            at = i * stride - padding + u * dilation
        if 0 <= at < size:
            m.tap[m.taps] = u
            m.source[m.taps] = at
            m.taps += 1


cdef inline bint alike(const Meeting* a, const Meeting* b) noexcept nogil:
    """Whether two outputs meet the same taps, since taps that are met are an even distance apart."""
    return a.taps == b.taps and a.taps > 0 and a.tap[0] == b.tap[0]


cdef inline void pack_channels(
    real* panels, const real* w, const real* b, const Run* s, Py_ssize_t w_out, Py_ssize_t w_in
) noexcept nogil:
    """For each tile: the bias of its channels, then their weights [c][tap][channel]; zeros for channels that do not exist."""
    cdef Py_ssize_t o = 0, tile, c, t, i
    while o < s.O:
        tile = tile_channels(s.O - o)
        for i in range(tile):
            panels[i] = b[o + i] if b != NULL and o + i < s.O else 0
        panels += tile
        for c in range(s.C):
            for t in range(s.K):
                for i in range(tile):
                    panels[i] = w[(o + i) * w_out + c * w_in + t] if o + i < s.O else 0
                panels += tile
        o += tile


cdef inline Py_ssize_t list_taps(
    Tap* tap, const Run* s, const Meeting* down, const Meeting* across, Py_ssize_t KW, Py_ssize_t tile, Py_ssize_t itemsize
) noexcept nogil:
    """The taps that a pixel meets, seen from the first. Returns their number."""
    cdef Py_ssize_t u, v, n = 0
    for u in range(down.taps):
        for v in range(across.taps):
            tap[n].source = ((down.source[u] - down.source[0]) * s.W + across.source[v] - across.source[0]) * s.width * itemsize
            tap[n].weight = (down.tap[u] * KW + across.tap[v]) * tile * itemsize
            n += 1
    return n


cdef inline void compute_row(
    const real* x, const real* panels, real* y, Py_ssize_t y_channel, const Run* s, const Meeting* down, const Meeting* across,
    Py_ssize_t KW,
) noexcept nogil:
    """A row of pixels, those together that meet the same taps at even steps."""
    cdef Py_ssize_t vectors = s.width // (SPAN_BYTES // sizeof(real)), o = 0, tile, taps, j, count, step
    cdef Tap tap[MOST_TAPS]
    cdef const real* source
    while o < s.O:
        tile = tile_channels(s.O - o)
        j = 0
        while j < s.Q:
            count = 1
            step = 0
            if j + 1 < s.Q and alike(across + j, across + j + 1):
                step = across[j + 1].source[0] - across[j].source[0]
                while j + count < s.Q and alike(across + j, across + j + count) and (
                        across[j + count].source[0] - across[j + count - 1].source[0] == step):
                    count += 1
            taps = list_taps(tap, s, down, across + j, KW, tile, sizeof(real))
            source = x + (down.source[0] * s.W + across[j].source[0]) * s.width if taps else x
            if real is float:
                tile_f32(
                    tile, vectors, count, step * s.width, s.C, taps, tap, source, s.H * s.W * s.width, panels, s.K * tile,
                    y + o * y_channel + j * s.width, y_channel)
            else:
                tile_f64(
                    tile, vectors, count, step * s.width, s.C, taps, tap, source, s.H * s.W * s.width, panels, s.K * tile,
                    y + o * y_channel + j * s.width, y_channel)
            j += count
        panels += (1 + s.C * s.K) * tile
        o += tile


cdef inline void compute_block(
    const real* x, const real* panels, real* y, const Geometry* g, const Run* s, Py_ssize_t images, char* memory
) noexcept nogil:
    """One block of images of one group, at which all arrays begin."""
    cdef Py_ssize_t inputs = s.C * s.H * s.W, outputs = s.P * s.Q, i, j, p, o, rows, y_channel = s.rows * s.Q * s.width
    cdef real* turned = <real*> memory
    cdef real* part = turned + inputs * s.width
    cdef Meeting down
    cdef Meeting* across = <Meeting*> (part + s.padded * y_channel)
    if images < s.width:
        memset(turned, 0, inputs * s.width * sizeof(real))
    transpose(x, inputs * g.groups, images, inputs, turned, s.width)
    for j in range(s.Q):
        meet(across + j, j, g.KW, s.W, g.sw, g.left, g.dw, s.gradient)
    p = 0
    while p < s.P:
        rows = min(s.rows, s.P - p)
        for i in range(rows):
            meet(&down, p + i, g.KH, s.H, g.sh, g.top, g.dh, s.gradient)
            compute_row(turned, panels, part + i * s.Q * s.width, y_channel, s, &down, across, g.KW)
        for o in range(s.O):
            transpose(
                part + o * y_channel, s.width, rows * s.Q, images, y + o * outputs + p * s.Q, g.groups * s.O * outputs)
        p += rows


cdef inline int compute_images(
    const real* x, const real* w, const real* b, real* y, const Geometry* g, Run* s, Py_ssize_t w_out, Py_ssize_t w_in
) noexcept nogil:
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), o = 0, group, blocks, units, unit, first, space, panels
    cdef int threads = threads_for(g.N * g.groups * g.O * g.P * g.Q * g.C * s.K // 16), t
    cdef char* memory
    cdef real* packed
    s.K = g.KH * g.KW
    s.padded = 0
    while o < s.O:
        s.padded += tile_channels(s.O - o)
        o += tile_channels(s.O - o)
    blocks = max((g.N + VECTORS * lanes - 1) // (VECTORS * lanes), min(<Py_ssize_t> threads, (g.N + lanes - 1) // lanes))
    s.width = round_up((g.N + blocks - 1) // blocks, lanes)
    blocks = (g.N + s.width - 1) // s.width
    s.rows = min(max(PART_BYTES // (s.padded * s.Q * s.width * <Py_ssize_t> sizeof(real)), 1), s.P)
    units = g.groups * blocks
    threads = <int> min(<Py_ssize_t> threads, units)
    panels = s.padded * (1 + s.C * s.K)
    space = round_up(
        (s.C * s.H * s.W + s.padded * s.rows * s.Q) * s.width * sizeof(real) + s.Q * sizeof(Meeting), 64)
    memory = workspace(round_up(g.groups * panels * sizeof(real), 64) + threads * space)
    if memory == NULL:
        return -1
    packed = <real*> memory
    for group in range(g.groups):
        pack_channels(
            packed + group * panels, w + group * g.O * g.C * s.K, b + group * s.O if b != NULL else b, s, w_out, w_in)
    memory += round_up(g.groups * panels * sizeof(real), 64)
    if threads == 1:
        for unit in range(units):
            group = unit % g.groups
            first = unit // g.groups * s.width
            compute_block(
                x + (first * g.groups + group) * s.C * s.H * s.W, packed + group * panels,
                y + (first * g.groups + group) * s.O * s.P * s.Q, g, s, min(s.width, g.N - first), memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            for unit in range(units * t // threads, units * (t + 1) // threads):
                group = unit % g.groups
                first = unit // g.groups * s.width
                compute_block(
                    x + (first * g.groups + group) * s.C * s.H * s.W, packed + group * panels,
                    y + (first * g.groups + group) * s.O * s.P * s.Q, g, s, min(s.width, g.N - first), memory + t * space)
    workspace_done()
    return 0


cdef inline int images_forward(const real* x, const real* w, const real* b, real* y, const Geometry* g) noexcept nogil:
    cdef Run s
    s.C, s.H, s.W, s.O, s.P, s.Q, s.gradient = g.C, g.H, g.W, g.O, g.P, g.Q, False
    return compute_images(x, w, b, y, g, &s, g.C * g.KH * g.KW, g.KH * g.KW)


cdef inline int images_dx(const real* dy, const real* w, real* dx, const Geometry* g) noexcept nogil:
    cdef Run s
    cdef const real* none = NULL
    s.C, s.H, s.W, s.O, s.P, s.Q, s.gradient = g.O, g.P, g.Q, g.C, g.H, g.W, True
    return compute_images(dy, w, none, dx, g, &s, g.KH * g.KW, g.C * g.KH * g.KW)
