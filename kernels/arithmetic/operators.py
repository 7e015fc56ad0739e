"""Elementwise arithmetic with broadcasting.

Backward operators give each gradient in the shape of dy; whoever asked for it adds it up over broadcast dimensions.
"""

import math
from itertools import zip_longest

from ..operator import Cost, Draw, Operator, traffic


def broadcast_shapes(*shapes):
    """The common shape of shapes that broadcast, in any number of dimensions (NumPy's own stops at 32)."""
    lengths = zip_longest(*[shape[::-1] for shape in shapes], fillvalue=1)
    return tuple(next((n for n in along if n != 1), 1) for along in lengths)[::-1]


def _broadcast(*shapes):
    return (broadcast_shapes(*shapes),)


def _same(dy, *rest):
    return (dy,)


def _pair(dy, *rest):
    return (dy, dy)


def _size(args):
    """Elements of the broadcast shapes among ``args``."""
    return math.prod(broadcast_shapes(*[shape for shape in args if isinstance(shape, tuple)]))


def _cost(flops, special=0, outputs=1):
    """So much work for each element of so many outputs' common shape."""

    def cost(itemsize, *args):
        shapes, size = [shape for shape in args if isinstance(shape, tuple)], _size(args)
        return Cost(flops * size, traffic(itemsize, *shapes) + outputs * itemsize * size, special * size)

    return cost


def _divide_backward_cost(itemsize, dy, a, b):
    return Cost(3 * math.prod(dy) + math.prod(b), traffic(itemsize, dy, a, b, dy, dy))


def _power_backward_cost(itemsize, dy, a, b, y):
    flops = 4 * math.prod(dy) + math.prod(a) + 3 * math.prod(b)
    return Cost(flops, traffic(itemsize, dy, a, b, y, dy, dy), math.prod(dy) + math.prod(a))


def _clamp_cost(itemsize, x, low, high):
    return Cost(((low is not None) + (high is not None)) * math.prod(x), traffic(itemsize, x, x))


def _where_cost(itemsize, condition, a, b):
    return Cost(0, math.prod(condition) + traffic(itemsize, a, b, broadcast_shapes(condition, a, b)))


def _where_backward_cost(itemsize, dy, condition):
    return Cost(0, math.prod(condition) + traffic(itemsize, dy, dy, dy))


_BINARY = (
    {"a": (3, 4), "b": (3, 4)},
    {"a": (2, 1, 5), "b": (4, 1)},
    {"a": (), "b": (7,)},
    {"a": (0, 3), "b": (3,)},
    {"a": (3, 1, 5, 1), "b": (1, 4, 5, 7)},
    {"a": (1, 1), "b": (1,)},
    {"a": (300, 401), "b": (401,)},
)
_POSITIVE = (
    {"x": Draw((5, 7), "uniform", 0.1, 3.0)},
    {"x": Draw((), "uniform", 0.1, 3.0)},
    {"x": Draw((0,), "uniform", 0.1, 3.0)},
    {"x": Draw((300, 401), "uniform", 0.1, 3.0)},
)
_ANY = ({"x": (5, 7)}, {"x": ()}, {"x": (0, 2)}, {"x": (300, 401)})


def _binary(name, backward_cost, saves=(), cost=_cost(1), examples=_BINARY, needs=("cython",)):  # noqa: B008
    """A binary operator and its backward, which saves the named values; what saves none passes dy on, a matter for NumPy."""
    backward = Operator(
        f"{name}_backward", __package__, ("dy", *saves), _pair, backward_cost, outputs=("da", "db"), needs=needs if saves else (),
    )  # fmt: skip
    forward = Operator(
        name, __package__, ("a", "b"), _broadcast, cost, backward=backward, needs=needs, inplace=True, examples=examples
    )
    return backward, forward


def _unary(name, cost, backward_cost, saves=(), examples=_ANY, attributes=()):
    backward = Operator(
        f"{name}_backward", __package__, ("dy", *saves), _same, backward_cost,
        outputs=("dx",), needs=("cython",), inplace=True, attributes=attributes,
    )  # fmt: skip
    forward = Operator(
        name, __package__, ("x",), lambda x, *rest: (x,), cost,
        backward=backward, needs=("cython",), inplace=True, examples=examples, attributes=attributes,
    )  # fmt: skip
    return backward, forward


add_backward, add = _binary("add", _cost(0, outputs=2))
subtract_backward, subtract = _binary("subtract", _cost(0, outputs=2))
multiply_backward, multiply = _binary("multiply", _cost(2, outputs=2), ("a", "b"))
divide_backward, divide = _binary(
    "divide",
    _divide_backward_cost,
    ("a", "b"),
    examples=({"a": (3, 4), "b": Draw((4,), "uniform", 0.5, 2.0)}, {"a": (), "b": Draw((3,), "uniform", 0.5, 2.0)}),
)
power_backward, power = _binary(
    "power", _power_backward_cost, ("a", "b", "y"), _cost(0, 1), needs=(),  # NumPy's is vector code
    examples=({"a": Draw((3, 4), "uniform", 0.5, 2.0), "b": (4,)}, {"a": Draw((), "uniform", 0.5, 2.0), "b": (3,)}),
)  # fmt: skip
maximum_backward, maximum = _binary("maximum", _cost(7, outputs=2), ("a", "b"))
minimum_backward, minimum = _binary("minimum", _cost(7, outputs=2), ("a", "b"))

negative_backward, negative = _unary("negative", _cost(0), _cost(0))
exp_backward, exp = _unary("exp", _cost(0, 1), _cost(1), ("y",))
log_backward, log = _unary("log", _cost(0, 1), _cost(1), ("x",), examples=_POSITIVE)
sqrt_backward, sqrt = _unary("sqrt", _cost(0, 1), _cost(2), ("y",), examples=_POSITIVE)
abs_backward, abs = _unary("abs", _cost(0), _cost(1), ("x",))
clamp_backward, clamp = _unary(
    "clamp", _clamp_cost, _cost(2), ("x",), attributes=("low", "high"),
    examples=({"x": (5, 7), "low": -0.5, "high": 0.5}, {"x": (9,), "low": None, "high": 0.1}),
)  # fmt: skip

where_backward = Operator(
    "where_backward",
    __package__,
    ("dy", "condition"),
    lambda dy, condition: (dy, dy),
    _where_backward_cost,
    outputs=("da", "db"),
    needs=(),
)
where = Operator(
    "where", __package__, ("condition", "a", "b"), _broadcast, _where_cost, backward=where_backward, needs=(),
    examples=(
        {"condition": Draw((3, 4), "booleans"), "a": (3, 4), "b": (4,)},
        {"condition": Draw((), "booleans"), "a": (2, 1), "b": (1, 3)},
    ),
)  # fmt: skip
