"""Data gradient of a convolution of few input channels: the forward pass's tiles on blocks of dy, once for every phase of dx.

The elements of dx at (i sh + a, j sw + b) see the taps (u, v) with u dh = a + top (mod sh) and v dw = b + left (mod sw), each at
one offset from (i, j) in dy. The channels of dy go in parts, so that a part's rows stay in the caches. With strides the phases
are computed side by side and then taken together.
"""

from cython.parallel cimport prange
from libc.string cimport memcpy, memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport (
    MOST_SPANS, SPAN_BYTES, Block, Unit, convolve_units, fill_block, list_units, make_block, padded_channels, round_up,
    taps_channels,
)
from fastnn.kernels.convolution.few_channels cimport few_channels_threads
from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done

cdef extern from "simd/few_channels.h" nogil:
    void zip_rows_f32 "fastnn_zip_rows_f32"(float* target, const float* even, const float* odd, Py_ssize_t count) noexcept
    void zip_rows_f64 "fastnn_zip_rows_f64"(double* target, const double* even, const double* odd, Py_ssize_t count) noexcept

cdef enum:
    DX_UNITS = 128   # vectors of pixels of one phase in a block
    PART_TAPS = 192   # of one phase that share a sum
    MOST_PHASES = 16
    MOST_TAPS = 512

cdef struct Plan:
    Py_ssize_t part, parts, padded       # channels of dy in a part; channels of dx in the tiles
    Py_ssize_t row, column               # of dy, under the first tap of element (0, 0)
    Py_ssize_t down, across              # elements of a phase
    Py_ssize_t taps[MOST_PHASES]         # of one channel
    Py_ssize_t offset[MOST_PHASES]       # where those of a phase begin in a list
    Py_ssize_t phases, pitch, plane      # rows and planes of one phase's results
    Block block


cdef inline Py_ssize_t floor_divide(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a - (a % b + b) % b) // b


