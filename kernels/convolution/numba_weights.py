"""The gradient of a convolution's weights, compiled just in time: a sum over pixels of products dy x, on register tiles.

The channels of a pixel are made neighbours in x, and the output channels of a tile in dy. Then the elements of x under one line of
kernel taps, (v, c) for all v, are one run for every pixel, and the tile reads them in place: no patches are copied.
"""

import numpy as np

from ..numba_gemm import add_sums, next_rows, pack, tile_rows
from ..numba_lines import fill
from ..numba_support import helper, kernel
from ..numba_tiles import CHUNK, TILE_ROWS, narrow_pixel_tile, pixel_tile
from ..numba_vectors import at, lanes, pointer, zero


@helper
def channels_last(x, channels, height, width, top, left, rows, length, target):
    """target[row][j][channel] = x[channel][row - top][j - left], zero outside; top and left have any sign.

    Whole vectors are written, one more behind the end.
    """
    begin, end = max(left, 0), min(length, left + width)
    for row in range(rows):
        line, h = at(target, row * length * channels), row - top
        if h < 0 or h >= height or end <= begin:
            fill(line, 0, length * channels, zero(x))
        else:
            fill(line, 0, begin * channels, zero(x))
            source = at(x, h * width + begin - left)
            pack(source, height * width, 1, channels, end - begin, channels, at(line, begin * channels))
            fill(line, end * channels, length * channels, zero(x))


@helper
def _add_pixels(rows, P, Q, run, dy, x, step, jump, sums, accumulate):
    """sums[panel][rows][panel's width] = or += the products of P lines of Q pixels, for a run of x's elements at each pixel."""
    size = lanes(x)
    for r in range(0, run, 2 * size):
        out = at(sums, r * rows)
        if run - r > size:
            pixel_tile(rows, P, Q, dy, at(x, r), step, jump, out, accumulate)
        else:
            narrow_pixel_tile(rows, P, Q, dy, at(x, r), step, jump, out, accumulate)


@helper
def _sum_image(dy, rows, P, Q, x, run, spaces, step, jump, lines, line, taps, tap, chunk, sums, totals):
    """Add one image's products for a tile of output channels, and count its chunks of pixels.

    A chunk has a sum of its own, and so have CHUNK of them, whose sum joins ``totals`` in double: float32 keeps its digits.
    """
    height, length = max(1, CHUNK // Q), min(Q, CHUNK)
    for p in range(0, P, height):
        for q in range(0, Q, length):
            count, columns = min(height, P - p), min(length, Q - q)
            place = at(dy, (p * Q + q) * rows)
            for u in range(lines):
                for v in range(taps):
                    source = at(x, p * jump + q * step + u * line + v * tap)
                    out = at(sums, (u * taps + v) * rows * spaces)
                    _add_pixels(rows, count, columns, run, place, source, step, jump, out, chunk % CHUNK > 0)
            chunk += 1
            if chunk % CHUNK == 0:
                add_sums(totals, sums, rows * lines * taps * spaces)
    return chunk


@helper
def _place_weights(sums, count, rows, width, run, spaces, inputs, lines, taps, KW, dw):
    """dw[o][c][u][v] from sums[u][tap][panel][o][element of the panel]; the elements of a run are (v, c), or c where taps are apart."""
    for t in range(count * lines * KW):
        i, u, v = t // (lines * KW), t // KW % lines, t % KW
        tile = at(sums, (u * taps + (v if taps > 1 else 0)) * spaces * rows)
        target = at(dw, i * inputs * lines * KW + u * KW + v)
        r = 0 if taps > 1 else v * inputs
        end = r + inputs
        while r < end:
            panel = r // width * width
            wide = width if run - panel > width // 2 else width // 2
            stop = min(end, panel + width)
            source = at(tile, panel * rows + i * wide + r - panel)
            for c in range(stop - r):
                target[c * lines * KW] = source[c]
            target = at(target, (stop - r) * lines * KW)
            r = stop


@kernel
def weight_gradient(dy, x, dw, sh, sw, top, left, dilation_h, dilation_w, groups):
    N, C, H, W = x.shape
    O, P, Q = dy.shape[1:]
    KH, KW = dw.shape[2:]
    inputs, outputs = C // groups, O // groups
    size = lanes(pointer(x))
    taps, run = (1, KW * inputs) if dilation_w == 1 else (KW, inputs)
    spaces = (run + size - 1) // size * size
    rows_x, length = (P - 1) * sh + (KH - 1) * dilation_h + 1, (Q - 1) * sw + (KW - 1) * dilation_w + 1
    image = np.empty(rows_x * length * inputs + 4 * size, x.dtype)
    packed = np.empty(P * Q * TILE_ROWS + size, x.dtype)
    tile_space = KH * taps * spaces
    kept = outputs + 1 if N > 1 else TILE_ROWS  # channels: what one image adds up to is placed at once
    sums, totals = np.empty(kept * tile_space, x.dtype), np.empty(kept * tile_space)
    if dy.size == 0:
        fill(pointer(dw), 0, dw.size, zero(pointer(x)))
        return
    for g in range(groups):
        chunks = 0
        for n in range(N):
            source = at(pointer(x), (n * C + g * inputs) * H * W)
            channels_last(source, inputs, H, W, top, left, rows_x, length, pointer(image))
            i = 0
            while i < outputs:
                rows = next_rows(outputs - i)
                place = i * tile_space if N > 1 else 0
                tile, total, size_of_tile = at(pointer(sums), place), at(pointer(totals), place), tile_rows(rows) * tile_space
                if n == 0:
                    for t in range(size_of_tile):
                        total[t] = 0
                pack(at(pointer(dy), (n * O + g * outputs + i) * P * Q), P * Q, 1, rows, P * Q, tile_rows(rows), pointer(packed))
                done = _sum_image(
                    pointer(packed), tile_rows(rows), P, Q, pointer(image), run, spaces, sw * inputs, sh * length * inputs, KH,
                    dilation_h * length * inputs, taps, dilation_w * inputs, chunks, tile, total,
                )  # fmt: skip
                if n == N - 1:
                    if done % CHUNK > 0:
                        add_sums(total, tile, size_of_tile)
                    for t in range(size_of_tile):
                        tile[t] = total[t]
                    target = at(pointer(dw), (g * outputs + i) * inputs * KH * KW)
                    _place_weights(tile, rows, tile_rows(rows), 2 * size, run, spaces, inputs, KH, taps, KW, target)
                i += rows
            chunks = done
