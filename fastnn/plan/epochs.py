"""Training on many batches at once, again and again on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import dispatch
from fastnn.functional import checks

from .checked import rows_in
from .compiled import Compiled, weight_of

if TYPE_CHECKING:
    from .plan import Plan


class Epochs:
    """Epochs over the same rows: what has to be checked and converted is so once. Made by :meth:`Plan.epochs`.

    Parameters
    ----------
    plan : Plan
    X, Y : array
        As many rows each.
    batch_size : int

    Attributes
    ----------
    rows : int
        How many there are.

    Raises
    ------
    TypeError, ValueError
        Where an argument does not fit, or the plan has no loss or optimiser.
    """

    def __init__(self, plan: Plan, X: Any, Y: Any, batch_size: int) -> None:
        plan._need("epoch", loss=plan.loss, optimizer=plan.optimizer)
        self._plan = plan
        x, y = (np.ascontiguousarray(plan._array(name, value)) for name, value in (("X", X), ("Y", Y)))
        self._X, self._Y = (a.copy() if a.dtype.kind == "i" else a for a in (x, y))  # kernels trust classes that were checked
        self._size = checks.integer("batch_size", batch_size, 1)
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
            raise ValueError(f"X, Y: expected as many rows, and at least one, got shapes {x.shape} and {y.shape}")
        self.rows = len(x)
        self._programs: dict[Any, Compiled] = {}  # with which all rows were checked
        self._found_in = plan._compiled

    def __call__(self, order: Any) -> float:
        """Train on the rows that an int array names, in its order; their mean loss.

        Raises
        ------
        TypeError, ValueError, IndexError
            Where the order is none.
        """
        return self.over(rows_in(order, self.rows))

    def over(self, order: np.ndarray) -> float:
        """Likewise where the order is known to be one, and nobody else can change it."""
        plan, total, first = self._plan, 0.0, 0
        with plan._lock:
            if self._found_in is not plan._compiled:  # the plan has another model, loss, optimiser or limit
                plan._need("epoch", loss=plan.loss, optimizer=plan.optimizer)
                self._programs.clear()
                self._found_in = plan._compiled
            while first < len(order):
                size = min(self._size, len(order) - first)
                loss, rows = self._run(self._program(size), order[first:], size)
                total += weight_of(plan.loss, size) * loss
                first += rows
        return total / len(order)

    def _program(self, size: int) -> Compiled:
        """The program for a batch of that size."""
        key = size, dispatch.current_backends.get()
        compiled = self._programs.get(key)
        if compiled is None or not compiled.is_current():
            compiled = self._plan._find("step", *[((size, *array.shape[1:]), array.dtype) for array in (self._X, self._Y)])
            if compiled.checks_rows:  # before any row is used
                compiled.check("X", 0, self._X)
                compiled.check("Y", 1, self._Y)
            self._programs[key] = compiled
        return compiled

    def _run(self, compiled: Compiled, order: np.ndarray, size: int) -> tuple[float, int]:
        """Run as many batches at once as can be; the sum of their losses, and the number of rows."""
        growing = None if compiled.update is None or dispatch.observed() else compiled.update.growing(compiled.program)
        if growing is None or not compiled.checks_rows:
            compiled.take(self._X[order[:size]], self._Y[order[:size]])
            self._plan._run(compiled)
            return float(compiled.program.outputs[0].item()), size
        rows = order[: len(order) // size * size]
        return compiled.run_batches(self._X, self._Y, rows, growing), len(rows)
