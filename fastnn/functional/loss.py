"""Losses that compare an input with a target of the same shape, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.kernels.loss import operators

from ..dispatch import call
from ..recall import remembered
from . import checks
from .arithmetic import divide, multiply
from .reduction import sum
from .shape import broadcast_to

REDUCTIONS = ("none", "mean", "sum")


def _plain(value: Any) -> Any:
    """The array of a Tensor that gets no gradient, anything else as it is."""
    return value.numpy() if checks.is_hooked(value) else value


def _check_reduction(value: Any) -> str:
    """One of "none", "mean", "sum"."""
    return checks.choice("reduction", value, REDUCTIONS)


def _pair(input: Any, target: Any) -> tuple[Any, Any]:
    x = checks.array("input", input)
    t = checks.array("target", target, dtype=x.dtype)
    checks.check_shape("target", t, tuple(x.shape))
    return x, t


def _like(name: str, value: Any, x: Any) -> Any:
    """None, or an array that is broadcast to the shape of ``x``; it gets no gradient."""
    if value is None:
        return None
    weight = checks.array(name, _plain(value), dtype=x.dtype)
    if checks.broadcast_shapes(f"{name}, input", weight.shape, tuple(x.shape)) != tuple(x.shape):
        raise ValueError(f"{name}: shape {weight.shape} does not broadcast to the input's {tuple(x.shape)}")
    return broadcast_to(weight, x.shape)


def _weighted(losses: Any, weight: Any, reduction: str) -> Any:
    """Losses of single elements, weighted and reduced; the mean is over the weights, as in torch."""
    w = checks.array("weight", _plain(weight), dtype=losses.dtype)
    checks.check_shape("weight", w, tuple(losses.shape))
    weighted = multiply(losses, w)
    if reduction == "none":
        return weighted
    return sum(weighted) if reduction == "sum" else divide(sum(weighted), sum(w))


@remembered
def mse_loss(input: Any, target: Any, *, reduction: str = "mean", weight: Any = None) -> Any:
    """Squared error ``(x - t)^2``.

    Parameters
    ----------
    input : array of any shape
    target : array of the same shape and dtype
        It may be a Tensor that gets a gradient. It is not broadcast.
    reduction : "mean" | "sum" | "none"
        The mean over nothing is NaN.
    weight : array of the same shape, optional
        Of each element; "mean" is then the sum divided by the sum of the weights.

    Returns
    -------
    array, shape () or that of ``input``

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape does not fit, or the reduction is unknown.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.mse_loss(np.array([1.0, 4.0]), np.array([1.0, 2.0]))
    array(2.)
    """
    x, t = _pair(input, target)
    _check_reduction(reduction)
    if weight is not None:
        return _weighted(call(operators.mse, x, t, "none"), weight, reduction)
    return call(operators.mse, x, t, reduction)


@remembered
def l1_loss(input: Any, target: Any, *, reduction: str = "mean", weight: Any = None) -> Any:
    """Absolute error ``|x - t|``; its gradient is 0 where x = t. Parameters, result and errors as in :func:`mse_loss`.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.l1_loss(np.array([1.0, 4.0]), np.array([1.0, 2.0]), reduction="none")
    array([0., 2.])
    """
    x, t = _pair(input, target)
    _check_reduction(reduction)
    if weight is not None:
        return _weighted(call(operators.l1, x, t, "none"), weight, reduction)
    return call(operators.l1, x, t, reduction)


@remembered
def smooth_l1_loss(input: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0) -> Any:
    """``d^2 / (2 beta)`` where ``d = |x - t| < beta``, else ``d - beta / 2`` (Girshick, Fast R-CNN, 2015, eq. 3).

    Parameters
    ----------
    input, target, reduction
        As in :func:`mse_loss`.
    beta : float
        Where the parabola meets the line; 0 gives :func:`l1_loss`.

    Returns
    -------
    array, shape () or that of ``input``

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape does not fit, the reduction is unknown or ``beta`` is negative.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.smooth_l1_loss(np.array([1.5, 4.0]), np.array([1.0, 2.0]), reduction="none")
    array([0.125, 1.5  ])
    """
    x, t = _pair(input, target)
    return call(operators.smooth_l1, x, t, checks.real("beta", beta, 0.0), _check_reduction(reduction))


def _check_probabilities(name: str, value: Any) -> None:
    array = _plain(value)
    if array.size:
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):
            raise ValueError(f"{name}: expected values in [0, 1], got {high if low >= 0 else low}")


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, *, reduction: str = "mean") -> Any:
    """Cross entropy of probabilities, ``-w (t log x + (1 - t) log(1 - x))``, each logarithm at least -100.

    Parameters
    ----------
    input : array of any shape
        Probabilities.
    target : array of the same shape and dtype
        Probabilities too; it may be a Tensor that gets a gradient.
    weight : array that broadcasts to the shape of ``input``, optional
        Weights of the losses; the mean still divides by their number. Copied where it has to be broadcast.
    reduction : "mean" | "sum" | "none"

    Returns
    -------
    array, shape () or that of ``input``

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape does not fit, the reduction is unknown, or a value of ``input`` or ``target`` is not in [0, 1].

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.binary_cross_entropy(np.array([1.0, 0.0]), np.array([1.0, 1.0]), reduction="none")
    array([  0., 100.])
    """
    x, t = _pair(input, target)
    w = _like("weight", weight, x)
    reduction = _check_reduction(reduction)
    _check_probabilities("input", x)
    _check_probabilities("target", t)
    return call(operators.binary_cross_entropy, x, t, w, reduction)


@remembered
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Any:
    """Cross entropy of ``sigmoid(x)``, without overflow: ``w ((1 - t) x + (1 + (p - 1) t) log(1 + exp(-x)))``.

    Parameters
    ----------
    input : array of any shape
        Logits.
    target : array of the same shape and dtype
        Probabilities; it may be a Tensor that gets a gradient.
    weight : array that broadcasts to the shape of ``input``, optional
        Weights of the losses. Copied where it has to be broadcast.
    reduction : "mean" | "sum" | "none"
    pos_weight : array that broadcasts to the shape of ``input``, optional
        Weight ``p`` of the positive part, commonly one number for each class.

    Returns
    -------
    array, shape () or that of ``input``

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape does not fit, or the reduction is unknown.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.binary_cross_entropy_with_logits(np.array([1000.0, -2.0]), np.array([0.0, 1.0]), reduction="sum").round(3)
    np.float64(1002.127)
    """
    x, t = _pair(input, target)
    w, p = _like("weight", weight, x), _like("pos_weight", pos_weight, x)
    return call(operators.binary_cross_entropy_with_logits, x, t, w, p, _check_reduction(reduction))


def _signed_pair(input: Any, target: Any) -> tuple[Any, np.ndarray]:
    """Input, and a target of -1 and 1 in the input's dtype."""
    x = checks.array("input", input)
    given = _plain(target) if checks.is_hooked(target) else checks.to_numpy("target", target)
    if given.dtype.kind not in "if":
        raise TypeError(f"target: expected floats or signed integers of -1 and 1, got dtype {given.dtype}")
    checks.check_shape("target", given, tuple(x.shape))
    wrong = (given != 1) & (given != -1)
    if wrong.any():
        raise ValueError(f"target: expected -1 or 1, got {given[wrong].flat[0]}")
    return x, given.astype(x.dtype, copy=False)


