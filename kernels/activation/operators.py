"""Activation functions, element by element.

identity y = x                      threshold y = x where x > threshold, else value     step y = 1 where x > 0, else 0
sigmoid  y = 1 / (1 + e^-x)         tanh      y = tanh x                                 hardtanh y = x limited to [low, high]
relu     y = max(x, 0)              leaky_relu y = x or slope x                          prelu    the same, one slope w a channel
elu      y = x or alpha (e^x - 1)   selu      y = 1.0507 (x or 1.6733 (e^x - 1))         softsign y = x / (1 + |x|)
gelu     y = x Phi(x)               gelu_tanh its approximation by tanh                  silu     y = x / (1 + e^-x)
softplus y = log(1 + e^(beta x)) / beta, and x itself where beta x > threshold
"x or f(x)": x where x > 0, f(x) elsewhere. prelu takes x as (N, C, L).
"""

from math import prod
from typing import Any

from ..operator import Cost, Operator, traffic

_EXAMPLES: tuple[dict[str, Any], ...] = ({"x": (1,)}, {"x": (0, 3)}, {"x": (5, 7, 3)}, {"x": (64, 1031)})


def _like_first(first, *rest):
    return (first,)


def _cost(work, arrays):
    flops, special = work

    def cost(itemsize, first, *rest):
        return Cost(flops=flops * prod(first), bytes=arrays * itemsize * prod(first), special=special * prod(first))

    return cost


def _activation(name, saves, work, backward_work, attributes=(), settings: tuple[dict[str, Any], ...] = ({},), kinks=False):
    """An activation and its backward, which saves x or y and takes the same attributes.

    ``work`` and ``backward_work`` are floating-point operations and special functions for each element.
    """
    backward = Operator(
        f"{name}_backward", __package__, ("dy", *saves), _like_first, _cost(backward_work, 2 + len(saves)),
        attributes=attributes, outputs=("dx",), inplace=True,
    )  # fmt: skip
    examples = tuple({**example, **settings[i % len(settings)]} for i, example in enumerate(_EXAMPLES))
    forward = Operator(
        name, __package__, ("x",), _like_first, _cost(work, 2),
        attributes=attributes, backward=backward, inplace=True, examples=examples, kinks=kinks,
    )  # fmt: skip
    return backward, forward


# sigmoid, tanh and relu keep their result, from which the gradient follows: the input can go.
identity_backward, identity = _activation("identity", (), (0, 0), (0, 0))
threshold_backward, threshold = _activation(
    "threshold",
    ("x",),
    (1, 0),
    (1, 0),
    attributes=("threshold", "value"),
    settings=({"threshold": 0.1, "value": -3.0},),
    kinks=True,
)
step_backward, step = _activation("step", (), (1, 0), (0, 0), kinks=True)
sigmoid_backward, sigmoid = _activation("sigmoid", ("y",), (3, 1), (3, 0))
tanh_backward, tanh = _activation("tanh", ("y",), (0, 1), (3, 0))
hardtanh_backward, hardtanh = _activation(
    "hardtanh",
    ("x",),
    (2, 0),
    (2, 0),
    attributes=("low", "high"),
    settings=({"low": -1.0, "high": 1.0}, {"low": -0.25, "high": 0.5}),
    kinks=True,
)
relu_backward, relu = _activation("relu", ("y",), (1, 0), (1, 0))
leaky_relu_backward, leaky_relu = _activation(
    "leaky_relu", ("x",), (2, 0), (2, 0), attributes=("slope",), settings=({"slope": 0.01}, {"slope": 0.3})
)
elu_backward, elu = _activation("elu", ("x",), (2, 1), (3, 1), attributes=("alpha",), settings=({"alpha": 1.0}, {"alpha": 0.5}))
selu_backward, selu = _activation("selu", ("x",), (3, 1), (4, 1))
gelu_backward, gelu = _activation("gelu", ("x",), (4, 1), (9, 2))
gelu_tanh_backward, gelu_tanh = _activation("gelu_tanh", ("x",), (8, 1), (18, 1))
silu_backward, silu = _activation("silu", ("x",), (4, 1), (8, 1))
softplus_backward, softplus = _activation(
    "softplus", ("x",), (5, 2), (6, 1), attributes=("beta", "threshold"),
    settings=({"beta": 1.0, "threshold": 20.0}, {"beta": 2.0, "threshold": 3.0}),
)  # fmt: skip
softsign_backward, softsign = _activation("softsign", ("x",), (2, 0), (4, 0))


def _prelu_cost(itemsize, x, w):
    return Cost(flops=2 * prod(x), bytes=traffic(itemsize, x, w, x))


def _prelu_backward_cost(itemsize, dy, x, w):
    return Cost(flops=6 * prod(x), bytes=traffic(itemsize, dy, x, w, x, w))


prelu_backward = Operator(
    "prelu_backward", __package__, ("dy", "x", "w"), lambda dy, x, w: (x, w), _prelu_backward_cost, outputs=("dx", "dw")
)
prelu = Operator(
    "prelu", __package__, ("x", "w"), lambda x, w: (x,), _prelu_cost, backward=prelu_backward,
    examples=({"x": (1, 1, 1), "w": (1,)}, {"x": (3, 5, 7), "w": (5,)}, {"x": (0, 2, 3), "w": (2,)}, {"x": (1, 1, 30000), "w": (1,)}),
)  # fmt: skip
