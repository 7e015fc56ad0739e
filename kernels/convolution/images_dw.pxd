# cython: cdivision=True
"""Weight gradient of a convolution with images in lanes: a tile of dy's channels x taps, over the pixels of a vector of images. What
some rows give is added up in double.
"""

from cython.parallel cimport prange
from libc.string cimport memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport round_up
from fastnn.kernels.convolution.few_channels_dw cimport products_f32, products_f64
from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.convolution.transpose cimport transpose
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done
from fastnn.kernels.parallel cimport threads_for

cdef extern from "simd/few_channels.h" nogil:
    enum:
        SPAN_BYTES "FASTNN_SPAN_BYTES"
        CHANNELS "FASTNN_PRODUCTS_CHANNELS"
        TAPS "FASTNN_PRODUCTS_TAPS"

cdef enum:
    SUM = 96            # products that a lane adds up in float32: 128 may err by 16 eps
    MOST_CHANNELS = 32  # of one group: a vector of transposed images stays in L2
    MOST_SIDE = 28      # pixels of a row, above which pixels in lanes lose little
    LEAST_IMAGES = 16
    LEAST_TAPS = 24     # of all channels, below which transposing costs more than it saves

cdef struct Plan:
    Py_ssize_t lanes
    Py_ssize_t H, W   # of the input with what the taps see around it
    Py_ssize_t rows   # of dy whose products are added up at once


cdef inline bint images_dw_fits(const Geometry* g) noexcept nogil:
    """Where images in lanes win; neighbouring pixels of dy have to meet neighbouring ones of the input."""
    return (
        g.N >= LEAST_IMAGES and max(g.C, g.O) <= MOST_CHANNELS and max(g.H, g.W, g.P, g.Q) <= 2 * MOST_SIDE and g.Q <= MOST_SIDE
        and g.sw == 1 and g.C * g.KH * g.KW >= LEAST_TAPS
    )


cdef inline void turn_input(const real* x, real* turned, const Geometry* g, const Plan* a, Py_ssize_t images) noexcept nogil:
    """turned[c][row][column][image] of one group, zeros around it."""
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), rows = max(min(g.H, a.H - g.top), 0), columns = max(min(g.W, a.W - g.left), 0)
    cdef Py_ssize_t c, i, step = g.groups * g.C * g.H * g.W
    cdef real* to
    if images < a.lanes or g.top + g.left > 0 or rows < a.H or columns < a.W:
        memset(turned, 0, g.C * a.H * a.W * lanes * sizeof(real))
    for c in range(g.C):
        to = turned + ((c * a.H + g.top) * a.W + g.left) * lanes
        if columns == a.W and columns == g.W:
            transpose(x + c * g.H * g.W, step, images, rows * columns, to, lanes)
        else:
            for i in range(rows):
                transpose(x + (c * g.H + i) * g.W, step, images, columns, to + i * a.W * lanes, lanes)


cdef inline void list_offsets(Py_ssize_t* offset, const Geometry* g, const Plan* a) noexcept nogil:
    """Where tap (c, u, v) lies in the input that was turned."""
    cdef Py_ssize_t lanes = a.lanes, c, u, v, n = 0
    for c in range(g.C):
        for u in range(g.KH):
            for v in range(g.KW):
                offset[n] = ((c * a.H + u * g.dh) * a.W + v * g.dw) * lanes
                n += 1


cdef inline void add_products(
    const real* dy, const real* x, double* total, const Geometry* g, const Plan* a, const Py_ssize_t* offset, Py_ssize_t channels
) noexcept nogil:
    """What a vector of images gives to the taps of at most CHANNELS channels of dy."""
    cdef Py_ssize_t K = g.C * g.KH * g.KW, runs = (K + TAPS - 1) // TAPS, run, k, p = 0, rows
    cdef Py_ssize_t row = g.Q * a.lanes, x_row = g.sh * a.W * a.lanes
    while p < g.P:
        rows = min(a.rows, g.P - p)
        for run in range(runs):
            k = K * run // runs
            if real is float:
                products_f32(
                    channels, K * (run + 1) // runs - k, dy + p * row, g.P * row, row, x + p * x_row, x_row, offset + k, rows, row,
                    total + k, K)
            else:
                products_f64(
                    channels, K * (run + 1) // runs - k, dy + p * row, g.P * row, row, x + p * x_row, x_row, offset + k, rows, row,
                    total + k, K)
        p += rows


