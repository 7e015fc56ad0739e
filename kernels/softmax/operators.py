"""Softmax along the middle dimension of (A, C, B).

softmax      y = e^(x - m) / sum e^(x - m)        m the largest element, so that nothing overflows
log_softmax  y = x - m - log sum e^(x - m)
"""

from math import prod

from ..operator import Cost, Operator

_EXAMPLES = ({"x": (1, 1, 1)}, {"x": (3, 7, 1)}, {"x": (2, 5, 3)}, {"x": (0, 4, 1)}, {"x": (128, 1000, 1)}, {"x": (3, 20, 700)})


def _cost(itemsize, x):
    return Cost(flops=4 * prod(x), bytes=2 * itemsize * prod(x), special=prod(x))


def _backward_cost(itemsize, dy, y):
    return Cost(flops=4 * prod(y), bytes=3 * itemsize * prod(y))


def _softmax(name):
    backward = Operator(
        f"{name}_backward", __package__, ("dy", "y"), lambda dy, y: (y,), _backward_cost, outputs=("dx",), inplace=True
    )
    return backward, Operator(
        name, __package__, ("x",), lambda x: (x,), _cost, backward=backward, inplace=True, examples=_EXAMPLES
    )


softmax_backward, softmax = _softmax("softmax")
log_softmax_backward, log_softmax = _softmax("log_softmax")
