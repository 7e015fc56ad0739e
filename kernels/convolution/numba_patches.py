"""The matrix product of a convolution, compiled just in time: weights times patches of the input, which are never stored whole.

Images are copied once into rows with their padding, one row for each phase of the stride, so that the elements under a kernel tap are
neighbours for neighbouring output pixels. Panels of the register tile's width are copied from there, a block of pixels at a time; blocks
go on from one image to the next, since small images do not fill a panel.
"""

import numpy as np

from ..numba_gemm import BLOCK_COLUMNS, BLOCK_K, add_line, next_rows, pack, panel_space, tile_rows
from ..numba_lines import copy_run, fill, spread_line
from ..numba_rows import GROUP, weigh_taps
from ..numba_support import helper
from ..numba_tiles import CHUNK, TILE_ROWS, tile
from ..numba_vectors import add, aligned, at, broadcast, lanes, load, load_part, pointer, store, store_part, zero


@helper
def spread(x, channels, height, width, top, left, stride, rows, length, target):
    """target[channel][row][phase][j] = x[channel][row - top][j * stride + phase - left], zero outside; top and left have any sign."""
    for row in range(channels * rows):
        line, h = at(target, row * stride * length), row % rows - top
        if h < 0 or h >= height:
            fill(line, 0, stride * length, zero(x))
        else:
            spread_line(at(x, (row // rows * height + h) * width), width, left, stride, length, zero(x), line)


@helper
def find_runs(first, count, P, Q, image, row, runs):
    """Pixels of a panel that are neighbours in the spread input: (column, place, length) of each run; returns their number."""
    found = 0
    column = 0
    while column < count:
        pixel = first + column
        n, p, q = pixel // (P * Q), pixel // Q % P, pixel % Q
        length = min(Q - q, count - column)
        runs[3 * found], runs[3 * found + 1], runs[3 * found + 2] = column, n * image + p * row + q, length
        column += length
        found += 1
    return found


@helper
def pack_patches(source, offsets, k, runs, found, panel):
    """panel[p][column + i] = source[offsets[p] + place + i] for every run; a vector that is too long is overwritten by the next run."""
    size = lanes(source)
    for p in range(k):
        tap, line = at(source, offsets[p]), at(panel, 2 * size * p)
        for r in range(found):
            column, place = runs[3 * r], runs[3 * r + 1]
            for i in range(0, runs[3 * r + 2], size):
                store(line, column + i, load(tap, place + i))


@helper
def pack_neighbours(source, offsets, k, runs, found, panel):
    """The same from an image that was not spread: nothing behind a run is read. Masks are the same for all taps."""
    size = lanes(source)
    for r in range(found):
        column, place, length = runs[3 * r], runs[3 * r + 1], runs[3 * r + 2]
        for i in range(0, length, size):
            for p in range(k):
                part = load_part(source, offsets[p] + place + i, length - i)
                store_part(panel, 2 * size * p + column + i, part, length - i)


@helper
def store_run(out, rows, column, count, c, c_stride, bias, start):
    """Assign a run of a finished tile to rows of C: on top of what is there (start 2), of a bias for each row (1), or of nothing (0)."""
    size = lanes(out)
    for j in range(0, count, size):
        valid = min(size, count - j)
        for i in range(rows):
            value = load(out, 2 * i * size + column + j)
            place = i * c_stride + j
            if start == 2:
                value = add(value, load_part(c, place, valid))
            elif start == 1:
                value = add(value, broadcast(bias, i))
            if valid == size:
                store(c, place, value)
            else:
                store_part(c, place, value, valid)


@helper
def block_images(images, pixels):
    """Images whose pixels make one block of panels."""
    return max(1, min(images, BLOCK_COLUMNS // max(1, pixels)))


@helper
def patch_space(width, images, pixels, k):
    """Elements of the workspace of ``multiply_patches``; ``width`` is that of a tile."""
    return panel_space(width) + min(k, BLOCK_K) * (min(images * pixels, BLOCK_COLUMNS) + width) + 4 * width


@helper
def pack_weights(w, row, places, t, rows, k, panel):
    """panel[p][i] = w[i * row + places[t + p]], or [... + t + p] without places."""
    width = tile_rows(rows)
    if places.size == 0:
        pack(at(w, t), row, 1, rows, k, width, panel)
        return
    for p in range(k):
        source, line = at(w, places[t + p]), at(panel, p * width)
        if row == 1:
            copy_run(line, source, rows)
        else:
            for i in range(rows):
                line[i] = source[i * row]


@helper
def _multiply_block(w, row, places, t, m, k, panels, first, count, pixels, bias, start, y, y_image, space):
    """The product for a block of pixels from ``first`` on, whose panels are packed."""
    width = 2 * lanes(y)
    packed_w = at(space, TILE_ROWS * width)
    i = 0
    while i < m:
        rows = next_rows(m - i)
        pack_weights(at(w, i * row), row, places, t, rows, k, packed_w)
        for j in range(0, count, width):
            tile(tile_rows(rows), k, packed_w, at(panels, j * k), space)
            column, columns = 0, min(width, count - j)
            while column < columns:
                n, pixel = (first + j + column) // pixels, (first + j + column) % pixels
                run = min(pixels - pixel, columns - column)
                store_run(space, rows, column, run, at(y, n * y_image + i * pixels + pixel), pixels, at(bias, i), start)
                column += run
        i += rows


@helper
def weigh_patches(w, w_row, places, m, k, source, offsets, images, image, P, Q, row, y, y_image, workspace):
    """The same as ``multiply_patches`` for few rows of weights, line by line: packing would cost more than the product.

    The workspace holds m (k + Q) elements.
    """
    weights, partial = pointer(workspace), at(pointer(workspace), m * k)
    for i in range(m):
        for t in range(k):
            weights[i * k + t] = w[i * w_row + places[t]]
    for n in range(images):
        for p in range(P):
            lines = at(source, n * image + p * row)
            for begin in range(0, k, CHUNK):
                end = min(begin + CHUNK, k)
                for t in range(begin, end, GROUP):
                    for i in range(m):
                        line = at(y, n * y_image + (i * P + p) * Q) if begin == 0 else at(partial, i * Q)
                        taps = at(weights, i * k + t)
                        weigh_taps(min(GROUP, end - t), Q, taps, 1, lines, at(pointer(offsets), t), line, zero(y), t > begin)
                if begin > 0:
                    for i in range(m):
                        add_line(at(y, n * y_image + (i * P + p) * Q), at(partial, i * Q), Q)


@helper
def multiply_patches(
    w, w_row, places, m, k, source, offsets, images, image, P, Q, row, bias, biased, y, y_image, spread, workspace
):
    """y[n][m][P Q] = w (m, k) times the patches of ``images`` images, plus bias.

    Weight (i, t) is w[i * w_row + places[t]], or [... + t] without places. The element under tap t for pixel (p, q) of image n is
    source[offsets[t] + n * image + p * row + q]; behind the last one of a ``spread`` image there is room for a vector.
    """
    width, pixels = 2 * lanes(y), P * Q
    space = aligned(workspace)
    panels = at(space, panel_space(width))
    runs = np.empty(3 * width, np.int64)
    for first in range(0, images * pixels, BLOCK_COLUMNS):
        count = min(BLOCK_COLUMNS, images * pixels - first)
        for t in range(0, max(k, 1), BLOCK_K):
            depth = min(BLOCK_K, k - t)
            for j in range(0, count, width):
                panel = at(panels, j * depth)
                columns = min(width, count - j)
                if columns < width:
                    fill(panel, 0, depth * width, zero(panel))
                found = find_runs(first + j, columns, P, Q, image, row, runs)
                if spread:
                    pack_patches(source, at(pointer(offsets), t), depth, runs, found, panel)
                else:
                    pack_neighbours(source, at(pointer(offsets), t), depth, runs, found, panel)
            start = 2 if t > 0 else 1 if biased else 0
            _multiply_block(w, w_row, places, t, m, depth, panels, first, count, pixels, bias, start, y, y_image, space)
