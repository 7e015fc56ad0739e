"""Gradients scaled together so that their norm keeps to a limit.

joint_norm      y = sqrt(before^2 + sum of x^2)                 the norm of arrays one after another: before is that of those so far
limited         y = x min(1, limit / (norm + 1e-6))             1e-6 is torch's guard against a norm of zero
"""

from math import prod

from ..operator import Cost, Draw, Operator

_SHAPES: tuple[tuple[int, ...], ...] = ((1,), (37, 3), (0, 4), (10007,), (300, 401))
_NORM = Draw((), "uniform", 0.5, 2.0)

joint_norm = Operator(
    "joint_norm", __package__, ("x", "before"), lambda x, before: ((),),
    lambda itemsize, x, before: Cost(flops=2 * prod(x) + 2, bytes=itemsize * (prod(x) + 2), special=1),
    examples=tuple({"x": shape, "before": _NORM} for shape in _SHAPES),
)  # fmt: skip
limited = Operator(
    "limited", __package__, ("x", "norm"), lambda x, norm, limit: (x,),
    lambda itemsize, x, norm, limit: Cost(flops=prod(x) + 3, bytes=itemsize * (2 * prod(x) + 1)),
    attributes=("limit",), inplace=True,
    examples=tuple({"x": shape, "norm": _NORM, "limit": limit} for shape, limit in zip(_SHAPES, (1.0, 0.25, 1.0, 9.0, 0.1), strict=True)),
)  # fmt: skip
