"""A plan's prediction, and the gradients that flow back through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.autograd import Tensor
from fastnn.functional import checks

if TYPE_CHECKING:
    from .plan import Plan


def vjp(plan: Plan, x: Any) -> tuple[np.ndarray, Callable[[Any], tuple[np.ndarray | None, dict[str, np.ndarray]]]]:
    """What :meth:`Plan.vjp` gives."""
    x = plan._array("x", x)
    y = plan.predict(x)

    def pullback(dy: Any) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
        dy = checks.array("dy", dy.numpy() if isinstance(dy, Tensor) else dy, dtype=y.dtype)
        checks.check_shape("dy", dy, y.shape)
        with plan._lock:
            compiled = plan._find("pullback", x)
            compiled.take(x, dy)
            compiled.run()
            gradients = {name: array.copy() for name, array in compiled.gradients.items()}
        dx = gradients.pop("x", None)
        return np.zeros_like(x) if dx is None and x.dtype.kind == "f" else dx, gradients

    return y, pullback
