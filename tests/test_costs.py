"""The cost model against an independent count: the reference runs on arrays that count what is done with them.

The convention, which :class:`fastnn.kernels.Cost` states: an addition, subtraction, multiplication, division, comparison, maximum or
minimum of floats is one operation, a multiply-add two, a sum of n numbers n; exp, log, tanh and their kin are counted apart; copies,
selections, signs, conversions, integers and what follows from attributes alone are free. Padding is data.
"""

import math

import numpy as np
import pytest

from fastnn.kernels.examples import cases, draw
from fastnn.kernels.operator import find

ARITHMETIC = {
    "add", "subtract", "multiply", "divide", "square", "maximum", "minimum", "greater", "greater_equal", "less", "less_equal",
    "equal", "not_equal",
}  # fmt: skip
SPECIAL = {"exp", "expm1", "log", "log1p", "tanh", "sqrt", "power", "erf (vectorized)"}
FREE = {
    "negative", "positive", "absolute", "fabs", "sign", "isnan", "signbit", "copysign", "bitwise_and", "bitwise_or", "bitwise_xor",
    "invert", "logical_and", "logical_or", "logical_not", "right_shift", "left_shift", "floor_divide", "remainder", "conjugate",
}  # fmt: skip
PASSED_ON = {  # functions that move, or compute by what is counted here
    "where", "pad", "take_along_axis", "put_along_axis", "repeat", "concatenate", "split", "array_split", "stack", "broadcast_to",
    "shape", "swapaxes", "zeros_like", "empty_like", "ones_like", "copyto", "sum",
}  # fmt: skip


class Tally:
    """What was counted."""

    def __init__(self):
        self.flops = 0
        self.special = 0


class Counting(np.ndarray):
    """An array that counts floating-point operations in ``tally``."""

    tally = Tally()

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        plain = [_plain(value) for value in inputs]
        targets = {} if out is None else {"out": tuple([_plain(value) for value in out])}
        accumulates = out is not None and isinstance(inputs[-1], Product)  # the additions are those of its multiply-adds
        result = getattr(ufunc, method)(*plain, **targets, **options)
        operands = [np.asarray(value) for value in plain]
        if any(operand.dtype.kind in "fO" for operand in operands) and not accumulates:
            self._count(ufunc.__name__, method, operands, result)
        return _counting(result) if out is None else out[0]

    def _count(self, name, method, operands, result):
        number = operands[-1].size if method == "at" else operands[0].size if method == "reduce" else np.size(result)
        if name == "matmul":
            self.tally.flops += 2 * number * operands[0].shape[-1]
        elif name in ARITHMETIC:
            self.tally.flops += number
        elif name in SPECIAL:
            self.tally.special += number
        else:
            assert name in FREE, f"the convention does not say what {name} counts"

    def __array_function__(self, function, types, args, options):
        if function is np.einsum:
            subscripts, *operands = args
            named = zip("".join(subscripts.split("->")[0].split(",")), [n for a in operands for n in a.shape], strict=True)
            sizes = dict(named)
            self.tally.flops += 2 * math.prod(sizes.values())
            return np.einsum(subscripts, *_plain(operands), **options).view(Product)
        assert function.__name__ in PASSED_ON, f"the convention does not say what {function.__name__} counts"
        return _counting(super().__array_function__(function, types, args, options))

    def argmax(self, *args, **options):
        self.tally.flops += self.size
        return _plain(self).argmax(*args, **options)

    def argmin(self, *args, **options):
        self.tally.flops += self.size
        return _plain(self).argmin(*args, **options)


class Product(Counting):
    """What a product of matrices gave."""


def _plain(value):
    """Without counting, also inside tuples, lists and dicts."""
    if isinstance(value, (tuple, list)):
        return type(value)([_plain(item) for item in value])
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.view(np.ndarray) if isinstance(value, Counting) else value


def _counting(value):
    if isinstance(value, (tuple, list)):
        return type(value)([_counting(item) for item in value])
    return np.asarray(value).view(Counting) if isinstance(value, (np.ndarray, np.generic)) else value


def counted(operator, args):
    """What the reference does with ``args``."""
    Counting.tally = Tally()
    with np.errstate(all="ignore"):
        results = operator.kernel("reference")(*[_counting(a) if isinstance(a, np.ndarray) else a for a in args])
    return Counting.tally, results


