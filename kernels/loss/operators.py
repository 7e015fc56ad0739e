"""Losses. ``reduction`` is "none" (one loss each), "sum" or "mean" (NaN over nothing).

Of elements, x and target of one shape:

mse                               (x - t)^2
l1                                |x - t|
smooth_l1                         d^2 / (2 beta) where d = |x - t| < beta, else d - beta / 2
binary_cross_entropy              -w (t max(log x, -100) + (1 - t) max(log(1 - x), -100))
binary_cross_entropy_with_logits  w ((1 - t) x + (1 + (p - 1) t) log(1 + exp(-x))),  p = pos_weight
hinge_loss                        max(0, 1 - x t)
perceptron_loss                   max(0, -x t)

Of classes, x (N, C, L) and one loss for each of (N, L):

cross_entropy                     -sum_c q_c log softmax(x)_c,  q_c = w_t (1 - s) [c = t] + w_c s / C,  s = label_smoothing
cross_entropy_probabilities       the same with q_c = w_c ((1 - s) t_c + s / C)
nll                               -w_t x_t

The mean over class indices is weighted: the sum divided by the sum of w_t (the output ``total``). A target equal to
``ignore_index`` has loss, gradient and weight 0. The forward pass of cross entropy leaves of each position the largest score, ``top``,
and the sum of the ``exponentials`` exp(x - top); where the target is ignored they are 0 and 1.
"""

from typing import Any

from ..operator import Draw, Operator
from .costs import (
    cross_entropy_backward_cost,
    cross_entropy_cost,
    element_backward_cost,
    element_cost,
    loss_shape,
    nll_backward_cost,
    nll_cost,
    position_shape,
    probabilities_backward_cost,
    probabilities_cost,
)


def _element_shape(x, *args):
    return (x if args[-1] == "none" else (),)


_PAIRS: tuple[dict[str, Any], ...] = (
    {"x": (1,), "target": (1,), "reduction": "mean"},
    {"x": (3, 5), "target": (3, 5), "reduction": "none"},
    {"x": (37, 61), "target": (37, 61), "reduction": "sum"},
    {"x": (0, 4), "target": (0, 4), "reduction": "sum"},
    {"x": (256, 300), "target": (256, 300), "reduction": "mean"},
)


def _pairs(x="normal", target="normal", **attributes):
    """The common examples, drawn another way and with further arguments."""
    return tuple({**case, "x": Draw(case["x"], x), "target": Draw(case["target"], target), **attributes} for case in _PAIRS)


mse_backward = Operator(
    "mse_backward",
    __package__,
    ("dy", "x", "target"),
    shape=lambda dy, x, target, reduction: (x, x),
    cost=element_backward_cost(3),
    attributes=("reduction",),
    outputs=("dx", "dtarget"),
)
mse = Operator(
    "mse", __package__, ("x", "target"), _element_shape, element_cost(2),
    attributes=("reduction",), backward=mse_backward, examples=_PAIRS,
)  # fmt: skip

l1_backward = Operator(
    "l1_backward",
    __package__,
    ("dy", "x", "target"),
    shape=lambda dy, x, target, reduction: (x, x),
    cost=element_backward_cost(2),
    attributes=("reduction",),
    outputs=("dx", "dtarget"),
)
l1 = Operator(
    "l1", __package__, ("x", "target"), _element_shape, element_cost(1),
    attributes=("reduction",), backward=l1_backward, examples=_PAIRS,
)  # fmt: skip

smooth_l1_backward = Operator(
    "smooth_l1_backward",
    __package__,
    ("dy", "x", "target"),
    shape=lambda dy, x, target, beta, reduction: (x, x),
    cost=element_backward_cost(4),
    attributes=("beta", "reduction"),
    outputs=("dx", "dtarget"),
)
smooth_l1 = Operator(
    "smooth_l1", __package__, ("x", "target"), _element_shape, element_cost(5),
    attributes=("beta", "reduction"), backward=smooth_l1_backward,
    examples=(*_pairs(beta=1.0), {"x": (9,), "target": (9,), "beta": 0.0, "reduction": "mean"}),
)  # fmt: skip

