"""Integers, booleans, comparisons and conversions: what NumPy computes at each step of a plan, without a gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.kernels import Cost, Operator


class _NumpyCall(Operator):
    """The operator whose last argument is the function that computes it."""

    def kernel(self, backend: str) -> Callable[..., Any] | None:
        """The one way there is."""
        return _run if backend == "reference" else None


def _run(*args: Any) -> tuple[np.ndarray]:
    *arrays, function = args
    return (function(*arrays),)


def _shape(*described: Any) -> tuple[tuple[int, ...]]:
    *shapes, function = described
    return (function(*[np.broadcast_to(np.zeros((), np.int64), shape) for shape in shapes]).shape,)


def _cost(itemsize: int, *described: Any) -> Cost:
    return Cost(flops=0, bytes=itemsize * (math.prod(_shape(*described)[0]) + sum(map(math.prod, described[:-1]))))


numpy_call = _NumpyCall(
    "numpy_call", __package__, ("xs",), _shape, _cost, attributes=("function",), variadic=True, needs=(),
)  # fmt: skip


def result_of(function: Callable[..., Any], *described: tuple[tuple[int, ...], np.dtype]) -> np.ndarray:
    """An array like the result for arguments of these shapes and dtypes."""
    return np.asarray(function(*[np.broadcast_to(np.zeros((), dtype), shape) for shape, dtype in described]))
