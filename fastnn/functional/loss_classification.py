"""Losses of classes: cross entropy and negative log likelihood."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn.kernels import Operator
from fastnn.kernels.loss import operators

from ..dispatch import call, run
from ..recall import check_classes, remembered
from . import checks
from .loss import _check_reduction, _plain
from .shape import reshape


def _normal_form(x: Any) -> tuple[int, int, int]:
    """The shape (N, C, L) of scores of shape (C,), (N, C) or (N, C, d1, ...)."""
    shape = tuple(x.shape)
    if not shape:
        raise ValueError("input: expected shape (C,), (N, C) or (N, C, d1, ...), got ()")
    if len(shape) == 1:
        return 1, shape[0], 1
    return shape[0], shape[1], math.prod(shape[2:])


def _class_weight(weight: Any, x: Any, classes: int) -> np.ndarray | None:
    return None if weight is None else checks.optional_array("weight", _plain(weight), (classes,), x.dtype)


def _check_ignore_index(value: Any) -> int:
    """An int that kernels can compare with classes of int64."""
    result = checks.integer("ignore_index", value)
    if not -(2**63) <= result < 2**63:
        raise OverflowError(f"ignore_index: expected an int64, got {result}")
    return result


def _class_target(target: Any, x: Any, classes: int, ignore_index: int) -> np.ndarray:
    """Classes in [0, C) or ``ignore_index``, as int64 of the shape of ``x`` without its class dimension."""
    t = checks.index_array("target", target)
    checks.check_shape("target", t, _positions(x))
    check_classes("target", t, classes, ignore_index)
    return t


def _positions(x: Any) -> tuple[int, ...]:
    """Shape of the losses of ``x``."""
    shape = tuple(x.shape)
    return () if len(shape) == 1 else (shape[0], *shape[2:])


def _loss(operator: Operator, reduction: str, shape: tuple[int, ...], x: Any, target: Any, *rest: Any) -> Any:
    """The loss alone; what the backward pass wants is computed only where a Tensor may record it."""
    if checks.is_hooked(x) or checks.is_hooked(target):
        y = call(operator, x, target, *rest, reduction)[0]
    else:
        y = run(operator, (x, target, *rest, reduction), wanted=[name == "y" for name in operator.outputs])[0]
    return reshape(y, shape) if reduction == "none" else y


@remembered
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Cross entropy of ``softmax(input)`` with classes or with distributions over the classes.

    For each position ``-sum_c q_c log softmax(x)_c``, where ``q_c = w_t (1 - s) [c = t] + w_c s / C`` for a target class t and
    ``q_c = w_c ((1 - s) t_c + s / C)`` for target probabilities; s is ``label_smoothing``.

    Parameters
    ----------
    input : array, shape (C,), (N, C) or (N, C, d1, ...)
        Logits.
    target : integer array, shape (), (N,) or (N, d1, ...); or array of the shape and dtype of ``input``
        Classes, in any integer dtype; or probabilities, which may be a Tensor that gets a gradient.
    weight : array, shape (C,), optional
        Weights of the classes.
    ignore_index : int
        Targets of this class have no loss and no gradient, and do not count in the mean. Of no effect with probabilities.
    reduction : "mean" | "sum" | "none"
        The mean over target classes divides by the sum of the targets' weights, the mean over probabilities by the number of
        positions. The mean over nothing is NaN.
    label_smoothing : float in [0, 1]
        Share of the target that is spread evenly over all classes (Szegedy et al., 2016).

    Returns
    -------
    array, shape (), or with "none" that of the positions: (), (N,) or (N, d1, ...)

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape does not fit, a target is out of range, or an option is.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.cross_entropy(np.zeros((2, 4)), np.array([1, 3]), reduction="sum").round(4)
    np.float64(2.7726)
    """
    x = checks.array("input", input)
    shape = _normal_form(x)
    w = _class_weight(weight, x, shape[1])
    ignore_index = _check_ignore_index(ignore_index)
    smoothing = checks.real("label_smoothing", label_smoothing, 0.0, 1.0)
    reduction = _check_reduction(reduction)
    target = target if checks.is_hooked(target) else checks.to_numpy("target", target)
    if target.dtype.kind == "f":
        t = checks.array("target", target, dtype=x.dtype)
        checks.check_shape("target", t, tuple(x.shape))
        scores, t = reshape(x, shape), reshape(t, shape)
        return _loss(operators.cross_entropy_probabilities, reduction, _positions(x), scores, t, w, smoothing)
    t = _class_target(target, x, shape[1], ignore_index).reshape(shape[0], shape[2])
    return _loss(operators.cross_entropy, reduction, _positions(x), reshape(x, shape), t, w, ignore_index, smoothing)


@remembered
def nll_loss(input: Any, target: Any, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """Negative log likelihood, ``-w_t x_t``, of log-probabilities such as ``log_softmax`` gives.

    Parameters
    ----------
    input : array, shape (C,), (N, C) or (N, C, d1, ...)
        Log-probabilities.
    target : integer array, shape (), (N,) or (N, d1, ...)
        Classes, in any integer dtype.
    weight, ignore_index, reduction
        As in :func:`cross_entropy`.

    Returns
    -------
    array, shape (), or with "none" that of ``target``

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape does not fit, a target is out of range, or the reduction is unknown.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.nll_loss(np.array([[-1.0, -2.0], [-3.0, -4.0]]), np.array([0, 1]), reduction="none")
    array([1., 4.])
    """
    x = checks.array("input", input)
    shape = _normal_form(x)
    w = _class_weight(weight, x, shape[1])
    ignore_index = _check_ignore_index(ignore_index)
    reduction = _check_reduction(reduction)
    t = _class_target(target, x, shape[1], ignore_index).reshape(shape[0], shape[2])
    return _loss(operators.nll, reduction, _positions(x), reshape(x, shape), t, w, ignore_index)
