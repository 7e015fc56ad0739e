"""Pieces of LLVM code that the vector intrinsics are made of: each function takes a builder and appends to it.

All of it is LLVM's portable vector code: a processor with narrower registers gets several instructions for one.
"""

from llvmlite import ir
from numba import types

from .numba_support import VECTOR_BYTES

INT64 = ir.IntType(64)


def element(fe_type):
    """LLVM's type of the elements of a Vector or of what a pointer points to."""
    return ir.FloatType() if fe_type.dtype == types.float32 else ir.DoubleType()


def vector_of(fe_type):
    """The LLVM vector of a Vector, or of as many elements as ``fe_type``, a pointer, has in one."""
    return ir.VectorType(element(fe_type), VECTOR_BYTES * 8 // fe_type.dtype.bitwidth)


def splat(builder, value, lanes):
    """``value`` in every lane."""
    one = builder.insert_element(ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def shuffle(builder, a, b, indices):
    """The lanes with these numbers of a and b, one behind the other."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(indices)), list(indices)))


def place(builder, vector, pointer, offset):
    """The address of ``pointer[offset]`` as one of a vector."""
    return builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())


def lanes_between(builder, low, high, lanes):
    """The mask of the lanes from ``low`` on and before ``high``, which may lie outside of the vector."""

    def below(count):
        count = builder.select(builder.icmp_signed("<", count, INT64(0)), INT64(0), count)
        count = builder.select(builder.icmp_signed(">", count, INT64(lanes)), INT64(lanes), count)
        return builder.sub(builder.shl(INT64(1), count), INT64(1))

    bits = builder.and_(below(high), builder.not_(below(low)))
    return builder.bitcast(builder.trunc(bits, ir.IntType(lanes)), ir.VectorType(ir.IntType(1), lanes))


def first_lanes(builder, count, lanes):
    """The mask of the first ``count`` lanes."""
    return lanes_between(builder, INT64(0), count, lanes)


def masked_load(builder, vector, address, mask, filler):
    """The lanes of ``mask`` from memory, the others from ``filler``; what they lie at is not touched."""
    alignment = ir.IntType(32)(_bits(vector) // 8)
    return call(builder, f"llvm.masked.load.{_suffix(vector)}.p0", vector, address, alignment, mask, filler)


def masked_gather(builder, vector, pointer, indices, mask, filler):
    """pointer[indices] in the lanes of ``mask``, ``filler`` in the others."""
    count, size = vector.count, _bits(vector) // 8
    start = splat(builder, builder.ptrtoint(pointer, INT64), count)
    offsets = builder.mul(indices, ir.Constant(indices.type, [size] * count))
    addresses = builder.inttoptr(builder.add(start, offsets), ir.VectorType(pointer.type, count))
    name = f"llvm.masked.gather.{_suffix(vector)}.v{count}p0"
    return call(builder, name, vector, addresses, ir.IntType(32)(size), mask, filler)


def load_part(builder, vector, pointer, offset, count):
    """The first ``count`` elements at ``pointer[offset]``, and zeros; what lies behind them is not touched."""
    mask = first_lanes(builder, count, vector.count)
    return masked_load(builder, vector, place(builder, vector, pointer, offset), mask, ir.Constant(vector, None))


def store_part(builder, vector, pointer, offset, value, count):
    """pointer[offset : offset + count] = the first ``count`` elements of ``value``."""
    address, mask = place(builder, vector, pointer, offset), first_lanes(builder, count, vector.count)
    alignment = ir.IntType(32)(_bits(vector) // 8)
    call(builder, f"llvm.masked.store.{_suffix(vector)}.p0", ir.VoidType(), value, address, alignment, mask)


def call(builder, name, result, *args):
    """Call one of LLVM's own functions."""
    function = builder.module.declare_intrinsic(name, (), ir.FunctionType(result, [arg.type for arg in args]))
    return builder.call(function, args)


def _bits(vector):
    if isinstance(vector.element, ir.IntType):
        return vector.element.width
    return 32 if vector.element == ir.FloatType() else 64


def _suffix(vector):
    return f"v{vector.count}{'i' if isinstance(vector.element, ir.IntType) else 'f'}{_bits(vector)}"


def fma(builder, a, b, c):
    """a b + c in one rounding where the processor has it."""
    return call(builder, f"llvm.fmuladd.{_suffix(a.type)}", a.type, a, b, c)


def sum_lanes(builder, vectors):
    """One vector: the sums of the lanes of each of ``vectors``, a power of two, in order and repeated."""
    count = vectors[0].type.count
    for _ in range(count.bit_length() - 1):
        if len(vectors) == 1:
            vectors = vectors * 2
        vectors = [
            builder.fadd(
                shuffle(builder, a, b, range(0, 2 * count, 2)),
                shuffle(builder, a, b, range(1, 2 * count, 2)),
            )
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
    return vectors[0]


def _rolled(builder, branch):
    """Keep LLVM from unrolling the loop that ``branch`` closes, which makes short loops slow, the code large and compiling long."""
    module = builder.module
    disable = module.add_metadata(["llvm.loop.unroll.disable"])
    loop_id = module.add_metadata([INT64(len(module.metadata))])
    loop_id.operands = (loop_id, disable)  # what names a loop refers to itself
    branch.set_metadata("llvm.loop", loop_id)


def loop(builder, count, values, body):
    """Run ``values = body(values)`` ``count`` times; returns the values at the end."""
    before = builder.block
    head, block, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    left = builder.phi(INT64)
    phis = [builder.phi(value.type) for value in values]
    builder.cbranch(builder.icmp_signed(">", left, INT64(0)), block, after)
    builder.position_at_end(block)
    results = body(phis)
    for phi, value, result in zip([left, *phis], [count, *values], [builder.sub(left, INT64(1)), *results], strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(result, builder.block)
    _rolled(builder, builder.branch(head))
    builder.position_at_end(after)
    return phis


def by_count(builder, wanted, counts, emit):
    """Code of its own for each of ``counts``."""
    done = builder.append_basic_block("done")
    switch = builder.switch(wanted, done)
    for count in counts:
        block = builder.append_basic_block(f"count{count}")
        switch.add_case(INT64(count), block)
        builder.position_at_end(block)
        emit(count)
        builder.branch(done)
    builder.position_at_end(done)


def prefetch(builder, pointer):
    """Begin to bring the line of ``pointer`` into the first cache."""
    flags = [ir.IntType(32)(value) for value in (0, 3, 1)]  # to read, kept near, data
    call(builder, "llvm.prefetch.p0", ir.VoidType(), pointer, *flags)