cdef inline Plan dx_plan(const Geometry* g, Py_ssize_t lanes) noexcept nogil:
    cdef Plan s
    cdef Py_ssize_t most = ((g.KH + g.sh - 1) // g.sh) * ((g.KW + g.sw - 1) // g.sw), phase, u, v, n = 0
    s.parts = (g.O * most + PART_TAPS - 1) // PART_TAPS
    s.part = (g.O + s.parts - 1) // max(s.parts, 1)
    s.padded = padded_channels(g.C)
    s.row = floor_divide(g.top - (g.KH - 1) * g.dh, g.sh)
    s.column = floor_divide(g.left - (g.KW - 1) * g.dw, g.sw)
    s.down = (g.H + g.sh - 1) // g.sh
    s.across = (g.W + g.sw - 1) // g.sw
    s.phases = g.sh * g.sw
    for phase in range(s.phases):
        s.offset[phase] = n
        s.taps[phase] = 0
        for u in range(g.KH):
            for v in range(g.KW):
                s.taps[phase] += (phase // g.sw + g.top - u * g.dh) % g.sh == 0 and (phase % g.sw + g.left - v * g.dw) % g.sw == 0
        n += s.part * s.taps[phase]
    s.block = make_block(
        s.down, s.across, 1, 1, floor_divide(g.sh - 1 + g.top, g.sh) - s.row, floor_divide(g.sw - 1 + g.left, g.sw) - s.column,
        DX_UNITS, lanes)
    s.pitch = g.W if s.phases == 1 else round_up(s.block.columns, lanes)
    s.plane = g.H * g.W if s.phases == 1 else s.block.rows * s.pitch
    return s


cdef inline void list_taps(Py_ssize_t* at, Py_ssize_t* tap, const Geometry* g, const Plan* s, Py_ssize_t phase) noexcept nogil:
    """Where the taps of a phase lie in a plane of dy, and their numbers."""
    cdef Py_ssize_t u, v, n = 0, row, column
    for u in range(g.KH):
        row = phase // g.sw + g.top - u * g.dh
        if row % g.sh != 0:
            continue
        for v in range(g.KW):
            column = phase % g.sw + g.left - v * g.dw
            if column % g.sw == 0:
                at[n] = (row // g.sh - s.row) * s.block.pitch + column // g.sw - s.column
                tap[n] = u * g.KW + v
                n += 1


cdef inline void pack_tile(
    real* panel, const real* w, Py_ssize_t tile, const Geometry* g, const Plan* s, const Py_ssize_t* tap, Py_ssize_t taps,
    Py_ssize_t o, Py_ssize_t channels, Py_ssize_t c,
) noexcept nogil:
    """Of tile channels of dx from c on: zeros for a bias, then the weights of dy's channels, from o on, tap by tap."""
    cdef Py_ssize_t K = g.KH * g.KW, i, j, t
    memset(panel, 0, tile * (channels * taps + 1) * sizeof(real))
    for i in range(min(tile, g.C - c)):
        for j in range(channels):
            for t in range(taps):
                panel[(1 + j * taps + t) * tile + i] = w[((o + j) * g.C + c + i) * K + tap[t]]


cdef inline void pack_dx(Py_ssize_t* offset, real* panels, const real* w, const Geometry* g, const Plan* s) noexcept nogil:
    """The panels of one group, part by part and phase by phase; the offsets of a whole part serve for a smaller one."""
    cdef Py_ssize_t at[MOST_TAPS]
    cdef Py_ssize_t tap[MOST_TAPS]
    cdef Py_ssize_t o, phase, channels, taps, j, t, c, tile, done = 0
    cdef real* panel
    for phase in range(s.phases):
        taps = s.taps[phase]
        list_taps(at, tap, g, s, phase)
        for j in range(s.part):
            for t in range(taps):
                offset[s.offset[phase] + j * taps + t] = j * s.block.plane + at[t]
        o = 0
        panel = panels + s.padded * done
        while o < g.O:
            channels = min(s.part, g.O - o)
            c = 0
            while c < g.C:
                tile = taps_channels(g.C - c)
                pack_tile(panel + c * (channels * taps + 1), w, tile, g, s, tap, taps, o, channels, c)
                c += tile
            panel += s.padded * (channels * taps + 1)
            o += channels
        done += g.O * taps + s.parts


cdef inline void join_phases(
    real* dx, const real* result, const Geometry* g, const Plan* s, Py_ssize_t i, Py_ssize_t j
) noexcept nogil:
    """What the phases of a block, from element (i, j) of each on, have computed."""
    cdef Py_ssize_t columns = min(s.block.columns * g.sw, g.W - j * g.sw), c, r, t
    cdef const real* row
    cdef real* target
    for c in range(g.C):
        for r in range(min(s.block.rows * g.sh, g.H - i * g.sh)):
            target = dx + (c * g.H + i * g.sh + r) * g.W + j * g.sw
            row = result + (r % g.sh * g.sw * g.C + c) * s.plane + r // g.sh * s.pitch
            if g.sw == 1:
                memcpy(target, row, columns * sizeof(real))
            elif g.sw == 2:
                if real is float:
                    zip_rows_f32(target, row, row + g.C * s.plane, columns)
                else:
                    zip_rows_f64(target, row, row + g.C * s.plane, columns)
            else:
                for t in range(columns):
                    target[t] = row[t % g.sw * g.C * s.plane + t // g.sw]


cdef inline void dx_blocks(
    const real* dy, const real* panels, const Py_ssize_t* offset, real* dx, const Geometry* g, const Plan* s, Py_ssize_t first,
    Py_ssize_t last, char* memory,
) noexcept nogil:
    """Blocks first to last, counted over images, groups, rows and columns."""
    cdef Py_ssize_t down = (s.down + s.block.rows - 1) // max(s.block.rows, 1), lanes = SPAN_BYTES // sizeof(real)
    cdef Py_ssize_t across = (s.across + s.block.columns - 1) // max(s.block.columns, 1)
    cdef Py_ssize_t index, image, i, j, o, phase, channels, done, units
    cdef Unit* unit = <Unit*> memory
    cdef real* source = <real*> (memory + round_up((DX_UNITS + MOST_SPANS) * sizeof(Unit), 64))
    cdef real* result = source + round_up(s.part * s.block.plane + 2 * lanes, lanes)
    cdef real* target
    cdef const real* panel
    for index in range(first, last):
        image = index // (down * across)
        i = index // across % down * s.block.rows
        j = index % across * s.block.columns
        units = list_units(
            unit, min(s.block.rows, s.down - i), min(s.block.columns, s.across - j), s.block.pitch, s.pitch, lanes)
        panel = panels + image % g.groups * s.padded * (g.O * g.KH * g.KW + s.parts * s.phases)
        target = dx + image * g.C * g.H * g.W + i * g.W + j if s.phases == 1 else result
        o = 0
        while o < g.O:
            channels = min(s.part, g.O - o)
            fill_block(source, &s.block, dy + (image * g.O + o) * g.P * g.Q, channels, g.P, g.Q, i + s.row, j + s.column)
            done = 0
            for phase in range(s.phases):
                convolve_units(
                    source, unit, units, channels * s.taps[phase], offset + s.offset[phase],
                    panel + s.padded * (done + o * s.taps[phase] + o // s.part), target + phase * g.C * s.plane, s.plane, g.C,
                    o > 0)
                done += g.O * s.taps[phase] + s.parts
            o += channels
        if s.phases > 1:
            join_phases(dx + image * g.C * g.H * g.W, result, g, s, i, j)


cdef inline int few_channels_dx(const real* dy, const real* w, real* dx, const Geometry* g) noexcept nogil:
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), taps = g.O * g.KH * g.KW, group
    cdef Plan s = dx_plan(g, lanes)
    cdef Py_ssize_t down = (s.down + s.block.rows - 1) // max(s.block.rows, 1)
    cdef Py_ssize_t blocks = g.N * g.groups * down * ((s.across + s.block.columns - 1) // max(s.block.columns, 1))
    cdef Py_ssize_t group_panels = s.padded * (taps + s.parts * s.phases)
    cdef Py_ssize_t offsets = round_up(s.part * g.KH * g.KW * sizeof(Py_ssize_t), 64)
    cdef Py_ssize_t shared = offsets + round_up(g.groups * group_panels * sizeof(real), 64)
    cdef Py_ssize_t results = s.phases * g.C * s.plane if s.phases > 1 else 0
    cdef Py_ssize_t space = round_up(
        round_up((DX_UNITS + MOST_SPANS) * sizeof(Unit), 64) + (s.part * s.block.plane + 3 * lanes + results) * sizeof(real), 64)
    cdef int threads = few_channels_threads(g, blocks), t
    cdef char* memory = workspace(shared + threads * space)
    cdef Py_ssize_t* offset = <Py_ssize_t*> memory
    cdef real* panels = <real*> (memory + offsets)
    if memory == NULL:
        return -1
    for group in range(g.groups):
        pack_dx(offset, panels + group * group_panels, w + group * g.C * taps, g, &s)
    memory += shared
    if threads == 1:
        dx_blocks(dy, panels, offset, dx, g, &s, 0, blocks, memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            dx_blocks(
                dy, panels, offset, dx, g, &s, blocks * t // threads, blocks * (t + 1) // threads, memory + t * space)
    workspace_done()
    return 0
