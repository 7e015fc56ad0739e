"""The schedule that waits for a metric to stop improving."""

from __future__ import annotations

import math
from typing import Any

from fastnn.functional import checks
from fastnn.optim.optimizer import Optimizer

from .scheduler import LRScheduler, check_optimizer, per_group


class ReduceLROnPlateau(LRScheduler):
    """``lr *= factor`` when the metric given to ``step`` has not improved for more than ``patience`` epochs.

    Parameters
    ----------
    optimizer : Optimizer
    mode : "min" or "max"
    factor : float below 1
    patience : int
    threshold : float
        What counts as an improvement, relative to the best value or absolute.
    threshold_mode : "rel" or "abs"
    cooldown : int
        Epochs after a reduction in which nothing is counted.
    min_lr : float or list, one for each group
    eps : float
        A smaller reduction is not made.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn.optim import SGD, lr_scheduler
    >>> schedule = lr_scheduler.ReduceLROnPlateau(SGD([fastnn.tensor([1.0])], lr=0.5), factor=0.5, patience=0)
    >>> for loss in (3.0, 2.0, 2.5):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", cooldown: int = 0, min_lr: Any = 0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        check_optimizer(optimizer)
        self.optimizer = optimizer
        self.mode = checks.choice("mode", mode, ("min", "max"))
        self.factor = checks.real("factor", factor)
        if self.factor >= 1:
            raise ValueError(f"factor: expected a number below 1, got {factor}")
        self.patience = checks.integer("patience", patience, 0)
        self.threshold = checks.real("threshold", threshold)
        self.threshold_mode = checks.choice("threshold_mode", threshold_mode, ("rel", "abs"))
        self.cooldown = checks.integer("cooldown", cooldown, 0)
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else checks.real("min_lr", min_lr)
        self.min_lrs = [checks.real("min_lr", value) for value in per_group("min_lr", min_lr, optimizer)]
        self.eps = checks.real("eps", eps)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = self._present_lrs()

    def is_better(self, value: float, best: float) -> bool:
        """Whether ``value`` improves on ``best`` by more than the threshold."""
        sign = -1 if self.mode == "min" else 1
        wanted = best * (1 + sign * self.threshold) if self.threshold_mode == "rel" else best + sign * self.threshold
        return value < wanted if self.mode == "min" else value > wanted

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Take note of an epoch's metric, and reduce the rates where it is time.

        Parameters
        ----------
        metrics : float
            A number, or a Tensor with one element. NaN is no improvement.
        """
        value = checks.number("metrics", metrics)
        self.last_epoch += 1
        if self.is_better(value, self.best):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._present_lrs()

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(self.min_lrs) != len(groups):  # a group was added
            if self.default_min_lr is None:
                raise ValueError(f"min_lrs: expected {len(groups)} values, one for each parameter group, got {self.min_lrs}")
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, low in zip(groups, self.min_lrs, strict=True):
            new = max(group["lr"] * self.factor, low)
            if group["lr"] - new > self.eps:
                group["lr"] = new
