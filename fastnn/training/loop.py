"""The training loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from fastnn import nn, optim, random
from fastnn.functional import checks
from fastnn.nn.mode import mode_kept
from fastnn.plan import Plan, TraceError, weight_of

from .callbacks import Callback, History, Run
from .parallel import Alone, DataParallel
from .progress import progress_callback
from .steps import Metric, accuracy, dtype_of, evaluate, rows_of, train_step

Step = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


def fit(
    model: nn.Module,
    train: tuple[Any, Any],
    *,
    validation: tuple[Any, Any] | None = None,
    loss: Callable[..., Any] | None = None,
    optimizer: Any = None,
    epochs: int = 10,
    batch_size: int = 32,
    shuffle: bool = True,
    rng: Any = None,
    metric: Metric | None = None,
    callbacks: Sequence[Callback] = (),
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    progress: bool = True,
    eager: bool = False,
    comm: Any = None,
) -> History:
    """Train ``model`` in mini-batches; the partial last batch takes part.

    Ctrl-C ends the training and leaves a model that can be used, in the mode (training or evaluation) that it had before, and a
    history of the finished epochs with ``interrupted=True``.

    Parameters
    ----------
    model : Module
    train, validation : (x, y)
        Arrays with as many rows each. Floats are converted to the dtype of the model's parameters (a copy where it differs).
    loss : callable, optional
        ``loss(prediction, target)`` -> scalar Tensor. By default CrossEntropyLoss for integer targets and MSELoss for floats.
    optimizer : optional
        By default Adam over all parameters.
    epochs, batch_size : int
    shuffle : bool
        Draw a new order for each epoch.
    rng : Generator or int, optional
        Of the order; by default fastnn's own.
    metric : callable, optional
        ``metric(prediction, target)`` -> float, on arrays; it is logged under its name. By default ``accuracy`` for integer
        targets.
    callbacks : sequence of Callback
    clip_grad_norm, clip_grad_value : float, optional
        Limits of the gradient's norm and of its elements.
    progress : bool
        Show loss, metric and examples/s: a bar where rich is installed, else a few lines on stderr.
    eager : bool
        Run the model's own Python at each step, instead of a plan (:func:`fastnn.compile`). A model that cannot be compiled is
        trained so with a RuntimeWarning that says why.
    comm : mpi4py.MPI.Comm, optional
        Its processes train together, each on its share of every batch (:class:`fastnn.training.DataParallel`). All call ``fit`` with the
        same arguments; where a callback of one stops, all stop, and where one fails, all end.

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError
        Where arguments do not fit together.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn
    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    >>> history = fastnn.fit(model, (x, np.array([0, 1, 1, 0])), epochs=3, progress=False)
    >>> history.epochs
    3
    """
    loss = loss or (nn.CrossEntropyLoss() if _pair("train", train, model)[1].dtype.kind != "f" else nn.MSELoss())
    optimizer = optimizer or optim.Adam(model.parameters())
    if eager and comm is not None:
        raise ValueError("eager: processes that train together run plans")
    plan = Plan(model, loss, optimizer, clip_grad_norm, clip_grad_value)
    step = _eager_step(plan) if eager else _compiled_step(plan)
    return _fit(
        plan, step, train, validation, epochs=epochs, batch_size=batch_size, shuffle=shuffle, rng=rng, metric=metric,
        callbacks=callbacks, progress=progress, comm=comm,
    )  # fmt: skip


def fit_plan(plan: Plan, train: tuple[Any, Any], validation: tuple[Any, Any] | None, **options: Any) -> History:
    """Train by a plan, which knows model, loss and optimiser; ``options`` as for :func:`fit`."""
    return _fit(plan, plan.train_batch, train, validation, metric=None, **options)


def _fit(plan, step, train, validation, *, epochs, batch_size, shuffle, rng, metric, callbacks, progress, comm):
    """The loop over epochs; ``plan`` says what is trained, ``step`` how where one process trains alone."""
    epochs, batch_size = checks.integer("epochs", epochs, 1), checks.integer("batch_size", batch_size, 1)
    x, y = _pair("train", train, plan.model)
    held_out = None if validation is None else _pair("validation", validation, plan.model)
    metric = metric or (accuracy if y.dtype.kind != "f" and y.ndim == 1 else None)
    generator = random.generator(rng)
    team = Alone(step) if comm is None else DataParallel(plan, comm)
    run, history = Run(plan.model, plan.optimizer, epochs, len(x), batch_size, is_first=team.rank == 0), History()
    listeners = [history, *([progress_callback()] if progress and run.is_first else []), *callbacks]
    start = perf_counter()
    with mode_kept(plan.model):
        try:
            team.start()
            _tell(listeners, "on_start", run)
            while run.epoch < epochs and not run.stop:
                order = team.same(generator.permutation(len(x)) if shuffle else np.arange(len(x)))
                _train_epoch(run, x, y, order, team.step, plan.loss, metric, listeners)
                team.finish_epoch()
                if held_out is not None:
                    run.logs |= _held_out_logs(plan, held_out, metric, team)
                run.epoch += 1
                _tell(listeners, "on_epoch_end", run)
                run.stop = team.one_stops(run.stop)
        except BaseException as error:
            if isinstance(team, DataParallel) and team.size > 1:
                team.fail()
            if not isinstance(error, KeyboardInterrupt):
                raise
            history.interrupted = True
        finally:
            history.seconds = perf_counter() - start
            _tell(listeners, "on_end", run)
    return history


def _held_out_logs(plan, held_out, metric, team):
    """Loss and metric of the validation data; the first of several processes computes them for all."""
    names = ["val_loss"] if metric is None else ["val_loss", f"val_{_name(metric)}"]
    logs = {}
    if team.rank == 0:
        x, y = held_out
        logs = dict(zip(names, evaluate(plan.model, x, y, plan.loss, metric), strict=False))
    return team.share_logs(names, logs)


def _train_epoch(run, x, y, order, step, loss, metric, listeners):
    """All batches once; ``run.logs`` holds the means over the rows seen so far."""
    run.model.train()
    run.logs, run.seen = {}, 0
    totals: dict[str, float] = {}
    for first in range(0, len(order), run.batch_size):
        rows = order[first : first + run.batch_size]
        target = y[rows]
        value, prediction = step(x[rows], target)
        numbers = {"loss": value}
        if metric is not None:
            numbers[_name(metric)] = float(metric(prediction, target))
        run.seen += len(rows)
        run.total += len(rows)
        run.step += 1
        for name, number in numbers.items():
            weight = weight_of(loss, len(rows)) if name == "loss" else len(rows)
            totals[name] = totals.get(name, 0.0) + number * weight
            run.logs[name] = totals[name] / run.seen
        _tell(listeners, "on_batch_end", run)


def _eager_step(plan: Plan) -> Step:
    """Steps in Python of what a plan would do."""
    assert plan.loss is not None
    return partial(
        train_step, plan.model, plan.loss, plan.optimizer,
        clip_grad_norm=plan.clip_grad_norm, clip_grad_value=plan.clip_grad_value,
    )  # fmt: skip


def _compiled_step(plan: Plan) -> Step:
    """Steps of a plan, or of the model's own Python from the moment on that it cannot be compiled."""
    compiles, eager = True, _eager_step(plan)

    def step(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal compiles
        if compiles:
            try:
                return plan.train_batch(x, y)
            except TraceError as error:
                warnings.warn(f"fit: the model runs without a plan. {error}", RuntimeWarning, stacklevel=5)
                compiles = False
        return eager(x, y)

    return step


def _pair(name: str, pair: Any, model: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"{name}: expected a pair (x, y) of arrays, got {type(pair).__name__}")
    x, y = (rows_of(f"{name} {part}", value, dtype_of(model)) for part, value in zip("xy", pair, strict=True))
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"{name}: expected as many rows in x and y, and at least one, got {len(x)} and {len(y)}")
    return x, y


def _name(metric: Metric | None) -> str:
    return getattr(metric, "__name__", "metric")


def _tell(listeners: Sequence[Callback], event: str, run: Run) -> None:
    for listener in listeners:
        getattr(listener, event)(run)
