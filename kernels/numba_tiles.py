"""Register tiles of the matrix product and the transpose of a block, written as LLVM's loops over vectors."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import numba_llvm as llvm
from .numba_llvm import INT64
from .numba_support import VECTOR_BYTES

AHEAD = 8  # rows of b that are fetched before they are needed: its block lies in the second cache
TILE_ROWS = 14 if VECTOR_BYTES == 64 else 6  # with 2 vectors a row: 28 of 32 registers, or 12 of 16, hold sums
CHUNK = 64  # of k: has a sum of its own, so that a long float32 sum keeps its digits
ROWS = range(2, TILE_ROWS + 1, 2)  # odd ones too would double the time to compile


def _step(builder, vector, rows, a, b, sums):
    """sums[rows][columns] += a[rows] b[columns vectors]"""
    columns = len(sums) // rows
    terms = [builder.load(llvm.place(builder, vector, b, INT64(j * vector.count)), align=4) for j in range(columns)]
    added = []
    for i in range(rows):
        factor = llvm.splat(builder, builder.load(builder.gep(a, [INT64(i)])), vector.count)
        added += [llvm.fma(builder, factor, term, sums[i * columns + j]) for j, term in enumerate(terms)]
    return added


def _store_sums(builder, vector, sums, out, accumulate):
    for index, value in enumerate(sums):
        place = llvm.place(builder, vector, out, INT64(index * vector.count))
        earlier = builder.select(accumulate, builder.load(place, align=4), ir.Constant(vector, None))
        builder.store(builder.fadd(value, earlier), place, align=4)


def _tile(builder, vector, rows, k, a, b, out):
    """One tile of ``rows`` rows: all sums of a chunk stay in registers."""

    def step(values):
        a, b, *sums = values
        for j in (0, 1):
            llvm.prefetch(builder, builder.gep(b, [INT64((2 * AHEAD + j) * vector.count)]))
        sums = _step(builder, vector, rows, a, b, sums)
        return [builder.gep(a, [INT64(rows)]), builder.gep(b, [INT64(2 * vector.count)]), *sums]

    def chunk(values):
        left, later, a, b = values
        count = builder.select(builder.icmp_signed("<", left, INT64(CHUNK)), left, INT64(CHUNK))
        a, b, *sums = llvm.loop(builder, count, [a, b] + 2 * rows * [ir.Constant(vector, None)], step)
        _store_sums(builder, vector, sums, out, later)
        return [builder.sub(left, count), ir.IntType(1)(1), a, b]

    chunks = builder.sdiv(builder.add(k, INT64(CHUNK - 1)), INT64(CHUNK))
    chunks = builder.select(builder.icmp_signed(">", chunks, INT64(0)), chunks, INT64(1))
    llvm.loop(builder, chunks, [k, ir.IntType(1)(0), a, b], chunk)


def _pixel_tile(builder, vector, rows, columns, outer, inner, a, b, step, jump, out, accumulate):
    """The same with b's rows where the pixels of an image have them, ``step`` apart, and ``jump`` from one line to the next."""

    def pixel(values):
        a, b, *sums = values
        sums = _step(builder, vector, rows, a, b, sums)
        return [builder.gep(a, [INT64(rows)]), builder.gep(b, [step]), *sums]

    def line(values):
        a, b, *sums = values
        a, _, *sums = llvm.loop(builder, inner, [a, b, *sums], pixel)
        return [a, builder.gep(b, [jump]), *sums]

    _, _, *sums = llvm.loop(builder, outer, [a, b] + columns * rows * [ir.Constant(vector, None)], line)
    _store_sums(builder, vector, sums, out, accumulate)


@intrinsic
def tile(typingctx, rows, k, a, b, out):
    """out[rows][2 vectors] = the sum over k of a[k][rows] b[k][2 vectors], chunk by chunk; ``rows`` is one of ROWS."""

    def codegen(context, builder, signature, args):
        wanted, *arguments = args
        llvm.by_count(builder, wanted, ROWS, lambda rows: _tile(builder, llvm.vector_of(a), rows, *arguments))

    return types.void(types.intp, types.intp, a, b, out), codegen


def _pixel_tiles(columns):
    @intrinsic
    def pixel_tile(typingctx, rows, outer, inner, a, b, step, jump, out, accumulate):
        def codegen(context, builder, signature, args):
            wanted, *arguments = args
            llvm.by_count(builder, wanted, ROWS, lambda rows: _pixel_tile(builder, llvm.vector_of(a), rows, columns, *arguments))

        sizes = (types.intp, types.intp)
        return types.void(types.intp, *sizes, a, b, *sizes, out, types.boolean), codegen

    pixel_tile.__doc__ = f"""out[rows][{columns} vectors] = or += the sum over pixels of a[pixel][rows] b[pixel][columns].

    Pixels come in ``outer`` lines of ``inner``: one is ``step`` after the other in b, a line ``jump`` after the other.
    """
    return pixel_tile


narrow_pixel_tile = _pixel_tiles(1)
pixel_tile = _pixel_tiles(2)


@intrinsic
def transpose_block(typingctx, source, stride, count, target, width):
    """target[j * width + i] = source[i * stride + j] for a square of vectors; rows from ``count`` on repeat the last one before it."""

    def codegen(context, builder, signature, args):
        source_, stride_, count_, target_, width_ = args
        vector = llvm.vector_of(source)
        size, last = vector.count, builder.sub(count_, INT64(1))
        rows = []
        for i in range(size):
            row = builder.select(builder.icmp_signed("<", INT64(i), last), INT64(i), last)
            rows.append(builder.load(llvm.place(builder, vector, source_, builder.mul(row, stride_)), align=4))
        for _ in range(size.bit_length() - 1):  # after as many perfect shuffles every row is a column
            half = size // 2
            pairs = [
                [llvm.shuffle(builder, a, b, [j // 2 + size * (j % 2) + start for j in range(size)]) for start in (0, half)]
                for a, b in zip(rows[:half], rows[half:], strict=True)
            ]
            rows = [vector for pair in pairs for vector in pair]
        for j, row in enumerate(rows):
            builder.store(row, llvm.place(builder, vector, target_, builder.mul(INT64(j), width_)), align=4)

    return types.void(source, types.intp, types.intp, target, types.intp), codegen
