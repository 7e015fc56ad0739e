"""Checked calls are remembered, so that the next one like them goes straight to its kernel.

Validation in Python costs five to ten microseconds a call; comparing a call with a remembered one costs a fifth of one. The comparing
is compiled (``kernels/boundary.pyx``); here stands what is worth remembering. Without compiled kernels nothing is remembered.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastnn.kernels import Operator

from . import dispatch

Function = TypeVar("Function", bound=Callable[..., Any])

try:
    boundary: Any = importlib.import_module("fastnn.kernels.boundary")
except ModuleNotFoundError as error:
    if error.name != "fastnn.kernels.boundary":
        raise
    boundary = None


class _Recorder(list[dispatch.Call]):
    """What happens in one call of a function: an observer of its kernels, and the values that were checked."""

    def __init__(self) -> None:
        self.checks: list[tuple[np.ndarray, int, int]] = []

    def __call__(self, call: dispatch.Call) -> None:
        if call.operator.name != "reshape":  # a view: it shows in the shapes of what comes before and after
            self.append(call)


def remembered(function: Function) -> Function:
    """A functional that computes one operator and decides from types, shapes, layout and plain values alone how.

    A value of an array may decide only through :func:`classes_fit`.
    """
    if boundary is None:
        return function
    memory: Any = boundary.Remembered(function, dispatch.current_backends, dispatch.current_observer, _learn)
    functools.update_wrapper(memory, function)
    return memory


def classes_fit(target: np.ndarray, classes: int, ignored: int) -> bool:
    """Whether every element of an int64 array lies in [0, classes) or is ``ignored``; checked again in every remembered call."""
    recorder = dispatch.current_observer.get()
    if isinstance(recorder, _Recorder):
        recorder.checks.append((target, classes, ignored))
    if boundary is not None and target.flags.c_contiguous and target.flags.aligned:
        return boundary.valid_classes(target, classes, ignored)
    return not (((target < 0) | (target >= classes)) & (target != ignored)).any()


def _learn(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The result of a call, and what is to be remembered of it, or None."""
    recorder = _Recorder()
    with dispatch.observe(recorder):
        result = function(*args, **kwargs)
    if len(recorder) != 1 or type(result) is not np.ndarray or recorder[0].backend == "reference":
        return result, None
    named = {name: value for name, value in kwargs.items() if name != "out"}
    return result, _memory(recorder[0], recorder.checks, (*args, *named.values()), tuple(named), result)


def _memory(
    call: dispatch.Call,
    checks: list[tuple[np.ndarray, int, int]],
    values: tuple[Any, ...],
    names: tuple[str, ...],
    result: np.ndarray,
) -> Any:
    """One call as the boundary remembers it, or None where its kernel works on anything but the arguments' own memory."""
    given = {index: value for index, value in enumerate(values) if isinstance(value, np.ndarray)}
    arrays, attributes = call.operator.split(call.args)
    output = call.outputs[0]
    if output is None or not _same_memory(output, result) or not all(is_ready(a) and a.size for a in given.values()):
        return None
    if len({a.ctypes.data for a in given.values()}) < len(given):
        return None  # which is which?
    sources = [None if a is None else _source(a, given) for a in arrays]
    checked = [_source(target, given) for target, _, _ in checks]
    if any(s is None and a is not None for s, a in zip(sources, arrays, strict=True)) or None in checked:
        return None
    if {*given} != {s for s in (*sources, *checked) if s is not None}:
        return None  # an array that decided something else
    try:
        return boundary.Memory(
            dispatch.chosen(call.operator)[1],
            dispatch.current_backends.get(),
            names,
            tuple([[value.shape, value.dtype.num] if isinstance(value, np.ndarray) else value for value in values]),
            tuple([None if s is None else (s, a.shape) for s, a in zip(sources, arrays, strict=True)]),
            attributes,
            len(call.outputs),
            (result.shape, output.shape, result.dtype.num),
            call.operator.inplace,
            tuple([(s, classes, ignored) for s, (_, classes, ignored) in zip(checked, checks, strict=True)]),
        )
    except ValueError:  # more dimensions or arguments than it has room for
        return None


def direct_pullback(
    operator: Operator,
    dy: tuple[np.ndarray, tuple[int, ...]],
    constants: tuple[Any, ...],
    gradients: tuple[Any, ...],
    inputs: tuple[np.ndarray, ...],
    slow: Callable[..., Any],
) -> Callable[..., Any]:
    """``slow``, or a compiled pullback for a function of one operator, whose backward operator is given.

    Parameters
    ----------
    operator : Operator
    dy : (array, shape)
        An array like the result, and the shape that the kernel sees.
    constants : tuple
        What the kernel takes after ``dy``.
    gradients : tuple
        For each output None, or (number of the argument, its shape, the shape that the kernel sees).
    inputs : tuple
        The arguments, where only arrays count.
    slow : callable
        The Python way, which takes every call that the compiled one does not.
    """
    backend, kernel = dispatch.chosen(operator)
    arrays = (dy[0], *inputs, *operator.split((None, *constants))[0])
    if boundary is None or backend == "reference" or not all(a is None or (is_ready(a) and a.size) for a in arrays):
        return slow
    like = (dy[0].shape, dy[1], dy[0].dtype.num)
    try:
        return boundary.Pullback(
            kernel, dispatch.current_backends, dispatch.current_observer, like, constants, gradients, inputs, slow
        )
    except ValueError:  # more dimensions or arguments than it has room for
        return slow


def is_ready(array: Any) -> bool:
    """Whether kernels can work on an array's own memory: a plain one of the machine's byte order, contiguous and aligned."""
    return type(array) is np.ndarray and array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative


def _same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two contiguous arrays are the same elements, be it in another shape."""
    return is_ready(a) and is_ready(b) and a.ctypes.data == b.ctypes.data and a.size == b.size and a.dtype == b.dtype


def _source(array: np.ndarray, given: dict[int, np.ndarray]) -> int | None:
    """The number of the argument that an array of the kernel is."""
    return next((index for index, value in given.items() if _same_memory(array, value)), None)
