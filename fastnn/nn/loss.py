"""Losses as modules. All keep torch's arguments but the legacy ``size_average`` and ``reduce``, so the others go by keyword."""

from __future__ import annotations

from typing import Any

from fastnn import functional as F
from fastnn.functional import checks

from .module import Module


class _Loss(Module):
    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.reduction = checks.choice("reduction", reduction, ("none", "mean", "sum"))

    def _weigh(self, name: str, value: Any) -> None:
        """Register weights as a buffer, None as an empty one."""
        self.register_buffer(name, None if value is None else checks.array(name, value))

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class MSELoss(_Loss):
    """``(x - t)^2``, see :func:`fastnn.functional.mse_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> float(nn.MSELoss()(np.array([1.0, 4.0]), np.array([1.0, 2.0])))
    2.0
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        """Loss of arrays of one shape."""
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """``|x - t|``, see :func:`fastnn.functional.l1_loss`."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        """Loss of arrays of one shape."""
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """A parabola up to ``beta``, a line beyond, see :func:`fastnn.functional.smooth_l1_loss`."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = checks.real("beta", beta, 0.0)

    def forward(self, input: Any, target: Any) -> Any:
        """Loss of arrays of one shape."""
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class BCELoss(_Loss):
    """Binary cross entropy of probabilities, see :func:`fastnn.functional.binary_cross_entropy`. ``weight`` is a buffer."""

    def __init__(self, weight: Any = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._weigh("weight", weight)

    def forward(self, input: Any, target: Any) -> Any:
        """Loss of probabilities of one shape."""
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Binary cross entropy of ``sigmoid(x)``, see :func:`fastnn.functional.binary_cross_entropy_with_logits`.

    ``weight`` and ``pos_weight`` are buffers.
    """

    def __init__(self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self._weigh("weight", weight)
        self._weigh("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Any:
        """Loss of logits and probabilities of one shape."""
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class CrossEntropyLoss(_Loss):
    """Cross entropy of ``softmax(x)``, see :func:`fastnn.functional.cross_entropy`. ``weight`` is a buffer.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> round(float(nn.CrossEntropyLoss()(np.zeros((2, 4)), np.array([1, 3]))), 4)
    1.3863
    """

    def __init__(
        self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        super().__init__(reduction)
        self._weigh("weight", weight)
        self.ignore_index = checks.integer("ignore_index", ignore_index)
        self.label_smoothing = checks.real("label_smoothing", label_smoothing, 0.0, 1.0)

    def forward(self, input: Any, target: Any) -> Any:
        """Loss of logits (N, C, ...) with classes (N, ...) or probabilities (N, C, ...)."""
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_Loss):
    """Negative log likelihood of log-probabilities, see :func:`fastnn.functional.nll_loss`. ``weight`` is a buffer."""

    def __init__(self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._weigh("weight", weight)
        self.ignore_index = checks.integer("ignore_index", ignore_index)

    def forward(self, input: Any, target: Any) -> Any:
        """Loss of log-probabilities (N, C, ...) with classes (N, ...)."""
        return F.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class HingeLoss(_Loss):
    """``max(0, 1 - x t)`` for targets of -1 and 1, see :func:`fastnn.functional.hinge_loss`."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        """Loss of arrays of one shape."""
        return F.hinge_loss(input, target, reduction=self.reduction)


class PerceptronLoss(_Loss):
    """``max(0, -x t)`` for targets of -1 and 1, see :func:`fastnn.functional.perceptron_loss`."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Any, target: Any) -> Any:
        """Loss of arrays of one shape."""
        return F.perceptron_loss(input, target, reduction=self.reduction)
