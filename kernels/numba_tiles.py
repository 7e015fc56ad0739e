"""Register tiles of the matrix product and the transpose of a block, written as LLVM's loops over vectors."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .numba_vectors import TILE_ROWS, Vector, _call, _fma, _llvm, _load_part, _place, _shuffle, _splat, _store_part, _sum_lanes

AHEAD = 8  # rows of b that are fetched before they are needed: its block lies in the second cache
_int64 = ir.IntType(64)
CHUNK = 128  # of k: has a sum of its own, so that a long float32 sum keeps its digits
ROWS = range(2, TILE_ROWS + 1, 2)  # odd ones too would double the time to compile


def _loop(builder, count, values, body):
    """Run ``values = body(values)`` ``count`` times; returns the values at the end."""
    before = builder.block
    head, block, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    left = builder.phi(_int64)
    phis = [builder.phi(value.type) for value in values]
    builder.cbranch(builder.icmp_signed(">", left, _int64(0)), block, after)
    builder.position_at_end(block)
    results = body(phis)
    for phi, value, result in zip([left, *phis], [count, *values], [builder.sub(left, _int64(1)), *results], strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(result, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return phis


def prefetch(builder, pointer):
    """Begin to bring the line of ``pointer`` into the first cache."""
    flags = [ir.IntType(32)(value) for value in (0, 3, 1)]  # to read, kept near, data
    _call(builder, "llvm.prefetch.p0", ir.VoidType(), pointer, *flags)


def _step(builder, vector, rows, a, b, sums):
    """sums[rows][columns] += a[rows] b[columns vectors]"""
    columns = len(sums) // rows
    terms = [builder.load(_place(builder, vector, b, _int64(j * vector.count)), align=4) for j in range(columns)]
    added = []
    for i in range(rows):
        factor = _splat(builder, builder.load(builder.gep(a, [_int64(i)])), vector.count)
        added += [_fma(builder, factor, term, sums[i * columns + j]) for j, term in enumerate(terms)]
    return added


def _store_sums(builder, vector, sums, out, accumulate):
    for index, value in enumerate(sums):
        place = _place(builder, vector, out, _int64(index * vector.count))
        earlier = builder.select(accumulate, builder.load(place, align=4), ir.Constant(vector, None))
        builder.store(builder.fadd(value, earlier), place, align=4)


def _tile(builder, vector, rows, k, a, b, out):
    """One tile of ``rows`` rows: all sums of a chunk stay in registers."""

    def step(values):
        a, b, *sums = values
        for j in (0, 1):
            prefetch(builder, builder.gep(b, [_int64((2 * AHEAD + j) * vector.count)]))
        sums = _step(builder, vector, rows, a, b, sums)
        return [builder.gep(a, [_int64(rows)]), builder.gep(b, [_int64(2 * vector.count)]), *sums]

    def chunk(values):
        left, later, a, b = values
        count = builder.select(builder.icmp_signed("<", left, _int64(CHUNK)), left, _int64(CHUNK))
        a, b, *sums = _loop(builder, count, [a, b] + 2 * rows * [ir.Constant(vector, None)], step)
        _store_sums(builder, vector, sums, out, later)
        return [builder.sub(left, count), ir.IntType(1)(1), a, b]

    chunks = builder.sdiv(builder.add(k, _int64(CHUNK - 1)), _int64(CHUNK))
    chunks = builder.select(builder.icmp_signed(">", chunks, _int64(0)), chunks, _int64(1))
    _loop(builder, chunks, [k, ir.IntType(1)(0), a, b], chunk)


def _pixel_tile(builder, vector, rows, columns, outer, inner, a, b, step, jump, out, accumulate):
    """The same with b's rows where the pixels of an image have them, ``step`` apart, and ``jump`` from one line to the next."""

    def pixel(values):
        a, b, *sums = values
        sums = _step(builder, vector, rows, a, b, sums)
        return [builder.gep(a, [_int64(rows)]), builder.gep(b, [step]), *sums]

    def line(values):
        a, b, *sums = values
        a, _, *sums = _loop(builder, inner, [a, b, *sums], pixel)
        return [a, builder.gep(b, [jump]), *sums]

    _, _, *sums = _loop(builder, outer, [a, b] + columns * rows * [ir.Constant(vector, None)], line)
    _store_sums(builder, vector, sums, out, accumulate)


