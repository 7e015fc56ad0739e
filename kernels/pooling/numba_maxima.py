"""Strided maxima of planes, compiled just in time: a vector of windows at a time, on spread lines of the plane."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .. import numba_llvm as llvm
from ..numba_lines import fill, spread_line
from ..numba_llvm import INT64
from ..numba_support import helper, kernel
from ..numba_vectors import at, lanes, pointer

UNROLLED = (2, 3)  # widths of a window that have code of their own


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


@intrinsic
def line_maxima(typingctx, rows, row, row_step, width, stride, dilation, source, lines, offsets, starts, count, y, indices, indexed):
    """The maxima of ``count`` windows of one line of outputs.

    Element (m, n) of window j is source[lines[m] + offsets[n] + j]; its position is row + m * row_step + j * stride + n * dilation.
    The first one in the plane is at row + starts[j], and there is none where starts[j] is -1. ``indices`` are written if ``indexed``.
    """

    def codegen(context, builder, signature, args):
        rows, row, row_step, width, stride, dilation, source, lines, offsets, starts, count, y, indices, indexed = args
        vector = llvm.vector_of(signature.args[6])
        integer = ir.IntType(32 if vector.element == ir.FloatType() else 64)
        integers, long = ir.VectorType(integer, vector.count), ir.VectorType(INT64, vector.count)
        short = ir.VectorType(indices.type.pointee, vector.count)

        def narrow(value):
            return value if integer == INT64 else builder.trunc(value, integer)

        def wide(value):
            return llvm.splat(builder, narrow(value), vector.count)

        numbers = builder.mul(ir.Constant(integers, list(range(vector.count))), wide(stride))

        def emit(taps):
            def element(n, line, first, best, where):
                tap = builder.gep(line, [builder.load(builder.gep(offsets, [n]))])
                value = builder.load(builder.bitcast(tap, vector.as_pointer()), align=4)
                position = builder.add(first, wide(builder.mul(n, dilation)))
                return _take(builder, best, where, value, position)

            def block(values):
                (j,) = values
                start = _convert(builder, builder.load(llvm.place(builder, long, starts, j), align=8), integers)
                inside = builder.icmp_signed(">=", start, ir.Constant(integers, None))
                where = builder.select(inside, builder.add(start, wide(row)), start)
                best = ir.Constant(vector, [float("-inf")] * vector.count)
                first = builder.add(numbers, wide(builder.add(row, builder.mul(j, stride))))

                def line(values):
                    m, first, best, where = values
                    place = builder.gep(source, [builder.add(builder.load(builder.gep(lines, [m])), j)])
                    if taps:
                        for n in range(taps):
                            best, where = element(INT64(n), place, first, best, where)
                    else:
                        _, best, where = llvm.loop(
                            builder, width, [INT64(0), best, where],
                            lambda v: [builder.add(v[0], INT64(1)), *element(v[0], place, first, v[1], v[2])],
                        )  # fmt: skip
                    return [builder.add(m, INT64(1)), builder.add(first, wide(row_step)), best, where]

                _, _, best, where = llvm.loop(builder, rows, [INT64(0), first, best, where], line)
                valid = builder.sub(count, j)
                llvm.store_part(builder, vector, y, j, best, valid)
                with builder.if_then(indexed):
                    llvm.store_part(builder, short, indices, j, _convert(builder, where, short), valid)
                return [builder.add(j, INT64(vector.count))]

            blocks = builder.sdiv(builder.add(count, INT64(vector.count - 1)), INT64(vector.count))
            llvm.loop(builder, blocks, [INT64(0)], block)

        case = INT64(0)
        for taps in UNROLLED:
            case = builder.select(builder.icmp_signed("==", width, INT64(taps)), INT64(taps), case)
        llvm.by_count(builder, case, (0, *UNROLLED), emit)

    sizes, tables = (types.intp,) * 6, (lines, offsets, starts)
    return types.void(*sizes, source, *tables, types.intp, y, indices, types.boolean), codegen


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
    size, length = lanes(pointer(x)), OW + (kernel_size[1] - 1) * dilation[1] // stride[1]
    kept, space = (kernel_size[0] - 1) * dilation[0] + 1, stride[1] * length + 2 * size
    ring = np.empty(kept * space, x.dtype)  # the lines of a window, each in the place of one that is needed no more
    lines, offsets, starts = np.empty(kernel_size[0], np.int64), np.empty(kernel_size[1], np.int64), np.empty(OW + size, np.int64)
    for n in range(kernel_size[1]):
        column = n * dilation[1]
        offsets[n] = column % stride[1] * length + column // stride[1]
    for j in range(OW):
        first, last = span(j * stride[1] - padding[1], dilation[1], W, kernel_size[1])
        starts[j] = j * stride[1] + first * dilation[1] if first < last else -1
    nothing = x.dtype.type(-np.inf)
    for p in range(planes):
        ready = 0
        for i in range(OH):
            top = i * stride[0] - padding[0]
            first, last = span(top, dilation[0], H, kernel_size[0])
            output = (p * OH + i) * OW
            if first >= last:
                fill(at(pointer(y), output), 0, OW, nothing)
                for j in range(OW if indexed else 0):
                    indices[p, i, j] = -1
                continue
            for m in range(first, last):
                h = top + m * dilation[0]
                for line in range(max(ready, h - kept + 1), h + 1):
                    source, target = at(pointer(x), (p * H + line) * W), at(pointer(ring), line % kept * space)
                    spread_line(source, W, padding[1], stride[1], length, nothing, target)
                ready = h + 1
                lines[m - first] = h % kept * space
            line_maxima(
                last - first, (top + first * dilation[0]) * W - padding[1], dilation[0] * W, kernel_size[1], stride[1], dilation[1],
                pointer(ring), pointer(lines), pointer(offsets), pointer(starts), OW, at(pointer(y), output),
                at(pointer(indices), output if indexed else 0), indexed,
            )  # fmt: skip


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
