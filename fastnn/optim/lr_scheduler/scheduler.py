"""What all schedules share."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from fastnn.functional import checks
from fastnn.optim.optimizer import Optimizer


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError unless ``optimizer`` is one."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected an Optimizer, got {type(optimizer).__name__}")


def per_group(name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """One value for each parameter group: those of a list of that length, or the same for all."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name}: expected {count} values, one for each parameter group, got {len(value)}")
    return list(value)


class LRScheduler:
    """Base class: ``step()``, once an epoch (or a batch), sets the learning rate of every group to ``get_lr()``.

    The first step is taken at construction: it brings ``last_epoch`` from -1 to 0.

    Parameters
    ----------
    optimizer : Optimizer
        Each group's rate becomes its "initial_lr", unless an earlier schedule has set that.
    last_epoch : int
        Where to go on, the groups having an "initial_lr"; -1 to start.

    Attributes
    ----------
    last_epoch : int
        Number of steps taken.
    base_lrs : list of float
        The learning rates at the start.

    Raises
    ------
    TypeError, ValueError
        Naming the argument that is wrong.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn.optim import SGD
    >>> from fastnn.optim.lr_scheduler import LRScheduler
    >>> class Harmonic(LRScheduler):
    ...     def get_lr(self):
    ...         return [lr / (1 + self.last_epoch) for lr in self.base_lrs]
    >>> schedule = Harmonic(SGD([fastnn.tensor([1.0])], lr=0.5))
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        self.last_epoch = checks.integer("last_epoch", last_epoch, -1)
        for index, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(f"last_epoch: to go on at {last_epoch}, param_groups[{index}] must have an 'initial_lr'")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self._last_lr: list[float] = []
        self._step_count = 0
        self.step()

    def get_lr(self) -> list[float]:
        """The learning rate of each group at ``last_epoch``, computed from the present one."""
        raise TypeError(f"{type(self).__name__} does not define get_lr()")

    def get_last_lr(self) -> list[float]:
        """The learning rates that the last step set."""
        return list(self._last_lr)

    def step(self) -> None:
        """Go on by one epoch."""
        self._step_count += 1
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr
        self._last_lr = self._present_lrs()

    @property
    def _starting(self) -> bool:
        """Whether this is the step that the constructor takes."""
        return self._step_count == 1

    def _present_lrs(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Copies of everything but the optimiser, under torch's names."""
        return deepcopy({key: value for key, value in self.__dict__.items() if key != "optimizer"})

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave, here or in torch."""
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict: expected a dict, got {type(state_dict).__name__}")
        self.__dict__.update(deepcopy({key: value for key, value in state_dict.items() if key != "optimizer"}))
