"""``fastnn.profile``: steps timed from inside and from outside, in turn, and summed up by layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import numpy as np

from fastnn import nn, optim, random
from fastnn.autograd import Tensor, no_grad
from fastnn.functional import checks
from fastnn.nn.mode import mode_kept
from fastnn.plan import Plan
from fastnn.threads import get_num_threads

from .. import machine
from ..roofline import Roofline, machine_roofline
from ..timing import Race
from .names import Names
from .result import PHASES, Part, Profile
from .steps import Described, EagerSteps, Key, PlanSteps, Steps

QUIET = (0.05, 0.15)  # the steps that count, by rank: those around the 10 % quantile, so that rows sum up to a step
CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss)


def profile(
    model: Any,
    input_shape: Any,
    batch_size: int = 32,
    *,
    loss: Callable[..., Any] | None = None,
    optimizer: Any = None,
    target: Any = None,
    training: bool = True,
    compiled: bool = False,
    roofline: Roofline | bool = True,
    budget: float = 1.0,
    seed: Any = 0,
) -> Profile:
    """Measure what each layer's forward and backward pass cost, on copies: model and optimiser stay as they are.

    Parameters
    ----------
    model : Module or Plan
        A plan (:func:`fastnn.compile`) brings its own loss and optimiser, and its executor times the calls from inside; an eager
        model's kernel calls are timed in dispatch.
    input_shape : int, tuple of int, or array
        Shape of one row, for which random numbers are drawn; or a batch itself.
    batch_size : int
        Rows of the batch, unless one is given.
    loss : callable, optional
        ``loss(prediction, target)``; by default cross entropy where the model gives a row of scores, else the mean squared error.
    optimizer : Optimizer, optional
        Without one nothing is updated.
    target : array, optional
        By default random classes for losses that want them, else random numbers in [0, 1).
    training : bool
        False measures predictions in evaluation mode.
    compiled : bool
        Make a plan of the model first; steps of training then need an optimiser.
    roofline : Roofline or bool
        The machine's limits; True has them measured once (some seconds) and kept, False leaves them out.
    budget : float
        Seconds to measure for; at least 10 steps are made.
    seed : int or numpy.random.Generator
        Of the random numbers.

    Returns
    -------
    Profile
        Print it, or ask it for ``markdown()``, ``plot(path)``, ``report(path)``, ``as_dict()``.

    Raises
    ------
    TypeError, ValueError
        Where an argument is wrong, or the model does not take such a batch.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import nn, optim
    >>> model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    >>> found = fastnn.profile(model, 20, loss=nn.CrossEntropyLoss(), budget=0.05, roofline=False)
    >>> [(layer.name, layer.kind) for layer in found.layers]
    [('0', 'Linear'), ('1', 'ReLU'), ('2', 'Linear'), ('loss', 'CrossEntropyLoss')]
    >>> found.layers[0].parts["forward"].flops  # 32 rows, 20 x 30 multiply-adds and 30 additions each
    39360
    """
    model, loss, optimizer, plan = _copies(model, loss, optimizer, training)
    budget = checks.real("budget", budget, 0.0)
    if not isinstance(roofline, (bool, Roofline)):
        raise TypeError(f"roofline: expected a Roofline, True or False, got {type(roofline).__name__}")
    rng = random.generator(seed)
    dtype = next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))
    x = _input(input_shape, batch_size, dtype, rng)
    prediction = _prediction(model, x)
    y = None
    if training and any(parameter.requires_grad for parameter in model.parameters()):
        loss = loss if loss is not None else _default_loss(prediction)
        y = _target(loss, target, prediction, rng)
        model.train()
    else:
        model.eval()
    if compiled and plan is None:
        if y is not None and optimizer is None:
            raise ValueError(
                "optimizer: a plan trains with one; expected an optimiser, training=False or compiled=False, got None"
            )
        plan = Plan(model, loss, optimizer)
    limits = machine_roofline() if roofline is True else roofline or None
    steps: Steps = EagerSteps(model, loss, optimizer, x, y) if plan is None else PlanSteps(plan, x, y)
    return _measure(steps, Names(model, loss, optimizer), x, str(dtype), limits, budget, y is not None)


def _copies(model: Any, loss: Any, optimizer: Any, training: bool) -> tuple[Any, Any, Any, Plan | None]:
    """Copies of what is to be profiled, and of the plan that they are part of."""
    if isinstance(model, Plan):
        for name, given in (("loss", loss), ("optimizer", optimizer)):
            if given is not None:
                raise ValueError(f"{name}: a plan brings its own, expected None")
        if training and (model.loss is None or model.optimizer is None):
            raise ValueError("model: a plan without loss or optimiser can only predict: profile it with training=False")
        plan = copy.deepcopy(model)
        return plan.model, plan.loss, plan.optimizer, plan
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a Module or a Plan, got {type(model).__name__}")
    if loss is not None and not callable(loss):
        raise TypeError(f"loss: expected a loss module or function, got {type(loss).__name__}")
    if optimizer is not None and not isinstance(optimizer, optim.Optimizer):
        raise TypeError(f"optimizer: expected an optimiser, got {type(optimizer).__name__}")
    return (*copy.deepcopy((model, loss, optimizer)), None)


def _input(given: Any, batch_size: int, dtype: Any, rng: np.random.Generator) -> np.ndarray:
    """The batch that was given, or random numbers of the shape that was."""
    if hasattr(given, "__array__") or isinstance(given, Tensor):
        batch = given.numpy() if isinstance(given, Tensor) else checks.to_numpy("input_shape", given)
        if batch.ndim == 0:
            raise ValueError("input_shape: expected a batch of at least one dimension, got a number")
        return batch.astype(dtype, copy=False) if batch.dtype.kind == "f" else batch
    row = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    shape = [checks.integer("input_shape", n, 1) for n in row]
    return rng.standard_normal((checks.integer("batch_size", batch_size, 1), *shape)).astype(dtype)


def _prediction(model: nn.Module, x: np.ndarray) -> np.ndarray:
    with mode_kept(model, training=False), no_grad():
        result = model(Tensor(x))
    if not isinstance(result, Tensor):
        raise TypeError(f"model: expected one Tensor as its output, got {type(result).__name__}")
    return result.numpy()


def _default_loss(prediction: np.ndarray) -> nn.Module:
    return nn.CrossEntropyLoss() if prediction.ndim == 2 and prediction.shape[1] > 1 else nn.MSELoss()


def _target(loss: Any, given: Any, prediction: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if given is not None:
        return given.numpy() if isinstance(given, Tensor) else checks.to_numpy("target", given)
    if isinstance(loss, CLASSES) or getattr(loss, "__name__", "") in ("cross_entropy", "nll_loss"):
        shape = (prediction.shape[0], *prediction.shape[2:]) if prediction.ndim > 1 else ()
        return np.asarray(rng.integers(0, prediction.shape[min(1, prediction.ndim - 1)], shape))
    return rng.random(prediction.shape).astype(prediction.dtype)


def _measure(
    steps: Steps, names: Names, x: np.ndarray, dtype: str, limits: Roofline | None, budget: float, training: bool
) -> Profile:
    """Steps from outside and from inside in turn, then the sums."""
    timed: list[tuple[dict[Key, int], int]] = []
    race = Race({"outside": steps.run, "inside": lambda: timed.append(steps.run_timed())})
    race.run(budget, rounds=10)
    outside = race.timings()["outside"]
    described = steps.describe()
    keys = list(dict.fromkeys(call.key for call in described))
    seconds = np.array([[found.get(key, 0) for key in keys] for found, _ in timed]).reshape(len(timed), len(keys)) * 1e-9
    totals = np.array([total for _, total in timed]) * 1e-9
    first, last = (int(share * len(totals)) for share in QUIET)
    quiet = np.argsort(totals, kind="stable")[first : max(last, first + 1)]
    rows: dict[str, dict[str, Part]] = {}
    members: dict[tuple[str, str], list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault((names.of(key[0]), key[1]), []).append(index)
    for (name, phase), columns in members.items():
        calls = [call for call in described if (names.of(call.key[0]), call.phase) == (name, phase)]
        rows.setdefault(name, {})[phase] = _part(seconds[:, columns].sum(axis=1), quiet, calls, limits, dtype)
    learned = names.learned(rows)
    layers = [
        names.layer(name, learned[name], {phase: rows[name][phase] for phase in PHASES if phase in rows[name]})
        for name in sorted(rows, key=names.order)
    ]
    kernels = float(seconds[quiet].sum(axis=1).mean())
    return Profile(
        layers, max(float(totals[quiet].mean()) - kernels, 0.0), steps.between, outside.seconds, outside.spread, len(timed),
        _clock(len(described)), steps.kind, training, x.shape, get_num_threads(), machine.processor(), steps.arena, limits, dtype,
    )  # fmt: skip


def _part(seconds: np.ndarray, quiet: np.ndarray, calls: list[Described], limits: Roofline | None, dtype: str) -> Part:
    low, median = (float(value) for value in np.quantile(seconds, (0.1, 0.5)))
    limit = None if limits is None else sum(limits.seconds(call.cost.flops, call.cost.bytes, dtype) for call in calls)
    flops, traffic, special = (sum(values) for values in zip(*[call.cost for call in calls], strict=True))
    kernels = tuple(dict.fromkeys(call.kernel for call in calls))
    spread = median / low - 1 if low else 0.0
    return Part(float(seconds[quiet].mean()), spread, flops, traffic, special, sum(call.memory for call in calls), limit, kernels)


def _clock(calls: int) -> float:
    """Seconds that reading the clock once for each call costs."""
    start = perf_counter_ns()
    for _ in range(1000):
        perf_counter_ns()
    return (perf_counter_ns() - start) * 1e-12 * calls
