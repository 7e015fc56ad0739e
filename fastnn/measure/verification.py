"""Does every kernel that a network used agree with the reference, on the network's own shapes?"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import dispatch
from fastnn.kernels import Operator
from fastnn.nn import Module
from fastnn.training import train_step

# Of the tensor's largest value.
_TOLERANCES = {np.dtype(np.float32): 32 * float(np.finfo(np.float32).eps), np.dtype(np.float64): 1e-10}
# The loss of a batch that is learned by heart is a difference of nearly equal numbers: no float32 kernel can do much better there
# than plain NumPy in float32, so a kernel may also be this many times as far off as that.
_OF_PLAIN_FLOAT32 = 4.0
_SUMS_OF_PRODUCTS = ("linear", "convolution")


@dataclass(frozen=True)
class KernelCheck:
    """One kernel on one set of shapes against the reference in float64.

    Attributes
    ----------
    operator, backend : str
    shapes : tuple
        Of the array arguments; None where one is absent.
    error : float
        Largest difference, as a share of the tensor's largest value (for linear and convolution: of each
        element's sum of absolute products).
    tolerance : float
        What it may be.
    """

    operator: str
    backend: str
    shapes: tuple[tuple[int, ...] | None, ...]
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the kernel agrees (an error that is NaN does not)."""
        return self.error <= self.tolerance


def verify(model: Module, x: np.ndarray, y: np.ndarray, loss: Callable[..., Any], optimizer: Any) -> list[KernelCheck]:
    """Run one step of training on copies, and compare every distinct kernel call in it with the reference in float64.

    Parameters
    ----------
    model : Module
    x, y : arrays
        One batch; its shapes are the ones that are checked.
    loss : callable
    optimizer
        An optimiser over the model's parameters.

    Returns
    -------
    list of KernelCheck
        One for each distinct operator, shapes and attributes, in the order of the step.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn, optim
    >>> from fastnn.measure import verify
    >>> model = nn.Linear(3, 2)
    >>> x, y = np.ones((5, 3), np.float32), np.zeros(5, np.int64)
    >>> all(check.ok for check in verify(model, x, y, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1)))
    True
    """
    model, loss, optimizer = copy.deepcopy((model, loss, optimizer))
    model.train()
    calls: dict[Any, tuple[Operator, tuple[Any, ...], list[bool]]] = {}

    def note(call: dispatch.Call) -> None:
        arrays, attributes = call.operator.split(call.args)
        wanted = [output is not None for output in call.outputs]
        kinds = tuple([None if a is None else (a.shape, a.dtype.str) for a in arrays])
        key = (call.operator, kinds, repr(attributes), tuple(wanted))
        if key not in calls:
            # Copies, since an update changes its arguments: values after it are as good for a comparison as those before.
            calls[key] = (call.operator, tuple([a.copy() if isinstance(a, np.ndarray) else a for a in call.args]), wanted)

    with dispatch.observe(note):
        train_step(model, loss, optimizer, x, y)
    return [_check(*call) for call in calls.values()]


def _check(operator: Operator, args: tuple[Any, ...], wanted: list[bool]) -> KernelCheck:
    arrays, _ = operator.split(args)
    reference = operator.kernel("reference")
    assert reference is not None
    got = dispatch.run(operator, args, None, wanted)
    exact_args = tuple([_to_float64(a) for a in args])
    exact = reference(*exact_args)
    dtype = next((a.dtype for a in arrays if a is not None and a.dtype.kind == "f"), np.dtype(np.float64))
    sums = operator.family in _SUMS_OF_PRODUCTS
    is_loss = operator.family == "loss" and operator.backward is not None
    other = reference(*[np.abs(a) if isinstance(a, np.ndarray) else a for a in exact_args]) if sums else reference(*args)
    base = 16 * float(np.finfo(dtype).eps) if sums else _TOLERANCES[dtype]
    error, tolerance = 0.0, base
    for g, e, o in zip(got, map(np.asarray, exact), map(np.asarray, other), strict=True):
        if g is None:
            continue
        # A loss is a difference of logarithms: what it is to be measured by is 1, however small it has become.
        scale = np.abs(o) if sums else np.maximum(np.abs(e).max(initial=0.0), 1.0) if is_loss else None
        found, allowed = _difference(g, e, scale), base
        if not sums and g.dtype == np.float32:
            allowed += _OF_PLAIN_FLOAT32 * _difference(o, e)
        if not found / allowed <= error / tolerance:
            error, tolerance = found, allowed
    shapes = tuple([None if a is None else a.shape for a in arrays])
    return KernelCheck(operator.name, dispatch.backend_for(operator), shapes, error, tolerance)


def _to_float64(value: Any) -> Any:
    return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype == np.float32 else value


def _difference(got: np.ndarray, exact: np.ndarray, scale: np.ndarray | None = None) -> float:
    """Largest difference relative to the largest value, or to ``scale`` element by element; infinite where NaN differs."""
    finite = np.isfinite(exact)
    if not np.array_equal(got[~finite], exact[~finite].astype(got.dtype), equal_nan=True):
        return np.inf
    if not finite.any():
        return 0.0
    difference = np.nan_to_num(np.abs(got[finite].astype(np.float64) - exact[finite]), nan=np.inf)
    if got.dtype.kind != "f":
        return np.inf if difference.any() else 0.0
    difference[difference < np.finfo(got.dtype).tiny] = 0.0  # products so small underflow, each in its own way
    size = np.abs(exact[finite]).max() if scale is None else np.broadcast_to(scale, exact.shape)[finite]
    return float(np.max(np.divide(difference, size, out=np.where(difference > 0, np.inf, 0.0), where=size > 0)))
