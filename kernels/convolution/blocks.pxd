"""Padded blocks of a convolution's input, in which a tap is one offset for all pixels, so that no patch is ever gathered.

A block is some rows and columns of the output together with the input under them, zeros around it. Its rows are split into ``sw``
phases (columns 0, sw, 2 sw, ...; 1, sw + 1, ...), so that neighbouring outputs always see neighbouring elements.
"""

from libc.string cimport memset

from fastnn.kernels.arrays cimport real

cdef extern from "simd/few_channels.h" nogil:
    enum:
        SPAN_BYTES "FASTNN_SPAN_BYTES"
        MOST_SPANS "FASTNN_MOST_SPANS"
    ctypedef struct Unit "fastnn_unit":
        Py_ssize_t source, target, count
    Py_ssize_t taps_channels "fastnn_taps_channels"(Py_ssize_t channels) noexcept
    Py_ssize_t taps_spans "fastnn_taps_spans"(Py_ssize_t channels) noexcept
    void taps_f32 "fastnn_taps_f32"(
        Py_ssize_t tile, Py_ssize_t taps, const Py_ssize_t* offset, const float* panel, const float* source, const Unit* unit,
        float* out, Py_ssize_t stride, Py_ssize_t channels, int add) noexcept
    void taps_f64 "fastnn_taps_f64"(
        Py_ssize_t tile, Py_ssize_t taps, const Py_ssize_t* offset, const double* panel, const double* source, const Unit* unit,
        double* out, Py_ssize_t stride, Py_ssize_t channels, int add) noexcept

cdef extern from "simd/padded_rows.h" nogil:
    void fill_rows_f32 "fastnn_fill_rows_f32"(
        float* target, Py_ssize_t pitch, Py_ssize_t rows, Py_ssize_t width, const float* source, Py_ssize_t row,
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t begin, Py_ssize_t end) noexcept
    void fill_rows_f64 "fastnn_fill_rows_f64"(
        double* target, Py_ssize_t pitch, Py_ssize_t rows, Py_ssize_t width, const double* source, Py_ssize_t row,
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t begin, Py_ssize_t end) noexcept
    void fill_phases_f32 "fastnn_fill_phases_f32"(
        float* target, Py_ssize_t phase, Py_ssize_t pitch, Py_ssize_t rows, Py_ssize_t width, const float* source, Py_ssize_t row,
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t begin, Py_ssize_t end) noexcept
    void fill_phases_f64 "fastnn_fill_phases_f64"(
        double* target, Py_ssize_t phase, Py_ssize_t pitch, Py_ssize_t rows, Py_ssize_t width, const double* source, Py_ssize_t row,
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t begin, Py_ssize_t end) noexcept

cdef struct Block:
    Py_ssize_t rows, columns         # of the output
    Py_ssize_t in_rows, in_columns   # under them; in_columns of one phase
    Py_ssize_t phases, pitch, plane  # elements from row to row, from channel to channel