binary_cross_entropy_backward = Operator(
    "binary_cross_entropy_backward",
    __package__,
    ("dy", "x", "target", "weight"),
    shape=lambda dy, x, target, weight, reduction: (x, x),
    cost=element_backward_cost(10, 2, weight=1),
    attributes=("reduction",),
    outputs=("dx", "dtarget"),
    optional=("weight",),
)
binary_cross_entropy = Operator(
    "binary_cross_entropy", __package__, ("x", "target", "weight"), _element_shape, element_cost(6, 2, weight=1),
    attributes=("reduction",), optional=("weight",), backward=binary_cross_entropy_backward,
    examples=(
        *(
            {**case, "x": Draw(case["x"], "uniform", 0.05, 0.95), "target": Draw(case["x"], "uniform"), "weight": None}
            for case in _PAIRS
        ),
        {
            "x": Draw((7, 9), "uniform", 0.05, 0.95), "target": Draw((7, 9), "uniform"),
            "weight": Draw((7, 9), "uniform"), "reduction": "mean",
        },
    ),
)  # fmt: skip

binary_cross_entropy_with_logits_backward = Operator(
    "binary_cross_entropy_with_logits_backward",
    __package__,
    ("dy", "x", "target", "weight", "pos_weight"),
    shape=lambda dy, x, target, weight, pos_weight, reduction: (x, x),
    cost=element_backward_cost(6, 1, weight=1, positive=10, positive_special=2),
    attributes=("reduction",),
    outputs=("dx", "dtarget"),
    optional=("weight", "pos_weight"),
)
binary_cross_entropy_with_logits = Operator(
    "binary_cross_entropy_with_logits", __package__, ("x", "target", "weight", "pos_weight"), _element_shape,
    element_cost(5, 2, weight=1, positive=4),
    attributes=("reduction",), optional=("weight", "pos_weight"), backward=binary_cross_entropy_with_logits_backward,
    examples=(
        *_pairs("normal", "uniform", weight=None, pos_weight=None),
        {
            "x": (7, 9), "target": Draw((7, 9), "uniform"), "weight": Draw((7, 9), "uniform"),
            "pos_weight": Draw((7, 9), "uniform", 0.5, 3.0), "reduction": "mean",
        },
    ),
)  # fmt: skip

hinge_loss_backward = Operator(
    "hinge_loss_backward",
    __package__,
    ("dy", "x", "target"),
    shape=lambda dy, x, target, reduction: (x,),
    cost=element_backward_cost(4, outputs=1),
    attributes=("reduction",),
    outputs=("dx",),
)
hinge_loss = Operator(
    "hinge_loss", __package__, ("x", "target"), _element_shape, element_cost(3),
    attributes=("reduction",), backward=hinge_loss_backward, examples=_pairs("normal", "signs"),
)  # fmt: skip

perceptron_loss_backward = Operator(
    "perceptron_loss_backward",
    __package__,
    ("dy", "x", "target"),
    shape=lambda dy, x, target, reduction: (x,),
    cost=element_backward_cost(3, outputs=1),
    attributes=("reduction",),
    outputs=("dx",),
)
perceptron_loss = Operator(
    "perceptron_loss", __package__, ("x", "target"), _element_shape, element_cost(2),
    attributes=("reduction",), backward=perceptron_loss_backward, examples=_pairs("normal", "signs"),
)  # fmt: skip


