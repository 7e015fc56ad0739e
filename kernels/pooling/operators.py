"""Maxima and means over windows of each plane.      x (N, C, H, W)  ->  y (N, C, OH, OW)

max_pool2d            y[n,c,i,j] = max of x[n,c,h,w] over the window, indices its flat position h W + w
avg_pool2d            y[n,c,i,j] = sum of x[n,c,h,w] over the window / divisor
adaptive_max_pool2d   the same with windows floor(i H / OH) <= h < ceil((i+1) H / OH), whatever the output size
adaptive_avg_pool2d

A strided window covers h = i stride - padding + k dilation for 0 <= k < kernel, where that is inside the plane.

Of equal maxima the first counts; NaN is larger than everything, and of several the last counts, as in torch. A window that
dilation leads past the plane altogether gives -inf and index -1.

    size of the output    floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1, or ceil(...) with ceil_mode, where
                          the last window is left out if it would start in the right padding
"""

import math

import numpy as np

from ..operator import Cost, Operator, traffic


def output_length(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """Number of windows along one dimension; not positive where not even one fits."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    length = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (length - 1) * stride >= size + padding:
        length -= 1
    return length


def index_dtype(x, *attributes) -> np.dtype:
    """int64 where the last attribute, ``return_indices``, says so; else what holds the positions of a plane and -1.

    A byte would do only for the smallest planes.
    """
    if attributes[-1]:
        return np.dtype(np.int64)
    return np.dtype(np.int16 if math.prod(x[2:]) <= np.iinfo(np.int16).max else np.int32)


def _max_shape(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices=False):
    sizes = zip(x[2:], kernel_size, stride, padding, dilation, strict=True)
    y = (*x[:2], *[output_length(*size, ceil_mode) for size in sizes])
    return y, y


def _max_bytes(itemsize, x, count, return_indices):
    return itemsize * (math.prod(x) + count) + index_dtype(x, return_indices).itemsize * count


def _terms(size, kernel, stride, padding, dilation, count):
    """Elements in all windows along one dimension, padding too; what lies beyond it, with ceil_mode, is never looked at."""
    return sum(min(kernel, -(-(size + 2 * padding - i * stride) // dilation)) for i in range(count))


def _window_terms(x, y, kernel_size, stride, padding, dilation=(1, 1)):
    """Elements in all windows of all planes."""
    axes = zip(x[2:], kernel_size, stride, padding, dilation, y[2:], strict=True)
    return math.prod(x[:2]) * math.prod([_terms(*axis) for axis in axes])


def _max_cost(itemsize, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    (y, _) = _max_shape(x, kernel_size, stride, padding, dilation, ceil_mode)
    return Cost(
        _window_terms(x, y, kernel_size, stride, padding, dilation), _max_bytes(itemsize, x, math.prod(y), return_indices)
    )


def _max_backward_cost(itemsize, dy, indices, *attributes):
    return Cost(flops=math.prod(dy), bytes=_max_bytes(itemsize, attributes[-1], math.prod(dy), False))


def _avg_shape(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    return (_max_shape(x, kernel_size, stride, padding, (1, 1), ceil_mode)[0],)


def _avg_cost(itemsize, x, kernel_size, stride, padding, *rest):
    (y,) = _avg_shape(x, kernel_size, stride, padding, *rest)
    return Cost(_window_terms(x, y, kernel_size, stride, padding) + math.prod(y), traffic(itemsize, x, y))


def _avg_backward_cost(itemsize, dy, kernel_size, stride, padding, count_include_pad, divisor_override, x_shape):
    return Cost(_window_terms(x_shape, dy, kernel_size, stride, padding) + math.prod(dy), traffic(itemsize, dy, x_shape))


def _adaptive_shape(x, output_size):
    return (*x[:2], *output_size)


def _adaptive_terms(x, output_size):
    """Elements in all windows together, for the cost; windows overlap where the sizes do not divide."""
    per_axis = [
        sum(-(-(i + 1) * size // out) - i * size // out for i in range(out)) for size, out in zip(x[2:], output_size, strict=True)
    ]
    return math.prod(x[:2]) * math.prod(per_axis)


def _adaptive_avg_cost(itemsize, x, output_size):
    count = math.prod(_adaptive_shape(x, output_size))
    return Cost(flops=_adaptive_terms(x, output_size) + count, bytes=itemsize * (math.prod(x) + count))


def _adaptive_avg_backward_cost(itemsize, dy, x_shape):
    count = math.prod(dy)
    return Cost(flops=_adaptive_terms(x_shape, dy[2:]) + count, bytes=itemsize * (math.prod(x_shape) + count))


def _adaptive_max_cost(itemsize, x, output_size, return_indices):
    count = math.prod(_adaptive_shape(x, output_size))
    return Cost(flops=_adaptive_terms(x, output_size), bytes=_max_bytes(itemsize, x, count, return_indices))


def _to_x(*args):
    return (args[-1],)


def _windows(x, kernel_size, stride, padding=(0, 0), ceil_mode=False, **more):
    return {"x": x, "kernel_size": kernel_size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode, **more}


max_pool2d_backward = Operator(
    "max_pool2d_backward", __package__, ("dy", "indices"), _to_x, _max_backward_cost,
    attributes=("kernel_size", "stride", "padding", "dilation", "x_shape"), outputs=("dx",), integers=("indices",),
)  # fmt: skip
max_pool2d = Operator(
    "max_pool2d", __package__, ("x",), _max_shape, _max_cost,
    attributes=("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"), outputs=("y", "indices"),
    integers=("indices",), index_dtype=index_dtype, backward=max_pool2d_backward,
    examples=(
        _windows((1, 1, 1, 1), (1, 1), (1, 1), dilation=(1, 1), return_indices=False),
        _windows((2, 3, 7, 9), (3, 2), (2, 3), (1, 1), True, dilation=(1, 1), return_indices=False),
        _windows((1, 2, 11, 75), (2, 3), (1, 1), (0, 1), dilation=(3, 2), return_indices=True),
        _windows((0, 2, 4, 4), (2, 2), (2, 2), dilation=(1, 1), return_indices=False),
        _windows((2, 1, 1, 300), (1, 4), (1, 4), dilation=(1, 1), return_indices=False),
        _windows((8, 16, 28, 28), (2, 2), (2, 2), dilation=(1, 1), return_indices=False),
        _windows((2, 3, 37, 41), (3, 3), (2, 2), (1, 1), dilation=(1, 1), return_indices=False),
        _windows((1, 2, 14, 70), (2, 2), (2, 1), (1, 1), True, dilation=(1, 1), return_indices=False),
        _windows((1, 1, 190, 181), (3, 5), (3, 4), (1, 2), dilation=(1, 1), return_indices=False),
    ),
)  # fmt: skip

avg_pool2d_backward = Operator(
    "avg_pool2d_backward", __package__, ("dy",), _to_x, _avg_backward_cost,
    attributes=("kernel_size", "stride", "padding", "count_include_pad", "divisor_override", "x_shape"), outputs=("dx",),
)  # fmt: skip
avg_pool2d = Operator(
    "avg_pool2d", __package__, ("x",), _avg_shape, _avg_cost,
    attributes=("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    backward=avg_pool2d_backward,
    examples=(
        _windows((1, 1, 1, 1), (1, 1), (1, 1), count_include_pad=True, divisor_override=None),
        _windows((2, 3, 7, 9), (3, 2), (2, 3), (1, 1), True, count_include_pad=True, divisor_override=None),
        _windows((1, 2, 11, 75), (5, 3), (1, 1), (2, 1), count_include_pad=False, divisor_override=None),
        _windows((0, 2, 4, 4), (2, 2), (2, 2), count_include_pad=True, divisor_override=None),
        _windows((2, 1, 6, 70), (2, 2), (3, 3), (0, 1), count_include_pad=True, divisor_override=3),
        _windows((8, 16, 28, 28), (2, 2), (2, 2), count_include_pad=True, divisor_override=None),
        _windows((2, 3, 37, 41), (3, 3), (2, 2), (1, 1), count_include_pad=True, divisor_override=None),
        _windows((1, 2, 14, 45), (4, 4), (4, 4), (2, 2), True, count_include_pad=False, divisor_override=None),
    ),
)  # fmt: skip

_ADAPTIVE = (
    {"x": (1, 1, 1, 1), "output_size": (1, 1)},
    {"x": (2, 3, 7, 10), "output_size": (3, 4)},
    {"x": (1, 2, 3, 5), "output_size": (5, 8)},
    {"x": (0, 2, 3, 5), "output_size": (1, 1)},
    {"x": (4, 16, 14, 75), "output_size": (1, 1)},
    {"x": (2, 1, 190, 180), "output_size": (19, 60)},
)

adaptive_max_pool2d_backward = Operator(
    "adaptive_max_pool2d_backward", __package__, ("dy", "indices"), _to_x, _max_backward_cost,
    attributes=("x_shape",), outputs=("dx",), integers=("indices",),
)  # fmt: skip
adaptive_max_pool2d = Operator(
    "adaptive_max_pool2d", __package__, ("x",), lambda x, size, _: (_adaptive_shape(x, size),) * 2, _adaptive_max_cost,
    attributes=("output_size", "return_indices"), outputs=("y", "indices"), integers=("indices",), index_dtype=index_dtype,
    backward=adaptive_max_pool2d_backward,
    examples=tuple([{**example, "return_indices": example["output_size"] == (5, 8)} for example in _ADAPTIVE]),
)  # fmt: skip

adaptive_avg_pool2d_backward = Operator(
    "adaptive_avg_pool2d_backward", __package__, ("dy",), _to_x, _adaptive_avg_backward_cost,
    attributes=("x_shape",), outputs=("dx",),
)  # fmt: skip
adaptive_avg_pool2d = Operator(
    "adaptive_avg_pool2d", __package__, ("x",), lambda x, output_size: (_adaptive_shape(x, output_size),), _adaptive_avg_cost,
    attributes=("output_size",), backward=adaptive_avg_pool2d_backward, examples=_ADAPTIVE,
)  # fmt: skip
