# cython: cdivision=True
"""Convolution of few input channels into rows of few pixels: output channels in lanes, runs of pixels in the rows of a tile.

A single image of 6 channels of 12x12 into 16 of 8x8 by 5x5 took 2.2 times as long with pixels in lanes, half of which were empty.
"""

from cython.parallel cimport prange

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport Block, fill_block, make_block, padded_channels, round_up
from fastnn.kernels.convolution.few_channels cimport few_channels_fits, few_channels_threads, list_offsets
from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done
from fastnn.kernels.packing cimport pack_transposed

cdef extern from "simd/few_pixels.h" nogil:
    enum:
        SPAN_BYTES "FASTNN_SPAN_BYTES"
        RUN "FASTNN_RUN"
    ctypedef struct Run "fastnn_run":
        Py_ssize_t source, target, count
    void pixels_f32 "fastnn_pixels_f32"(
        Py_ssize_t taps, const Py_ssize_t* offset, const float* panel, const float* x, const Run* run, Py_ssize_t runs, float* p,
        float* out, Py_ssize_t stride, Py_ssize_t channels) noexcept
    void pixels_f64 "fastnn_pixels_f64"(
        Py_ssize_t taps, const Py_ssize_t* offset, const double* panel, const double* x, const Run* run, Py_ssize_t runs, double* p,
        double* out, Py_ssize_t stride, Py_ssize_t channels) noexcept

cdef enum:
    BLOCK_RUNS = 64  # in a block


cdef inline bint few_pixels_fits(const Geometry* g) noexcept nogil:
    """Where fewer lanes stay empty than with pixels in them."""
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(float)
    return (
        g.sw == 1 and few_channels_fits(g)
        and round_up(g.Q, RUN) * round_up(g.O, lanes) * 4 <= round_up(g.Q, lanes) * padded_channels(g.O) * 3
    )


cdef inline Py_ssize_t list_runs(
    Run* run, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t source_row, Py_ssize_t target_row
) noexcept nogil:
    """The runs of a block, row by row. Returns their number."""
    cdef Py_ssize_t n = 0, r, q
    for r in range(rows):
        q = 0
        while q < columns:
            run[n].source, run[n].target, run[n].count = r * source_row + q, r * target_row + q, min(<Py_ssize_t> RUN, columns - q)
            n += 1
            q += RUN
    return n


cdef inline void convolve_blocks(
    const real* x, const real* panels, const Py_ssize_t* offset, real* y, const Geometry* g, const Block* block,
    Py_ssize_t first, Py_ssize_t last, char* memory,
) noexcept nogil:
    """Blocks first to last, counted over images, groups, rows and columns."""
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), K = g.C * g.KH * g.KW, panel = (K + 1) * lanes
    cdef Py_ssize_t down = (g.P + block.rows - 1) // block.rows, across = (g.Q + block.columns - 1) // block.columns
    cdef Py_ssize_t slabs = (g.O + lanes - 1) // lanes, index, image, p, q, runs, slab
    cdef Run* run = <Run*> memory
    cdef real* sums = <real*> (memory + round_up(BLOCK_RUNS * sizeof(Run), 64))
    cdef real* source = sums + (BLOCK_RUNS * RUN + lanes) * lanes
    cdef real* out
    for index in range(first, last):
        image = index // (down * across)
        p = index // across % down * block.rows
        q = index % across * block.columns
        runs = list_runs(run, min(block.rows, g.P - p), min(block.columns, g.Q - q), g.sh * block.pitch, g.Q)
        fill_block(source, block, x + image * g.C * g.H * g.W, g.C, g.H, g.W, p * g.sh - g.top, q - g.left)
        out = y + (image * g.O * g.P + p) * g.Q + q
        for slab in range(slabs):
            if real is float:
                pixels_f32(
                    K, offset, panels + (image % g.groups * slabs + slab) * panel, source, run, runs, sums,
                    out + slab * lanes * g.P * g.Q, g.P * g.Q, min(lanes, g.O - slab * lanes))
            else:
                pixels_f64(
                    K, offset, panels + (image % g.groups * slabs + slab) * panel, source, run, runs, sums,
                    out + slab * lanes * g.P * g.Q, g.P * g.Q, min(lanes, g.O - slab * lanes))


cdef inline void pack_slabs(real* panels, const real* w, const real* b, const Geometry* g) noexcept nogil:
    """For each vector of output channels of every group: the bias, then the weights tap by tap; zeros for channels that do not exist."""
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), K = g.C * g.KH * g.KW, group, o, i
    for group in range(g.groups):
        o = 0
        while o < g.O:
            for i in range(lanes):
                panels[i] = b[group * g.O + o + i] if b != NULL and o + i < g.O else 0
            pack_transposed(w + (group * g.O + o) * K, K, min(lanes, g.O - o), K, lanes, panels + lanes)
            panels += (K + 1) * lanes
            o += lanes


cdef inline int few_pixels_forward(const real* x, const real* w, const real* b, real* y, const Geometry* g) noexcept nogil:
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), K = g.C * g.KH * g.KW, slabs = (g.O + lanes - 1) // lanes
    cdef Block block = make_block(g.P, g.Q, g.sh, 1, (g.KH - 1) * g.dh, (g.KW - 1) * g.dw, BLOCK_RUNS, RUN)
    cdef Py_ssize_t blocks = g.N * g.groups * (
        (g.P + block.rows - 1) // block.rows) * ((g.Q + block.columns - 1) // block.columns)
    cdef Py_ssize_t offsets = round_up(K * sizeof(Py_ssize_t), 64)
    cdef Py_ssize_t shared = offsets + round_up(g.groups * slabs * (K + 1) * lanes * sizeof(real), 64)
    cdef Py_ssize_t space = round_up(
        round_up(BLOCK_RUNS * sizeof(Run), 64)
        + ((BLOCK_RUNS * RUN + lanes) * lanes + g.C * block.plane + 2 * RUN) * sizeof(real), 64)
    cdef int threads = few_channels_threads(g, blocks), t
    cdef char* memory = workspace(shared + threads * space)
    cdef Py_ssize_t* offset = <Py_ssize_t*> memory
    cdef real* panels = <real*> (memory + offsets)
    if memory == NULL:
        return -1
    list_offsets(offset, g, &block)
    pack_slabs(panels, w, b, g)
    memory += shared
    if threads == 1:
        convolve_blocks(x, panels, offset, y, g, &block, 0, blocks, memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            convolve_blocks(
                x, panels, offset, y, g, &block, blocks * t // threads, blocks * (t + 1) // threads, memory + t * space)
    workspace_done()
    return 0