cross_entropy_backward = Operator(
    "cross_entropy_backward", __package__, ("dy", "x", "target", "weight", "top", "exponentials", "total"),
    shape=lambda dy, x, *args: (x,),
    cost=cross_entropy_backward_cost,
    attributes=("ignore_index", "label_smoothing", "reduction"), outputs=("dx",), optional=("weight",), integers=("target",),
)  # fmt: skip
cross_entropy = Operator(
    "cross_entropy", __package__, ("x", "target", "weight"),
    shape=lambda x, target, weight, ignore_index, label_smoothing, reduction: (
        loss_shape(x, reduction), position_shape(x), position_shape(x), ()
    ),
    cost=cross_entropy_cost,
    attributes=("ignore_index", "label_smoothing", "reduction"), outputs=("y", "top", "exponentials", "total"),
    optional=("weight",), integers=("target",), backward=cross_entropy_backward,
    examples=tuple(
        {
            "x": x, "target": Draw((x[0], x[2]), "integers", 0, x[1]), "weight": Draw((x[1],), "uniform", 0.5) if weighted else None,
            "ignore_index": ignored, "label_smoothing": smoothing, "reduction": reduction,
        }
        for x, weighted, ignored, smoothing, reduction in (
            ((1, 1, 1), False, -100, 0.0, "mean"),
            ((5, 7, 1), True, 2, 0.0, "mean"),
            ((3, 37, 5), True, 1, 0.25, "none"),
            ((2, 3, 133), True, 1, 0.1, "mean"),
            ((4, 100, 1), False, -100, 0.1, "none"),
            ((0, 4, 1), False, -100, 0.0, "sum"),
            ((128, 10, 1), False, -100, 0.0, "mean"),
            ((64, 1000, 1), False, -100, 0.0, "mean"),
        )
    ),
)  # fmt: skip

cross_entropy_probabilities_backward = Operator(
    "cross_entropy_probabilities_backward", __package__, ("dy", "x", "target", "weight", "top", "exponentials"),
    shape=lambda dy, x, *args: (x, x),
    cost=probabilities_backward_cost,
    attributes=("label_smoothing", "reduction"), outputs=("dx", "dtarget"), optional=("weight",),
)  # fmt: skip
cross_entropy_probabilities = Operator(
    "cross_entropy_probabilities", __package__, ("x", "target", "weight"),
    shape=lambda x, target, weight, label_smoothing, reduction: (loss_shape(x, reduction), position_shape(x), position_shape(x)),
    cost=probabilities_cost,
    attributes=("label_smoothing", "reduction"), outputs=("y", "top", "exponentials"),
    optional=("weight",), backward=cross_entropy_probabilities_backward,
    examples=tuple(
        {
            "x": x, "target": Draw(x, "uniform"), "weight": Draw((x[1],), "uniform", 0.5) if weighted else None,
            "label_smoothing": smoothing, "reduction": reduction,
        }
        for x, weighted, smoothing, reduction in (
            ((1, 1, 1), False, 0.0, "mean"),
            ((5, 7, 1), True, 0.1, "sum"),
            ((3, 37, 5), True, 0.25, "none"),
            ((2, 3, 133), False, 0.0, "mean"),
            ((0, 4, 1), False, 0.0, "sum"),
            ((64, 1000, 1), True, 0.1, "mean"),
        )
    ),
)  # fmt: skip

nll_backward = Operator(
    "nll_backward", __package__, ("dy", "target", "weight", "total"),
    shape=lambda dy, target, weight, total, ignore_index, reduction, x_shape: (x_shape,),
    cost=nll_backward_cost,
    attributes=("ignore_index", "reduction", "x_shape"), outputs=("dx",), optional=("weight",), integers=("target",),
)  # fmt: skip
nll = Operator(
    "nll", __package__, ("x", "target", "weight"),
    shape=lambda x, target, weight, ignore_index, reduction: (loss_shape(x, reduction), ()),
    cost=nll_cost,
    attributes=("ignore_index", "reduction"), outputs=("y", "total"),
    optional=("weight",), integers=("target",), backward=nll_backward,
    examples=tuple(
        {
            "x": x, "target": Draw((x[0], x[2]), "integers", 0, x[1]), "weight": Draw((x[1],), "uniform", 0.5) if weighted else None,
            "ignore_index": ignored, "reduction": reduction,
        }
        for x, weighted, ignored, reduction in (
            ((1, 1, 1), False, -100, "mean"),
            ((5, 7, 1), True, 2, "mean"),
            ((3, 37, 5), True, 1, "none"),
            ((0, 4, 1), False, -100, "sum"),
            ((64, 1000, 1), False, -100, "mean"),
        )
    ),
)  # fmt: skip
