"""In which precision an estimator trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy.sparse import issparse

import fastnn

# float32 has 24 bits: with a spread of a thousandth of its largest value, a column keeps 14 bits or more of what tells rows apart.
SPREAD = 1e-3
RANGE = (1e-15, 1e15)  # squares of such numbers are far from overflow and underflow


def float32_suffices(table: Any) -> bool:
    """Whether every column of a table keeps what tells its rows apart when it is rounded to float32."""
    if issparse(table):  # the zeros are far from the rest
        table = table.data.reshape(-1, 1)
        low, high = np.minimum(table.min(0, initial=0), 0), np.maximum(table.max(0, initial=0), 0)
    else:
        low, high = table.min(0), table.max(0)
    size, spread = np.maximum(np.abs(low), np.abs(high)), high - low
    in_range = (size == 0) | ((size > RANGE[0]) & (size < RANGE[1]))
    return bool(np.all(in_range & ((spread == 0) | (spread >= SPREAD * size))))


def training_dtype(precision: str, X: Any, y: np.ndarray, batch_size: int) -> np.dtype:
    """The dtype in which Adam and SGD compute.

    Parameters
    ----------
    precision : "auto" | "input"
        "input": the dtype of ``X``. "auto": float32 in mini-batches, whose noise is far above its rounding, unless the data need more;
        a single batch follows the exact gradient, and is computed in the dtype of ``X``.
    X : array or sparse matrix of floats
    y : array
        Targets; booleans of classes.
    batch_size : int
    """
    if precision == "auto" and batch_size < X.shape[0] and float32_suffices(X) and (y.dtype.kind == "b" or float32_suffices(y)):
        return np.dtype(np.float32)
    return X.dtype


@contextmanager
def denormals_flushed(flush: bool) -> Iterator[None]:
    """Compute with zero in place of denormals, and as before at the end.

    Where a network is sure of its answers, gradients in float32 fall below 1e-38; processors take some hundred cycles for each.
    """
    flushed_before = np.float32(1e-45) + np.float32(0) == 0
    if flush and not flushed_before:
        fastnn.set_flush_denormal(True)
    try:
        yield
    finally:
        if flush and not flushed_before:
            fastnn.set_flush_denormal(False)
