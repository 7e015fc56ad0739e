"""Strided means of planes and their gradient, compiled just in time, for windows of up to LARGEST elements, WIDEST a side.

A vector of windows is summed at a time, all rows before the columns where that saves work. The gradient is, for each line of the image,
the sum of the shares of all windows that cover it, then of those that cover a column; neighbouring windows have neighbouring shares.
"""

import functools

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .. import numba_llvm as llvm
from ..numba_gemm import sum_run
from ..numba_lines import copy_run, fill, join_phases
from ..numba_llvm import INT64
from ..numba_rows import GROUP, weigh_rows, weigh_taps
from ..numba_support import helper, kernel
from ..numba_vectors import add, at, high_pairs, lanes, load, load_part, low_pairs, multiply, pointer, store, store_part, zero
from .numba_windows import PAIRS, Columns, by_windows

WIDEST = 16  # a side: wider windows are added up in double
LARGEST = 96  # elements: means of larger windows too, as a float32 sum of 128 equal numbers may err by 16 eps


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


def _row_sums(builder, case, columns, row, taps, totals):
    """Add the elements of one row: of windows in ``PAIRS`` what is loaded, of others what is summed."""
    if case in PAIRS:
        return [builder.fadd(total, value) for total, value in zip(totals, columns.pairs(row, case), strict=True)]
    element = columns.neighbours if case else columns.gathered

    def tap(values):
        n, total = values
        return [builder.add(n, INT64(1)), builder.fadd(total, element(row, n))]

    return llvm.loop(builder, taps, [INT64(0), totals[0]], tap)[1:]


@intrinsic
def line_means(typingctx, source, W, rows, taps, stride, padding, factors, count, y):
    """y[j] = factors[j] times the sum of window j < count: ``rows`` rows from ``source`` on, ``taps`` columns."""

    def codegen(context, builder, signature, args):
        source, W, rows, taps, stride, padding, factors, count, y = args
        vector = llvm.vector_of(signature.args[0])

        def emit(case):
            def block(values):
                (j,) = values
                columns = Columns(builder, vector, builder.sub(builder.mul(j, stride), padding), W, stride, 0.0)
                if case in PAIRS:
                    columns.prepare_pairs(case)

                def line(values):
                    row, *totals = values
                    return [builder.gep(row, [W]), *_row_sums(builder, case, columns, row, taps, totals)]

                several = 2 * ((case + 1) // 2) if case in PAIRS else 1
                _, *totals = llvm.loop(builder, rows, [source, *several * [ir.Constant(vector, None)]], line)
                elements = columns.split(totals, case) if case in PAIRS else totals
                total = functools.reduce(builder.fadd, elements)
                factor = builder.load(llvm.place(builder, vector, factors, j), align=4)
                llvm.store_part(builder, vector, y, j, builder.fmul(total, factor), builder.sub(count, j))
                return [builder.add(j, INT64(vector.count))]

            blocks = builder.sdiv(builder.add(count, INT64(vector.count - 1)), INT64(vector.count))
            llvm.loop(builder, blocks, [INT64(0)], block)

        by_windows(builder, taps, stride, INT64(1), emit)

    return types.void(source, *[types.intp] * 5, factors, types.intp, y), codegen


@kernel
def mean_planes(x, width, stride, padding, rows, columns, y):
    """``rows`` and ``columns`` hold begin, end and divisor of each window."""
    planes, H, W = x.shape
    OH, OW = y.shape[1:]
    factors = np.empty(OW + lanes(pointer(x)), x.dtype)
    divisor = -1
    for p in range(planes):
        for i in range(OH):
            first, last = rows[i, 0], rows[i, 1]
            if rows[i, 2] != divisor:
                divisor = rows[i, 2]
                for j in range(OW):
                    factors[j] = 1 / np.float64(divisor * columns[j, 2])
            source, target = at(pointer(x), (p * H + first) * W), at(pointer(y), (p * OH + i) * OW)
            line_means(source, W, last - first, width, stride, padding, pointer(factors), OW, target)


@helper
def _join_pairs(shares, width, count, end, line):
    """line[:end] = the sums of the shares of windows of stride 2, of 2 or 3 columns."""
    size = lanes(line)
    for j in range(0, count, size):
        odd = load(shares, j)
        even = add(odd, load(shares, j - 1)) if width == 3 else odd
        store_part(line, 2 * j, low_pairs(even, odd), end - 2 * j)
        store_part(line, 2 * j + size, high_pairs(even, odd), end - 2 * j - size)


@helper
def _join_shares(line, width, stride, offsets, count, one, phases, joined):
    """joined[w] = the sum of the shares of all windows that cover column w, counted from the first of the padding."""
    size = lanes(line)
    for phase in range(stride):
        taps = (width - phase + stride - 1) // stride if phase < width else 0
        _add_taps(line, offsets, taps, count, one, at(phases, phase * (count + size)))
    join_phases(phases, stride, count + size, count, joined)


@kernel
def spread_planes(dy, width, stride, padding, rows, columns, by_row, dx):
    """``by_row`` holds the first and the last window that cover each line of dx."""
    planes, H, W = dx.shape
    OH, OW = dy.shape[1:]
    size, before, count = lanes(pointer(dy)), (width - 1) // stride, (W + padding + stride - 1) // stride
    line = np.zeros(before + 1 + count + OW + 2 * size, dy.dtype)  # zeros on both sides of the windows' shares
    phases, joined = np.empty(stride * (count + size), dy.dtype), np.empty(stride * (count + size), dy.dtype)
    weights, factors = np.empty(OH, dy.dtype), np.empty(OW, dy.dtype)
    one, offsets = np.ones(1, dy.dtype), np.arange(before, -1, -1)
    for i in range(OH):
        weights[i] = 1 / np.float64(rows[i, 2])
    for j in range(OW):
        factors[j] = 1 / np.float64(columns[j, 2])
    shares, pairs = at(pointer(line), before), stride == 2 and 2 <= width <= 3
    for p in range(planes):
        for h in range(H):
            first, last, target = by_row[h, 0], by_row[h, 1], at(pointer(dx), (p * H + h) * W)
            if h > 0 and first == by_row[h - 1, 0] and last == by_row[h - 1, 1]:
                copy_run(target, at(target, -W), W)
                continue
            source = at(pointer(dy), (p * OH + first) * OW)
            _add_lines(at(pointer(weights), first), 1, source, OW, last + 1 - first, OW, shares)
            _scale(shares, pointer(factors), OW)
            if pairs and padding == 0:
                _join_pairs(shares, width, count, W, target)
            else:
                if pairs:
                    _join_pairs(shares, width, count, stride * count, pointer(joined))
                else:
                    _join_shares(pointer(line), width, stride, offsets, count, pointer(one), pointer(phases), pointer(joined))
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
