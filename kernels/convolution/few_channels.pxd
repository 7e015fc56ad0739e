# cython: cdivision=True
"""Convolution of few input channels on padded blocks of the input: a tile of output channels x vectors of pixels, tap after tap.

With 3 channels of 224x224 into 64 of 7x7, stride 2, a product with gathered patches took 2.5 times as long.
"""

from cython.parallel cimport prange

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport (
    MOST_SPANS, SPAN_BYTES, Block, Unit, convolve_units, fill_block, list_units, make_block, pack_panels, padded_channels,
    round_up,
)
from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done
from fastnn.kernels.parallel cimport threads_for

cdef enum:
    MOST_STEP = 4        # strides: the phases of a row
    MOST_CHANNELS = 16   # of one group
    MOST_TAPS = 512
    MOST_REACH = 128     # rows or columns between a kernel's first and last tap
    BLOCK_UNITS = 256    # vectors of pixels in a block


cdef inline bint few_channels_fits(const Geometry* g) noexcept nogil:
    return (
        g.C <= MOST_CHANNELS and g.C * g.KH * g.KW <= MOST_TAPS and g.sh <= MOST_STEP and g.sw <= MOST_STEP
        and (g.KH - 1) * g.dh <= MOST_REACH and (g.KW - 1) * g.dw <= MOST_REACH
    )


cdef inline int few_channels_threads(const Geometry* g, Py_ssize_t units) noexcept nogil:
    return <int> min(<Py_ssize_t> threads_for(g.N * g.groups * g.O * g.P * g.Q * g.C * g.KH * g.KW // 16), max(units, 1))


cdef inline void list_offsets(Py_ssize_t* offset, const Geometry* g, const Block* block) noexcept nogil:
    """Where tap (c, u, v) lies in a block of the input."""
    cdef Py_ssize_t c, u, v, n = 0, row
    for v in range(g.KW):
        offset[v] = v * g.dw % g.sw * block.in_columns + v * g.dw // g.sw
    for c in range(g.C):
        for u in range(g.KH):
            row = c * block.plane + u * g.dh * block.pitch
            for v in range(g.KW):
                offset[n] = row + offset[v]
                n += 1


# ----------------------------------------------------------------------------------------------------------------------- forward


cdef inline void forward_blocks(
    const real* x, const real* panels, const Py_ssize_t* offset, real* y, const Geometry* g, const Block* block,
    Py_ssize_t first, Py_ssize_t last, char* memory,
) noexcept nogil:
    """Blocks first to last, counted over images, groups, rows and columns."""
    cdef Py_ssize_t K = g.C * g.KH * g.KW, down = (g.P + block.rows - 1) // block.rows
    cdef Py_ssize_t across = (g.Q + block.columns - 1) // block.columns, lanes = SPAN_BYTES // sizeof(real)
    cdef Py_ssize_t index, image, p, q, rows, columns, listed_rows = 0, listed_columns = 0, units = 0
    cdef Unit* unit = <Unit*> memory
    cdef real* source = <real*> (memory + round_up((BLOCK_UNITS + MOST_SPANS) * sizeof(Unit), 64))
    for index in range(first, last):
        image = index // (down * across)
        p = index // across % down * block.rows
        q = index % across * block.columns
        rows = min(block.rows, g.P - p)
        columns = min(block.columns, g.Q - q)
        if rows != listed_rows or columns != listed_columns:
            units = list_units(unit, rows, columns, g.sh * block.pitch, g.Q, lanes)
            listed_rows = rows
            listed_columns = columns
        fill_block(source, block, x + image * g.C * g.H * g.W, g.C, g.H, g.W, p * g.sh - g.top, q * g.sw - g.left)
        convolve_units(
            source, unit, units, K, offset, panels + image % g.groups * padded_channels(g.O) * (K + 1),
            y + image * g.O * g.P * g.Q + p * g.Q + q, g.P * g.Q, g.O, False)


cdef inline int few_channels_forward(const real* x, const real* w, const real* b, real* y, const Geometry* g) noexcept nogil:
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), K = g.C * g.KH * g.KW, padded = padded_channels(g.O), group
    cdef Block block = make_block(g.P, g.Q, g.sh, g.sw, (g.KH - 1) * g.dh, (g.KW - 1) * g.dw, BLOCK_UNITS, lanes)
    cdef Py_ssize_t down = (g.P + block.rows - 1) // block.rows, across = (g.Q + block.columns - 1) // block.columns
    cdef Py_ssize_t blocks = g.N * g.groups * down * across
    cdef Py_ssize_t offsets = round_up(K * sizeof(Py_ssize_t), 64)
    cdef Py_ssize_t shared = offsets + round_up(g.groups * padded * (K + 1) * sizeof(real), 64)
    cdef Py_ssize_t space = round_up(
        round_up((BLOCK_UNITS + MOST_SPANS) * sizeof(Unit), 64) + (g.C * block.plane + 2 * lanes) * sizeof(real), 64)
    cdef int threads = few_channels_threads(g, blocks), t
    cdef char* memory = workspace(shared + threads * space)
    cdef Py_ssize_t* offset = <Py_ssize_t*> memory
    cdef real* panels = <real*> (memory + offsets)
    if memory == NULL:
        return -1
    list_offsets(offset, g, &block)
    for group in range(g.groups):
        pack_panels(panels + group * padded * (K + 1), w + group * g.O * K, b + group * g.O if b != NULL else b, g.O, K, K)
    memory += shared
    if threads == 1:
        forward_blocks(x, panels, offset, y, g, &block, 0, blocks, memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            forward_blocks(
                x, panels, offset, y, g, &block, blocks * t // threads, blocks * (t + 1) // threads, memory + t * space)
    workspace_done()
    return 0
