"""Normalization: y = (x - mean) / sqrt(var + eps) * weight + bias, with the biased variance.

batch_norm             x (N, C, L), statistics over N and L        weight, bias, mean, var (C,)
batch_norm_evaluation  the same with given statistics
running_statistics     r + momentum (s - r) for the mean and the unbiased variance of ``count`` values
layer_norm             x (N, D), statistics over D                 weight, bias (D,)      mean, rstd (N,)
group_norm             x (N, C, L), over C / groups channels and L weight, bias (C,)      mean, rstd (N, groups)

rstd is 1 / sqrt(var + eps). Over nothing, mean and variance are 0.
"""

import math

from ..operator import Cost, Draw, Operator, traffic


def _affine(x, weight, bias):
    """Operations of the scale and the shift."""
    return math.prod(x) * ((weight is not None) + (bias is not None))


def _batch_cost(itemsize, x, weight, bias, eps):
    C = x[1:2]
    return Cost(6 * math.prod(x) + 3 * x[1] + _affine(x, weight, bias), traffic(itemsize, x, weight, bias, x, C, C), x[1])


def _batch_backward_cost(itemsize, dy, x, weight, mean, var, eps):
    nbytes = traffic(itemsize, dy, x, weight, mean, var, x, mean, mean)
    return Cost(12 * math.prod(x) + 4 * x[1] + _affine(x, weight, None), nbytes, x[1])


def _evaluation_cost(itemsize, x, weight, bias, mean, var, eps):
    nbytes = traffic(itemsize, x, weight, bias, mean, var, x)
    return Cost(2 * math.prod(x) + x[1] + _affine(x, weight, bias), nbytes, x[1])


def _evaluation_backward_cost(itemsize, dy, x, weight, mean, var, eps):
    nbytes = traffic(itemsize, dy, x, weight, mean, var, x, mean, mean)
    return Cost(6 * math.prod(x) + 2 * x[1] + _affine(x, weight, None), nbytes, x[1])


def _rows_cost(itemsize, x, weight, bias, statistics):
    """Of the norms whose statistics have the shape ``statistics``."""
    count = math.prod(statistics)
    nbytes = traffic(itemsize, x, weight, bias, x, statistics, statistics)
    return Cost(6 * math.prod(x) + 4 * count + _affine(x, weight, bias), nbytes, count)


def _rows_backward_cost(itemsize, dy, x, weight, mean, rstd, *groups):
    nbytes = traffic(itemsize, dy, x, weight, mean, rstd, x, x[1:2], x[1:2])
    return Cost(12 * math.prod(x) + 2 * math.prod(mean) + _affine(x, weight, None), nbytes)


batch_norm_backward = Operator(
    "batch_norm_backward",
    __package__,
    ("dy", "x", "weight", "mean", "var"),
    shape=lambda dy, x, weight, mean, var, eps: (x, mean, mean),
    cost=_batch_backward_cost,
    attributes=("eps",),
    outputs=("dx", "dweight", "dbias"),
    optional=("weight",),
)
batch_norm = Operator(
    "batch_norm", __package__, ("x", "weight", "bias"),
    shape=lambda x, weight, bias, eps: (x, (x[1],), (x[1],)),
    cost=_batch_cost, attributes=("eps",), outputs=("y", "mean", "var"), optional=("weight", "bias"),
    backward=batch_norm_backward,
    examples=tuple(
        {"x": x, "weight": (x[1],) if affine else None, "bias": (x[1],) if affine else None, "eps": 1e-5}
        for x, affine in (
            ((4, 1, 1), True), ((7, 5, 1), False), ((3, 37, 5), True), ((2, 3, 1100), True), ((0, 3, 4), True),
            ((300, 70, 1), True), ((16, 32, 196), True),
        )
    ),
)  # fmt: skip