def _by_count(builder, wanted, counts, emit):
    """Code of its own for each of ``counts``."""
    done = builder.append_basic_block("done")
    switch = builder.switch(wanted, done)
    for count in counts:
        block = builder.append_basic_block(f"count{count}")
        switch.add_case(_int64(count), block)
        builder.position_at_end(block)
        emit(count)
        builder.branch(done)
    builder.position_at_end(done)


@intrinsic
def tile(typingctx, rows, k, a, b, out):
    """out[rows][2 vectors] = the sum over k of a[k][rows] b[k][2 vectors], chunk by chunk; ``rows`` is one of ROWS."""

    def codegen(context, builder, signature, args):
        wanted, *arguments = args
        _by_count(builder, wanted, ROWS, lambda rows: _tile(builder, _llvm(a), rows, *arguments))

    return types.void(types.intp, types.intp, a, b, out), codegen


def _pixel_tiles(columns):
    @intrinsic
    def pixel_tile(typingctx, rows, outer, inner, a, b, step, jump, out, accumulate):
        def codegen(context, builder, signature, args):
            wanted, *arguments = args
            _by_count(builder, wanted, ROWS, lambda rows: _pixel_tile(builder, _llvm(a), rows, columns, *arguments))

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
        vector = _llvm(source)
        size, last = vector.count, builder.sub(count_, _int64(1))
        rows = []
        for i in range(size):
            row = builder.select(builder.icmp_signed("<", _int64(i), last), _int64(i), last)
            rows.append(builder.load(_place(builder, vector, source_, builder.mul(row, stride_)), align=4))
        for _ in range(size.bit_length() - 1):  # after as many perfect shuffles every row is a column
            half = size // 2
            pairs = [
                [_shuffle(builder, a, b, [j // 2 + size * (j % 2) + start for j in range(size)]) for start in (0, half)]
                for a, b in zip(rows[:half], rows[half:], strict=True)
            ]
            rows = [vector for pair in pairs for vector in pair]
        for j, row in enumerate(rows):
            builder.store(row, _place(builder, vector, target_, builder.mul(_int64(j), width_)), align=4)

    return types.void(source, types.intp, types.intp, target, types.intp), codegen


DOTS = 8  # rows of ``dots``: as many sums as hide the latency of a multiply-add


@intrinsic
def dots(typingctx, k, x, w, stride, count):
    """The vector of sums over j < k of x[j] w[i * stride + j], for i < min(DOTS, lanes); rows from ``count`` on repeat the last one."""

    def codegen(context, builder, signature, args):
        k, x, w, stride, count = args
        vector = _llvm(signature.args[1])
        lanes = _int64(vector.count)
        last = builder.sub(count, _int64(1))
        rows = []
        for i in range(min(DOTS, vector.count)):
            row = builder.select(builder.icmp_signed("<", _int64(i), last), _int64(i), last)
            rows.append(builder.gep(w, [builder.mul(row, stride)]))

        def step(values):
            j, *sums = values
            factor = builder.load(_place(builder, vector, x, j), align=4)
            terms = [builder.load(_place(builder, vector, row, j), align=4) for row in rows]
            return [builder.add(j, lanes), *(_fma(builder, factor, t, s) for t, s in zip(terms, sums, strict=True))]

        j, *sums = _loop(builder, builder.sdiv(k, lanes), [_int64(0)] + len(rows) * [ir.Constant(vector, None)], step)
        rest = builder.sub(k, j)
        factor = _load_part(builder, vector, x, j, rest)
        sums = [_fma(builder, factor, _load_part(builder, vector, r, j, rest), s) for r, s in zip(rows, sums, strict=True)]
        return _sum_lanes(builder, sums)

    return Vector(x.dtype)(k, x, w, stride, count), codegen


GROUP = 9  # rows that are weighed at a time, as many as a 3x3 kernel has taps


def _weigh(builder, vector, n, weights, step, rows, out, start, accumulate):
    """out[j] = start or out[j] + the sum over i of weights[i * step] rows[i][j], for j < n."""
    lanes, start = _int64(vector.count), _splat(builder, start, vector.count)
    factors = []
    for i in range(len(rows)):
        weight = builder.load(builder.gep(weights, [builder.mul(step, _int64(i))]))
        factors.append(_splat(builder, weight, vector.count))

    def total(load):
        value = builder.select(accumulate, load(out), start)
        for factor, row in zip(factors, rows, strict=True):
            value = _fma(builder, factor, load(row), value)
        return value

    def whole(values):
        (j,) = values
        place = _place(builder, vector, out, j)
        builder.store(total(lambda p: builder.load(_place(builder, vector, p, j), align=4)), place, align=4)
        return [builder.add(j, lanes)]

    (j,) = _loop(builder, builder.sdiv(n, lanes), [_int64(0)], whole)
    rest = builder.sub(n, j)
    with builder.if_then(builder.icmp_signed(">", rest, _int64(0))):
        _store_part(builder, vector, out, j, total(lambda p: _load_part(builder, vector, p, j, rest)), rest)


@intrinsic
def weigh_rows(typingctx, count, n, weights, step, source, stride, out, accumulate):
    """out[j] = or += the sum over i < count <= GROUP of weights[i * step] source[i * stride + j], for j < n."""

    def codegen(context, builder, signature, args):
        wanted, n, weights, step, source, stride, out_, accumulate = args
        vector = _llvm(out)

        def emit(count):
            rows = [builder.gep(source, [builder.mul(stride, _int64(i))]) for i in range(count)]
            _weigh(builder, vector, n, weights, step, rows, out_, vector.element(0), accumulate)

        _by_count(builder, wanted, range(1, GROUP + 1), emit)

    return types.void(types.intp, types.intp, weights, types.intp, source, types.intp, out, types.boolean), codegen


def _offset_rows(builder, source, offsets, count):
    return [builder.gep(source, [builder.load(builder.gep(offsets, [_int64(i)]))]) for i in range(count)]


@intrinsic
def weigh_taps(typingctx, count, n, weights, step, source, offsets, out, start, accumulate):
    """out[j] = start or out[j] + the sum over i < count <= GROUP of weights[i * step] source[offsets[i] + j], for j < n."""

    def codegen(context, builder, signature, args):
        wanted, n, weights, step, source, offsets, out_, start, accumulate = args

        def emit(count):
            rows = _offset_rows(builder, source, offsets, count)
            _weigh(builder, _llvm(out), n, weights, step, rows, out_, start, accumulate)

        _by_count(builder, wanted, range(1, GROUP + 1), emit)

    arguments = (types.intp, types.intp, weights, types.intp, source, offsets, out, out.dtype, types.boolean)
    return types.void(*arguments), codegen


@intrinsic
def correlate(typingctx, count, n, values, source, offsets, sums):
    """sums[i] += the sum over j < n of values[j] source[offsets[i] + j], for i < count <= GROUP; each a vector, a lane for j mod lanes."""

    def codegen(context, builder, signature, args):
        wanted, n, values_, source, offsets, sums_ = args
        vector = _llvm(values)
        lanes = _int64(vector.count)

        def emit(count):
            rows = _offset_rows(builder, source, offsets, count)
            places = [_place(builder, vector, sums_, _int64(i * vector.count)) for i in range(count)]

            def step(values):
                j, *totals = values
                value = builder.load(_place(builder, vector, values_, j), align=4)
                terms = [builder.load(_place(builder, vector, row, j), align=4) for row in rows]
                return [builder.add(j, lanes), *(_fma(builder, value, t, s) for t, s in zip(terms, totals, strict=True))]

            totals = [builder.load(place, align=4) for place in places]
            j, *totals = _loop(builder, builder.sdiv(n, lanes), [_int64(0), *totals], step)
            rest = builder.sub(n, j)
            value = _load_part(builder, vector, values_, j, rest)
            for place, row, total in zip(places, rows, totals, strict=True):
                builder.store(_fma(builder, value, _load_part(builder, vector, row, j, rest), total), place, align=4)

        _by_count(builder, wanted, range(1, GROUP + 1), emit)

    return types.void(types.intp, types.intp, values, source, offsets, sums), codegen
