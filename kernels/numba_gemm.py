"""Blocked matrix product on packed panels, compiled just in time; operands of any strides, so that transposes need no copy.

The scheme is that of ``gemm.pxd``: a block of B is packed into panels as wide as the register tile and stays in the second cache, then
panels of A stream against it. Every element of C is summed in ascending order of k, whatever the blocking.
"""

from .numba_rows import GROUP, weigh_rows
from .numba_support import helper
from .numba_tiles import CHUNK, TILE_ROWS, tile, transpose_block
from .numba_vectors import add, aligned, at, lanes, load, load_part, store, store_part, sum_lanes, zeros

BLOCK_K = 384  # a panel of A of this depth (21 KiB) stays in the first cache
BLOCK_COLUMNS = 512  # and the packed block of B (768 KiB in float32) in the second


@helper
def _transposed(source, stride, count, k, width, panel):
    """The part of ``pack`` that turns rows into columns: one vector of rows, ``count`` of them valid."""
    size = lanes(source)
    if k < size:
        for i in range(count):
            for p in range(k):
                panel[p * width + i] = source[i * stride + p]
        return
    for p in range(0, k, size):
        p = min(p, k - size)  # the last square overlaps the one before it
        transpose_block(at(source, p), stride, count, at(panel, p * width), width)


@helper
def pack(source, stride, k_stride, count, k, width, panel):
    """panel[p][i] = source[i * stride + p * k_stride] for i < count, one of the strides being 1; anything finite up to ``width``.

    Whole vectors are written: the panel needs room for one more of them behind its end.
    """
    size = lanes(source)
    for i in range((width - 1) // size * size, -1, -size):  # backwards: a vector may reach into the next row's first ones
        valid = min(size, count - i)
        if valid <= 0:
            for p in range(k):
                store(panel, p * width + i, zeros(panel))
        elif stride != 1:
            _transposed(at(source, i * stride), stride, valid, k, width, at(panel, i))
        elif valid == size:
            for p in range(k):
                store(panel, p * width + i, load(source, p * k_stride + i))
        else:
            for p in range(k):
                store(panel, p * width + i, load_part(source, p * k_stride + i, valid))


@helper
def store_tile(out, rows, columns, c, c_stride, accumulate):
    """Assign or add the valid part of a finished tile to C."""
    size = lanes(out)
    for j in range(0, columns, size):
        valid = min(size, columns - j)
        for i in range(rows):
            value = load(out, 2 * i * size + j)
            place = i * c_stride + j
            if valid == size:
                store(c, place, add(value, load(c, place)) if accumulate else value)
            else:
                store_part(c, place, add(value, load_part(c, place, valid)) if accumulate else value, valid)


@helper
def tile_rows(rows):
    """Rows of the tile that computes so many."""
    return rows + rows % 2


@helper
def next_rows(m):
    """Rows of the next tile of ``m`` that are left: shared out evenly, for a tile of two rows costs a third of one of fourteen."""
    tiles = (m + TILE_ROWS - 1) // TILE_ROWS
    return min(m, tile_rows((m + tiles - 1) // tiles))


@helper
def multiply_panels(c, c_stride, a, a_row, a_k, packed_b, workspace, m, n, k, accumulate):
    """C (m, n) = or += A (m, k) times a block of B already packed in panels."""
    width = 2 * lanes(c)
    out, packed_a = workspace, at(workspace, TILE_ROWS * width)
    i = 0
    while i < m:
        rows = next_rows(m - i)
        pack(at(a, i * a_row), a_row, a_k, rows, k, tile_rows(rows), packed_a)
        for j in range(0, n, width):
            tile(tile_rows(rows), k, packed_a, at(packed_b, j * k), out)
            store_tile(out, rows, min(width, n - j), at(c, i * c_stride + j), c_stride, accumulate)
        i += rows


@helper
def panel_space(width):
    """Elements that ``multiply_panels`` works in, beside the block of B: a tile and a panel of A."""
    return TILE_ROWS * (width + BLOCK_K) + width


@helper
def gemm_space(width, n, k):
    """Elements of the workspace of ``gemm``; ``width`` is that of a tile."""
    return panel_space(width) + min(k, BLOCK_K) * (min(n, BLOCK_COLUMNS) + width) + 2 * width


@helper
def gemm(c, c_stride, a, a_row, a_k, b, b_k, b_column, m, n, k, accumulate, workspace):
    """C (m, n) = or += A (m, k) B (k, n); all but the workspace, an array, are pointers."""
    width = 2 * lanes(c)
    space = aligned(workspace)
    packed_b = at(space, panel_space(width))
    for j0 in range(0, n, BLOCK_COLUMNS):
        columns = min(BLOCK_COLUMNS, n - j0)
        for p0 in range(0, max(k, 1), BLOCK_K):
            depth = min(BLOCK_K, k - p0)
            for j in range(0, columns, width):
                pack(
                    at(b, p0 * b_k + (j0 + j) * b_column),
                    b_column,
                    b_k,
                    min(width, columns - j),
                    depth,
                    width,
                    at(packed_b, j * depth),
                )
            multiply_panels(
                at(c, j0), c_stride, at(a, p0 * a_k), a_row, a_k, packed_b, space, m, columns, depth, accumulate or p0 > 0
            )


@helper
def add_line(out, line, n):
    """out[j] += line[j] for j < n"""
    size = lanes(out)
    for j in range(0, n, size):
        valid = min(size, n - j)
        store_part(out, j, add(load_part(out, j, valid), load_part(line, j, valid)), valid)


@helper
def add_sums(totals, sums, count):
    """totals[i] += sums[i], in double"""
    for i in range(count):
        totals[i] += sums[i]


@helper
def weighted_sum(weights, step, source, stride, count, n, out, totals):
    """out[j] = the sum over i < count of weights[i * step] source[i * stride + j], in chunks of i, which are added up in double.

    totals are n doubles.
    """
    for j in range(n):
        out[j] = 0
        totals[j] = 0
    for begin in range(0, count, CHUNK):
        end = min(begin + CHUNK, count)
        for i in range(begin, end, GROUP):
            weigh_rows(min(GROUP, end - i), n, at(weights, i * step), step, at(source, i * stride), stride, out, i > begin)
        add_sums(totals, out, n)
    for j in range(n):
        out[j] = totals[j]


@helper
def sum_run(source, count):
    """The sum of source[:count], in four vectors of CHUNK terms a lane at a time, which are added up in double."""
    size = lanes(source)
    total, step = 0.0, 4 * CHUNK * size
    for begin in range(0, count, step):
        end = min(begin + step, count)
        a = b = c = d = zeros(source)
        j = begin
        while j + 4 * size <= end:
            a, b = add(a, load(source, j)), add(b, load(source, j + size))
            c, d = add(c, load(source, j + 2 * size)), add(d, load(source, j + 3 * size))
            j += 4 * size
        while j < end:
            a = add(a, load_part(source, j, min(size, end - j)))
            j += size
        total += sum_lanes(add(add(a, b), add(c, d)))
    return total
