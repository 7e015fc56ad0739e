"""A row's arrays, the public calls that compute it, and what must come out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import cached_property, partial
from typing import Any

import numpy as np

import fastnn
import fastnn.functional as F
from fastnn import dispatch, optim
from fastnn.kernels import Cost
from fastnn.measure.costs import call_cost

from .rows import DIRECTIONS, Row

Calls = dict[str, Callable[[], Any]]  # direction -> call: the output, the gradients, or (output, gradients)

TOLERANCE = {"float32": 5e-5, "float64": 1e-10}  # of the tensor's largest value
UPDATES = ("Adam", "SGD")


class Problem:
    """The arrays of a row, drawn from a seed.

    Attributes
    ----------
    row : Row
    dtype : str
    arrays : dict
        Argument -> array. Logits' targets ``t`` are classes.
    dy : array
        Gradient of the output; for an update, of the parameter.
    """

    def __init__(self, row: Row, dtype: str = "float32") -> None:
        rng = np.random.default_rng(0)
        self.row, self.dtype = row, dtype
        self.arrays = {name: rng.standard_normal(shape, dtype) for name, shape in row.shapes.items()}
        if "t" in row.shapes:
            self.arrays["t"] = rng.integers(0, row.shapes["x"][1], row.shapes["t"])
        if "w" in row.shapes:  # scaled as networks are, so that outputs are of the size of the inputs
            self.arrays["w"] /= np.sqrt(np.prod(row.shapes["w"][1:]), dtype=dtype)
        shape = row.shapes["p"] if self.updates else np.shape(self._forward_once())
        self.dy = np.ones((), dtype) if "t" in row.shapes else rng.standard_normal(shape, dtype)

    @property
    def updates(self) -> bool:
        """Whether this is an update of parameters."""
        return self.row.operation in UPDATES

    @property
    def directions(self) -> tuple[str, ...]:
        """What can be measured: an update has one direction."""
        return DIRECTIONS[:1] if self.updates else DIRECTIONS

    def _forward_once(self) -> Any:
        return getattr(F, self.row.operation)(*self.arrays.values(), **self.row.options)

    @cached_property
    def expected(self) -> dict[str, Any]:
        """The reference's output and gradients in float64; those of an update are its parameter after one step."""
        wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in self.arrays.values()]
        with fastnn.use_backend("reference"):
            if self.updates:
                return {"forward": _stepped(self.row, wide[0], self.dy.astype(np.float64))}
            y, pullback = fastnn.vjp(getattr(F, self.row.operation), *wide, **self.row.options)
            gradients = [g for g in pullback(self.dy.astype(np.float64)) if g is not None]
        return {"forward": [y], "backward": gradients, "both": [y, *gradients]}

    def check(self, who: str, direction: str, found: Any, to_numpy: Callable[[Any], np.ndarray] = np.asarray) -> None:
        """Raise AssertionError where a result is not the reference's."""
        for index, (got, wanted) in enumerate(zip(_flat(found), self.expected[direction], strict=True)):
            array = to_numpy(got)
            atol = TOLERANCE[self.dtype] * max(float(np.abs(wanted).max()), 1e-3)
            message = f"{self.row.label}: {who}, {direction}, result {index}"
            np.testing.assert_allclose(array.reshape(wanted.shape), wanted, rtol=0, atol=atol, err_msg=message)

    def cost(self, direction: str) -> Cost:
        """Work of the operators behind the public call, by their cost model; views cost nothing."""
        costs = []
        calls = public_calls(self)  # made before anybody observes, so that the pullback's forward pass does not count
        with dispatch.observe(lambda call: costs.append(call_cost(call)) if call.operator.family != "shape" else None):
            calls[direction]()
        return Cost(*map(sum, zip(*costs, strict=True)))


def public_calls(problem: Problem) -> Calls:
    """The calls that a user would write, every output and gradient into an array that is there already."""
    if problem.updates:
        return _update_calls(problem)
    row, arguments = problem.row, ", ".join(problem.arrays)
    options = "".join(f", {name}={value!r}" for name, value in row.options.items())
    y = np.empty_like(problem.dy)
    grads = tuple([np.empty_like(a) if a.dtype.kind == "f" else None for a in problem.arrays.values()])
    names = {"F": F, "vjp": fastnn.vjp, **problem.arrays, "y": y, "dy": problem.dy, "grads": grads}
    _, names["pullback"] = fastnn.vjp(getattr(F, row.operation), *problem.arrays.values(), **row.options)
    out = "" if row.operation == "cross_entropy" else ", out=y"
    exec(f"def both():\n  y, pullback = vjp(F.{row.operation}, {arguments}{options})\n  return y, pullback(dy, out=grads)", names)
    return {
        "forward": eval(f"lambda: F.{row.operation}({arguments}{options}{out})", names),
        "backward": eval("lambda: pullback(dy, out=grads)", names),
        "both": names["both"],
    }


def numba_calls(problem: Problem) -> Calls:
    """The public calls on Numba's kernels."""
    context = copy_context()
    chosen = fastnn.use_backend("numba")
    context.run(chosen.__enter__)
    calls = context.run(public_calls, problem)
    return {direction: partial(context.run, call) for direction, call in calls.items()}


def _update_calls(problem: Problem) -> Calls:
    optimizer, parameter = _optimizer(problem.row, problem.arrays["p"].copy(), problem.dy)

    def forward() -> np.ndarray:
        optimizer.step()
        return parameter.numpy()

    return {"forward": forward}


def _optimizer(row: Row, p: np.ndarray, g: np.ndarray) -> tuple[optim.Optimizer, fastnn.Tensor]:
    parameter = fastnn.Tensor(p, requires_grad=True)
    parameter.grad = fastnn.Tensor(g)
    return getattr(optim, row.operation)([parameter], **row.options), parameter


def _stepped(row: Row, p: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
    optimizer, parameter = _optimizer(row, p, g)
    optimizer.step()
    return [parameter.numpy()]


def _flat(found: Any) -> list[Any]:
    """The results in one list, without the Nones of integer arguments."""
    if isinstance(found, (tuple, list)):
        return [item for part in found for item in _flat(part)]
    return [] if found is None else [found]


@contextmanager
def convolution_precision(precision: str) -> Iterator[None]:
    """Convolutions of this precision in the block."""
    if precision == "exact":
        yield
        return
    fastnn.set_convolution_precision(precision)
    try:
        yield
    finally:
        fastnn.set_convolution_precision("exact")
