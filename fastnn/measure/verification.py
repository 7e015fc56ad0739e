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

# Of the largest value in the tensor. float32 kernels other than sums of products add or evaluate within a few units in the last place
# of the largest partial result, which cancellation may make larger than the sum itself.
_TOLERANCES = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-10}
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
        Largest difference, as a share of the tensor's largest value (for linear and convolution: of the largest element of the sum
        of absolute products).
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
    got = dispatch.run(operator, args, None, wanted)
    exact_args = tuple([_to_float64(a) for a in args])
    exact = operator.kernel("reference")(*exact_args)  # type: ignore[misc]
    scales = exact
    sums = operator.family in _SUMS_OF_PRODUCTS
    if sums:
        scales = operator.kernel("reference")(*[np.abs(a) if isinstance(a, np.ndarray) else a for a in exact_args])  # type: ignore[misc]
    arrays, _ = operator.split(args)
    dtype = next((a.dtype for a in arrays if a is not None and a.dtype.kind == "f"), np.dtype(np.float64))
    tolerance = 16 * float(np.finfo(dtype).eps) if sums else _TOLERANCES[dtype]
    compared = [(g, e, s) for g, e, s in zip(got, exact, scales, strict=True) if g is not None]
    error = max([_difference(g, np.asarray(e), np.asarray(s), elementwise=sums) for g, e, s in compared], default=0.0)
    shapes = tuple([None if a is None else a.shape for a in arrays])
    return KernelCheck(operator.name, dispatch.backend_for(operator), shapes, error, tolerance)


def _to_float64(value: Any) -> Any:
    return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype == np.float32 else value


def _difference(got: np.ndarray, exact: np.ndarray, scale: np.ndarray, elementwise: bool) -> float:
    """Largest difference relative to ``scale``, element by element or to its largest; infinite where NaN or infinity differ."""
    if got.size == 0:
        return 0.0
    finite = np.isfinite(exact)
    if not np.array_equal(got[~finite], exact[~finite].astype(got.dtype), equal_nan=True):
        return np.inf
    if not finite.any():
        return 0.0
    difference = np.abs(got[finite].astype(np.float64) - exact[finite])
    size = np.abs(scale[finite]) if elementwise else np.abs(exact[finite]).max()
    return float(np.max(np.divide(difference, size, out=np.where(difference > 0, np.inf, 0.0), where=size > 0)))
