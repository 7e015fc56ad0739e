"""Weight gradient of a convolution of few input channels: a tile of dy's channels x taps, pixels in lanes, on padded blocks of
the input. dy is read in place. What a block gives is added up in double.
"""

from cython.parallel cimport prange
from libc.string cimport memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport SPAN_BYTES, Block, fill_block, make_block, round_up
from fastnn.kernels.convolution.few_channels cimport few_channels_threads, list_offsets
from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done

cdef extern from "simd/few_channels.h" nogil:
    enum:
        PRODUCTS_CHANNELS "FASTNN_PRODUCTS_CHANNELS"
        PRODUCTS_TAPS "FASTNN_PRODUCTS_TAPS"
    void products_f32 "fastnn_products_f32"(
        Py_ssize_t channels, Py_ssize_t taps, const float* dy, Py_ssize_t dy_channel, Py_ssize_t dy_row, const float* x,
        Py_ssize_t x_row, const Py_ssize_t* offset, Py_ssize_t rows, Py_ssize_t columns, double* total, Py_ssize_t total_channel,
    ) noexcept
    void products_f64 "fastnn_products_f64"(
        Py_ssize_t channels, Py_ssize_t taps, const double* dy, Py_ssize_t dy_channel, Py_ssize_t dy_row, const double* x,
        Py_ssize_t x_row, const Py_ssize_t* offset, Py_ssize_t rows, Py_ssize_t columns, double* total, Py_ssize_t total_channel,
    ) noexcept

cdef enum:
    DW_UNITS = 96   # vectors of pixels in a block: each lane adds up as many products in float32, 128 may err by 16 eps


cdef inline void dw_block(
    const real* dy, const real* source, const Py_ssize_t* offset, const Geometry* g, const Block* block, Py_ssize_t rows,
    Py_ssize_t columns, Py_ssize_t channels, double* total,
) noexcept nogil:
    """One block of all pixels, the given channels of dy."""
    cdef Py_ssize_t K = g.C * g.KH * g.KW, runs = (K + PRODUCTS_TAPS - 1) // PRODUCTS_TAPS, o = 0, run, k, many
    while o < channels:
        many = min(<Py_ssize_t> PRODUCTS_CHANNELS, channels - o)
        for run in range(runs):
            k = K * run // runs
            if real is float:
                products_f32(
                    many, K * (run + 1) // runs - k, dy + o * g.P * g.Q, g.P * g.Q, g.Q, source, g.sh * block.pitch, offset + k,
                    rows, columns, total + o * K + k, K)
            else:
                products_f64(
                    many, K * (run + 1) // runs - k, dy + o * g.P * g.Q, g.P * g.Q, g.Q, source, g.sh * block.pitch, offset + k,
                    rows, columns, total + o * K + k, K)
        o += many


cdef inline void dw_channels(
    const real* dy, const real* x, real* dw, const Geometry* g, const Block* block, const Py_ssize_t* offset, Py_ssize_t group,
    Py_ssize_t first, Py_ssize_t channels, double* total,
) noexcept nogil:
    """Some channels of a group: their rows of dw."""
    cdef Py_ssize_t K = g.C * g.KH * g.KW, n, p, q, i
    cdef real* source = <real*> (total + round_up(channels * K, 8))
    cdef const real* plane
    cdef const real* image
    memset(total, 0, channels * K * sizeof(double))
    for n in range(g.N):
        plane = dy + ((n * g.groups + group) * g.O + first) * g.P * g.Q
        image = x + (n * g.groups + group) * g.C * g.H * g.W
        p = 0
        while p < g.P:
            q = 0
            while q < g.Q:
                fill_block(source, block, image, g.C, g.H, g.W, p * g.sh - g.top, q * g.sw - g.left)
                dw_block(
                    plane + p * g.Q + q, source, offset, g, block, min(block.rows, g.P - p), min(block.columns, g.Q - q),
                    channels, total)
                q += block.columns
            p += block.rows
    for i in range(channels * K):
        dw[(group * g.O + first) * K + i] = <real> total[i]


cdef inline void dw_tiles(
    const real* dy, const real* x, real* dw, const Geometry* g, const Block* block, const Py_ssize_t* offset, Py_ssize_t first,
    Py_ssize_t last, double* total,
) noexcept nogil:
    """Tiles of output channels first to last, counted over the groups."""
    cdef Py_ssize_t tiles = (g.O + PRODUCTS_CHANNELS - 1) // PRODUCTS_CHANNELS, group, o
    while first < last:
        group = first // tiles
        o = first % tiles * PRODUCTS_CHANNELS
        dw_channels(
            dy, x, dw, g, block, offset, group, o, min(g.O - o, (last - first) * PRODUCTS_CHANNELS), total)
        first += min(last - first, tiles - first % tiles)


cdef inline int few_channels_dw(const real* dy, const real* x, real* dw, const Geometry* g) noexcept nogil:
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), K = g.C * g.KH * g.KW
    cdef Block block = make_block(g.P, g.Q, g.sh, g.sw, (g.KH - 1) * g.dh, (g.KW - 1) * g.dw, DW_UNITS, lanes)
    cdef Py_ssize_t units = g.groups * ((g.O + PRODUCTS_CHANNELS - 1) // PRODUCTS_CHANNELS)
    cdef Py_ssize_t shared = round_up(K * sizeof(Py_ssize_t), 64)
    cdef Py_ssize_t space = round_up(
        round_up(g.O * K, 8) * sizeof(double) + (g.C * block.plane + 2 * lanes) * sizeof(real), 64)
    cdef int threads = few_channels_threads(g, units), t
    cdef char* memory = workspace(shared + threads * space)
    cdef Py_ssize_t* offset = <Py_ssize_t*> memory
    if memory == NULL:
        return -1
    list_offsets(offset, g, &block)
    memory += shared
    if threads == 1:
        dw_tiles(dy, x, dw, g, &block, offset, 0, units, <double*> memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            dw_tiles(
                dy, x, dw, g, &block, offset, units * t // threads, units * (t + 1) // threads, <double*> (memory + t * space))
    workspace_done()
    return 0