batch_norm_evaluation_backward = Operator(
    "batch_norm_evaluation_backward",
    __package__,
    ("dy", "x", "weight", "running_mean", "running_var"),
    shape=lambda dy, x, weight, running_mean, running_var, eps: (x, running_mean, running_mean),
    cost=_evaluation_backward_cost,
    attributes=("eps",),
    outputs=("dx", "dweight", "dbias"),
    optional=("weight",),
)
batch_norm_evaluation = Operator(
    "batch_norm_evaluation", __package__, ("x", "weight", "bias", "running_mean", "running_var"),
    shape=lambda x, weight, bias, running_mean, running_var, eps: (x,),
    cost=_evaluation_cost, attributes=("eps",), optional=("weight", "bias"),
    backward=batch_norm_evaluation_backward,
    examples=tuple(
        {
            "x": x, "weight": (x[1],) if affine else None, "bias": (x[1],) if affine else None,
            "running_mean": (x[1],), "running_var": Draw((x[1],), "uniform", 0.5, 2.0), "eps": 1e-5,
        }
        for x, affine in (
            ((1, 1, 1), True), ((7, 5, 1), False), ((3, 37, 5), True), ((2, 3, 1100), True), ((0, 3, 4), True), ((300, 70, 1), True),
        )
    ),
)  # fmt: skip

running_statistics = Operator(
    "running_statistics", __package__, ("mean", "var", "running_mean", "running_var"),
    shape=lambda mean, var, running_mean, running_var, momentum, count: (mean, mean),
    cost=lambda itemsize, mean, *_: Cost(7 * mean[0], 6 * itemsize * mean[0]),
    attributes=("momentum", "count"), outputs=("new_running_mean", "new_running_var"), inplace=True,
    examples=tuple(
        dict.fromkeys(("mean", "var", "running_mean", "running_var"), (C,)) | {"momentum": momentum, "count": count}
        for C, momentum, count in ((1, 0.1, 2), (37, 1.0, 1000), (256, 0.01, 33))
    ),
)  # fmt: skip

layer_norm_backward = Operator(
    "layer_norm_backward",
    __package__,
    ("dy", "x", "weight", "mean", "rstd"),
    shape=lambda dy, x, weight, mean, rstd: (x, x[1:], x[1:]),
    cost=_rows_backward_cost,
    outputs=("dx", "dweight", "dbias"),
    optional=("weight",),
)
layer_norm = Operator(
    "layer_norm", __package__, ("x", "weight", "bias"),
    shape=lambda x, weight, bias, eps: (x, (x[0],), (x[0],)),
    cost=lambda itemsize, x, weight, bias, eps: _rows_cost(itemsize, x, weight, bias, x[:1]),
    attributes=("eps",), outputs=("y", "mean", "rstd"), optional=("weight", "bias"),
    backward=layer_norm_backward,
    examples=tuple(
        {"x": x, "weight": (x[1],) if affine else None, "bias": (x[1],) if affine else None, "eps": 1e-5}
        for x, affine in (((1, 3), True), ((5, 7), False), ((3, 1100), True), ((0, 4), True), ((300, 130), True), ((64, 768), True))
    ),
)  # fmt: skip

group_norm_backward = Operator(
    "group_norm_backward",
    __package__,
    ("dy", "x", "weight", "mean", "rstd"),
    shape=lambda dy, x, weight, mean, rstd, groups: (x, x[1:2], x[1:2]),
    cost=_rows_backward_cost,
    attributes=("groups",),
    outputs=("dx", "dweight", "dbias"),
    optional=("weight",),
)
group_norm = Operator(
    "group_norm", __package__, ("x", "weight", "bias"),
    shape=lambda x, weight, bias, groups, eps: (x, (x[0], groups), (x[0], groups)),
    cost=lambda itemsize, x, weight, bias, groups, eps: _rows_cost(itemsize, x, weight, bias, (x[0], groups)),
    attributes=("groups", "eps"), outputs=("y", "mean", "rstd"), optional=("weight", "bias"),
    backward=group_norm_backward,
    examples=tuple(
        {"x": x, "weight": (x[1],) if affine else None, "bias": (x[1],) if affine else None, "groups": groups, "eps": 1e-5}
        for x, affine, groups in (
            ((1, 4, 1), True, 1), ((5, 6, 7), False, 3), ((2, 12, 133), True, 4), ((3, 8, 1), True, 2), ((0, 4, 3), True, 2),
            ((8, 32, 196), True, 8),
        )
    ),
)  # fmt: skip
