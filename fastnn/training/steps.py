"""One step of training, and prediction in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.autograd import Tensor, no_grad
from fastnn.functional import checks
from fastnn.nn import Module
from fastnn.nn.mode import mode_kept
from fastnn.nn.utils import clip_gradients_
from fastnn.plan import weight_of

Metric = Callable[[np.ndarray, np.ndarray], float]


def accuracy(prediction: np.ndarray, target: np.ndarray) -> float:
    """Share of rows whose largest output is the target's class.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.training import accuracy
    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    return float(np.mean(prediction.argmax(1) == target))


def train_step(
    model: Module,
    loss: Callable[..., Any],
    optimizer: Any,
    x: np.ndarray,
    y: np.ndarray,
    *,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
) -> tuple[float, np.ndarray]:
    """Forward, loss, backward, clipping, update.

    Returns
    -------
    float, array
        The loss before the update, and the model's prediction.
    """
    optimizer.zero_grad()
    prediction = model(Tensor(x))
    value = loss(prediction, Tensor(y))
    value.backward()
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    clip_gradients_(trained, clip_grad_norm, clip_grad_value)
    optimizer.step()
    return value.item(), prediction.numpy()


def rows_of(name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    """An array with rows; floats get the model's ``dtype``."""
    result = value.numpy() if isinstance(value, Tensor) else checks.to_numpy(name, value)
    if result.ndim == 0 or result.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected rows of numbers, got {result.dtype} of shape {result.shape}")
    return result.astype(dtype, copy=False) if result.dtype.kind == "f" else result


def dtype_of(model: Module) -> np.dtype:
    """The dtype of the model's parameters."""
    return next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))


def predict(model: Module, x: Any, *, batch_size: int = 256) -> np.ndarray:
    """The model's output for all rows of ``x``, computed in evaluation mode, batch by batch, without recording.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> from fastnn.training import predict
    >>> predict(nn.Linear(3, 2), np.zeros((5, 3), np.float32)).shape
    (5, 2)
    """
    batch_size = checks.integer("batch_size", batch_size, 1)
    x = rows_of("x", x, dtype_of(model))
    with mode_kept(model, training=False), no_grad():
        parts = [model(Tensor(x[i : i + batch_size])).numpy() for i in range(0, max(len(x), 1), batch_size)]
    return np.concatenate(parts)


def evaluate(
    model: Module, x: Any, y: Any, loss: Callable[..., Any], metric: Metric | None = None, *, batch_size: int = 256
) -> tuple[float, float | None]:
    """Loss (a sum is divided by the rows) and metric of the predictions for all rows at once, in evaluation mode."""
    prediction = predict(model, x, batch_size=batch_size)
    y = rows_of("y", y, prediction.dtype)
    with no_grad():
        value = loss(Tensor(prediction), Tensor(y)).item() * weight_of(loss, len(y)) / max(len(y), 1)
    return value, None if metric is None else float(metric(prediction, y))
