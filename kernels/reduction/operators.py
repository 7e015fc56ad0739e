"""Reductions of the middle dimension: the functionals bring every reduction into this form.      x (A, R, B)  ->  y (A, B)

sum     y = sum of x over r
mean    y = sum / R
var     y = sum of (x - mean)^2 / max(R - correction, 0), two passes
amax    y = the largest x, indices = its r; of equal ones the first, and NaN before any number
amin    likewise the smallest
"""

from ..operator import Cost, Operator


def _drop(x, *_):
    return ((x[0], x[2]),)


def _drop_twice(x, *_):
    return ((x[0], x[2]),) * 2


def _to_x(*args):
    return (args[-1],)


def _sum_cost(itemsize, x):
    A, R, B = x
    return Cost(flops=A * R * B, bytes=itemsize * A * B * (R + 1))


def _mean_cost(itemsize, x):
    A, R, B = x
    return Cost(flops=A * B * (R + 1), bytes=itemsize * A * B * (R + 1))


def _var_cost(itemsize, x, correction):
    A, R, B = x
    return Cost(flops=A * B * (4 * R + 2), bytes=itemsize * A * B * (R + 2))


def _sum_backward_cost(itemsize, dy, x_shape):
    A, R, B = x_shape
    return Cost(flops=0, bytes=itemsize * A * B * (R + 1))


def _mean_backward_cost(itemsize, dy, x_shape):
    A, R, B = x_shape
    return Cost(flops=A * B, bytes=itemsize * A * B * (R + 1))


def _var_backward_cost(itemsize, dy, x, mean, correction):
    A, R, B = x
    return Cost(flops=A * B * (2 * R + 1), bytes=itemsize * A * B * (2 * R + 2))


def _extremum_cost(itemsize, x):
    A, R, B = x
    return Cost(flops=A * R * B, bytes=itemsize * A * B * (R + 1) + 8 * A * B)


def _extremum_backward_cost(itemsize, dy, indices, x_shape):
    A, R, B = x_shape
    return Cost(flops=0, bytes=itemsize * A * B * (R + 1) + 8 * A * B)


_EXAMPLES = (
    {"x": (1, 1, 1)},
    {"x": (3, 37, 1)},
    {"x": (2, 5, 67)},
    {"x": (0, 3, 4)},
    {"x": (1, 10007, 1)},
    {"x": (1, 5000, 9)},
    {"x": (32, 64, 100)},
)

sum_backward = Operator("sum_backward", __package__, ("dy",), _to_x, _sum_backward_cost, attributes=("x_shape",), outputs=("dx",))
sum = Operator("sum", __package__, ("x",), _drop, _sum_cost, backward=sum_backward, examples=(*_EXAMPLES, {"x": (2, 0, 3)}))

mean_backward = Operator(
    "mean_backward", __package__, ("dy",), _to_x, _mean_backward_cost, attributes=("x_shape",), outputs=("dx",)
)
mean = Operator("mean", __package__, ("x",), _drop, _mean_cost, backward=mean_backward, examples=_EXAMPLES)

var_backward = Operator(
    "var_backward", __package__, ("dy", "x", "mean"), lambda dy, x, mean, correction: (x,), _var_backward_cost,
    attributes=("correction",), outputs=("dx",),
)  # fmt: skip
var = Operator(
    "var", __package__, ("x",), _drop_twice, _var_cost,
    attributes=("correction",), outputs=("y", "mean"), backward=var_backward,
    examples=tuple({**example, "correction": c} for example, c in zip(_EXAMPLES, (0, 1, 1, 1, 0.5, 1, 0), strict=True)),
)  # fmt: skip

extremum_backward = Operator(
    "extremum_backward", __package__, ("dy", "indices"), _to_x, _extremum_backward_cost,
    attributes=("x_shape",), outputs=("dx",), integers=("indices",),
)  # fmt: skip
amax = Operator(
    "amax", __package__, ("x",), _drop_twice, _extremum_cost,
    outputs=("y", "indices"), integers=("indices",), backward=extremum_backward, examples=_EXAMPLES,
)  # fmt: skip
amin = Operator(
    "amin", __package__, ("x",), _drop_twice, _extremum_cost,
    outputs=("y", "indices"), integers=("indices",), backward=extremum_backward, examples=_EXAMPLES,
)  # fmt: skip
