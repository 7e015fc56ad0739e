"""What may happen beside the steps of training: stopping early, schedules, averages, the record."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnn.functional import checks
from fastnn.nn import Module


@dataclass
class Run:
    """What a callback sees of a training that runs, and may change.

    Attributes
    ----------
    model, optimizer
    epochs : int
        How many are planned.
    examples : int
        Rows of the training data.
    batch_size : int
    epoch, step : int
        Epochs finished, and optimiser steps made.
    seen, total : int
        Rows used in the current epoch, and in all.
    logs : dict of str to float
        "loss", the metric, "val_loss", "val_" + metric: means over the epoch so far.
    stop : bool
        Set it to True to end training after this epoch.
    is_first : bool
        Whether this is the only process that trains, or the first one of several: the one that writes files.
    """

    model: Module
    optimizer: Any
    epochs: int
    examples: int
    batch_size: int
    epoch: int = 0
    step: int = 0
    seen: int = 0
    total: int = 0
    logs: dict[str, float] = field(default_factory=dict)
    stop: bool = False
    is_first: bool = True


class Callback:
    """Base class: define what you need of these four methods.

    Examples
    --------
    >>> from fastnn.training import Callback
    >>> class StopWhenGood(Callback):
    ...     def on_epoch_end(self, run):
    ...         run.stop = run.logs["loss"] < 0.01
    """

    def on_start(self, run: Run) -> None:
        """Before the first epoch."""

    def on_batch_end(self, run: Run) -> None:
        """After each step of the optimiser."""

    def on_epoch_end(self, run: Run) -> None:
        """After each epoch and its validation."""

    def on_end(self, run: Run) -> None:
        """At the end, an interrupted or failed training's too."""


class History(Callback):
    """The record of a training, returned by ``fit``.

    Attributes
    ----------
    logs : dict of str to list of float
        One value an epoch; ``history["loss"]`` is short for ``history.logs["loss"]``.
    interrupted : bool
        Whether Ctrl-C ended the training.
    seconds : float
        How long it took.
    """

    def __init__(self) -> None:
        self.logs: dict[str, list[float]] = {}
        self.interrupted = False
        self.seconds = 0.0

    def __getitem__(self, name: str) -> list[float]:
        return self.logs[name]

    def __contains__(self, name: object) -> bool:
        return name in self.logs

    @property
    def epochs(self) -> int:
        """How many epochs were finished."""
        return len(self.logs.get("loss", ()))

    def on_epoch_end(self, run: Run) -> None:
        """Append this epoch's numbers."""
        for name, value in run.logs.items():
            self.logs.setdefault(name, []).append(value)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self.logs.items())
        return f"History(epochs={self.epochs}, {last}{', interrupted' if self.interrupted else ''})"


class EarlyStopping(Callback):
    """Stop when the monitored number has not improved for ``patience`` epochs.

    Parameters
    ----------
    patience : int
    min_delta : float
        What counts as an improvement.
    restore_best : bool
        Give the model the weights of its best epoch back at the end.
    monitor : str, optional
        A name in ``Run.logs``; "val_loss" by default, "loss" where there is no validation.
    mode : {"min", "max"}, optional
        Whether small or large is good; by default small, but large for accuracies.
    """

    def __init__(
        self,
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
        monitor: str | None = None,
        mode: str | None = None,
    ) -> None:
        self.patience = checks.integer("patience", patience, 1)
        self.min_delta = checks.real("min_delta", min_delta, 0.0)
        self.restore_best = restore_best
        self.monitor = monitor
        self.mode = None if mode is None else checks.choice("mode", mode, ("min", "max"))
        self.best = math.inf
        self.best_epoch = 0
        self._weights: dict[str, np.ndarray] | None = None

    def on_start(self, run: Run) -> None:
        """Forget an earlier training."""
        self.best, self.best_epoch, self._weights = math.inf, 0, None

    def on_epoch_end(self, run: Run) -> None:
        """Compare, keep the weights of the best epoch, and ask for an end."""
        name = self.monitor or ("val_loss" if "val_loss" in run.logs else "loss")
        value = _logged(run, name)
        mode = self.mode or ("max" if name.endswith("accuracy") else "min")
        score = -value if mode == "max" else value
        if score < self.best - self.min_delta:
            self.best, self.best_epoch = score, run.epoch
            if self.restore_best:
                self._weights = run.model.state_dict()
        elif run.epoch - self.best_epoch >= self.patience:
            run.stop = True

    def on_end(self, run: Run) -> None:
        """Restore the best weights."""
        if self._weights is not None:
            run.model.load_state_dict(self._weights)


class LearningRateSchedule(Callback):
    """Step a scheduler of ``fastnn.optim.lr_scheduler`` after each epoch or each batch.

    Parameters
    ----------
    scheduler
    every : {"epoch", "batch"}
    monitor : str, optional
        The number that the scheduler is given (ReduceLROnPlateau wants one), a name in ``Run.logs``.
    """

    def __init__(self, scheduler: Any, every: str = "epoch", monitor: str | None = None) -> None:
        self.scheduler = scheduler
        self.every = checks.choice("every", every, ("epoch", "batch"))
        self.monitor = monitor

    def _step(self, run: Run) -> None:
        self.scheduler.step(*(() if self.monitor is None else (_logged(run, self.monitor),)))

    def on_batch_end(self, run: Run) -> None:
        """Step, where that is wanted after each batch."""
        if self.every == "batch":
            self._step(run)

    def on_epoch_end(self, run: Run) -> None:
        """Step, where that is wanted after each epoch."""
        if self.every == "epoch":
            self._step(run)


class WeightAverage(Callback):
    """Give the model, at the end, the mean of its weights after each of the last epochs (stochastic weight averaging).

    Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018.

    Parameters
    ----------
    start : float
        Share of the planned epochs after which averaging begins.
    """

    def __init__(self, start: float = 0.75) -> None:
        self.start = checks.real("start", start, 0.0, 1.0)
        self._sums: dict[str, np.ndarray] = {}
        self._count = 0

    def on_start(self, run: Run) -> None:
        """Forget an earlier training."""
        self._sums, self._count = {}, 0

    def on_epoch_end(self, run: Run) -> None:
        """Add this epoch's weights."""
        if run.epoch <= self.start * run.epochs:
            return
        self._count += 1
        for name, value in run.model.state_dict().items():
            # Counters (integers) are no weights: the last one stands.
            added = self._sums[name] + value if name in self._sums and value.dtype.kind == "f" else value
            self._sums[name] = added

    def on_end(self, run: Run) -> None:
        """Write the mean."""
        if self._count:
            run.model.load_state_dict({n: v / self._count if v.dtype.kind == "f" else v for n, v in self._sums.items()})


def _logged(run: Run, name: str) -> float:
    if name not in run.logs:
        raise ValueError(f"monitor: expected one of {', '.join(run.logs)}, got {name!r}")
    return run.logs[name]
