"""Strided means of planes and their gradient, compiled just in time, for windows of up to WIDEST elements a side.

Lines of a window are added up first, then elements of neighbouring windows, which are neighbours in the spread line. The gradient goes
the other way: it is the sum of the shares of all windows that cover a line, then of those that cover a column.
"""

import numpy as np

from ..numba_gemm import sum_run
from ..numba_lines import copy_run, fill, join_phases, spread_line
from ..numba_rows import GROUP, weigh_rows, weigh_taps
from ..numba_support import helper, kernel
from ..numba_vectors import at, lanes, load, load_part, multiply, pointer, store, store_part, zero

WIDEST = 16  # wider windows are added up in double


@helper
def _scale(line, factors, count):
    """line *= factors"""
    size = lanes(line)
    j = 0
    while j + size <= count:
        store(line, j, multiply(load(line, j), load(factors, j)))
        j += size
    if j < count:
        valid = count - j
        store_part(line, j, multiply(load_part(line, j, valid), load_part(factors, j, valid)), valid)


@helper
def _add_lines(weights, step, source, stride, count, n, line):
    """line[j] = the sum of weights[i * step] source[i * stride + j]"""
    if count == 0:
        fill(line, 0, n, zero(line))
    for i in range(0, count, GROUP):
        weigh_rows(min(GROUP, count - i), n, at(weights, i * step), step, at(source, i * stride), stride, line, i > 0)


@helper
def _add_taps(source, offsets, count, n, one, line):
    """line[j] = the sum of source[offsets[i] + j]"""
    if count == 0:
        fill(line, 0, n, zero(line))
    for i in range(0, count, GROUP):
        weigh_taps(min(GROUP, count - i), n, one, 0, source, at(pointer(offsets), i), line, zero(line), i > 0)


@kernel
def mean_planes(x, width, stride, padding, rows, columns, y):
    """``rows`` and ``columns`` hold begin, end and divisor of each window."""
    planes, H, W = x.shape
    OH, OW = y.shape[1:]
    size, length = lanes(pointer(x)), OW + (width - 1) // stride
    line, spread = np.empty(W + size, x.dtype), np.empty(stride * length + 2 * size, x.dtype)
    one, factors, offsets = np.ones(1, x.dtype), np.empty(OW, x.dtype), np.empty(width, np.int64)
    for n in range(width):
        offsets[n] = n % stride * length + n // stride
    divisor = -1
    for i in range(planes * OH):
        first, last = rows[i % OH, 0], rows[i % OH, 1]
        if rows[i % OH, 2] != divisor:
            divisor = rows[i % OH, 2]
            for j in range(OW):
                factors[j] = 1 / np.float64(divisor * columns[j, 2])
        source, target = at(pointer(x), (i // OH * H + first) * W), at(pointer(y), i * OW)
        _add_lines(pointer(one), 0, source, W, last - first, W, pointer(line))
        spread_line(pointer(line), W, padding, stride, length, zero(source), pointer(spread))
        _add_taps(pointer(spread), offsets, width, OW, pointer(one), target)
        _scale(target, pointer(factors), OW)


@kernel
def spread_planes(dy, width, stride, padding, rows, columns, by_row, dx):
    """``by_row`` holds the first and the last window that cover each line of dx."""
    planes, H, W = dx.shape
    OH, OW = dy.shape[1:]
    size, before, count = lanes(pointer(dy)), (width - 1) // stride, (W + padding + stride - 1) // stride
    line = np.zeros(before + count + OW + 2 * size, dy.dtype)  # zeros on both sides of the windows' shares
    phases, joined = np.empty(stride * (count + size), dy.dtype), np.empty(stride * (count + size), dy.dtype)
    weights, factors = np.empty(OH, dy.dtype), np.empty(OW, dy.dtype)
    one, offsets = np.ones(1, dy.dtype), np.arange(before, -1, -1)
    for i in range(OH):
        weights[i] = 1 / np.float64(rows[i, 2])
    for j in range(OW):
        factors[j] = 1 / np.float64(columns[j, 2])
    shares = at(pointer(line), before)
    for h in range(planes * H):
        first, last, target = by_row[h % H, 0], by_row[h % H, 1], at(pointer(dx), h * W)
        if h % H > 0 and first == by_row[h % H - 1, 0] and last == by_row[h % H - 1, 1]:
            copy_run(target, at(target, -W), W)
            continue
        source = at(pointer(dy), (h // H * OH + first) * OW)
        _add_lines(at(pointer(weights), first), 1, source, OW, last + 1 - first, OW, shares)
        _scale(shares, pointer(factors), OW)
        for phase in range(stride):
            taps = (width - phase + stride - 1) // stride if phase < width else 0
            goal = at(pointer(phases), phase * (count + size))
            _add_taps(pointer(line), offsets, taps, count, pointer(one), goal)
        join_phases(pointer(phases), stride, count + size, count, pointer(joined))
        copy_run(target, at(pointer(joined), padding), W)


@kernel
def global_means(x, y):
    for p in range(y.size):
        y[p] = sum_run(at(pointer(x), p * x.shape[1]), x.shape[1]) / x.shape[1]


@kernel
def spread_global(dy, dx):
    for p in range(dy.size):
        share = dx.dtype.type(dy[p] / np.float64(dx.shape[1]))
        fill(at(pointer(dx), p * dx.shape[1]), 0, dx.shape[1], share)
