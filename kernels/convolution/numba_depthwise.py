"""Depthwise convolution, compiled just in time: every output line is a weighted sum of lines of the one input channel of its group."""

import numpy as np

from ..numba_gemm import add_line
from ..numba_lines import fill, spread_line
from ..numba_rows import GROUP, correlate, weigh_taps
from ..numba_support import helper, kernel
from ..numba_tiles import CHUNK
from ..numba_vectors import at, lanes, load, pointer, sum_lanes, zero
from .numba_planes import convolve_plane, correlate_plane


@helper
def _line_space(Q, KW, sw, dw, size):
    """Elements of one spread line: its phases, and room to read whole vectors."""
    return sw * (Q + (KW - 1) * dw // sw) + 2 * size


@helper
def _spread_plane(x, H, W, top, left, sw, rows, Q, KW, dw, space, lines):
    """lines[row] = row - top of x, spread, with zeros around."""
    for row in range(rows):
        h, line = row - top, at(lines, row * space)
        if h < 0 or h >= H:
            fill(line, 0, space, zero(x))
        else:
            spread_line(at(x, h * W), W, left, sw, Q + (KW - 1) * dw // sw, zero(x), line)


@helper
def _tap_offsets(KH, KW, sw, dh, dw, Q, space, offsets):
    """Where the element under each tap of the first output pixel is in the spread lines."""
    length = Q + (KW - 1) * dw // sw
    for t in range(KH * KW):
        column = t % KW * dw
        offsets[t] = t // KW * dh * space + column % sw * length + column // sw


@helper
def _weigh_lines(lines, offsets, space, sh, w, start, P, Q, y, add, part):
    """y[p] = start, or y[p] itself, + the sum over taps t of w[t] times their line, chunk by chunk; ``part`` has room for a line."""
    for p in range(P):
        source, line = at(lines, p * sh * space), at(y, p * Q)
        for begin in range(0, offsets.size, CHUNK):
            end, out = min(begin + CHUNK, offsets.size), line if begin == 0 else part
            first = start if begin == 0 else zero(y)
            for t in range(begin, end, GROUP):
                accumulate, taps = t > begin or (add and begin == 0), at(pointer(offsets), t)
                weigh_taps(min(GROUP, end - t), Q, at(w, t), 1, source, taps, out, first, accumulate)
            if begin > 0:
                add_line(line, part, Q)


@kernel
def depthwise(x, w, b, biased, y, sh, sw, top, left, dh, dw):
    N, C, H, W = x.shape
    O, P, Q = y.shape[1:]
    KH, KW = w.shape[2:]
    space, rows = _line_space(Q, KW, sw, dw, lanes(pointer(x))), (P - 1) * sh + (KH - 1) * dh + 1
    lines, part, offsets = np.empty(rows * space, x.dtype), np.empty(Q, x.dtype), np.empty(KH * KW, np.int64)
    _tap_offsets(KH, KW, sw, dh, dw, Q, space, offsets)
    for i in range(N * C):
        _spread_plane(at(pointer(x), i * H * W), H, W, top, left, sw, rows, Q, KW, dw, space, pointer(lines))
        for o in range(i % C * (O // C), (i % C + 1) * (O // C)):
            start = b[o] if biased else zero(pointer(x))
            weights, target = at(pointer(w), o * KH * KW), at(pointer(y), (i // C * O + o) * P * Q)
            _weigh_lines(pointer(lines), offsets, space, sh, weights, start, P, Q, target, False, pointer(part))


@kernel
def depthwise_dx(dy, w, dx, top, left, dh, dw):
    """The gradient of the input for stride 1: dy convolved with the turned weights."""
    N, C, H, W = dx.shape
    O, P, Q = dy.shape[1:]
    KH, KW = w.shape[2:]
    above, before = (KH - 1) * dh - top, (KW - 1) * dw - left
    space, rows = _line_space(W, KW, 1, dw, lanes(pointer(dy))), H + (KH - 1) * dh
    lines, part = np.empty(rows * space, dy.dtype), np.empty(W, dy.dtype)
    offsets, turned = np.empty(KH * KW, np.int64), np.empty(KH * KW, w.dtype)
    _tap_offsets(KH, KW, 1, dh, dw, W, space, offsets)
    for i in range(N * C):
        for o in range(i % C * (O // C), (i % C + 1) * (O // C)):
            for t in range(KH * KW):
                turned[t] = w[o, 0, KH - 1 - t // KW, KW - 1 - t % KW]
            plane = at(pointer(dy), (i // C * O + o) * P * Q)
            _spread_plane(plane, P, Q, above, before, 1, rows, W, KW, dw, space, pointer(lines))
            target, add = at(pointer(dx), i * H * W), o % (O // C) > 0
            _weigh_lines(pointer(lines), offsets, space, 1, pointer(turned), zero(pointer(w)), H, W, target, add, pointer(part))


@helper
def _move_sums(sums, size, totals):
    """totals[t] += the lanes of vector t of sums, which is zero then."""
    for t in range(totals.size):
        totals[t] += sum_lanes(load(sums, t * size))
    fill(sums, 0, totals.size * size, zero(sums))


@kernel
def depthwise_dw(dy, x, dw_, sh, sw, top, left, dh, dw):
    N, C, H, W = x.shape
    O, P, Q = dy.shape[1:]
    KH, KW = dw_.shape[2:]
    size = lanes(pointer(x))
    space, rows = _line_space(Q, KW, sw, dw, size), (P - 1) * sh + (KH - 1) * dh + 1
    lines, offsets, sums = np.empty(rows * space, x.dtype), np.empty(KH * KW, np.int64), np.empty(KH * KW * size, x.dtype)
    _tap_offsets(KH, KW, sw, dh, dw, Q, space, offsets)
    length = CHUNK * size  # a lane adds up to CHUNK products before its sum goes into a double
    height = max(1, CHUNK // max((Q + size - 1) // size, 1))
    totals = np.zeros((O, KH * KW))
    fill(pointer(sums), 0, sums.size, zero(pointer(x)))
    for i in range(N * C):
        _spread_plane(at(pointer(x), i * H * W), H, W, top, left, sw, rows, Q, KW, dw, space, pointer(lines))
        for o in range(i % C * (O // C), (i % C + 1) * (O // C)):
            for p in range(P):
                values, source = at(pointer(dy), ((i // C * O + o) * P + p) * Q), at(pointer(lines), p * sh * space)
                for q in range(0, Q, length):
                    for t in range(0, KH * KW, GROUP):
                        count, run = min(GROUP, KH * KW - t), min(length, Q - q)
                        correlate(count, run, at(values, q), at(source, q), at(pointer(offsets), t), at(pointer(sums), t * size))
                    if (p + 1) % height == 0 or p == P - 1:
                        _move_sums(pointer(sums), size, totals[o])
    dw_[...] = totals.reshape(dw_.shape)


@kernel
def plane_by_plane(x, w, b, biased, y, top, left):
    """Depthwise 3x3 with stride 1."""
    N, C, H, W = x.shape
    O, P, Q = y.shape[1:]
    for i in range(N * O):
        n, o = i // O, i % O
        source, start = at(pointer(x), (n * C + o // (O // C)) * H * W), b[o] if biased else zero(pointer(x))
        convolve_plane(source, H, W, top, left, at(pointer(w), 9 * o), False, start, at(pointer(y), i * P * Q), P, Q, False)


@kernel
def plane_by_plane_dx(dy, w, dx, top, left):
    N, C, H, W = dx.shape
    O, P, Q = dy.shape[1:]
    start = zero(pointer(dx))
    for i in range(N * O):
        n, o = i // O, i % O
        source, target = at(pointer(dy), i * P * Q), at(pointer(dx), (n * C + o // (O // C)) * H * W)
        convolve_plane(source, P, Q, 2 - top, 2 - left, at(pointer(w), 9 * o), True, start, target, H, W, o % (O // C) > 0)


@kernel
def plane_by_plane_dw(dy, x, dw, top, left):
    N, C, H, W = x.shape
    O, P, Q = dy.shape[1:]
    size = lanes(pointer(x))
    sums, totals = np.empty(9 * size, x.dtype), np.zeros((O, 9))
    fill(pointer(sums), 0, sums.size, zero(pointer(x)))
    length = CHUNK * size  # a lane adds up to CHUNK products before its sum goes into a double
    height = max(1, CHUNK // max((Q + size - 1) // size, 1))
    for i in range(N * O):
        n, o = i // O, i % O
        source = at(pointer(x), (n * C + o // (O // C)) * H * W)
        for p in range(0, P, height):
            for q in range(0, Q, length):
                values, rows, run = at(pointer(dy), (i * P + p) * Q + q), min(height, P - p), min(length, Q - q)
                correlate_plane(values, Q, rows, run, source, H, W, top - p, left - q, pointer(sums))
                _move_sums(pointer(sums), size, totals[o])
    dw[...] = totals.reshape(dw.shape)
