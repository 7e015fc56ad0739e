"""Vectors of the processor's width and pointers, for Numba kernels that its vectoriser does not reach.

Loops with constant trip counts become scalar code, and plain ones stop at 256 bits; explicit vectors of LLVM compile as well as GCC's. A
``pointer(array)`` costs nothing to pass on or to move, where a slice counts references.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from . import numba_llvm as llvm
from .numba_support import VECTOR_BYTES


class Vector(types.Type):
    """As many numbers of ``dtype`` as the processor's registers hold."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.lanes = VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype} x {self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(llvm.element(fe_type), fe_type.lanes))


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
        return ir.IntType(types.intp.bitwidth)(llvm.vector_of(p).count)

    return types.intp(p), codegen


# Loads and stores, none of which needs alignment


@intrinsic
def load(typingctx, p, offset):
    """The vector at p[offset]."""

    def codegen(context, builder, signature, args):
        return builder.load(llvm.place(builder, llvm.vector_of(p), *args), align=p.dtype.bitwidth // 8)

    return Vector(p.dtype)(p, types.intp), codegen


@intrinsic
def store(typingctx, p, offset, vector):
    """p[offset : offset + lanes] = vector"""

    def codegen(context, builder, signature, args):
        builder.store(args[2], llvm.place(builder, args[2].type, *args[:2]), align=p.dtype.bitwidth // 8)

    return types.void(p, types.intp, vector), codegen


@intrinsic
def load_part(typingctx, p, offset, count):
    """The first ``count`` elements at p[offset], and zeros; what lies behind them is not touched."""

    def codegen(context, builder, signature, args):
        return llvm.load_part(builder, llvm.vector_of(p), *args)

    return Vector(p.dtype)(p, types.intp, types.intp), codegen


@intrinsic
def store_part(typingctx, p, offset, vector, count):
    """p[offset : offset + count] = the first ``count`` elements"""

    def codegen(context, builder, signature, args):
        llvm.store_part(builder, args[2].type, *args)

    return types.void(p, types.intp, vector, types.intp), codegen


# Arithmetic


@intrinsic
def broadcast(typingctx, p, offset):
    """p[offset] in every lane."""

    def codegen(context, builder, signature, args):
        return llvm.splat(builder, builder.load(builder.gep(args[0], [args[1]])), llvm.vector_of(p).count)

    return Vector(p.dtype)(p, types.intp), codegen


@intrinsic
def splat(typingctx, value):
    """``value`` in every lane."""
    vector = Vector(value)

    def codegen(context, builder, signature, args):
        return llvm.splat(builder, args[0], vector.lanes)

    return vector(value), codegen


@intrinsic
def zero(typingctx, p):
    """The number 0 of what ``p`` points to."""

    def codegen(context, builder, signature, args):
        return llvm.element(p)(0)

    return p.dtype(p), codegen


@intrinsic
def zeros(typingctx, p):
    """A vector of zeros, of what ``p`` points to."""

    def codegen(context, builder, signature, args):
        return ir.Constant(llvm.vector_of(p), None)

    return Vector(p.dtype)(p), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """a b + c"""

    def codegen(context, builder, signature, args):
        return llvm.fma(builder, *args)

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


@intrinsic
def sum_lanes(typingctx, vector):
    """The sum of the lanes, pairwise."""

    def codegen(context, builder, signature, args):
        return builder.extract_element(llvm.sum_lanes(builder, [args[0]]), ir.IntType(32)(0))

    return vector.dtype(vector), codegen


# Every other lane


def _of_two(docstring, indices):
    @intrinsic
    def function(typingctx, a, b):
        def codegen(context, builder, signature, args):
            return llvm.shuffle(builder, args[0], args[1], indices(a.lanes))

        return a(a, b), codegen

    function.__doc__ = docstring
    return function


evens = _of_two("""The lanes 0, 2, 4 ... of two vectors.""", lambda n: range(0, 2 * n, 2))
low_pairs = _of_two("""a[0], b[0], a[1], b[1] ... of the first halves.""", lambda n: [i // 2 + n * (i % 2) for i in range(n)])
high_pairs = _of_two("""The same of the second halves.""", lambda n: [(i + n) // 2 + n * (i % 2) for i in range(n)])
