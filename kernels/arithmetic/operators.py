"""Elementwise arithmetic with broadcasting.

Backward operators give each gradient in the shape of dy; whoever asked for it adds it up over broadcast dimensions.
"""

import math
from itertools import zip_longest

from ..operator import Cost, Draw, Operator


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


def _cost(flops, special=0):
    def cost(itemsize, *args):
        shapes = [shape for shape in args if isinstance(shape, tuple)]
        size = math.prod(broadcast_shapes(*shapes))
        traffic = itemsize * (sum(map(math.prod, shapes)) + size)
        return Cost(flops=flops * size, bytes=traffic, special=special * size)

    return cost


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


def _binary(name, saves=(), flops=1, special=0, examples=_BINARY, needs=("cython",)):
    """A binary operator and its backward, which saves the named values; what saves none passes dy on, a matter for NumPy."""
    backward = Operator(
        f"{name}_backward", __package__, ("dy", *saves), _pair, _cost(2 * flops, special), outputs=("da", "db"),
        needs=needs if saves else (),
    )  # fmt: skip
    forward = Operator(
        name,
        __package__,
        ("a", "b"),
        _broadcast,
        _cost(flops, special),
        backward=backward,
        needs=needs,
        inplace=True,
        examples=examples,
    )
    return backward, forward


def _unary(name, saves=(), flops=1, special=0, examples=_ANY, attributes=()):
    backward = Operator(
        f"{name}_backward",
        __package__,
        ("dy", *saves),
        _same,
        _cost(flops, special),
        outputs=("dx",),
        needs=("cython",),
        inplace=True,
        attributes=attributes,
    )
    forward = Operator(
        name, __package__, ("x",), lambda x, *rest: (x,), _cost(flops, special),
        backward=backward, needs=("cython",), inplace=True, examples=examples, attributes=attributes,
    )  # fmt: skip
    return backward, forward


add_backward, add = _binary("add")
subtract_backward, subtract = _binary("subtract")
multiply_backward, multiply = _binary("multiply", ("a", "b"))
divide_backward, divide = _binary(
    "divide",
    ("a", "b"),
    examples=({"a": (3, 4), "b": Draw((4,), "uniform", 0.5, 2.0)}, {"a": (), "b": Draw((3,), "uniform", 0.5, 2.0)}),
)
power_backward, power = _binary(
    "power", ("a", "b", "y"), flops=0, special=1, needs=(),  # NumPy's is vector code
    examples=({"a": Draw((3, 4), "uniform", 0.5, 2.0), "b": (4,)}, {"a": Draw((), "uniform", 0.5, 2.0), "b": (3,)}),
)  # fmt: skip
maximum_backward, maximum = _binary("maximum", ("a", "b"))
minimum_backward, minimum = _binary("minimum", ("a", "b"))

negative_backward, negative = _unary("negative")
exp_backward, exp = _unary("exp", ("y",), flops=0, special=1)
log_backward, log = _unary("log", ("x",), flops=0, special=1, examples=_POSITIVE)
sqrt_backward, sqrt = _unary("sqrt", ("y",), flops=0, special=1, examples=_POSITIVE)
abs_backward, abs = _unary("abs", ("x",))
clamp_backward, clamp = _unary(
    "clamp", ("x",), attributes=("low", "high"),
    examples=({"x": (5, 7), "low": -0.5, "high": 0.5}, {"x": (9,), "low": None, "high": 0.1}),
)  # fmt: skip

where_backward = Operator(
    "where_backward", __package__, ("dy", "condition"), lambda dy, condition: (dy, dy), _cost(0), outputs=("da", "db"), needs=()
)
where = Operator(
    "where", __package__, ("condition", "a", "b"), _broadcast, _cost(0), backward=where_backward, needs=(),
    examples=(
        {"condition": Draw((3, 4), "booleans"), "a": (3, 4), "b": (4,)},
        {"condition": Draw((), "booleans"), "a": (2, 1), "b": (1, 3)},
    ),
)  # fmt: skip
