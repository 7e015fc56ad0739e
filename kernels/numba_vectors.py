"""Vectors of the processor's width and pointers, for Numba kernels that its vectoriser does not reach.

Loops with constant trip counts become scalar code, and plain ones stop at 256 bits; explicit vectors of LLVM compile as well as GCC's. A
``pointer(array)`` costs nothing to pass on or to move, where a slice counts references. All of it is LLVM's portable vector code: a
processor with narrower registers gets several instructions for one.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from .numba_support import VECTOR_BYTES

TILE_ROWS = 14 if VECTOR_BYTES == 64 else 6  # with 2 vectors a row: 28 of 32 registers, or 12 of 16, hold sums


class Vector(types.Type):
    """As many numbers of ``dtype`` as the processor's registers hold."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.lanes = VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype} x {self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(_element(fe_type), fe_type.lanes))


def _element(fe_type):
    return ir.FloatType() if fe_type.dtype == types.float32 else ir.DoubleType()


def _llvm(fe_type):
    """The LLVM vector of a Vector, or of as many elements as ``fe_type``, a pointer, has in one."""
    return ir.VectorType(_element(fe_type), VECTOR_BYTES * 8 // fe_type.dtype.bitwidth)


def _splat(builder, value, lanes):
    one = builder.insert_element(ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def _shuffle(builder, a, b, indices):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(indices)), list(indices)))


def _place(builder, vector, pointer, offset):
    """The address of ``pointer[offset]`` as one of a vector."""
    return builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())


def _first(builder, count, lanes):
    """The mask of the first ``count`` lanes."""
    enough = builder.icmp_signed("<", count, count.type(lanes))
    count = builder.trunc(builder.select(enough, count, count.type(lanes)), ir.IntType(32))
    numbers = ir.Constant(ir.VectorType(count.type, lanes), list(range(lanes)))
    return builder.icmp_signed("<", numbers, _splat(builder, count, lanes))


def _load_part(builder, vector, pointer, offset, count):
    place, mask = _place(builder, vector, pointer, offset), _first(builder, count, vector.count)
    alignment, zeros = ir.IntType(32)(4), ir.Constant(vector, None)
    return _call(builder, f"llvm.masked.load.{_suffix(vector)}.p0", vector, place, alignment, mask, zeros)


def _store_part(builder, vector, pointer, offset, value, count):
    place, mask = _place(builder, vector, pointer, offset), _first(builder, count, vector.count)
    _call(builder, f"llvm.masked.store.{_suffix(vector)}.p0", ir.VoidType(), value, place, ir.IntType(32)(4), mask)


def _call(builder, name, result, *args):
    function = builder.module.declare_intrinsic(name, (), ir.FunctionType(result, [arg.type for arg in args]))
    return builder.call(function, args)


def _suffix(vector):
    return f"v{vector.count}{'f32' if vector.element == ir.FloatType() else 'f64'}"


def _fma(builder, a, b, c):
    """a b + c in one rounding where the processor has it."""
    return _call(builder, f"llvm.fmuladd.{_suffix(a.type)}", a.type, a, b, c)


# Pointers


