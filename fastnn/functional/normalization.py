"""Normalization: batch_norm, layer_norm, group_norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.kernels import Operator
from fastnn.kernels.normalization import operators

from ..dispatch import call
from ..recall import remembered
from . import checks
from .shape import reshape


def _eps(value: Any) -> float:
    return checks.real("eps", value, 0.0, math.nextafter(math.inf, 0))


def _channels(x: Any, least: int) -> tuple[int, int, int]:
    """The shape (N, C, L) of an input of shape (N, C, ...)."""
    shape = tuple(x.shape)
    if len(shape) < least:
        raise ValueError(f"input: expected at least {least} dimensions, got shape {shape}")
    return shape[0], shape[1], math.prod(shape[2:])


def _running(name: str, value: Any, x: Any, channels: int, training: bool) -> Any:
    """None, or checked running statistics; in training their memory has to be writeable."""
    value = checks.optional_array(name, value, (channels,), x.dtype)
    if training and value is not None and not _memory(value).flags.writeable:
        raise ValueError(f"{name}: the array is read-only; training updates it")
    return value


def _memory(value: Any) -> np.ndarray:
    return value.numpy() if checks.is_hooked(value) else value


def _update(mean: Any, var: Any, batch_mean: Any, batch_var: Any, momentum: float, count: int) -> None:
    """Move the running statistics in their own memory."""
    out = (_memory(mean), _memory(var))
    call(operators.running_statistics, batch_mean, batch_var, mean, var, momentum, count, out=out)
    for value in (mean, var):
        if checks.is_hooked(value):
            value._touch()


def _normalized(operator: Operator, x: Any, folded: tuple[int, ...], out: Any, *args: Any) -> Any:
    """The first output, in the shape of ``x``; the statistics only where a Tensor may record them."""
    others = len(operator.outputs) - 1
    wanted = (True, *(False,) * others)
    if out is not None and out.flags.c_contiguous:
        call(operator, reshape(x, folded), *args, out=(out.reshape(folded), *(None,) * others), wanted=wanted)
        return out
    result = call(operator, reshape(x, folded), *args, wanted=wanted)
    return checks.deliver(reshape(result[0] if others else result, x.shape), out)


@remembered
def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    out: Any = None,
) -> Any:
    """Normalize each channel by its mean and variance: ``(x - mean) / sqrt(var + eps) * weight + bias``.

    In training the mean and the biased variance are those of the batch, over all dimensions but the second, and the running
    statistics move towards the batch's mean and *unbiased* variance: ``r <- r + momentum (s - r)``.

    Parameters
    ----------
    input : array, shape (N, C, ...)
    running_mean, running_var : array, shape (C,), or None
        Used in evaluation, changed in place in training (where they may be None). An empty batch leaves them as they are.
    weight, bias : array, shape (C,), optional
    training : bool
    momentum : float
    eps : float, not negative
    out : array of the shape and dtype of ``input``, optional

    Returns
    -------
    array of the shape and dtype of ``input``

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape (of ``out`` too) does not fit, ``eps`` is negative, running statistics are missing in evaluation or read-only
        in training, or training has one value for each channel. Nothing is written then.

    Notes
    -----
    Source: Ioffe and Szegedy, "Batch Normalization" (2015).

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> mean, var = np.zeros(1), np.ones(1)
    >>> F.batch_norm(np.array([[1.0], [3.0]]), mean, var, training=True).round(3)
    array([[-1.],
           [ 1.]])
    >>> mean
    array([0.2])
    """
    x = checks.array("input", input)
    N, C, L = _channels(x, 2)
    training = checks.flag("training", training)
    mean = _running("running_mean", running_mean, x, C, training)
    var = _running("running_var", running_var, x, C, training)
    w = checks.optional_array("weight", weight, (C,), x.dtype)
    b = checks.optional_array("bias", bias, (C,), x.dtype)
    momentum, eps = checks.real("momentum", momentum), _eps(eps)
    out = checks.out(out, tuple(x.shape), x.dtype)
    if (mean is None) != (var is None):
        raise ValueError("running_mean, running_var: expected both or none of them")
    if not training:
        if mean is None:
            raise ValueError("running_mean: expected an array in evaluation, got None")
        return _normalized(operators.batch_norm_evaluation, x, (N, C, L), out, w, b, mean, var, eps)
    if N * L == 1:
        raise ValueError(f"input: expected more than one value for each channel in training, got shape {tuple(x.shape)}")
    if mean is not None and np.shares_memory(_memory(mean), _memory(var)):
        raise ValueError("running_mean, running_var: the arrays overlap")
    direct = None if out is None or not out.flags.c_contiguous else (out.reshape(N, C, L), None, None)
    y, batch_mean, batch_var = call(operators.batch_norm, reshape(x, (N, C, L)), w, b, eps, out=direct)
    if mean is not None and N * L:
        _update(mean, var, batch_mean, batch_var, momentum, N * L)
    return out if direct else checks.deliver(reshape(y, x.shape), out)


@remembered
def layer_norm(
    input: Any, normalized_shape: Sequence[int] | int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *, out: Any = None
) -> Any:
    """Normalize each example over its last dimensions: ``(x - mean) / sqrt(var + eps) * weight + bias``, var biased.

    Parameters
    ----------
    input : array, shape (..., *normalized_shape)
    normalized_shape : int or sequence of int
        The last dimensions, over which the statistics are taken.
    weight, bias : array, shape normalized_shape, optional
    eps : float, not negative
    out : array of the shape and dtype of ``input``, optional

    Returns
    -------
    array of the shape and dtype of ``input``

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape (of ``out`` too) does not fit, or ``eps`` is negative.

    Notes
    -----
    Source: Ba, Kiros and Hinton, "Layer Normalization" (2016).

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.layer_norm(np.array([[1.0, 3.0], [5.0, 5.0]]), (2,)).round(3)
    array([[-1.,  1.],
           [ 0.,  0.]])
    """
    x = checks.array("input", input)
    count = len(normalized_shape) if isinstance(normalized_shape, Sequence) else 1
    normalized = checks.integers("normalized_shape", normalized_shape, count, 0)
    if not 1 <= count <= len(x.shape) or normalized != tuple(x.shape[-count:]):
        raise ValueError(f"normalized_shape: expected the last dimensions of the input's {tuple(x.shape)}, got {normalized}")
    w = checks.optional_array("weight", weight, normalized, x.dtype)
    b = checks.optional_array("bias", bias, normalized, x.dtype)
    rows, columns = math.prod(x.shape[: len(x.shape) - count]), math.prod(normalized)
    w, b = (value if value is None else reshape(value, (columns,)) for value in (w, b))
    out = checks.out(out, tuple(x.shape), x.dtype)
    return _normalized(operators.layer_norm, x, (rows, columns), out, w, b, _eps(eps))


@remembered
def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *, out: Any = None) -> Any:
    """Normalize each example over groups of its channels: ``(x - mean) / sqrt(var + eps) * weight + bias``, var biased.

    Parameters
    ----------
    input : array, shape (N, C, ...)
    num_groups : int
        It divides C; 1 takes all channels together, C each by itself (instance normalization).
    weight, bias : array, shape (C,), optional
    eps : float, not negative
    out : array of the shape and dtype of ``input``, optional

    Returns
    -------
    array of the shape and dtype of ``input``

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape (of ``out`` too) does not fit, ``num_groups`` does not divide the channels, ``eps`` is negative, or
        a batch of one has a single value in each group.

    Notes
    -----
    Source: Wu and He, "Group Normalization" (2018).

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.group_norm(np.array([[1.0, 3.0, 7.0, 5.0]]), 2).round(3)
    array([[-1.,  1.,  1., -1.]])
    """
    x = checks.array("input", input)
    N, C, L = _channels(x, 2)
    groups = checks.integer("num_groups", num_groups, 1)
    if C % groups:
        raise ValueError(f"num_groups: expected a divisor of {C} channels, got {groups}")
    w = checks.optional_array("weight", weight, (C,), x.dtype)
    b = checks.optional_array("bias", bias, (C,), x.dtype)
    eps = _eps(eps)
    if groups == N * C * L:
        raise ValueError(f"input: expected more than one value in a group, got shape {tuple(x.shape)} for {groups} groups")
    out = checks.out(out, tuple(x.shape), x.dtype)
    return _normalized(operators.group_norm, x, (N, C, L), out, w, b, groups, eps)
