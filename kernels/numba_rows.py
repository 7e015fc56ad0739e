"""Sums of rows of numbers, each times a weight, and dot products with rows: what register tiles would be mostly empty for."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import numba_llvm as llvm
from .numba_llvm import INT64
from .numba_vectors import Vector

DOTS = 8  # rows of ``dots``: as many sums as hide the latency of a multiply-add
GROUP = 9  # rows that are weighed at a time, as many as a 3x3 kernel has taps


@intrinsic
def dots(typingctx, k, x, w, stride, count):
    """The vector of sums over j < k of x[j] w[i * stride + j], for i < min(DOTS, lanes); rows from ``count`` on repeat the last one."""

    def codegen(context, builder, signature, args):
        k, x, w, stride, count = args
        vector = llvm.vector_of(signature.args[1])
        lanes = INT64(vector.count)
        last = builder.sub(count, INT64(1))
        rows = []
        for i in range(min(DOTS, vector.count)):
            row = builder.select(builder.icmp_signed("<", INT64(i), last), INT64(i), last)
            rows.append(builder.gep(w, [builder.mul(row, stride)]))

        def step(values):
            j, *sums = values
            factor = builder.load(llvm.place(builder, vector, x, j), align=4)
            terms = [builder.load(llvm.place(builder, vector, row, j), align=4) for row in rows]
            return [builder.add(j, lanes), *(llvm.fma(builder, factor, t, s) for t, s in zip(terms, sums, strict=True))]

        j, *sums = llvm.loop(builder, builder.sdiv(k, lanes), [INT64(0)] + len(rows) * [ir.Constant(vector, None)], step)
        rest = builder.sub(k, j)
        factor = llvm.load_part(builder, vector, x, j, rest)
        sums = [
            llvm.fma(builder, factor, llvm.load_part(builder, vector, r, j, rest), s) for r, s in zip(rows, sums, strict=True)
        ]
        return llvm.sum_lanes(builder, sums)

    return Vector(x.dtype)(k, x, w, stride, count), codegen


def _weigh(builder, vector, n, weights, step, rows, out, start, accumulate):
    """out[j] = start or out[j] + the sum over i of weights[i * step] rows[i][j], for j < n."""
    lanes, start = INT64(vector.count), llvm.splat(builder, start, vector.count)
    factors = []
    for i in range(len(rows)):
        weight = builder.load(builder.gep(weights, [builder.mul(step, INT64(i))]))
        factors.append(llvm.splat(builder, weight, vector.count))

    def total(load):
        value = builder.select(accumulate, load(out), start)
        for factor, row in zip(factors, rows, strict=True):
            value = llvm.fma(builder, factor, load(row), value)
        return value

    def whole(values):
        (j,) = values
        place = llvm.place(builder, vector, out, j)
        builder.store(total(lambda p: builder.load(llvm.place(builder, vector, p, j), align=4)), place, align=4)
        return [builder.add(j, lanes)]

    (j,) = llvm.loop(builder, builder.sdiv(n, lanes), [INT64(0)], whole)
    rest = builder.sub(n, j)
    with builder.if_then(builder.icmp_signed(">", rest, INT64(0))):
        llvm.store_part(builder, vector, out, j, total(lambda p: llvm.load_part(builder, vector, p, j, rest)), rest)


@intrinsic
def weigh_rows(typingctx, count, n, weights, step, source, stride, out, accumulate):
    """out[j] = or += the sum over i < count <= GROUP of weights[i * step] source[i * stride + j], for j < n."""

    def codegen(context, builder, signature, args):
        wanted, n, weights, step, source, stride, out_, accumulate = args
        vector = llvm.vector_of(out)

        def emit(count):
            rows = [builder.gep(source, [builder.mul(stride, INT64(i))]) for i in range(count)]
            _weigh(builder, vector, n, weights, step, rows, out_, vector.element(0), accumulate)

        llvm.by_count(builder, wanted, range(1, GROUP + 1), emit)

    return types.void(types.intp, types.intp, weights, types.intp, source, types.intp, out, types.boolean), codegen


def _offset_rows(builder, source, offsets, count):
    return [builder.gep(source, [builder.load(builder.gep(offsets, [INT64(i)]))]) for i in range(count)]


@intrinsic
def weigh_taps(typingctx, count, n, weights, step, source, offsets, out, start, accumulate):
    """out[j] = start or out[j] + the sum over i < count <= GROUP of weights[i * step] source[offsets[i] + j], for j < n."""

    def codegen(context, builder, signature, args):
        wanted, n, weights, step, source, offsets, out_, start, accumulate = args

        def emit(count):
            rows = _offset_rows(builder, source, offsets, count)
            _weigh(builder, llvm.vector_of(out), n, weights, step, rows, out_, start, accumulate)

        llvm.by_count(builder, wanted, range(1, GROUP + 1), emit)

    arguments = (types.intp, types.intp, weights, types.intp, source, offsets, out, out.dtype, types.boolean)
    return types.void(*arguments), codegen


@intrinsic
def correlate(typingctx, count, n, values, source, offsets, sums):
    """sums[i] += the sum over j < n of values[j] source[offsets[i] + j], for i < count <= GROUP; each a vector, a lane for j mod lanes."""

    def codegen(context, builder, signature, args):
        wanted, n, values_, source, offsets, sums_ = args
        vector = llvm.vector_of(values)
        lanes = INT64(vector.count)

        def emit(count):
            rows = _offset_rows(builder, source, offsets, count)
            places = [llvm.place(builder, vector, sums_, INT64(i * vector.count)) for i in range(count)]

            def step(values):
                j, *totals = values
                value = builder.load(llvm.place(builder, vector, values_, j), align=4)
                terms = [builder.load(llvm.place(builder, vector, row, j), align=4) for row in rows]
                return [builder.add(j, lanes), *(llvm.fma(builder, value, t, s) for t, s in zip(terms, totals, strict=True))]

            totals = [builder.load(place, align=4) for place in places]
            j, *totals = llvm.loop(builder, builder.sdiv(n, lanes), [INT64(0), *totals], step)
            rest = builder.sub(n, j)
            value = llvm.load_part(builder, vector, values_, j, rest)
            for place, row, total in zip(places, rows, totals, strict=True):
                builder.store(llvm.fma(builder, value, llvm.load_part(builder, vector, row, j, rest), total), place, align=4)

        llvm.by_count(builder, wanted, range(1, GROUP + 1), emit)

    return types.void(types.intp, types.intp, values, source, offsets, sums), codegen