cdef inline Py_ssize_t round_up(Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    return (n + step - 1) // step * step


cdef inline Py_ssize_t even_shares(Py_ssize_t units, Py_ssize_t most, Py_ssize_t threads) noexcept nogil:
    """Into how many shares to cut every unit of work, at most so many, that no thread has much more to do than the others."""
    cdef Py_ssize_t shares = 1
    while shares < most and round_up(units * shares, threads) * 15 > units * shares * 16:
        shares += 1
    return shares


cdef inline Block make_block(
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t sh, Py_ssize_t sw, Py_ssize_t reach_h, Py_ssize_t reach_w, Py_ssize_t units,
    Py_ssize_t lanes,
) noexcept nogil:
    """Blocks of at most ``units`` vectors out of an output of rows x columns."""
    cdef Block block
    cdef Py_ssize_t spans = min((columns + lanes - 1) // lanes, max(units // min(max(rows, 1), 4), 1))
    cdef Py_ssize_t most = max(units // max(spans, 1), 1)
    block.columns = min(columns, spans * lanes)
    block.rows = (rows + (rows + most - 1) // most - 1) // max((rows + most - 1) // most, 1)
    block.in_rows = (block.rows - 1) * sh + reach_h + 1
    block.in_columns = round_up(block.columns + reach_w // sw, lanes)
    block.phases = sw
    block.pitch = sw * block.in_columns
    block.plane = block.in_rows * block.pitch
    return block


cdef inline void fill_block(
    real* target, const Block* block, const real* x, Py_ssize_t channels, Py_ssize_t H, Py_ssize_t W, Py_ssize_t row,
    Py_ssize_t column,
) noexcept nogil:
    """The input from (row, column) on, which may lie outside."""
    cdef Py_ssize_t first = min(max(-row, 0), block.in_rows), last = max(min(H - row, block.in_rows), first)
    cdef Py_ssize_t begin = max(-column, 0), end = max(W - column, begin), _c
    cdef const real* source = x + row * W + column
    for _c in range(channels):
        if block.phases == 1:
            if real is float:
                fill_rows_f32(target, block.pitch, block.in_rows, block.in_columns, source, W, first, last, begin, end)
            else:
                fill_rows_f64(target, block.pitch, block.in_rows, block.in_columns, source, W, first, last, begin, end)
        elif block.phases == 2:
            if real is float:
                fill_phases_f32(
                    target, block.in_columns, block.pitch, block.in_rows, block.in_columns, source, W, first, last, begin, end)
            else:
                fill_phases_f64(
                    target, block.in_columns, block.pitch, block.in_rows, block.in_columns, source, W, first, last, begin, end)
        else:
            fill_strided(target, block, source, W, first, last, begin, end)
        target += block.plane
        source += H * W


cdef inline void fill_strided(
    real* target, const Block* block, const real* source, Py_ssize_t W, Py_ssize_t first, Py_ssize_t last, Py_ssize_t begin,
    Py_ssize_t end,
) noexcept nogil:
    """One channel in any number of phases."""
    cdef Py_ssize_t r, phase, t, at
    for r in range(block.in_rows):
        for phase in range(block.phases):
            for t in range(block.in_columns):
                at = t * block.phases + phase
                target[r * block.pitch + phase * block.in_columns + t] = (
                    source[r * W + at] if first <= r < last and begin <= at < end else 0)


cdef inline void spread_block(
    real* target, const Block* block, const real* dy, Py_ssize_t P, Py_ssize_t Q, Py_ssize_t sh, Py_ssize_t sw, Py_ssize_t row,
    Py_ssize_t column,
) noexcept nogil:
    """dy with sh - 1 rows and sw - 1 columns of zeros between its elements, from (row, column) of that on; one phase."""
    cdef Py_ssize_t first = (max(column, 0) + sw - 1) // sw, r, q
    cdef Py_ssize_t last = min(Q, (max(column + block.in_columns, 0) + sw - 1) // sw)
    cdef real* to
    cdef const real* source
    if sh == 1 and sw == 1:
        fill_block(target, block, dy, 1, P, Q, row, column)
        return
    memset(target, 0, block.plane * sizeof(real))
    for r in range(block.in_rows):
        if row + r < 0 or (row + r) % sh != 0 or row + r >= P * sh:
            continue
        to = target + r * block.pitch - column
        source = dy + (row + r) // sh * Q
        if sw == 2:
            for q in range(first, last):
                to[2 * q] = source[q]
        else:
            for q in range(first, last):
                to[q * sw] = source[q]


cdef inline Py_ssize_t list_units(
    Unit* unit, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t source_row, Py_ssize_t target_row, Py_ssize_t lanes
) noexcept nogil:
    """The vectors of a block, row by row; MOST_SPANS more that store nothing, to fill up the last tile. Returns their number."""
    cdef Py_ssize_t n = 0, r, q, i
    for r in range(rows):
        q = 0
        while q < columns:
            unit[n].source = r * source_row + q
            unit[n].target = r * target_row + q
            unit[n].count = min(lanes, columns - q)
            n += 1
            q += lanes
    for i in range(n, n + MOST_SPANS):
        unit[i].source = unit[i].target = unit[i].count = 0
    return n


cdef inline void convolve_units(
    const real* source, const Unit* unit, Py_ssize_t units, Py_ssize_t taps, const Py_ssize_t* offset, const real* panels,
    real* out, Py_ssize_t stride, Py_ssize_t channels, bint add,
) noexcept nogil:
    """Every output channel of the given vectors."""
    cdef Py_ssize_t o = 0, tile, i
    while o < channels:
        tile = taps_channels(channels - o)
        i = 0
        while i < units:
            if real is float:
                taps_f32(
                    tile, taps, offset, panels + o * (taps + 1), source, unit + i, out + o * stride, stride, channels - o, add)
            else:
                taps_f64(
                    tile, taps, offset, panels + o * (taps + 1), source, unit + i, out + o * stride, stride, channels - o, add)
            i += taps_spans(tile)
        o += tile


cdef inline Py_ssize_t padded_channels(Py_ssize_t channels) noexcept nogil:
    """Channels in the tiles that cover them."""
    cdef Py_ssize_t o = 0
    while o < channels:
        o += taps_channels(channels - o)
    return o


cdef inline void pack_panels(
    real* panels, const real* w, const real* b, Py_ssize_t channels, Py_ssize_t taps, Py_ssize_t w_channel
) noexcept nogil:
    """For each tile: the bias of its channels, then their weights tap by tap; zeros for channels that do not exist."""
    cdef Py_ssize_t o = 0, tile, i, t
    cdef real* panel
    while o < channels:
        tile = taps_channels(channels - o)
        panel = panels + o * (taps + 1)
        for i in range(tile):
            if i >= channels - o:
                for t in range(taps + 1):
                    panel[t * tile + i] = 0
                continue
            panel[i] = b[o + i] if b != NULL else 0
            for t in range(taps):
                panel[(t + 1) * tile + i] = w[(o + i) * w_channel + t]
        o += tile
