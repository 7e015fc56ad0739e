"""Depthwise 3x3 kernels of stride 1 on planes as they are, in LLVM code: every row of the input is read once for three rows of the output.

A vector of columns goes down the plane. Its masks, one for each column of the kernel, are the same in all rows; the nine weights, or
the nine sums of their gradient, stay in registers. Spread lines, read once for each tap, took three times as long.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .. import numba_llvm as llvm
from ..numba_llvm import INT64

SIDE = range(3)


def _blocks(builder, vector, count, body):
    """``body(column)`` for each vector of ``count`` columns."""

    def block(values):
        body(values[0])
        return [builder.add(values[0], INT64(vector.count))]

    llvm.loop(builder, builder.sdiv(builder.add(count, INT64(vector.count - 1)), INT64(vector.count)), [INT64(0)], block)


class _Rows:
    """The three columns of taps in rows of a plane of H x W, zero outside of it."""

    def __init__(self, builder, vector, plane, H, W, column, left, count):
        """``count`` columns of the output are left: those of the input that only others need are not read either."""
        self.builder, self.vector, self.plane, self.H, self.W = builder, vector, plane, H, W
        self.columns = [builder.sub(builder.add(column, INT64(v)), left) for v in SIDE]
        self.masks = []
        for first in self.columns:
            end = builder.sub(W, first)
            end = builder.select(builder.icmp_signed("<", end, count), end, count)
            self.masks.append(llvm.lanes_between(builder, builder.neg(first), end, vector.count))

    def load(self, row):
        """A vector for each column of taps."""
        builder = self.builder
        inside = builder.icmp_unsigned("<", row, self.H)
        source = builder.gep(self.plane, [builder.mul(builder.select(inside, row, INT64(0)), self.W)])
        zero = ir.Constant(self.vector, None)
        loaded = []
        for first, mask in zip(self.columns, self.masks, strict=True):
            mask = builder.select(inside, mask, ir.Constant(mask.type, None))
            address = llvm.place(builder, self.vector, source, first)
            loaded.append(llvm.masked_load(builder, self.vector, address, mask, zero))
        return loaded


@intrinsic
def convolve_plane(typingctx, x, H, W, top, left, w, turned, start, y, P, Q, add):
    """y (P, Q) = start, or y itself, + x (H, W) under the nine weights, the last one first if ``turned``."""

    def codegen(context, builder, signature, args):
        x, H, W, top, left, w, turned, start, y, P, Q, add = args
        vector = llvm.vector_of(signature.args[0])
        weights = []
        for t in range(9):
            place = builder.select(turned, INT64(8 - t), INT64(t))
            weights.append(llvm.splat(builder, builder.load(builder.gep(w, [place])), vector.count))
        start, zero = llvm.splat(builder, start, vector.count), ir.Constant(vector, None)

        def weigh(total, loaded, u):
            for v in SIDE:
                total = llvm.fma(builder, loaded[v], weights[3 * u + v], total)
            return total

        def block(column):
            valid = builder.sub(Q, column)
            rows = _Rows(builder, vector, x, H, W, column, left, valid)

            def row(values):
                i, next_to_last, last = values
                loaded = rows.load(builder.sub(i, top))
                done = weigh(last, loaded, 2)
                p = builder.sub(i, INT64(2))
                with builder.if_then(builder.icmp_signed(">=", p, INT64(0))):
                    place = builder.add(builder.mul(p, Q), column)
                    earlier = llvm.load_part(builder, vector, y, place, builder.select(add, valid, INT64(0)))
                    llvm.store_part(builder, vector, y, place, builder.fadd(done, earlier), valid)
                return [builder.add(i, INT64(1)), weigh(start, loaded, 0), weigh(next_to_last, loaded, 1)]

            llvm.loop(builder, builder.add(P, INT64(2)), [INT64(0), zero, zero], row)

        _blocks(builder, vector, Q, block)

    sizes = [types.intp] * 4
    return types.void(x, *sizes, w, types.boolean, x.dtype, y, types.intp, types.intp, types.boolean), codegen


def _existing(builder, loaded, p, P):
    """What is multiplied by row p of dy: zeros where there is no such row."""
    exists = builder.icmp_unsigned("<", p, P)
    return [builder.select(exists, value, ir.Constant(value.type, None)) for value in loaded]


def _products(builder, values, loaded, totals):
    return [llvm.fma(builder, values[t // 3], loaded[t // 3][t % 3], total) for t, total in enumerate(totals)]


@intrinsic
def correlate_plane(typingctx, dy, pitch, P, Q, x, H, W, top, left, sums):
    """sums[u, v] += dy (P, Q), rows ``pitch`` apart, times x (H, W) under tap (u, v).

    Each sum is a vector, a lane for the column modulo its length; top and left have any sign.
    """

    def codegen(context, builder, signature, args):
        dy, pitch, P, Q, x, H, W, top, left, sums = args
        vector = llvm.vector_of(signature.args[0])
        zero = ir.Constant(vector, None)
        places = [llvm.place(builder, vector, sums, INT64(t * vector.count)) for t in range(9)]

        def block(column):
            valid = builder.sub(Q, column)
            rows = _Rows(builder, vector, x, H, W, column, left, valid)

            def row(values):
                i, next_to_last, last, *totals = values
                loaded = rows.load(builder.sub(i, top))
                count = builder.select(builder.icmp_signed("<", i, P), valid, INT64(0))
                place = builder.add(builder.mul(i, pitch), column)
                first = llvm.load_part(builder, vector, dy, place, count)
                values = (first, next_to_last, last)
                inner = builder.and_(builder.icmp_signed(">=", i, INT64(2)), builder.icmp_signed("<", i, P))
                with builder.if_else(inner) as (then, otherwise):
                    with then:
                        plain, plain_block = _products(builder, values, 3 * [loaded], totals), builder.block
                    with otherwise:  # a row that dy does not have counts as zero, and zero times infinity would be NaN
                        chosen = [_existing(builder, loaded, builder.sub(i, INT64(u)), P) for u in SIDE]
                        careful, careful_block = _products(builder, values, chosen, totals), builder.block
                totals = []
                for one, other in zip(plain, careful, strict=True):
                    totals.append(builder.phi(vector))
                    totals[-1].add_incoming(one, plain_block)
                    totals[-1].add_incoming(other, careful_block)
                return [builder.add(i, INT64(1)), first, next_to_last, *totals]

            totals = [builder.load(place, align=4) for place in places]
            _, _, _, *totals = llvm.loop(builder, builder.add(P, INT64(2)), [INT64(0), zero, zero, *totals], row)
            for place, total in zip(places, totals, strict=True):
                builder.store(total, place, align=4)

        _blocks(builder, vector, Q, block)

    return types.void(dy, *[types.intp] * 3, x, *[types.intp] * 4, sums), codegen