def hinge_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """The hinge loss of a support vector machine, ``max(0, 1 - x t)``.

    Parameters
    ----------
    input : array of any shape
        Scores.
    target : array of the same shape
        -1 or 1, floats or integers. It gets no gradient.
    reduction : "mean" | "sum" | "none"

    Returns
    -------
    array, shape () or that of ``input``

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape does not fit, a target is neither -1 nor 1, or the reduction is unknown.

    Notes
    -----
    At the kink, x t = 1, the gradient is 0. Source: Cortes and Vapnik, "Support-vector networks" (1995).

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.hinge_loss(np.array([0.5, 3.0, -1.0]), np.array([1, 1, 1]), reduction="none")
    array([0.5, 0. , 2. ])
    """
    x, t = _signed_pair(input, target)
    return call(operators.hinge_loss, x, t, _check_reduction(reduction))


def perceptron_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """The perceptron criterion, ``max(0, -x t)``: its gradient step is Rosenblatt's rule.

    Parameters, result and errors as in :func:`hinge_loss`. At the kink, x = 0, the gradient is 0, so that a perceptron that
    starts with zero weights does not learn. Source: Bishop, "Pattern Recognition and Machine Learning" (2006), eq. 4.54.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.perceptron_loss(np.array([0.5, 3.0, -1.0]), np.array([1, 1, 1]), reduction="none")
    array([0., 0., 1.])
    """
    x, t = _signed_pair(input, target)
    return call(operators.perceptron_loss, x, t, _check_reduction(reduction))
