"""The one door to the kernels: operator + arrays -> implementation -> arrays.

Everything that computes passes through :func:`call`. An argument whose type answers ``__fastnn_call__`` (the tape's Tensor) takes the
call over, or a tracer does where one watches, so that this module knows neither and there is no circle of imports.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels import BACKENDS, Operator, isa

Arrays = tuple[np.ndarray | None, ...]


class TraceError(ValueError):
    """Something in a model depends on numbers, which a plan does not have when it is made."""


class Call(NamedTuple):
    """One kernel call, as an observer sees it.

    Attributes
    ----------
    operator : Operator
    backend : str
        The backend that ran it.
    args : tuple
        Arrays and attributes.
    outputs : tuple
    nanoseconds : int
    owner : object
        The module (layer) that was running, or None.
    phase : str
        "forward", "backward" or "update".
    """

    operator: Operator
    backend: str
    args: tuple[Any, ...]
    outputs: Arrays
    nanoseconds: int
    owner: object
    phase: str


def _order_from(name: str, source: str) -> tuple[str, ...]:
    """The backends to try, the wanted one first. The reference has every kernel, so nothing follows it."""
    if not isinstance(name, str) or name not in BACKENDS:
        raise ValueError(f"{source}: no backend is called {name!r}; expected one of {', '.join(BACKENDS)}")
    if name == "cython" and isa.level() == isa.NONE:
        raise ValueError(f"{source}: backend 'cython' is not there: fastnn was installed without compiled kernels")
    if name == "numba" and not has_numba():
        raise ValueError(f"{source}: backend 'numba' is not there: install it with 'pip install numba'")
    if name == "reference":
        return ("reference",)
    return (name, *(other for other in BACKENDS if other != name))


def has_numba() -> bool:
    """Whether Numba is installed (it is not imported to find out)."""
    from importlib.util import find_spec

    return find_spec("numba") is not None


def is_available(backend: str) -> bool:
    """Whether this installation can run kernels of ``backend``."""
    return {"cython": isa.level() != isa.NONE, "numba": has_numba(), "reference": True}[backend]


def _default_order() -> tuple[str, ...]:
    name = os.environ.get("FASTNN_BACKEND", "").strip().lower()
    return _order_from(name, "FASTNN_BACKEND") if name else BACKENDS


current_backends: ContextVar[tuple[str, ...]] = ContextVar("fastnn_backends", default=_default_order())
current_observer: ContextVar[Callable[[Call], None] | None] = ContextVar("fastnn_observer", default=None)
current_tracer: ContextVar[Callable[..., Any] | None] = ContextVar("fastnn_tracer", default=None)
_scope: ContextVar[tuple[object, str]] = ContextVar("fastnn_scope", default=(None, "forward"))
_chosen: dict[tuple[Operator, tuple[str, ...]], tuple[str, Callable[..., Any]]] = {}


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run a block on one backend: "cython", "numba" or "reference". Restored on exit; per thread and task.

    An operator without a kernel on that backend falls through to the next one (``fastnn info --operators`` shows which has what).

    Raises
    ------
    ValueError
        Where no backend has that name or it is not installed.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> import fastnn.functional as F
    >>> with fastnn.use_backend("reference"):
    ...     F.relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    token = current_backends.set(_order_from(name, "use_backend"))
    try:
        yield
    finally:
        current_backends.reset(token)


def backend_for(operator: Operator) -> str:
    """The backend that would compute ``operator`` now."""
    return chosen(operator)[0]


def chosen(operator: Operator) -> tuple[str, Callable[..., Any]]:
    """The backend that would compute ``operator`` now, and its kernel."""
    order = current_backends.get()
    known = _chosen.get((operator, order))
    return known if known is not None else _choose(operator, order)


@contextmanager
def observe(observer: Callable[[Call], None]) -> Iterator[None]:
    """Tell ``observer`` of every kernel call made in the block, in this thread and task."""
    token = current_observer.set(observer)
    try:
        yield
    finally:
        current_observer.reset(token)


def observed() -> bool:
    """Whether somebody observes, or traces, the calls of this thread and task."""
    return current_observer.get() is not None or current_tracer.get() is not None


class scope:
    """Attribute the calls made in the block to ``owner`` (a module) and ``phase``.

    A class, because an observed step enters one for every layer: a generator takes a microsecond more each time.
    """

    __slots__ = ("_token", "_value")

    def __init__(self, owner: object, phase: str) -> None:
        self._value = (owner, phase)

    def __enter__(self) -> None:
        self._token = _scope.set(self._value)

    def __exit__(self, *exception: object) -> None:
        _scope.reset(self._token)


def current_owner() -> object:
    """The module to which calls are attributed now, or None."""
    return _scope.get()[0]


def count(counter: np.ndarray) -> None:
    """Add one to each element of an int64 array, now or, while a tracer watches, before each step of its plan."""
    tracer: Any = current_tracer.get()
    if tracer is None:
        counter += 1
    else:
        tracer.count(counter)


def call(
    operator: Operator, *args: Any, out: Sequence[np.ndarray | None] | None = None, wanted: Sequence[bool] | None = None
) -> Any:
    """Compute ``operator`` on checked arguments: arrays first, then attributes.

    Parameters
    ----------
    operator : Operator
    *args
        Arrays (None where optional) and attributes, in the order of the declaration.
    out : sequence of arrays or None, optional
        One entry for each output; None has it allocated.
    wanted : sequence of bool, optional
        The outputs to compute where nothing records the call (a tape keeps residuals); the others may be None.

    Returns
    -------
    array, or tuple of arrays where the operator has several outputs. What ``__fastnn_call__`` returns where an argument has it.
    """
    for argument in args:
        hook = getattr(type(argument), "__fastnn_call__", None)
        if hook is not None:
            return (current_tracer.get() or hook)(operator, args, out)
    results = run(operator, args, out, wanted)
    return results[0] if len(results) == 1 else results


def run(
    operator: Operator,
    args: tuple[Any, ...],
    out: Sequence[np.ndarray | None] | None = None,
    wanted: Sequence[bool] | None = None,
) -> Arrays:
    """Compute ``operator`` on NumPy arrays, whoever asks. ``wanted`` names the outputs to compute; the others are None."""
    backend, kernel = chosen(operator)
    execute = _run_reference if backend == "reference" else _run_kernel
    observer = current_observer.get()
    if observer is None:
        return execute(operator, kernel, args, out, wanted)
    start = perf_counter_ns()
    outputs = execute(operator, kernel, args, out, wanted)
    elapsed = perf_counter_ns() - start
    observer(Call(operator, backend, args, outputs, elapsed, *_scope.get()))
    return outputs


def _choose(operator: Operator, order: tuple[str, ...]) -> tuple[str, Callable[..., Any]]:
    for backend in order:
        kernel = operator.kernel(backend) if backend != "cython" or isa.level() != isa.NONE else None
        if kernel is not None:
            _chosen[operator, order] = (backend, kernel)
            return backend, kernel
    raise ValueError(f"operator {operator.name!r} has no kernel on any of {', '.join(order)}")


def _run_reference(operator, kernel, args, out, wanted):
    """The reference makes new arrays; they are copied where ``out`` asks for it. Infinities and NaN come without a warning."""
    with np.errstate(all="ignore"):
        results = [None if result is None else np.asarray(result) for result in kernel(*args)]
    for index, (given, result) in enumerate(zip(out or (), results, strict=False)):
        if given is not None and result is not None:
            np.copyto(given, result)
            results[index] = given
    if wanted is not None:
        results = [result if want else None for result, want in zip(results, wanted, strict=True)]
    return tuple(results)


def _run_kernel(operator, kernel, args, out, wanted):
    """A fast kernel assigns to outputs allocated here, or to the user's own where those can be written to directly."""
    arrays, attributes = operator.split(args)
    arrays = tuple([a if a is None or (a.flags.c_contiguous and a.flags.aligned) else _compact(a) for a in arrays])
    described = (*[None if a is None else a.shape for a in arrays], *attributes)
    shapes = operator.shape(*described)
    dtype = next(a.dtype for a in arrays if a is not None and a.dtype.kind == "f")
    outputs: list[np.ndarray | None] = []
    results: list[np.ndarray | None] = []
    for index, (name, shape) in enumerate(zip(operator.outputs, shapes, strict=True)):
        if shape is None or (wanted is not None and not wanted[index]):
            outputs.append(None)
            results.append(None)
            continue
        given = out[index] if out is not None else None
        if given is not None and _is_direct(operator, given, arrays):
            outputs.append(given)
        else:
            outputs.append(
                _allocate(operator, name, shape, operator.index_dtype(*described) if name in operator.integers else dtype)
            )
        results.append(outputs[-1] if given is None else given)
    kernel(*arrays, *attributes, *outputs)
    for output, result in zip(outputs, results, strict=True):
        if output is not result and output is not None and result is not None:
            np.copyto(result, output)
    return tuple(results)


def _compact(array: np.ndarray) -> np.ndarray:
    """A C-contiguous, aligned copy (0-d stays 0-d)."""
    return np.array(array, order="C", copy=True, subok=False)


def _is_direct(operator: Operator, given: np.ndarray, arrays: Arrays) -> bool:
    """Whether a kernel may write to ``given`` itself: contiguous, aligned, and over no input that is still to be read."""
    if not (given.flags.c_contiguous and given.flags.aligned):
        return False
    for array in arrays:
        if array is None or not np.may_share_memory(given, array):
            continue
        same = array.ctypes.data == given.ctypes.data and array.shape == given.shape and array.dtype == given.dtype
        if not (operator.inplace and same):
            return False
    return True


def _allocate(operator: Operator, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    try:
        return np.empty(shape, dtype)
    except (ValueError, MemoryError):
        raise MemoryError(f"{operator.name}: no machine has room for {name} of shape {shape}") from None