@intrinsic
def pointer(typingctx, array):
    """The address of an array's first element."""

    def codegen(context, builder, signature, args):
        return builder.extract_value(args[0], 4)  # meminfo, parent, nitems, itemsize, data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def aligned(typingctx, array):
    """The address of an array's first element that begins a cache line."""

    def codegen(context, builder, signature, args):
        start = builder.extract_value(args[0], 4)
        number = builder.ptrtoint(start, ir.IntType(64))
        number = builder.and_(builder.add(number, number.type(63)), number.type(-64))
        return builder.inttoptr(number, start.type)

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def at(typingctx, p, offset):
    """p + offset, in elements."""

    def codegen(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return p(p, types.intp), codegen


@intrinsic
def lanes(typingctx, p):
    """Number of elements in a vector of what ``p`` points to; a constant."""

    def codegen(context, builder, signature, args):
        return ir.IntType(types.intp.bitwidth)(_llvm(p).count)

    return types.intp(p), codegen


# Loads and stores, none of which needs alignment


@intrinsic
def load(typingctx, p, offset):
    """The vector at p[offset]."""

    def codegen(context, builder, signature, args):
        return builder.load(_place(builder, _llvm(p), *args), align=p.dtype.bitwidth // 8)

    return Vector(p.dtype)(p, types.intp), codegen


@intrinsic
def store(typingctx, p, offset, vector):
    """p[offset : offset + lanes] = vector"""

    def codegen(context, builder, signature, args):
        builder.store(args[2], _place(builder, args[2].type, *args[:2]), align=p.dtype.bitwidth // 8)

    return types.void(p, types.intp, vector), codegen


@intrinsic
def load_part(typingctx, p, offset, count):
    """The first ``count`` elements at p[offset], and zeros; what lies behind them is not touched."""

    def codegen(context, builder, signature, args):
        return _load_part(builder, _llvm(p), *args)

    return Vector(p.dtype)(p, types.intp, types.intp), codegen


@intrinsic
def store_part(typingctx, p, offset, vector, count):
    """p[offset : offset + count] = the first ``count`` elements"""

    def codegen(context, builder, signature, args):
        _store_part(builder, args[2].type, *args)

    return types.void(p, types.intp, vector, types.intp), codegen


# Arithmetic


@intrinsic
def broadcast(typingctx, p, offset):
    """p[offset] in every lane."""

    def codegen(context, builder, signature, args):
        return _splat(builder, builder.load(builder.gep(args[0], [args[1]])), _llvm(p).count)

    return Vector(p.dtype)(p, types.intp), codegen


@intrinsic
def splat(typingctx, value):
    """``value`` in every lane."""
    vector = Vector(value)

    def codegen(context, builder, signature, args):
        return _splat(builder, args[0], vector.lanes)

    return vector(value), codegen


@intrinsic
def zero(typingctx, p):
    """The number 0 of what ``p`` points to."""

    def codegen(context, builder, signature, args):
        return _element(p)(0)

    return p.dtype(p), codegen


@intrinsic
def zeros(typingctx, p):
    """A vector of zeros, of what ``p`` points to."""

    def codegen(context, builder, signature, args):
        return ir.Constant(_llvm(p), None)

    return Vector(p.dtype)(p), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """a b + c"""

    def codegen(context, builder, signature, args):
        return _fma(builder, *args)

    return a(a, a, a), codegen


@intrinsic
def add(typingctx, a, b):
    """a + b"""

    def codegen(context, builder, signature, args):
        return builder.fadd(*args)

    return a(a, a), codegen


@intrinsic
def multiply(typingctx, a, b):
    """a b"""

    def codegen(context, builder, signature, args):
        return builder.fmul(*args)

    return a(a, a), codegen


def _sum_lanes(builder, vectors):
    """One vector: the sums of the lanes of each of ``vectors``, a power of two, in order and repeated."""
    count = vectors[0].type.count
    for _ in range(count.bit_length() - 1):
        if len(vectors) == 1:
            vectors = vectors * 2
        vectors = [
            builder.fadd(
                _shuffle(builder, a, b, range(0, 2 * count, 2)),
                _shuffle(builder, a, b, range(1, 2 * count, 2)),
            )
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
    return vectors[0]


@intrinsic
def sum_lanes(typingctx, vector):
    """The sum of the lanes, pairwise."""

    def codegen(context, builder, signature, args):
        return builder.extract_element(_sum_lanes(builder, [args[0]]), ir.IntType(32)(0))

    return vector.dtype(vector), codegen


# Every other lane


def _of_two(docstring, indices):
    @intrinsic
    def function(typingctx, a, b):
        def codegen(context, builder, signature, args):
            return _shuffle(builder, *args, indices(a.lanes))

        return a(a, b), codegen

    function.__doc__ = docstring
    return function


evens = _of_two("""The lanes 0, 2, 4 ... of two vectors.""", lambda n: range(0, 2 * n, 2))
low_pairs = _of_two("""a[0], b[0], a[1], b[1] ... of the first halves.""", lambda n: [i // 2 + n * (i % 2) for i in range(n)])
high_pairs = _of_two("""The same of the second halves.""", lambda n: [(i + n) // 2 + n * (i % 2) for i in range(n)])
