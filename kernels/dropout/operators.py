"""Inverted dropout: each element is zero with probability p, the others are scaled by 1 / (1 - p).

dropout   y_i = x_i m_i,   m_i = 1 / (1 - p) where u_i >= p, else 0   (0 everywhere where p is 1)

u_i depends on the key and on i alone, so that the mask is the same however the work is divided, and the backward pass draws it anew
instead of keeping it: elements 2j and 2j + 1 take the lower and upper 32 bits of mix(key + (j + 1) gamma), SplitMix64 of
Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014), figure 17.
"""

from math import prod

from ..operator import Cost, Draw, Operator

_KEY = Draw((1,), "integers", 0, 2**40)


def _cost(itemsize, x, key, p):
    return Cost(flops=prod(x), bytes=2 * itemsize * prod(x) + 8)


def _shape(x, key, p):
    return (x,)


dropout_backward = Operator(
    "dropout_backward",
    __package__,
    ("dy", "key"),
    _shape,
    _cost,
    attributes=("p",),
    outputs=("dx",),
    integers=("key",),
    inplace=True,
)
dropout = Operator(
    "dropout", __package__, ("x", "key"), _shape, _cost,
    attributes=("p",), integers=("key",), backward=dropout_backward, inplace=True,
    examples=(
        {"x": (37, 3), "key": _KEY, "p": 0.5}, {"x": (64, 100), "key": _KEY, "p": 0.1}, {"x": (7,), "key": _KEY, "p": 1.0},
        {"x": (8,), "key": _KEY, "p": 0.0}, {"x": (0, 3), "key": _KEY, "p": 0.3}, {"x": (), "key": _KEY, "p": 0.9},
        {"x": (100003,), "key": _KEY, "p": 0.75},
    ),
)  # fmt: skip
