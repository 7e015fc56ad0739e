"""Elements of neighbouring windows as vectors, in LLVM code: what maxima and means of strided windows are made of.

Element n of every window of a line is read at once, a lane for each window: by one load where the stride is 1, by shuffles of two loads
where it is 2 and the windows are narrow, lane by lane elsewhere. Lanes outside of the image are never read.
"""

from llvmlite import ir

from .. import numba_llvm as llvm
from ..numba_llvm import INT64

PAIRS = (2, 3)  # widths of windows of stride 2 and dilation 1 that have code of their own


def by_windows(builder, width, stride, dilation, emit):
    """``emit(n)`` for windows of n elements in ``PAIRS``, ``emit(1)`` for stride 1, ``emit(0)`` for the rest."""
    two = builder.and_(builder.icmp_signed("==", stride, INT64(2)), builder.icmp_signed("==", dilation, INT64(1)))
    case = builder.zext(builder.icmp_signed("==", stride, INT64(1)), INT64)
    for n in PAIRS:
        fits = builder.and_(two, builder.icmp_signed("==", width, INT64(n)))
        case = builder.select(fits, INT64(n), case)
    llvm.by_count(builder, case, (0, 1, *PAIRS), emit)


class Columns:
    """Columns of an image of ``size`` columns, seen by a vector of windows whose first one begins at ``column``."""

    def __init__(self, builder, vector, column, size, stride, filler):
        self.builder, self.vector, self.column, self.size, self.stride = builder, vector, column, size, stride
        self.filler = ir.Constant(vector, [filler] * vector.count)
        self.masks = {}

    def _mask(self, first):
        """Which lanes are inside, where the first one is in column ``first`` and they are neighbours."""
        low, high = self.builder.neg(first), self.builder.sub(self.size, first)
        return llvm.lanes_between(self.builder, low, high, self.vector.count)

    def _load(self, row, shift, mask):
        builder = self.builder
        address = llvm.place(builder, self.vector, row, builder.add(self.column, shift))
        return llvm.masked_load(builder, self.vector, address, mask, self.filler)

    def prepare_pairs(self, width):
        """Masks of ``pairs``, which are the same for all rows."""
        for shift in self._shifts(width):
            self.masks[shift] = self._mask(self.builder.add(self.column, INT64(shift)))

    def _shifts(self, width):
        return [n + half for n in range(0, width, 2) for half in (0, self.vector.count)]

    def pairs(self, row, width):
        """The loads that ``split`` shuffles."""
        return [self._load(row, INT64(shift), self.masks[shift]) for shift in self._shifts(width)]

    def split(self, loaded, width):
        """Elements 0 .. width - 1 of windows of stride 2."""
        lanes = self.vector.count
        halves = [loaded[n // 2 * 2 :][:2] for n in range(width)]
        return [llvm.shuffle(self.builder, a, b, range(n % 2, 2 * lanes, 2)) for n, (a, b) in enumerate(halves)]

    def neighbours(self, row, shift):
        """One element of windows of stride 1."""
        return self._load(row, shift, self._mask(self.builder.add(self.column, shift)))

    def gathered(self, row, shift):
        """One element of windows of any stride."""
        builder, lanes = self.builder, self.vector.count
        numbers = ir.Constant(ir.VectorType(INT64, lanes), list(range(lanes)))
        first = llvm.splat(builder, builder.add(self.column, shift), lanes)
        columns = builder.add(builder.mul(numbers, llvm.splat(builder, self.stride, lanes)), first)
        mask = builder.icmp_unsigned("<", columns, llvm.splat(builder, self.size, lanes))
        return llvm.masked_gather(builder, self.vector, row, columns, mask, self.filler)
