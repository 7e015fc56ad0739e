"""Schedules that follow a formula."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from types import FunctionType
from typing import Any

from fastnn.functional import checks
from fastnn.optim.optimizer import Optimizer

from .scheduler import LRScheduler, check_optimizer, per_group


class LambdaLR(LRScheduler):
    """``lr = initial lr * lr_lambda(epoch)``.

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable or list of callables, one for each group
    last_epoch : int

    Examples
    --------
    >>> import fastnn
    >>> from fastnn.optim import SGD, lr_scheduler
    >>> schedule = lr_scheduler.LambdaLR(SGD([fastnn.tensor([1.0])], lr=0.5), lambda epoch: 0.5**epoch)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]], last_epoch: int = -1
    ) -> None:
        check_optimizer(optimizer)
        self.lr_lambdas = per_group("lr_lambda", lr_lambda, optimizer)
        for item in self.lr_lambdas:
            if not callable(item):
                raise TypeError(f"lr_lambda: expected a function of the epoch, got {item!r}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The initial rates times the functions' values."""
        return [base * factor(self.last_epoch) for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Copies of everything but the optimiser; of a callable object its attributes, of a function nothing."""
        state = {key: value for key, value in self.__dict__.items() if key not in ("optimizer", "lr_lambdas")}
        state["lr_lambdas"] = [None if isinstance(f, FunctionType) else dict(getattr(f, "__dict__", {})) for f in self.lr_lambdas]
        return deepcopy(state)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; the functions stay, callable objects get their attributes back."""
        lambdas = self.lr_lambdas
        super().load_state_dict(state_dict)
        for function, attributes in zip(lambdas, self.lr_lambdas, strict=True):
            if isinstance(attributes, dict):
                vars(function).update(attributes)
        self.lr_lambdas = lambdas


class StepLR(LRScheduler):
    """``lr *= gamma`` every ``step_size`` epochs.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
    gamma : float
    last_epoch : int
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = checks.integer("step_size", step_size, 1)
        self.gamma = checks.real("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The present rates, times gamma where ``last_epoch`` is a multiple of the step size."""
        decays = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return [lr * self.gamma if decays else lr for lr in self._present_lrs()]


class MultiStepLR(LRScheduler):
    """``lr *= gamma`` at each of the ``milestones``.

    Parameters
    ----------
    optimizer : Optimizer
    milestones : iterable of int
        Epochs; one that is given twice counts twice.
    gamma : float
    last_epoch : int
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        if not isinstance(milestones, Iterable):
            raise TypeError(f"milestones: expected a list of ints, got {milestones!r}")
        self.milestones = Counter(checks.integer("milestones", epoch, 0) for epoch in milestones)
        self.gamma = checks.real("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The present rates, times gamma for each time that ``last_epoch`` is a milestone."""
        factor = self.gamma ** self.milestones[self.last_epoch]
        return [lr * factor for lr in self._present_lrs()]


class ExponentialLR(LRScheduler):
    """``lr *= gamma`` every epoch.

    Parameters
    ----------
    optimizer : Optimizer
    gamma : float
    last_epoch : int
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = checks.real("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The present rates times gamma."""
        return [lr if self._starting else lr * self.gamma for lr in self._present_lrs()]


class CosineAnnealingLR(LRScheduler):
    """``lr = eta_min + (initial lr - eta_min) (1 + cos(pi epoch / T_max)) / 2``, reached step by step from the present rate.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (2017), equation 5, without restarts:
    after ``T_max`` epochs the rate rises again.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
        Epochs from the initial rate to ``eta_min``.
    eta_min : float
    last_epoch : int
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = checks.integer("T_max", T_max, 1)
        self.eta_min = checks.real("eta_min", eta_min)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The present rates, brought on along the cosine by one epoch."""
        epoch, period, low = self.last_epoch, self.T_max, self.eta_min
        if self._starting:
            return self._present_lrs()
        if (epoch - 1 - period) % (2 * period) == 0:  # up from eta_min, where the ratio below is 0 / 0
            rise = (1 - math.cos(math.pi / period)) / 2
            return [lr + (base - low) * rise for base, lr in zip(self.base_lrs, self._present_lrs(), strict=True)]
        ratio = (1 + math.cos(math.pi * epoch / period)) / (1 + math.cos(math.pi * (epoch - 1) / period))
        return [ratio * (lr - low) + low for lr in self._present_lrs()]
