"""Strided maxima of planes, compiled just in time: a vector of windows at a time."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .. import numba_llvm as llvm
from ..numba_lines import fill
from ..numba_llvm import INT64
from ..numba_support import helper, kernel
from ..numba_vectors import at, lanes, pointer
from .numba_windows import PAIRS, Columns, by_windows


def _convert(builder, integers, vector):
    """Integers in a vector of another width; they fit."""
    if integers.type.element.width > vector.element.width:
        return builder.trunc(integers, vector)
    return integers if integers.type == vector else builder.sext(integers, vector)


def _take(builder, best, where, value, position):
    """NaN is larger than everything, and the last one counts; of equal maxima the first."""
    larger, nan = builder.fcmp_ordered(">", value, best), builder.fcmp_unordered("uno", value, value)
    taken = builder.or_(larger, nan)
    return builder.select(taken, value, best), builder.select(taken, position, where)


def _row_maxima(builder, case, columns, row, first, taps, dilation, best, where):
    """Compare the elements of windows that are in one row; ``first`` are the positions of their first ones."""
    integers = first.type

    def position(n):
        shift = builder.mul(n, dilation)
        shift = shift if integers.element == INT64 else builder.trunc(shift, integers.element)
        return builder.add(first, llvm.splat(builder, shift, integers.count))

    if case in PAIRS:
        for n, value in enumerate(columns.split(columns.pairs(row, case), case)):
            best, where = _take(builder, best, where, value, position(INT64(n)))
        return best, where

    def tap(values):
        n, best, where = values
        element = columns.neighbours if case else columns.gathered
        value = element(row, builder.mul(n, dilation))
        return [builder.add(n, INT64(1)), *_take(builder, best, where, value, position(n))]

    begin, end = taps
    return llvm.loop(builder, builder.sub(end, begin), [begin, best, where], tap)[1:]


@intrinsic
def line_maxima(typingctx, plane, W, row, rows, taps, stride, padding, dilation, starts, count, y, indices, indexed):
    """The maxima of the ``count`` windows of one line of outputs, and their positions in the plane if ``indexed``.

    The windows have the rows ``row + m * dilation[0]`` for m < rows, and of their columns those from taps[0] to taps[1] may be inside.
    The first element inside window j is in column starts[j]; there is none where that is negative.
    """

    def codegen(context, builder, signature, args):
        plane, W, row, rows, taps, stride, padding, dilation, starts, count, y, indices, indexed = args
        vector = llvm.vector_of(signature.args[0])
        integer = ir.IntType(32 if vector.element == ir.FloatType() else 64)
        integers, long = ir.VectorType(integer, vector.count), ir.VectorType(INT64, vector.count)
        short = ir.VectorType(indices.type.pointee, vector.count)
        taps, dilation = ([builder.extract_value(pair, i) for i in (0, 1)] for pair in (taps, dilation))
        width = builder.extract_value(args[4], 2)

        def wide(value):
            value = value if integer == INT64 else builder.trunc(value, integer)
            return llvm.splat(builder, value, vector.count)

        first_position = builder.mul(row, W)
        jump = builder.mul(dilation[0], W)
        numbers = builder.mul(ir.Constant(integers, list(range(vector.count))), wide(stride))

        def emit(case):
            def block(values):
                (j,) = values
                start = _convert(builder, builder.load(llvm.place(builder, long, starts, j), align=8), integers)
                inside = builder.icmp_signed(">=", start, ir.Constant(integers, None))
                where = builder.select(inside, builder.add(start, wide(first_position)), start)
                column = builder.sub(builder.mul(j, stride), padding)
                columns = Columns(builder, vector, column, W, stride, float("-inf"))
                if case in PAIRS:
                    columns.prepare_pairs(case)

                def line(values):
                    m, source, first, best, where = values
                    best, where = _row_maxima(builder, case, columns, source, first, taps, dilation[1], best, where)
                    return [builder.add(m, INT64(1)), builder.gep(source, [jump]), builder.add(first, wide(jump)), best, where]

                first = builder.add(numbers, wide(builder.add(first_position, column)))
                best = ir.Constant(vector, [float("-inf")] * vector.count)
                source = builder.gep(plane, [first_position])
                *_, best, where = llvm.loop(builder, rows, [INT64(0), source, first, best, where], line)
                valid = builder.sub(count, j)
                llvm.store_part(builder, vector, y, j, best, valid)
                with builder.if_then(indexed):
                    llvm.store_part(builder, short, indices, j, _convert(builder, where, short), valid)
                return [builder.add(j, INT64(vector.count))]

            blocks = builder.sdiv(builder.add(count, INT64(vector.count - 1)), INT64(vector.count))
            llvm.loop(builder, blocks, [INT64(0)], block)

        by_windows(builder, width, stride, dilation[1], emit)

    sizes = (types.UniTuple(types.intp, 3), types.intp, types.intp, types.UniTuple(types.intp, 2))
    return types.void(plane, *[types.intp] * 3, *sizes, starts, types.intp, y, indices, types.boolean), codegen


@helper
def span(offset, step, size, count):
    """The range of j < count for which ``offset + j step`` is in [0, size)."""
    low = (-offset + step - 1) // step if offset < 0 else 0
    high = (size - offset + step - 1) // step if offset < size else 0
    return low, min(high, count)


@kernel
def max_planes(x, kernel_size, stride, padding, dilation, y, indices, indexed):
    planes, H, W = x.shape
    OH, OW = y.shape[1:]
    starts = np.empty(OW + lanes(pointer(x)), np.int64)
    for j in range(OW):
        first, last = span(j * stride[1] - padding[1], dilation[1], W, kernel_size[1])
        starts[j] = j * stride[1] - padding[1] + first * dilation[1] if first < last else -1
    # elements that only windows before the first one or after the last one have inside are skipped
    begin, end = span((OW - 1) * stride[1] - padding[1], dilation[1], W + (OW - 1) * stride[1], kernel_size[1])
    taps = (begin, end, kernel_size[1])
    rows = np.empty((OH, 2), np.int64)
    for i in range(OH):
        top = i * stride[0] - padding[0]
        first, last = span(top, dilation[0], H, kernel_size[0])
        rows[i, 0], rows[i, 1] = top + first * dilation[0], last - first
    for p in range(planes):
        for i in range(OH):
            target, places = at(pointer(y), (p * OH + i) * OW), at(pointer(indices), (p * OH + i) * OW if indexed else 0)
            if rows[i, 1] > 0:
                line_maxima(
                    at(pointer(x), p * H * W), W, rows[i, 0], rows[i, 1], taps, stride[1], padding[1], dilation, pointer(starts), OW,
                    target, places, indexed,
                )  # fmt: skip
            else:
                fill(target, 0, OW, x.dtype.type(-np.inf))
                for j in range(OW if indexed else 0):
                    places[j] = -1


@kernel
def scatter_planes(dy, indices, dx):
    """dx[indices] += dy in every plane."""
    for p in range(dy.shape[0]):
        target = at(pointer(dx), p * dx.shape[1])
        fill(target, 0, dx.shape[1], dx.dtype.type(0))
        for o in range(dy.shape[1]):
            index = indices[p, o]
            if index >= 0:
                target[index] += dy[p, o]
