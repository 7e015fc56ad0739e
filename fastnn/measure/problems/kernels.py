"""A row's arrays, the public calls that compute it, and what must come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import cached_property, partial
from typing import Any

import numpy as np

from fastnn import dispatch, optim
from fastnn import functional as F
from fastnn.autograd import Tensor, vjp
from fastnn.config import set_convolution_precision

from ..costs import call_cost
from ..machine import Work
from .rows import Row

Calls = dict[str, Callable[[], Any]]  # direction -> call: the output, the gradients, or (output, gradients)

TOLERANCE = {"float32": 5e-5, "float64": 1e-10}  # of the tensor's largest value


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
        kind: Any = np.dtype(dtype)
        self.arrays = {name: rng.standard_normal(shape, kind) for name, shape in row.shapes.items()}
        if "t" in row.shapes:
            self.arrays["t"] = rng.integers(0, row.shapes["x"][1], row.shapes["t"])
        if "w" in row.shapes:  # scaled as networks are, so that outputs are of the size of the inputs
            self.arrays["w"] /= np.sqrt(np.prod(row.shapes["w"][1:]), dtype=dtype)
        shape = row.shapes["p"] if row.updates else np.shape(self._forward_once())
        self.dy = np.ones((), kind) if "t" in row.shapes else rng.standard_normal(shape, kind)

    def _forward_once(self) -> Any:
        return getattr(F, self.row.operation)(*self.arrays.values(), **self.row.options)

    @cached_property
    def expected(self) -> dict[str, Any]:
        """The reference's output and gradients in float64; those of an update are its parameter after one step."""
        wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in self.arrays.values()]
        with dispatch.use_backend("reference"):
            if self.row.updates:
                return {"forward": _stepped(self.row, wide[0], self.dy.astype(np.float64))}
            y, pullback = vjp(getattr(F, self.row.operation), *wide, **self.row.options)
            gradients = [g for g in pullback(self.dy.astype(np.float64)) if g is not None]
        return {"forward": [y], "backward": gradients, "both": [y, *gradients]}

    def check(self, who: str, direction: str, found: Any, to_numpy: Callable[[Any], np.ndarray] = np.asarray) -> None:
        """Raise AssertionError where a result is not the reference's."""
        for index, (got, wanted) in enumerate(zip(_flat(found), self.expected[direction], strict=True)):
            largest = float(np.abs(np.subtract(to_numpy(got).reshape(wanted.shape), wanted)).max())
            scale = max(float(np.abs(wanted).max()), 1e-3)
            if not largest <= TOLERANCE[self.dtype] * scale:  # NaN is wrong too
                raise AssertionError(f"{who}, result {index} of {direction}: off by {largest / scale:.2g} of the largest value")

    @cached_property
    def works(self) -> dict[str, list[Work]]:
        """What the operators behind each public call have to do: views nothing, convolutions the direct sum's operations."""
        calls = public_calls(self)
        forward = works_of(calls["forward"])
        if "both" not in calls:
            return {"forward": forward}
        both = works_of(calls["both"])
        return {"forward": forward, "backward": both[len(forward) :], "both": both}


def public_calls(problem: Problem) -> Calls:
    """The calls that a user would write, every output and gradient into an array that is there already."""
    if problem.row.updates:
        return _update_calls(problem)
    row, arguments = problem.row, ", ".join(problem.arrays)
    options = "".join(f", {name}={value!r}" for name, value in row.options.items())
    y = np.empty_like(problem.dy)
    grads = tuple([np.empty_like(a) if a.dtype.kind == "f" else None for a in problem.arrays.values()])
    names = {"F": F, "vjp": vjp, **problem.arrays, "y": y, "dy": problem.dy, "grads": grads}
    _, names["pullback"] = vjp(getattr(F, row.operation), *problem.arrays.values(), **row.options)
    out = "" if row.operation == "cross_entropy" else ", out=y"
    if row.packed:
        names["w"] = F.pack_weight(names["w"])
        return {"forward": eval(f"lambda: F.{row.operation}({arguments}{options}{out})", names)}
    exec(f"def both():\n  y, pullback = vjp(F.{row.operation}, {arguments}{options})\n  return y, pullback(dy, out=grads)", names)
    return {
        "forward": eval(f"lambda: F.{row.operation}({arguments}{options}{out})", names),
        "backward": eval("lambda: pullback(dy, out=grads)", names),
        "both": names["both"],
    }


def backend_calls(problem: Problem, backend: str) -> Calls:
    """The public calls on the kernels of one backend."""
    with dispatch.use_backend(backend):
        context = copy_context()
    calls = context.run(public_calls, problem)
    return {direction: partial(context.run, call) for direction, call in calls.items()}


def _update_calls(problem: Problem) -> Calls:
    optimizer, parameter = _optimizer(problem.row, problem.arrays["p"].copy(), problem.dy)

    def forward() -> np.ndarray:
        optimizer.step()
        return parameter.numpy()

    return {"forward": forward}


def _optimizer(row: Row, p: np.ndarray, g: np.ndarray) -> tuple[optim.Optimizer, Tensor]:
    parameter = Tensor(p, requires_grad=True)
    parameter.grad = Tensor(g)
    return getattr(optim, row.operation)([parameter], **row.options), parameter


def _stepped(row: Row, p: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
    optimizer, parameter = _optimizer(row, p, g)
    optimizer.step()
    return [parameter.numpy()]


def works_of(call: Callable[[], Any]) -> list[Work]:
    """What the operators behind a call have to do; views have nothing to do."""
    found = []

    def note(call: dispatch.Call) -> None:
        if call.operator.family != "shape":
            arrays, _ = call.operator.split(call.args)
            updated = _bytes(arrays) & _bytes(call.outputs)
            read, written = _bytes(arrays) - updated, _bytes(call.outputs) - updated
            found.append(Work(call_cost(call).flops, read.total(), written.total(), updated.total()))

    with dispatch.observe(note):
        call()
    return found


def _bytes(arrays: Iterable[np.ndarray | None]) -> Counter[int]:
    """Address -> bytes."""
    return Counter({a.ctypes.data: a.nbytes for a in arrays if a is not None})


def _flat(found: Any) -> list[Any]:
    """The results in one list, without the Nones of integer arguments."""
    if isinstance(found, (tuple, list)):
        return [item for part in found for item in _flat(part)]
    return [] if found is None else [found]


@contextmanager
def convolution_precision(precision: str) -> Iterator[None]:
    """Convolutions of this precision in the block."""
    if precision == "default":
        yield
        return
    set_convolution_precision(precision)
    try:
        yield
    finally:
        set_convolution_precision("default")
