# cython: cdivision=True
"""Direct convolution as passes: correlations of stride 1 between strands of the input and one phase of the output.

forward  one pass
dx       one pass for each of the sh x sw phases of dx, every one a convolution of dy of stride 1 with some of the taps

A pass is cut into blocks whose padded input fits into L2, and a block into units: vectors of pixels, out of the line that the places of
its rows form, the margin between them included; or, where the weights are packed, pairs of pixels of the same row, as many as fill a tile.
"""

from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.convolution.strands cimport Line, find_strands, forward_line

cdef extern from "simd/direct.h" nogil:
    enum:
        SPAN_BYTES "FASTNN_SPAN_BYTES"
        ROWS "FASTNN_DIRECT_ROWS"
        PIXELS "FASTNN_DIRECT_PIXELS"
        VECTORS "FASTNN_DIRECT_VECTORS"
    ctypedef struct Tap "fastnn_tap":
        Py_ssize_t source, weight
    ctypedef struct Piece "fastnn_piece":
        Py_ssize_t lane, target, count

cdef enum:
    BLOCK_BYTES = 1024 * 1024    # of L2, for the padded input of a block
    WEIGHT_BYTES = 1024 * 1024   # weights that stay in L2 beside it
    PACKED_PIXELS = 150          # of a batch, from which packing the weights costs less than it saves
    GROUP = 16                    # units that a panel of packed weights meets while it is in L1
    PART_TAPS = 128              # of the input channels that are worked on together

cdef struct Pass:
    Line down, across
    Py_ssize_t N, groups, C, H, W, O, P, Q      # C and O of one group; P and Q of the output's phase
    Py_ssize_t out_rows, out_columns            # of the whole output
    Py_ssize_t row, column, row_step, step      # where the phase begins in the output, and its steps
    Py_ssize_t taps, w_group, w_row, w_channel  # elements from one group's weights to the next's, and so on
    bint packed                                 # whether the weights are, so that the channels go in lanes, not the pixels
    Py_ssize_t span, spans, channels            # pixels of a unit; units and output channels of a tile
    Py_ssize_t starts                           # of a unit: one of a vector, one for each of its pairs
    Tap* tap
    # blocks
    Py_ssize_t images, rows, columns            # of a block; images is 1 where a block is a part of an image
    Py_ssize_t blocks_down, blocks_across, blocks  # blocks of an image (or 1), of the batch
    Py_ssize_t in_rows, pitch, plane            # of one strand; plane is of a channel, all strands and images
    Py_ssize_t units                            # vectors of a block, at most
    Py_ssize_t group_units, tile_channels, part_channels  # vectors, output and input channels that are worked on together
    bint in_place                               # the input needs no margin: a block is an image and never copied


