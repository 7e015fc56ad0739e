"""The 1cycle policy."""

from __future__ import annotations

import math
from typing import Any

from fastnn.functional import checks
from fastnn.optim.optimizer import Optimizer

from .scheduler import LRScheduler, check_optimizer, per_group


class OneCycleLR(LRScheduler):
    """Up to ``max_lr`` and down far below the start within ``total_steps``, the momentum moving the other way; step every batch.

    Source: Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates" (2018).

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float or list, one for each group
    total_steps : int, optional
        Without it ``epochs * steps_per_epoch``.
    epochs, steps_per_epoch : int, optional
    pct_start : float
        The part of the cycle in which the rate rises.
    anneal_strategy : "cos" or "linear"
    cycle_momentum : bool
        Move momentum, or the first of the betas.
    base_momentum, max_momentum : float or list, one for each group
        The momentum at the highest and at the lowest rate.
    div_factor, final_div_factor : float
        Start at ``max_lr / div_factor``, end at that divided by ``final_div_factor``.
    three_phase : bool
        Go down to the start in as many steps as up, and only then below.
    last_epoch : int

    Examples
    --------
    >>> import fastnn
    >>> from fastnn.optim import SGD, lr_scheduler
    >>> schedule = lr_scheduler.OneCycleLR(SGD([fastnn.tensor([1.0])], lr=0.1), 1.0, 10, anneal_strategy="linear")
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.52]
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: Any, total_steps: int | None = None, epochs: int | None = None,
        steps_per_epoch: int | None = None, pct_start: float = 0.3, anneal_strategy: str = "cos", cycle_momentum: bool = True,
        base_momentum: Any = 0.85, max_momentum: Any = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
        three_phase: bool = False, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        check_optimizer(optimizer)
        if total_steps is not None:
            self.total_steps = checks.integer("total_steps", total_steps, 1)
        elif epochs is not None and steps_per_epoch is not None:
            self.total_steps = checks.integer("epochs", epochs, 1) * checks.integer("steps_per_epoch", steps_per_epoch, 1)
        else:
            raise ValueError("total_steps: expected it, or epochs and steps_per_epoch")
        self._schedule_phases = _phases(self.total_steps, checks.real("pct_start", pct_start, 0.0, 1.0), three_phase)
        self._anneal_func_type = checks.choice("anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.cycle_momentum = bool(cycle_momentum)
        self.use_beta1 = "betas" in optimizer.defaults
        if self.cycle_momentum and not self.use_beta1 and "momentum" not in optimizer.defaults:
            raise ValueError(f"cycle_momentum: {type(optimizer).__name__} has neither momentum nor betas")
        ends = {
            "max_lr": [checks.real("max_lr", value, 0.0) for value in per_group("max_lr", max_lr, optimizer)],
            "base_momentum": [checks.real("base_momentum", x, 0.0) for x in per_group("base_momentum", base_momentum, optimizer)],
            "max_momentum": [checks.real("max_momentum", x, 0.0) for x in per_group("max_momentum", max_momentum, optimizer)],
        }
        factors = [_positive("div_factor", div_factor), _positive("final_div_factor", final_div_factor)]
        if last_epoch == -1:
            self._prepare(optimizer, ends, factors)
        super().__init__(optimizer, last_epoch)

    def _prepare(self, optimizer: Optimizer, ends: dict[str, list[float]], factors: list[float]) -> None:
        """Write what the phases lead from and to into the groups, where a schedule that goes on finds it."""
        for index, group in enumerate(optimizer.param_groups):
            group["initial_lr"] = ends["max_lr"][index] / factors[0]
            group["max_lr"] = ends["max_lr"][index]
            group["min_lr"] = group["initial_lr"] / factors[1]
            if self.cycle_momentum:
                group["base_momentum"], group["max_momentum"] = ends["base_momentum"][index], ends["max_momentum"][index]

    def get_lr(self) -> list[float]:
        """The rates at ``last_epoch``; the momentum is set on the way."""
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(f"step: the cycle has {self.total_steps} steps, and step {step} was asked for")
        begin = 0.0
        for phase in self._schedule_phases[:-1]:
            if step <= phase["end_step"]:
                break
            begin = phase["end_step"]
        else:
            phase = self._schedule_phases[-1]
        length = phase["end_step"] - begin
        part = (step - begin) / length if length else 1.0
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                self._set_momentum(group, self._between(group[phase["start_momentum"]], group[phase["end_momentum"]], part))
        return [self._between(group[phase["start_lr"]], group[phase["end_lr"]], part) for group in self.optimizer.param_groups]

    def _between(self, start: float, end: float, part: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)

    def _set_momentum(self, group: dict[str, Any], value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


def _phases(total_steps: int, pct_start: float, three_phase: bool) -> list[dict[str, Any]]:
    """The phases with their last step, and the group's keys of the values at both ends."""
    names = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")
    top, last = float(pct_start * total_steps) - 1, total_steps - 1
    rows = [(top, "initial_lr", "max_lr", "max_momentum", "base_momentum")]
    if three_phase:
        rows.append((2 * top, "max_lr", "initial_lr", "base_momentum", "max_momentum"))
        rows.append((last, "initial_lr", "min_lr", "max_momentum", "max_momentum"))
    else:
        rows.append((last, "max_lr", "min_lr", "base_momentum", "max_momentum"))
    return [dict(zip(names, row, strict=True)) for row in rows]


def _positive(name: str, value: Any) -> float:
    result = checks.real(name, value, 0.0)
    if result == 0:
        raise ValueError(f"{name}: expected a number above 0, got {value}")
    return result
