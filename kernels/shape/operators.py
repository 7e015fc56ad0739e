"""Views and joins. Their gradients put every element back where it came from.

reshape         y = x with another shape             permute   y[i_p] = x[i], dimensions reordered
broadcast_to    y repeats x along new dimensions     index     y = x[key], NumPy's basic and advanced indexing
cat             y = the arrays, end to end along dim
"""

import math

import numpy as np

from ..operator import Cost, Operator, traffic


def _copy_cost(itemsize, x, *_):
    return Cost(flops=0, bytes=2 * itemsize * math.prod(x))


def _broadcast_cost(itemsize, x, shape):
    return Cost(flops=0, bytes=traffic(itemsize, x, shape))


def _broadcast_backward_cost(itemsize, dy, x_shape):
    return Cost(flops=0 if dy == x_shape else math.prod(dy), bytes=traffic(itemsize, dy, x_shape))


def _index_cost(itemsize, x, key):
    """What is taken is read, not all of x."""
    return Cost(flops=0, bytes=2 * traffic(itemsize, *_index_shape(x, key)))


def _index_backward_cost(itemsize, dy, key, x_shape):
    return Cost(flops=math.prod(dy), bytes=traffic(itemsize, dy, x_shape))


def _to_x(dy, *attributes):
    return (attributes[-1],)


def _index_shape(x, key):
    return (np.broadcast_to(np.empty((), np.bool_), x)[key].shape,)


def _cat_shape(*args):
    *shapes, dim, _ = args
    total = sum(shape[dim] for shape in shapes)
    return ((*shapes[0][:dim], total, *shapes[0][dim + 1 :]),)


def _cat_cost(itemsize, *args):
    return Cost(flops=0, bytes=2 * itemsize * sum(math.prod(shape) for shape in args[:-2]))


def _cat_backward_shape(dy, dim, sizes):
    return tuple((*dy[:dim], size, *dy[dim + 1 :]) for size in sizes)


reshape_backward = Operator(
    "reshape_backward", __package__, ("dy",), _to_x, _copy_cost, attributes=("x_shape",), outputs=("dx",), needs=()
)
reshape = Operator(
    "reshape", __package__, ("x",), lambda x, shape: (shape,), _copy_cost,
    attributes=("shape",), backward=reshape_backward, needs=(),
    examples=({"x": (2, 6), "shape": (3, 4)}, {"x": (), "shape": (1, 1)}, {"x": (0, 3), "shape": (3, 0)}),
)  # fmt: skip

permute_backward = Operator(
    "permute_backward", __package__, ("dy",), _to_x, _copy_cost, attributes=("dims", "x_shape"), outputs=("dx",), needs=()
)
permute = Operator(
    "permute", __package__, ("x",), lambda x, dims: (tuple(x[d] for d in dims),), _copy_cost,
    attributes=("dims",), backward=permute_backward, needs=(),
    examples=({"x": (2, 3, 4), "dims": (2, 0, 1)}, {"x": (5,), "dims": (0,)}, {"x": (), "dims": ()}),
)  # fmt: skip

broadcast_to_backward = Operator(
    "broadcast_to_backward",
    __package__,
    ("dy",),
    _to_x,
    _broadcast_backward_cost,
    attributes=("x_shape",),
    outputs=("dx",),
    needs=(),
)
broadcast_to = Operator(
    "broadcast_to", __package__, ("x",), lambda x, shape: (shape,), _broadcast_cost,
    attributes=("shape",), backward=broadcast_to_backward, needs=(),
    examples=({"x": (1, 3), "shape": (2, 4, 3)}, {"x": (), "shape": (2,)}, {"x": (2, 1), "shape": (2, 0)}),
)  # fmt: skip

index_backward = Operator(
    "index_backward", __package__, ("dy",), _to_x, _index_backward_cost, attributes=("key", "x_shape"), outputs=("dx",), needs=()
)
index = Operator(
    "index", __package__, ("x",), _index_shape, _index_cost, attributes=("key",), backward=index_backward, needs=(),
    examples=(
        {"x": (5, 4), "key": (slice(4, 0, -2), None, 1)},
        {"x": (5, 4), "key": (np.array([0, 2, 2]),)},
        {"x": (3,), "key": (Ellipsis,)},
    ),
)  # fmt: skip

cat_backward = Operator(
    "cat_backward", __package__, ("dy",), _cat_backward_shape, _copy_cost,
    attributes=("dim", "sizes"), outputs=("dxs",), needs=(),
)  # fmt: skip
cat = Operator(
    "cat", __package__, ("xs",), _cat_shape, _cat_cost,
    attributes=("dim", "sizes"), backward=cat_backward, needs=(), variadic=True,
    examples=(
        {"xs": ((2, 3), (1, 3), (0, 3)), "dim": 0, "sizes": (2, 1, 0)},
        {"xs": ((2, 1), (2, 4)), "dim": 1, "sizes": (1, 4)},
    ),
)  # fmt: skip
