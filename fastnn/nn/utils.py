"""Limits on gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn.autograd import Tensor
from fastnn.functional import checks


def _gradients(parameters: Any) -> list[Tensor]:
    items: Iterable[Any] = [parameters] if isinstance(parameters, Tensor) else parameters
    found = []
    for index, item in enumerate(items):
        if not isinstance(item, Tensor):
            raise TypeError(f"parameters[{index}]: expected a Tensor, got {type(item).__name__}")
        if item.grad is not None:
            found.append(item.grad)
    return found


def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> float:
    """Scale all gradients together so that their norm is at most ``max_norm``.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensors
        Those without gradient are passed over.
    max_norm : float
    norm_type : float
        The p of the norm; infinity for the largest absolute value.
    error_if_nonfinite : bool
        Raise ValueError, before anything is changed, where the norm is NaN or infinite.

    Returns
    -------
    float
        The norm before clipping.
    """
    limit, p = checks.real("max_norm", max_norm), checks.real("norm_type", norm_type)
    arrays = [gradient.numpy() for gradient in _gradients(parameters)]
    if p == math.inf:
        total = float(max((np.abs(a).max() for a in arrays if a.size), default=0.0))
    else:
        total = float(sum(float((np.abs(a.astype(np.float64)) ** p).sum()) for a in arrays) ** (1 / p))
    if error_if_nonfinite and not math.isfinite(total):
        raise ValueError(f"parameters: the norm of the gradients is {total}")
    scale = limit / (total + 1e-6)
    if not scale >= 1:
        for array in arrays:
            array *= array.dtype.type(scale)
    return total


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Limit every element of the gradients to [-clip_value, clip_value]."""
    limit = checks.real("clip_value", clip_value, 0.0)
    for gradient in _gradients(parameters):
        array = gradient.numpy()
        np.clip(array, -limit, limit, out=array)