cdef inline void dw_channels(
    const real* dy, const real* x, real* dw, const Geometry* g, const Plan* a, Py_ssize_t group, Py_ssize_t first,
    Py_ssize_t channels, char* memory,
) noexcept nogil:
    """Some channels of a group: their rows of dw."""
    cdef Py_ssize_t K = g.C * g.KH * g.KW, pixels = g.P * g.Q, n = 0, images, o, i
    cdef Py_ssize_t* offset = <Py_ssize_t*> memory
    cdef double* total = <double*> (offset + K)
    cdef real* turned = <real*> (memory + round_up(K * sizeof(Py_ssize_t) + channels * K * sizeof(double), 64))
    cdef real* plane = turned + g.C * a.H * a.W * a.lanes
    list_offsets(offset, g, a)
    memset(total, 0, channels * K * sizeof(double))
    while n < g.N:
        images = min(a.lanes, g.N - n)
        turn_input(x + (n * g.groups + group) * g.C * g.H * g.W, turned, g, a, images)
        o = 0
        while o < channels:
            i = min(<Py_ssize_t> CHANNELS, channels - o)
            if images < a.lanes:
                memset(plane, 0, i * pixels * a.lanes * sizeof(real))
            transpose(
                dy + ((n * g.groups + group) * g.O + first + o) * pixels, g.groups * g.O * pixels, images, i * pixels, plane, a.lanes)
            add_products(plane, turned, total + o * K, g, a, offset, i)
            o += i
        n += images
    for i in range(channels * K):
        dw[(group * g.O + first) * K + i] = <real> total[i]


cdef inline void dw_tiles(
    const real* dy, const real* x, real* dw, const Geometry* g, const Plan* a, Py_ssize_t first, Py_ssize_t last, char* memory
) noexcept nogil:
    """Tiles of output channels first to last, counted over the groups."""
    cdef Py_ssize_t tiles = (g.O + CHANNELS - 1) // CHANNELS, o
    while first < last:
        o = first % tiles * CHANNELS
        dw_channels(dy, x, dw, g, a, first // tiles, o, min(g.O - o, (last - first) * CHANNELS), memory)
        first += min(last - first, tiles - first % tiles)


cdef inline int images_dw(const real* dy, const real* x, real* dw, const Geometry* g) noexcept nogil:
    cdef Plan a
    cdef Py_ssize_t K = g.C * g.KH * g.KW, units = g.groups * ((g.O + CHANNELS - 1) // CHANNELS), space
    cdef int threads = <int> min(<Py_ssize_t> threads_for(g.N * g.groups * g.O * g.P * g.Q * K // 16), units), t
    cdef char* memory
    a.lanes = SPAN_BYTES // sizeof(real)
    a.H, a.W = (g.P - 1) * g.sh + (g.KH - 1) * g.dh + 1, g.Q + (g.KW - 1) * g.dw
    a.rows = SUM // g.Q
    space = round_up(K * sizeof(Py_ssize_t) + g.O * K * sizeof(double), 64)
    space = round_up(space + (g.C * a.H * a.W + CHANNELS * g.P * g.Q) * a.lanes * sizeof(real), 64)
    memory = workspace(threads * space)
    if memory == NULL:
        return -1
    if threads == 1:
        dw_tiles(dy, x, dw, g, &a, 0, units, memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            dw_tiles(dy, x, dw, g, &a, units * t // threads, units * (t + 1) // threads, memory + t * space)
    workspace_done()
    return 0