cdef inline bint by_rows(Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t pitch, Py_ssize_t span) noexcept nogil:
    """Whether units that end with a row are no more than those of one line."""
    return rows * ((columns + span - 1) // span) <= ((rows - 1) * pitch + columns + span - 1) // span


cdef inline Py_ssize_t line_units(Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t pitch, Py_ssize_t span) noexcept nogil:
    """Units of an image."""
    return min(rows * ((columns + span - 1) // span), ((rows - 1) * pitch + columns + span - 1) // span)


cdef inline void cut_blocks(Pass* s, Py_ssize_t itemsize) noexcept nogil:
    """Blocks whose padded input fits, of whole rows if it can be."""
    cdef Py_ssize_t lanes = SPAN_BYTES // itemsize, strands = s.down.strands * s.across.strands, fit
    cdef Py_ssize_t most  # pixels of a strand in a block
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


cdef inline void choose_tiles(Pass* s, const Geometry* g, Py_ssize_t itemsize) noexcept nogil:
    """What a tile holds, and what is worked on together: a few channels' windows, weights and sums stay in L1; where the weights are
    many, they are read once for a block, row by row: those of the forward pass run along the input channels, those of dx along the
    output channels."""
    cdef Py_ssize_t lanes = SPAN_BYTES // itemsize
    s.packed = g.N * g.P * g.Q >= PACKED_PIXELS
    s.span, s.spans, s.channels, s.starts = lanes, VECTORS, ROWS, 1
    s.units = s.images * line_units(s.rows, s.columns, s.pitch, s.span)
    if s.packed:
        s.span, s.spans, s.channels, s.starts = PIXELS, 1, 2 * lanes, PIXELS // 2
        s.units = (s.images * s.rows * ((s.columns + 1) // 2) + s.starts - 1) // s.starts
    s.group_units, s.tile_channels, s.part_channels = s.spans, s.O, max(PART_TAPS // max(s.taps, 1), 1)
    if s.O * s.C * s.taps * itemsize > WEIGHT_BYTES:
        s.group_units = s.units
        if s.packed or s.w_row > s.w_channel:
            s.tile_channels, s.part_channels = s.channels, max(s.C, 1)
    elif s.packed:
        s.group_units, s.tile_channels = GROUP, s.channels
    if s.packed:
        s.w_row, s.w_channel = s.C * g.KH * g.KW, g.KH * g.KW * s.channels
        s.w_group = (s.O + s.channels - 1) // s.channels * s.channels * s.w_row


cdef inline void plan(Pass* s, const Geometry* g, Py_ssize_t itemsize) noexcept nogil:
    """Blocks, tiles, and where each tap reads."""
    cdef Py_ssize_t u, v
    s.taps = s.down.taps * s.across.taps
    if s.taps == 0:
        s.down.strands = s.down.reach = s.across.strands = s.across.reach = 0
    else:
        find_strands(&s.down)
        find_strands(&s.across)
    cut_blocks(s, itemsize)
    choose_tiles(s, g, itemsize)
    for u in range(s.down.taps):
        for v in range(s.across.taps):
            s.tap[u * s.across.taps + v].source = itemsize * (
                ((s.down.strand[u] * s.across.strands + s.across.strand[v]) * s.images * s.in_rows + s.down.ahead[u]) * s.pitch
                + s.across.ahead[v])
            s.tap[u * s.across.taps + v].weight = itemsize * (s.channels if s.packed else 1) * (
                s.down.tap[u] * g.KW + s.across.tap[v])


cdef inline void forward_pass(Pass* s, const Geometry* g, Py_ssize_t itemsize) noexcept nogil:
    s.N, s.groups, s.C, s.H, s.W, s.O, s.P, s.Q = g.N, g.groups, g.C, g.H, g.W, g.O, g.P, g.Q
    s.out_rows, s.out_columns, s.row, s.column, s.row_step, s.step = g.P, g.Q, 0, 0, 1, 1
    s.w_group, s.w_row, s.w_channel = g.O * g.C * g.KH * g.KW, g.C * g.KH * g.KW, g.KH * g.KW
    forward_line(&s.down, g.KH, g.sh, g.top, g.dh)
    forward_line(&s.across, g.KW, g.sw, g.left, g.dw)
    plan(s, g, itemsize)


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
    s.w_group, s.w_row, s.w_channel = g.O * g.C * g.KH * g.KW, g.KH * g.KW, g.C * g.KH * g.KW
    gradient_line(&s.down, row, g.KH, g.sh, g.top, g.dh)
    gradient_line(&s.across, column, g.KW, g.sw, g.left, g.dw)
    plan(s, g, itemsize)


cdef inline void make_pass(
    Pass* s, const Geometry* g, bint gradient, Py_ssize_t row, Py_ssize_t column, Py_ssize_t itemsize
) noexcept nogil:
    if gradient:
        gradient_pass(s, g, row, column, itemsize)
    else:
        forward_pass(s, g, itemsize)


cdef inline Py_ssize_t list_units(
    Py_ssize_t* start, Py_ssize_t* first_piece, Piece* piece, const Pass* s, Py_ssize_t images, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """The units of a block and the outputs in them, those of the first channel. Returns their number; first_piece has one more."""
    # Rows shorter than a vector are read beyond their ends: not where that may be the end of the memory.
    cdef bint split = by_rows(rows, columns, s.pitch, s.span) and (columns >= s.span or not s.in_place)
    cdef Py_ssize_t lines = rows if split else 1, length = columns if split else (rows - 1) * s.pitch + columns
    cdef Py_ssize_t n, i, at, line, p, q, units = 0, pieces = 0
    for n in range(images):
        for i in range(lines):
            line = n * s.in_rows * s.pitch + i * s.pitch
            at = 0
            while at < length:
                # The last unit of a line begins earlier, so that it reads nothing behind the line.
                start[units] = line + max(min(at, length - s.span), 0)
                first_piece[units] = pieces
                while at < length and line + at < start[units] + s.span:
                    p = i + at // s.pitch
                    q = at % s.pitch
                    if q < columns:
                        piece[pieces].lane = line + at - start[units]
                        piece[pieces].count = min(columns - q, s.span - piece[pieces].lane)
                        piece[pieces].target = (n * s.groups * s.O * s.out_rows + p * s.row_step) * s.out_columns + q * s.step
                        pieces += 1
                    at += s.pitch - q
                at = start[units] - line + s.span
                units += 1
    first_piece[units] = pieces
    return units


cdef inline Py_ssize_t list_pairs(
    Py_ssize_t* start, Py_ssize_t* first_piece, Piece* piece, const Pass* s, Py_ssize_t images, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """Likewise where units are pairs of pixels, whose second one may lie behind a row, but not behind an input that is read in place:
    a last pixel there is the second one of its pair. The last unit is filled up with its last pair."""
    cdef bint one_line = s.pitch == columns and s.row_step * s.out_columns == columns * s.step
    cdef Py_ssize_t lines = 1 if one_line else rows, length = rows * columns if one_line else columns
    cdef Py_ssize_t n, p, q, target, count, second, lane = 0, pairs = 0, pieces = 0, units = 0
    for n in range(images):
        for p in range(lines):
            q = 0
            target = (n * s.groups * s.O * s.out_rows + p * s.row_step) * s.out_columns
            while q < length:
                if lane == 0:
                    first_piece[units] = pieces
                    units += 1
                count = min(2, length - q)
                second = 1 if s.in_place and count == 1 and p == lines - 1 else 0
                start[pairs] = (n * s.in_rows + p) * s.pitch + q - second
                if lane > 0 and piece[pieces - 1].lane + piece[pieces - 1].count == lane + second and (
                        piece[pieces - 1].target + piece[pieces - 1].count * s.step == target):
                    piece[pieces - 1].count += count
                else:
                    piece[pieces].lane, piece[pieces].target, piece[pieces].count = lane + second, target, count
                    pieces += 1
                pairs += 1
                lane = lane + 2 if lane + 2 < 2 * s.starts else 0
                q += 2
                target += 2 * s.step
    for q in range(pairs, units * s.starts):
        start[q] = start[pairs - 1]
    first_piece[units] = pieces
    return units
