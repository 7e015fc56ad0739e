"""Softmax along the middle dimension of (A, C, B).

softmax      y = e^(x - m) / sum e^(x - m)        m the largest element, so that nothing overflows
log_softmax  y = x - m - log sum e^(x - m)
"""

from math import prod

from ..operator import Cost, Operator

_EXAMPLES = ({"x": (1, 1, 1)}, {"x": (3, 7, 1)}, {"x": (2, 5, 3)}, {"x": (0, 4, 1)}, {"x": (128, 1000, 1)}, {"x": (3, 20, 700)})


def _cost(itemsize, x):
    return Cost(flops=4 * prod(x), bytes=2 * itemsize * prod(x), special=prod(x))


def _log_cost(itemsize, x):
    A, _, B = x
    return Cost(flops=4 * prod(x), bytes=2 * itemsize * prod(x), special=prod(x) + A * B)


def _backward_cost(itemsize, dy, y):
    return Cost(flops=4 * prod(y), bytes=3 * itemsize * prod(y))


def _log_backward_cost(itemsize, dy, y):
    return Cost(flops=3 * prod(y), bytes=3 * itemsize * prod(y), special=prod(y))


def _softmax(name, cost, backward_cost):
    backward = Operator(
        f"{name}_backward", __package__, ("dy", "y"), lambda dy, y: (y,), backward_cost, outputs=("dx",), inplace=True
    )
    return backward, Operator(
        name, __package__, ("x",), lambda x: (x,), cost, backward=backward, inplace=True, examples=_EXAMPLES
    )


softmax_backward, softmax = _softmax("softmax", _cost, _backward_cost)
log_softmax_backward, log_softmax = _softmax("log_softmax", _log_cost, _log_backward_cost)
