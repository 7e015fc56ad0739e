"""What a plan is given, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import nn
from fastnn.autograd import Tensor
from fastnn.functional import checks
from fastnn.optim import Optimizer


def _checked_model(model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a Module, got {type(model).__name__}")
    return model


def _checked_loss(loss: Any) -> Callable[..., Any] | None:
    if loss is not None and not callable(loss):
        raise TypeError(f"loss: expected a loss module or function, got {type(loss).__name__}")
    return loss


def _checked_optimizer(optimizer: Any) -> Optimizer | None:
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected an optimiser of fastnn.optim, got {type(optimizer).__name__}")
    return optimizer


CHECKS: dict[str, Callable[[Any], Any]] = {
    "model": _checked_model,
    "loss": _checked_loss,
    "optimizer": _checked_optimizer,
    "clip_grad_norm": lambda limit: None if limit is None else checks.real("clip_grad_norm", limit, 0.0),
    "clip_grad_value": lambda limit: None if limit is None else checks.real("clip_grad_value", limit, 0.0),
}


def plain_array(name: str, value: Any, float_dtype: Callable[[], np.dtype]) -> np.ndarray:
    """An array in a dtype that programs are made for: ``float_dtype()``, int64 or bool."""
    array = value.numpy() if isinstance(value, Tensor) else checks.to_numpy(name, value)
    if array.dtype.kind == "f":
        return array.astype(float_dtype(), copy=False)
    if array.dtype.kind not in "iub":
        raise TypeError(f"{name}: expected numbers, got dtype {array.dtype}")
    return checks.index_array(name, array) if array.dtype.kind != "b" else array


def rows_in(order: Any, count: int) -> np.ndarray:
    """Numbers of rows, at least one, each below ``count``."""
    rows = np.array(checks.index_array("order", order))  # a copy: kernels trust rows that were checked
    if rows.ndim != 1 or len(rows) == 0:
        raise ValueError(f"order: expected one dimension and at least one row, got shape {rows.shape}")
    if rows.min() < 0 or rows.max() >= count:
        raise IndexError(f"order: expected rows in [0, {count - 1}], got {rows.min()} to {rows.max()}")
    return rows
