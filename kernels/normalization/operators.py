"""Normalization: y = (x - mean) / sqrt(var + eps) * weight + bias, with the biased variance.

batch_norm             x (N, C, L), statistics over N and L        weight, bias, mean, var (C,)
batch_norm_evaluation  the same with given statistics
running_statistics     r + momentum (s - r) for the mean and the unbiased variance of ``count`` values
layer_norm             x (N, D), statistics over D                 weight, bias (D,)      mean, rstd (N,)
group_norm             x (N, C, L), over C / groups channels and L weight, bias (C,)      mean, rstd (N, groups)

rstd is 1 / sqrt(var + eps). Over nothing, mean and variance are 0.
"""

import math

from ..operator import Cost, Draw, Operator


def _cost(flops, passes):
    """``flops`` for each element, and ``passes`` arrays as large as the first, the small ones once each."""

    def cost(itemsize, *args):
        arrays = [math.prod(shape) for shape in args if isinstance(shape, tuple)]
        count = arrays[0]
        small = sum(n for n in arrays if n != count)
        return Cost(flops * count, itemsize * (passes * count + small), small)

    return cost


batch_norm_backward = Operator(
    "batch_norm_backward",
    __package__,
    ("dy", "x", "weight", "mean", "var"),
    shape=lambda dy, x, weight, mean, var, eps: (x, mean, mean),
    cost=_cost(9, 3),
    attributes=("eps",),
    outputs=("dx", "dweight", "dbias"),
    optional=("weight",),
)
batch_norm = Operator(
    "batch_norm", __package__, ("x", "weight", "bias"),
    shape=lambda x, weight, bias, eps: (x, (x[1],), (x[1],)),
    cost=_cost(8, 2), attributes=("eps",), outputs=("y", "mean", "var"), optional=("weight", "bias"),
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
    cost=_cost(6, 3),
    attributes=("eps",),
    outputs=("dx", "dweight", "dbias"),
    optional=("weight",),
)
batch_norm_evaluation = Operator(
    "batch_norm_evaluation", __package__, ("x", "weight", "bias", "running_mean", "running_var"),
    shape=lambda x, weight, bias, running_mean, running_var, eps: (x,),
    cost=_cost(3, 2), attributes=("eps",), optional=("weight", "bias"),
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
    cost=_cost(3, 6), attributes=("momentum", "count"), outputs=("new_running_mean", "new_running_var"), inplace=True,
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
    cost=_cost(11, 3),
    outputs=("dx", "dweight", "dbias"),
    optional=("weight",),
)
layer_norm = Operator(
    "layer_norm", __package__, ("x", "weight", "bias"),
    shape=lambda x, weight, bias, eps: (x, (x[0],), (x[0],)),
    cost=_cost(8, 2), attributes=("eps",), outputs=("y", "mean", "rstd"), optional=("weight", "bias"),
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
    cost=_cost(11, 3),
    attributes=("groups",),
    outputs=("dx", "dweight", "dbias"),
    optional=("weight",),
)
group_norm = Operator(
    "group_norm", __package__, ("x", "weight", "bias"),
    shape=lambda x, weight, bias, groups, eps: (x, (x[0], groups), (x[0], groups)),
    cost=_cost(8, 2), attributes=("groups", "eps"), outputs=("y", "mean", "rstd"), optional=("weight", "bias"),
    backward=group_norm_backward,
    examples=tuple(
        {"x": x, "weight": (x[1],) if affine else None, "bias": (x[1],) if affine else None, "groups": groups, "eps": 1e-5}
        for x, affine, groups in (
            ((1, 4, 1), True, 1), ((5, 6, 7), False, 3), ((2, 12, 133), True, 4), ((3, 8, 1), True, 2), ((0, 4, 3), True, 2),
            ((8, 32, 196), True, 8),
        )
    ),
)  # fmt: skip
