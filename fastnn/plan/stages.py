"""A plan's step taken apart: forward, backward and update as calls of their own, to be made one after the other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

from .plan import Plan
from .program import PythonExecutor, executor


def stages(plan: Plan, x: Any, y: Any) -> dict[str, Callable[[], Any]]:
    """The calls of one step by phase, over the memory of the plan's own program for these shapes.

    Made one after the other they are a step on this batch; the optimiser's count of steps stays where it is.

    Parameters
    ----------
    plan : Plan
        With a loss and an optimiser whose update is part of the program.
    x, y : array
        One batch.

    Returns
    -------
    dict of str to callable
        "forward" (which takes the batch, and returns the loss), "backward", "update".

    Raises
    ------
    ValueError
        Where the step cannot be taken apart so.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn, optim
    >>> from fastnn.plan.stages import stages
    >>> model = nn.Linear(3, 1)
    >>> plan = fastnn.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    >>> calls = stages(plan, np.ones((5, 3), np.float32), np.zeros((5, 1), np.float32))
    >>> list(calls)
    ['forward', 'backward', 'update']
    >>> losses = [[call() for call in calls.values()][0] for _ in range(20)]
    >>> losses[-1] < losses[0]
    True
    """
    x, y = plan._array("x", x), plan._array("y", y)
    compiled = plan._find("step", x, y)
    if compiled.update is None:
        raise ValueError("plan: its optimiser updates outside the program, so that a step has no stages")
    program = compiled.program
    make = executor.Executor if executor is not None else PythonExecutor
    nodes = [node for node in program.graph.nodes if id(node) in program.places]
    found: dict[str, Callable[[], None]] = {}
    for phase, members in groupby(nodes, key=lambda node: node.phase):
        if phase in found:
            raise ValueError(f"plan: its calls of phase {phase!r} do not stand together")
        counters = program.graph.counters if phase == "forward" else ()
        calls = [program._call(node) for node in members]
        found[phase] = make([call for call in calls if call is not None], counters).run
    if "forward" not in found:
        raise ValueError("plan: its step computes nothing forward")
    loss, forward = program.outputs[0], found["forward"]

    def take_and_forward() -> float:
        compiled.take(x, y)
        forward()
        return float(loss.item())

    return {**found, "forward": take_and_forward}
