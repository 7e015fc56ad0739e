"""Learning-rate schedules, with the names, arguments and trajectories of ``torch.optim.lr_scheduler``.

Schedules change ``optimizer.param_groups[i]["lr"]`` from its present value, so that several can act on one optimiser.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastnn.functional import checks

from .optimizer import Optimizer


def _per_group(name: str, value: Any, count: int) -> list[Any]:
    """One value for each parameter group: of a list of that length, or the same for all."""
    if isinstance(value, (list, tuple)):
        if len(value) != count:
            raise ValueError(f"{name}: expected {count} values, one for each parameter group, got {len(value)}")
        return list(value)
    return [value] * count


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected an Optimizer, got {type(optimizer).__name__}")


class LRScheduler:
    """Base class: ``step()`` once an epoch (or a batch) sets the learning rate of every group to ``get_lr()``.

    Attributes
    ----------
    last_epoch : int
        Number of steps taken.
    base_lrs : list of float
        The learning rates at the start.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        _check_optimizer(optimizer)
        self.optimizer = optimizer
        for index, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group["initial_lr"] = group["lr"]
            elif "initial_lr" not in group:
                raise ValueError(f"last_epoch: to resume, param_groups[{index}] must have an 'initial_lr'")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = checks.integer("last_epoch", last_epoch, -1)
        self._last_lr: list[float] = []
        self.step()

    def get_lr(self) -> list[float]:
        """The learning rate of each group at ``last_epoch``, from the present one."""
        raise TypeError(f"{type(self).__name__} does not define get_lr()")

    def get_last_lr(self) -> list[float]:
        """The learning rates that the last step set."""
        return list(self._last_lr)

    def step(self) -> None:
        """Go on by one epoch."""
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr
        self._last_lr = self._lrs()

    def _lrs(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser and functions."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer" and not callable(value)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        self.__dict__.update(state_dict)


class LambdaLR(LRScheduler):
    """``lr = initial lr * lr_lambda(epoch)``.

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable or list of callables, one for each group
    last_epoch : int
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]], last_epoch: int = -1) -> None:
        _check_optimizer(optimizer)
        self.lr_lambdas = _per_group("lr_lambda", lr_lambda, len(optimizer.param_groups))
        for item in self.lr_lambdas:
            if not callable(item):
                raise TypeError(f"lr_lambda: expected a function of the epoch, got {item!r}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * factor(self.last_epoch) for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        return {key: value for key, value in super().state_dict().items() if key != "lr_lambdas"}


class StepLR(LRScheduler):
    """``lr *= gamma`` every ``step_size`` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = checks.integer("step_size", step_size, 1)
        self.gamma = checks.real("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        decays = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return [lr * self.gamma if decays else lr for lr in self._lrs()]


class MultiStepLR(LRScheduler):
    """``lr *= gamma`` at each of the ``milestones`` (epochs; one given twice counts twice)."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.milestones = Counter(checks.integer("milestones", epoch, 0) for epoch in milestones)
        self.gamma = checks.real("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        factor = self.gamma ** self.milestones[self.last_epoch]
        return [lr * factor for lr in self._lrs()]


class ExponentialLR(LRScheduler):
    """``lr *= gamma`` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = checks.real("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [lr * self.gamma if self.last_epoch > 0 else lr for lr in self._lrs()]


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the initial rate down to ``eta_min`` in ``T_max`` epochs, then up again.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (2017), equation 5, without restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = checks.integer("T_max", T_max, 1)
        self.eta_min = checks.real("eta_min", eta_min)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        epoch, period, low = self.last_epoch, self.T_max, self.eta_min
        if epoch == 0:
            return self._lrs()
        if (epoch - 1 - period) % (2 * period) == 0:
            return [
                lr + (base - low) * (1 - math.cos(math.pi / period)) / 2 for base, lr in zip(self.base_lrs, self._lrs(), strict=True)
            ]
        ratio = (1 + math.cos(math.pi * epoch / period)) / (1 + math.cos(math.pi * (epoch - 1) / period))
        return [ratio * (lr - low) + low for lr in self._lrs()]


class OneCycleLR(LRScheduler):
    """Up to ``max_lr`` and down far below the start within ``total_steps``, the momentum moving the other way; step every batch.

    Source: Smith and Topin, "Super-Convergence" (2018).

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float or list, one for each group
    total_steps : int, or epochs and steps_per_epoch
    pct_start : float
        The part of the cycle that goes up.
    anneal_strategy : "cos" or "linear"
    cycle_momentum : bool
        Move momentum, or the first of the betas.
    base_momentum, max_momentum : float or list
    div_factor, final_div_factor : float
        Start at ``max_lr / div_factor``, end at that divided by ``final_div_factor``.
    three_phase : bool
    last_epoch : int
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: Any, total_steps: int | None = None, epochs: int | None = None,
        steps_per_epoch: int | None = None, pct_start: float = 0.3, anneal_strategy: str = "cos", cycle_momentum: bool = True,
        base_momentum: Any = 0.85, max_momentum: Any = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
        three_phase: bool = False, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        _check_optimizer(optimizer)
        if total_steps is not None:
            self.total_steps = checks.integer("total_steps", total_steps, 1)
        elif epochs is not None and steps_per_epoch is not None:
            self.total_steps = checks.integer("epochs", epochs, 1) * checks.integer("steps_per_epoch", steps_per_epoch, 1)
        else:
            raise ValueError("total_steps: expected it, or epochs and steps_per_epoch")
        pct_start = checks.real("pct_start", pct_start, 0.0, 1.0)
        self.anneal_strategy = checks.choice("anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.cycle_momentum = cycle_momentum
        self._phases = self._make_phases(pct_start, three_phase)
        groups = optimizer.param_groups
        peaks = _per_group("max_lr", max_lr, len(groups))
        lows, highs = (_per_group(n, v, len(groups)) for n, v in (("base_momentum", base_momentum), ("max_momentum", max_momentum)))
        if last_epoch == -1:
            for group, peak, low, high in zip(groups, peaks, lows, highs, strict=True):
                group["initial_lr"] = checks.real("max_lr", peak, 0.0) / div_factor
                group["max_lr"] = peak
                group["min_lr"] = group["initial_lr"] / final_div_factor
                group["lr"] = group["initial_lr"]
                if cycle_momentum:
                    if not ("betas" in group or "momentum" in group):
                        raise ValueError("cycle_momentum: the optimizer has neither momentum nor betas")
                    group["base_momentum"], group["max_momentum"] = low, high
                    self._set_momentum(group, high)
        super().__init__(optimizer, last_epoch)

    def _make_phases(self, pct_start: float, three_phase: bool) -> list[tuple[float, str, str, str, str]]:
        """(last step, start and end of the rate, start and end of the momentum), by the group's keys."""
        up = float(pct_start * self.total_steps) - 1
        first = (up, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        if three_phase:
            return [
                first,
                (2 * up, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                (self.total_steps - 1.0, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
            ]
        return [first, (self.total_steps - 1.0, "max_lr", "min_lr", "base_momentum", "max_momentum")]

    @staticmethod
    def _set_momentum(group: dict[str, Any], value: float) -> None:
        if "betas" in group:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value

    def _between(self, start: float, end: float, part: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)

    def get_lr(self) -> list[float]:
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(f"step: the cycle has {self.total_steps} steps, and step {step} was asked for")
        rates, begin = [], 0.0
        for end, *keys in self._phases:
            if step <= end or end == self._phases[-1][0]:
                part = (step - begin) / (end - begin) if end != begin else 1.0
                break
            begin = end
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[keys[0]], group[keys[1]], part))
            if self.cycle_momentum:
                self._set_momentum(group, self._between(group[keys[2]], group[keys[3]], part))
        return rates


class ReduceLROnPlateau:
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
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", cooldown: int = 0, min_lr: Any = 0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        _check_optimizer(optimizer)
        self.optimizer = optimizer
        self.mode = checks.choice("mode", mode, ("min", "max"))
        self.factor = checks.real("factor", factor)
        if self.factor >= 1:
            raise ValueError(f"factor: expected a number below 1, got {factor}")
        self.patience = checks.integer("patience", patience, 0)
        self.threshold = checks.real("threshold", threshold)
        self.threshold_mode = checks.choice("threshold_mode", threshold_mode, ("rel", "abs"))
        self.cooldown = checks.integer("cooldown", cooldown, 0)
        self.min_lrs = _per_group("min_lr", min_lr, len(optimizer.param_groups))
        self.eps = checks.real("eps", eps)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def is_better(self, value: float, best: float) -> bool:
        """Whether ``value`` improves on ``best`` by more than the threshold."""
        if math.isinf(best):
            return value > best if self.mode == "max" else value < best
        margin = self.threshold if self.threshold_mode == "abs" else self.threshold * best
        return value > best + margin if self.mode == "max" else value < best - margin

    def step(self, metrics: Any) -> None:
        """Take note of an epoch's metric, and reduce the rates where it is time."""
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
            for group, low in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                new = max(group["lr"] * self.factor, low)
                if group["lr"] - new > self.eps:
                    group["lr"] = new
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float]:
        """The learning rates after the last step."""
        return list(self._last_lr)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        self.__dict__.update(state_dict)
