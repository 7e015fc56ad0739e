"""What losses cost, from shapes alone; see :class:`fastnn.kernels.Cost` for what is counted."""

import math

from ..operator import Cost, traffic

INDEX = 8  # bytes of a class


def reducing(count, reduction):
    """Operations of a sum over so many losses, and of the division of a mean."""
    return {"none": 0, "sum": count, "mean": count + 1}[reduction]


def weights(args):
    """Whether ``weight`` and ``pos_weight`` are there, which stand in front of the other arguments of the losses that take them."""
    return isinstance(args[0], tuple), len(args) == 3 and args[1] is not None


def element_cost(flops, special=0, weight=0, positive=0):
    """Work for each element: always, and more with ``weight`` and ``pos_weight``."""

    def cost(itemsize, x, target, *args):
        arrays = [shape for shape in args if isinstance(shape, tuple)]
        with_weight, with_positive = weights(args)
        each = flops + weight * with_weight + positive * with_positive
        written = x if args[-1] == "none" else ()
        count = math.prod(x)
        return Cost(count * each + reducing(count, args[-1]), traffic(itemsize, x, target, *arrays, written), count * special)

    return cost


def element_backward_cost(flops, special=0, weight=0, positive=0, positive_special=0, outputs=2):
    """The same for gradients."""

    def cost(itemsize, dy, x, target, *args):
        arrays = [shape for shape in args if isinstance(shape, tuple)]
        with_weight, with_positive = weights(args)
        count = math.prod(x)
        total = count * (flops + weight * with_weight + positive * with_positive) + (args[-1] == "mean")
        nbytes = traffic(itemsize, dy, x, target, *arrays, *[x] * outputs)
        return Cost(total, nbytes, count * (special + positive_special * with_positive))

    return cost


def loss_shape(x, reduction):
    return (x[0], x[2]) if reduction == "none" else ()


def position_shape(x):
    return x[0], x[2]


def cross_entropy_cost(itemsize, x, target, weight, ignore_index, label_smoothing, reduction):
    n, positions = math.prod(x), math.prod(position_shape(x))
    flops = 3 * n + 4 * positions + reducing(positions, reduction)
    weighting = 0 if weight is None else x[1] + positions
    if label_smoothing > 0:
        flops += 4 * n + positions
        weighting += 0 if weight is None else 2 * x[1]
    outputs = (loss_shape(x, reduction), position_shape(x), position_shape(x), ())
    special = n + positions * (2 if label_smoothing > 0 else 1)
    return Cost(flops + weighting, traffic(itemsize, x, weight, *outputs) + INDEX * positions, special)


def cross_entropy_backward_cost(
    itemsize, dy, x, target, weight, top, exponentials, total, ignore_index, label_smoothing, reduction
):
    n, positions = math.prod(x), math.prod(position_shape(x))
    flops = 4 * n + positions + (reduction == "mean")
    weighting = 0 if weight is None else x[1]
    if label_smoothing > 0:
        flops += n
        weighting += 0 if weight is None else 2 * x[1] + positions
    return Cost(flops + weighting, traffic(itemsize, dy, x, weight, top, exponentials, total, x) + INDEX * positions, n)


def probabilities_cost(itemsize, x, target, weight, label_smoothing, reduction):
    n, positions = math.prod(x), math.prod(position_shape(x))
    flops = 7 * n + n * (weight is not None) + 2 * n * (label_smoothing > 0) + reducing(positions, reduction)
    nbytes = traffic(itemsize, x, target, weight, loss_shape(x, reduction), position_shape(x), position_shape(x))
    return Cost(flops, nbytes, n + positions)


def probabilities_backward_cost(itemsize, dy, x, target, weight, top, exponentials, label_smoothing, reduction):
    n = math.prod(x)
    flops = 10 * n + 2 * n * (weight is not None) + 2 * n * (label_smoothing > 0) + (reduction == "mean")
    return Cost(flops, traffic(itemsize, dy, x, target, weight, top, exponentials, x, x), n + math.prod(position_shape(x)))


def nll_cost(itemsize, x, target, weight, ignore_index, reduction):
    """Of x only the scores of the targets are read."""
    positions = math.prod(target)
    nbytes = traffic(itemsize, target, weight, loss_shape(x, reduction), ()) + INDEX * positions
    return Cost(2 * positions + reducing(positions, reduction), nbytes)


def nll_backward_cost(itemsize, dy, target, weight, total, ignore_index, reduction, x_shape):
    nbytes = traffic(itemsize, dy, weight, total, x_shape) + INDEX * math.prod(target)
    return Cost(math.prod(target) + (reduction == "mean"), nbytes)
