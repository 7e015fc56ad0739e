"""Gradients limited, and lent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastnn.autograd import Tensor
from fastnn.functional import checks


def _gradients(parameters: Any) -> list[np.ndarray]:
    """The gradients' memory, which is written to; each once, however often its parameter comes."""
    items: Iterable[Any] = [parameters] if isinstance(parameters, Tensor) else parameters
    found: dict[int, np.ndarray] = {}
    for index, item in enumerate(items):
        if not isinstance(item, Tensor):
            raise TypeError(f"parameters[{index}]: expected a Tensor, got {type(item).__name__}")
        if item.grad is None:
            continue
        array = item.grad.numpy()
        if not array.flags.writeable:  # an array that the user assigned
            item.grad = array = array.copy()
        found[id(array)] = array
    return list(found.values())


def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> float:
    """Scale all gradients together so that their norm is at most ``max_norm``.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensors
        Those without gradient are passed over.
    max_norm : float
    norm_type : float
        The p of the norm, positive; infinity for the largest absolute value.
    error_if_nonfinite : bool
        Raise ValueError, before anything is changed, where the norm is NaN or infinite.

    Returns
    -------
    float
        The norm before clipping.

    Raises
    ------
    TypeError, ValueError
        Where ``parameters`` holds something else, or ``max_norm`` is negative or ``norm_type`` not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> w = nn.Parameter(np.zeros(2))
    >>> w.grad = np.array([3.0, 4.0])
    >>> nn.utils.clip_grad_norm_([w], max_norm=1.0)
    5.0
    """
    limit, p = checks.real("max_norm", max_norm, 0.0), checks.real("norm_type", norm_type)
    if p <= 0:
        raise ValueError(f"norm_type: expected a positive number, got {p}")
    arrays = _gradients(parameters)
    total = _norm([array.astype(np.float64).ravel() for array in arrays], p)
    if error_if_nonfinite and not math.isfinite(total):
        raise ValueError(f"parameters: the norm of the gradients is {total}")
    scale = limit / (total + 1e-6)  # torch's guard against a norm of zero
    if not scale >= 1:  # NaN spreads
        for array in arrays:
            array *= array.dtype.type(scale)
    return total


def _norm(vectors: list[np.ndarray], p: float) -> float:
    """The p-norm of all elements together; 0 where there are none."""
    if p == math.inf:
        return float(np.max([np.abs(vector).max() for vector in vectors if vector.size], initial=0.0))
    if p == 2:
        return math.sqrt(sum(float(vector @ vector) for vector in vectors))
    return float(sum(float((np.abs(vector) ** p).sum()) for vector in vectors) ** (1 / p))


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Limit every element of the gradients to [-clip_value, clip_value].

    Parameters
    ----------
    parameters : Tensor or iterable of Tensors
        Those without gradient are passed over.
    clip_value : float, at least 0

    Raises
    ------
    TypeError, ValueError
        Where ``parameters`` holds something else or ``clip_value`` is negative.
    """
    limit = checks.real("clip_value", clip_value, 0.0)
    for array in _gradients(parameters):
        np.clip(array, -limit, limit, out=array)


def clip_gradients_(parameters: Sequence[Tensor], max_norm: float | None, clip_value: float | None) -> None:
    """Limit the elements of the gradients, then their norm: what :func:`fastnn.compile` and :func:`fastnn.fit` do with their limits.

    Parameters
    ----------
    parameters : sequence of Tensor
    max_norm, clip_value : float or None
        As for :func:`clip_grad_norm_` and :func:`clip_grad_value_`; None for no limit.
    """
    if clip_value is not None:
        clip_grad_value_(parameters, clip_value)
    if max_norm is not None:
        clip_grad_norm_(parameters, max_norm)


@contextmanager
def gradients_lent(parameters: Sequence[Tensor], gradients: Sequence[np.ndarray | None]) -> Iterator[None]:
    """Give parameters these gradients for the length of a ``with`` block, and what they had before afterwards.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn, optim
    >>> w = nn.Parameter(np.zeros(2))
    >>> with nn.utils.gradients_lent([w], [np.array([1.0, 2.0])]):
    ...     optim.SGD([w], lr=1.0).step()
    >>> w.tolist(), w.grad
    ([-1.0, -2.0], None)
    """
    before = [parameter.grad for parameter in parameters]
    try:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        yield
    finally:
        for parameter, own in zip(parameters, before, strict=True):
            parameter.grad = own
