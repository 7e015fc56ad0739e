"""What each layer's forward and backward pass cost in one step of training."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np

from fastnn import dispatch
from fastnn.functional import checks
from fastnn.kernels import Cost, Operator
from fastnn.nn import Module
from fastnn.plan.graph import Node
from fastnn.training import train_step

PHASES = ("forward", "backward", "update")


@dataclass(frozen=True)
class LayerCost:
    """Cost of one layer in one step, kernels alone.

    Attributes
    ----------
    name, kind : str
        The layer's name in the model (or "loss", "optimizer", "other"), and its class.
    seconds : dict of str to float
        By phase, "forward", "backward" or "update": the median over the measured steps.
    flops : dict of str to int
        By phase, from the operators' cost model.
    """

    name: str
    kind: str
    seconds: dict[str, float]
    flops: dict[str, int]

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class StepCost:
    """Cost of one step of training.

    Attributes
    ----------
    layers : list of LayerCost
        In the order in which they first ran.
    seconds : float
        Of the whole step by the clock (median): the kernels and Python between them.
    """

    layers: list[LayerCost]
    seconds: float

    @property
    def outside(self) -> float:
        """Seconds of the step that passed outside kernels."""
        return max(self.seconds - sum(layer.total for layer in self.layers), 0.0)


def call_cost(call: dispatch.Call) -> Cost:
    """Cost of an observed call; gradients that nobody wanted cost nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import dispatch
    >>> import fastnn.functional as F
    >>> from fastnn.measure.costs import call_cost
    >>> costs = []
    >>> with dispatch.observe(lambda call: costs.append(call_cost(call))):
    ...     _ = F.linear(np.ones((5, 3)), np.ones((2, 3)))
    >>> costs  # 5 x 3 x 2 multiply-adds; each array read or written once
    [Cost(flops=60, bytes=248, special=0)]
    """
    arrays, attributes = call.operator.split(call.args)
    return _cost(call.operator, arrays, attributes, call.outputs)


def node_cost(node: Node) -> Cost:
    """Cost of a call in a plan's graph; see :func:`call_cost`."""
    return _cost(node.operator, node.inputs, node.attributes, node.outputs)


def _cost(operator: Operator, arrays: Sequence[Any], attributes: Sequence[Any], outputs: Sequence[Any]) -> Cost:
    itemsize = next((a.dtype.itemsize for a in (*arrays, *outputs) if a is not None and a.dtype.kind == "f"), 4)
    described = (*[None if a is None else a.shape for a in arrays], *attributes)
    return operator.cost_of(itemsize, described, [output is not None for output in outputs])


def layer_costs(
    model: Module, x: np.ndarray, y: np.ndarray, loss: Callable[..., Any], optimizer: Any, *, steps: int = 7, warmup: int = 2
) -> StepCost:
    """Measure steps of training on one batch, on copies: model and optimiser stay as they are.

    FLOPs come from the operators' cost model, which counts every gradient of an operator, also one that the first layer
    leaves out.

    Parameters
    ----------
    model : Module
    x, y : arrays
        One batch.
    loss : callable
    optimizer
        An optimiser over the model's parameters.
    steps, warmup : int
        How many steps are measured, after how many that are not.

    Returns
    -------
    StepCost

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn, optim
    >>> from fastnn.measure import layer_costs
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> x, y = np.ones((5, 3), np.float32), np.zeros(5, np.int64)
    >>> cost = layer_costs(model, x, y, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    >>> [layer.name for layer in cost.layers][:3]
    ['0', '1', '2']
    """
    steps, warmup = checks.integer("steps", steps, 1), checks.integer("warmup", warmup, 0)
    model, loss, optimizer = copy.deepcopy((model, loss, optimizer))
    model.train()
    walls, calls = [], []
    owners: dict[int, object] = {}
    for number in range(warmup + steps):
        seen: list[tuple[int, str, int, int]] = []

        def note(call: dispatch.Call, seen: list[tuple[int, str, int, int]] = seen) -> None:
            owner = optimizer if call.phase == "update" else call.owner
            owners[id(owner)] = owner
            seen.append((id(owner), call.phase, call.nanoseconds, call_cost(call).flops))

        with dispatch.observe(note):
            start = perf_counter_ns()
            train_step(model, loss, optimizer, x, y)
            wall = perf_counter_ns() - start
        if number >= warmup:
            walls.append(wall)
            calls.append(seen)
    names = {id(module): name for name, module in model.named_modules()}
    names |= {id(loss): "loss", id(optimizer): "optimizer", id(None): "other"}
    layers = [_layer(key, names.get(key, "other"), owners[key], calls) for key in owners]
    return StepCost(layers, median(walls) * 1e-9)


def _layer(key: int, name: str, owner: object, calls: list[list[tuple[int, str, int, int]]]) -> LayerCost:
    """Sum up the calls of one owner in each step, then take the median over the steps."""
    times: dict[str, list[float]] = {phase: [] for phase in PHASES}
    flops: dict[str, int] = {}
    for step in calls:
        sums: dict[str, int] = defaultdict(int)
        flops = dict.fromkeys(PHASES, 0)
        for owner_id, phase, nanoseconds, work in step:
            if owner_id == key:
                sums[phase] += nanoseconds
                flops[phase] += work
        for phase in PHASES:
            times[phase].append(sums[phase] * 1e-9)
    kind = "" if owner is None else type(owner).__name__
    return LayerCost(name or "(model)", kind, {phase: median(values) for phase, values in times.items()}, flops)
