"""A plan's steps with the clock read between its calls, by the executor itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Node
from .plan import Plan


class TimedCalls:
    """The calls of a plan's step, or prediction, timed from inside.

    Parameters
    ----------
    plan : Plan
    x : array
    y : array, optional
        Without it the plan predicts.

    Attributes
    ----------
    nodes : list of list of Node
        What is timed together: mostly one call, several where the executor computes them as one (an optimiser's updates).
    stamps : int64 array
        The clock in nanoseconds, before the first of them and after each, in the latest step.
    arena_bytes : int
        Memory for all that is computed in a step.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn
    >>> from fastnn.plan import TimedCalls
    >>> calls = TimedCalls(fastnn.compile(nn.Linear(3, 2)), np.ones((5, 3), np.float32))
    >>> with calls:
    ...     calls.run()
    >>> [[node.operator.name for node in nodes] for nodes in calls.nodes], len(calls.stamps)
    ([['linear']], 2)
    """

    def __init__(self, plan: Plan, x: Any, y: Any = None) -> None:
        self._plan, self._arrays, self._kind = plan, (x,) if y is None else (x, y), "predict" if y is None else "step"
        self.run()  # compiles it
        with plan._lock:
            self._program = plan._find(self._kind, *map(plan._array, "xy", self._arrays)).program
        calls = iter([node for node in self._program.graph.nodes if id(node) in self._program.places])
        self.nodes: list[list[Node]] = [[next(calls) for _ in range(n)] for n in self._program.executor.lengths]
        self.stamps = np.zeros(len(self.nodes) + 1, np.int64)
        self.arena_bytes = int(self._program.arena.nbytes)

    def run(self) -> None:
        """One step, or prediction, as a user calls it."""
        getattr(self._plan, self._kind)(*self._arrays)

    def __enter__(self) -> TimedCalls:
        with self._plan._lock:  # not while another thread runs it
            self._program.executor.watch(self.stamps)
        return self

    def __exit__(self, *exception: object) -> None:
        with self._plan._lock:
            self._program.executor.watch(None)