def padded(operator, args):
    """Arguments with the padding of a pool taken as data, as far as windows reach: the reference leaves it out of them."""
    if operator.family != "pooling" or "padding" not in operator.attributes:
        return args
    arrays, attributes = operator.split(args)
    given = dict(zip(operator.attributes, attributes, strict=True))
    windows = operator.shape(*[a.shape for a in arrays], *attributes)[0] if "x_shape" not in given else arrays[0].shape
    sizes = given.get("x_shape", arrays[0].shape)[2:]
    axes = zip(
        sizes, windows[2:], given["kernel_size"], given["stride"], given["padding"], given.get("dilation", (1, 1)), strict=True
    )
    more = [(0, 0), (0, 0)]
    for size, count, kernel, stride, padding, dilation in axes:
        reach = (count - 1) * stride + dilation * (kernel - 1) + 1
        more.append((padding, max(0, min(padding, reach - size - padding))))
    given["padding"] = (0, 0)
    if "x_shape" in given:
        given["x_shape"] = tuple(n + before + after for n, (before, after) in zip(given["x_shape"], more, strict=True))
    else:
        arrays = [np.pad(arrays[0], more)]
    return (*arrays, *given.values())


def described(case, args):
    arrays, attributes = case.operator.split(args)
    return (*[None if a is None else a.shape for a in arrays], *attributes)


@pytest.mark.parametrize("case", cases(), ids=str)
def test_operations(case):
    args = draw(case, "float32")
    tally, results = counted(case.operator, padded(case.operator, args))
    shapes = case.operator.shape(*described(case, args))
    if "x_shape" not in case.operator.attributes:  # the padded problem has the same windows
        assert [None if result is None else np.shape(result) for result in results] == list(shapes)
    cost = case.operator.cost(4, *described(case, args))
    assert (cost.flops, cost.special) == (tally.flops, tally.special)


@pytest.mark.parametrize("case", cases(), ids=str)
def test_bytes(case):
    """Each input read once, each output written once; where an operator picks elements, those alone are read."""
    args = draw(case, "float64")
    arrays, _ = case.operator.split(args)
    with np.errstate(all="ignore"):
        results = case.operator.kernel("reference")(*args)
    cost = case.operator.cost(8, *described(case, args))
    read, written = (sum(np.asarray(a).nbytes for a in given if a is not None) for given in (arrays, results))
    if case.operator.name == "index":
        read = written
    if case.operator.name == "nll":
        read -= arrays[0].nbytes - 8 * arrays[1].size
    if case.example.get("return_indices") and case.operator is not case.forward:
        read -= 6 * arrays[1].size  # int64 for the user; the model knows the int16 of those that are not returned
    assert cost.bytes == read + written


@pytest.mark.parametrize("case", [case for case in cases() if case.operator.parts is not None], ids=str)
def test_outputs_that_nobody_wants(case):
    """Without an output its part is saved, and its bytes; the parts are never more than the whole."""
    shapes = described(case, draw(case, "float32"))
    whole, parts = case.operator.cost(4, *shapes), case.operator.parts(*shapes)
    assert len(parts) == len(case.operator.outputs) and sum(parts) <= whole.flops
    for index, (part, shape) in enumerate(zip(parts, case.operator.shape(*shapes), strict=True)):
        without = case.operator.cost_of(4, shapes, [i != index for i in range(len(parts))])
        assert without == (whole.flops - part, whole.bytes - 4 * math.prod(shape), whole.special)
    assert case.operator.cost_of(4, shapes, [True] * len(parts)) == whole


def test_parts_are_counted_apart():
    """One gradient alone, by the reference's own formula for it."""
    x, w, dy = (np.ones(shape, np.float32).view(Counting) for shape in ((5, 3), (2, 3), (5, 2)))
    for index, compute in enumerate((lambda: dy @ w, lambda: dy.T @ x, lambda: dy.sum(axis=0))):
        Counting.tally = Tally()
        compute()
        assert Counting.tally.flops == find("linear_backward").parts((5, 2), (5, 3), (2, 3))[index]


def test_the_counting_array_counts_by_the_convention():
    a, b = (np.full((3, 4), value, np.float64).view(Counting) for value in (2.0, 3.0))

    def of(compute):
        Counting.tally = Tally()
        compute()
        return Counting.tally.flops, Counting.tally.special

    assert of(lambda: a * b + a) == (24, 0)
    assert of(lambda: a @ b.T) == (2 * 3 * 3 * 4, 0)
    assert of(lambda: np.einsum("ij,kj->ik", a, b)) == (2 * 3 * 3 * 4, 0)
    assert of(lambda: a.sum(axis=0)) == (12, 0) and of(lambda: a.max()) == (12, 0) and of(lambda: a.argmax()) == (12, 0)
    assert of(lambda: np.where(a > b, a, -b)) == (12, 0)
    assert of(lambda: np.tanh(np.abs(a))) == (0, 12)
    assert of(lambda: np.arange(4) * 3) == (0, 0) and of(lambda: a[0].copy()) == (0, 0)
    y = np.zeros((3, 3)).view(Counting)
    assert of(lambda: y.__iadd__(np.einsum("ij,kj->ik", a, b))) == (2 * 3 * 3 * 4, 0)
    with pytest.raises(AssertionError, match="cos"):
        np.cos(a)
    with pytest.raises(AssertionError, match="median"):
        np.median(a)
