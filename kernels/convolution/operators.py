"""Convolution, which in every framework is cross-correlation: the kernel is not flipped.

conv2d    y[n, o, i, j] = b[o] + sum over c, k, l of w[o, c, k, l] xp[n, g Cg + c, i sh + k dh, j sw + l dw]

          x (N, C, H, W)   w (O, C/groups, KH, KW)   b (O,)   ->   y (N, O, OH, OW)

xp is x with zeros around it; g = o // (O / groups) is the group of output channel o and Cg = C / groups. Attributes: stride (sh, sw),
padding (top, bottom, left, right), dilation (dh, dw), groups.
"""

import math

from ..operator import Cost, Operator


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Number of places for a kernel along one dimension; ``padding`` is the sum of both ends. Below 1 where it fits nowhere."""
    return (size + padding - dilation * (kernel - 1) - 1) // stride + 1


def _shape(x, w, b, stride, padding, dilation, groups):
    top, bottom, left, right = padding
    height = output_size(x[2], w[2], stride[0], top + bottom, dilation[0])
    width = output_size(x[3], w[3], stride[1], left + right, dilation[1])
    return ((x[0], w[0], height, width),)


def _cost(itemsize, x, w, b, *attributes):
    (y,) = _shape(x, w, b, *attributes)
    bias = 0 if b is None else w[0]
    outputs = math.prod(y)
    return Cost(
        flops=2 * outputs * math.prod(w[1:]) + (outputs if bias else 0),
        bytes=itemsize * (math.prod(x) + math.prod(w) + bias + outputs),
    )


def _backward_cost(itemsize, dy, x, w, *attributes):
    outputs = math.prod(dy)
    return Cost(
        flops=4 * outputs * math.prod(w[1:]) + outputs,
        bytes=itemsize * (outputs + 2 * math.prod(x) + 2 * math.prod(w) + w[0]),
    )


conv2d_backward = Operator(
    "conv2d_backward",
    __package__,
    ("dy", "x", "w"),
    shape=lambda dy, x, w, *_: (x, w, w[:1]),
    cost=_backward_cost,
    parts=lambda dy, x, w, *_: (2 * math.prod(dy) * math.prod(w[1:]), 2 * math.prod(dy) * math.prod(w[1:]), math.prod(dy)),
    attributes=("stride", "padding", "dilation", "groups"),
    outputs=("dx", "dw", "db"),
)
conv2d = Operator(
    "conv2d", __package__, ("x", "w", "b"),
    shape=_shape,
    cost=_cost,
    attributes=("stride", "padding", "dilation", "groups"),
    optional=("b",),
    backward=conv2d_backward,
    examples=(
        {"x": (1, 1, 1, 1), "w": (1, 1, 1, 1), "b": (1,),
         "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1},
        {"x": (2, 3, 7, 9), "w": (5, 3, 3, 2), "b": None,
         "stride": (2, 3), "padding": (1, 0, 2, 1), "dilation": (1, 2), "groups": 1},
        {"x": (0, 4, 5, 5), "w": (6, 2, 3, 3), "b": (6,),
         "stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 2},
        {"x": (3, 6, 11, 5), "w": (10, 3, 2, 3), "b": (10,),
         "stride": (1, 2), "padding": (0, 1, 1, 1), "dilation": (3, 1), "groups": 2},
        {"x": (2, 5, 19, 37), "w": (10, 1, 3, 3), "b": (10,),
         "stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 5},
        {"x": (2, 50, 9, 9), "w": (33, 50, 3, 3), "b": (33,),
         "stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1},
        {"x": (16, 16, 14, 14), "w": (32, 16, 3, 3), "b": (32,),
         "stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1},
        {"x": (2, 64, 9, 11), "w": (65, 64, 3, 3), "b": (65,),
         "stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1},
        {"x": (2, 24, 17, 15), "w": (34, 24, 3, 3), "b": (34,),
         "stride": (2, 2), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1},
        {"x": (2, 20, 13, 9), "w": (33, 20, 1, 1), "b": (33,),
         "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1},
        {"x": (1, 3, 21, 40), "w": (9, 3, 7, 7), "b": (9,),
         "stride": (2, 2), "padding": (3, 3, 3, 3), "dilation": (1, 1), "groups": 1},
        {"x": (2, 9, 14, 14), "w": (9, 1, 3, 3), "b": (9,),
         "stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 9},
        {"x": (2, 3, 20, 18), "w": (3, 1, 5, 5), "b": (3,),
         "stride": (2, 2), "padding": (2, 2, 2, 2), "dilation": (1, 1), "groups": 3},
        {"x": (2, 4, 1, 75), "w": (4, 1, 1, 5), "b": (4,),
         "stride": (1, 1), "padding": (0, 0, 2, 2), "dilation": (1, 1), "groups": 4},
    ),
)  # fmt: skip
