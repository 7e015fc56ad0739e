"""Checked calls are remembered, so that the next one like them goes straight to its kernel.

Validation in Python costs five to ten microseconds a call; a remembered one, from Python to its kernel and back, costs a tenth of one. The
comparing is compiled (``kernels/boundary.pyx``); here stands what is worth remembering. Without compiled kernels nothing is remembered.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastnn.kernels import Operator, isa

from . import dispatch

PLAIN = (type(None), bool, int, float, str, tuple)  # values whose equality says that a check would find the same again

Function = TypeVar("Function", bound=Callable[..., Any])

boundary, pullback, compiled = isa.helpers("boundary", "pullback", "remembered")


class Recorder(list[dispatch.Call]):
    """What happens in one call of a function: an observer of its kernels, and the values that were checked."""

    def __init__(self) -> None:
        self.checks: list[tuple[np.ndarray, int, int]] = []

    def __call__(self, call: dispatch.Call) -> None:
        """Note one kernel call."""
        if call.operator.name != "reshape":  # a view: it shows in the shapes of what comes before and after
            self.append(call)


def remembered(function: Function) -> Function:
    """A functional that computes one operator and decides from types, shapes, layout and plain values alone how.

    A value of an array may decide only through :func:`classes_fit`.
    """
    if boundary is None:
        return function
    memory: Any = compiled.Remembered(function, dispatch.current_backends, dispatch.current_observer, _learn)
    functools.update_wrapper(memory, function)
    return memory


def differentiating(function: Function) -> Function:
    """``vjp``, which takes the short way for remembered functions."""
    if boundary is None:
        return function
    short: Any = compiled.Differentiating(function)
    functools.update_wrapper(short, function)
    return short


def classes_fit(target: Any, classes: int, ignored: int) -> bool:
    """Whether every element of an int64 array lies in [0, classes) or is ``ignored``.

    That is checked again in every remembered call and every step of a plan.
    """
    tracer: Any = dispatch.current_tracer.get()
    if tracer is not None:
        tracer.check_classes(target, classes, ignored)
        if not isinstance(target, np.ndarray):
            return True
    recorder = dispatch.current_observer.get()
    if isinstance(recorder, Recorder):
        recorder.checks.append((target, classes, ignored))
    if boundary is not None and target.flags.c_contiguous and target.flags.aligned:
        return boundary.valid_classes(target, classes, ignored)
    return not (((target < 0) | (target >= classes)) & (target != ignored)).any()


def check_classes(name: str, target: Any, classes: int, ignored: int) -> None:
    """Raise ValueError, naming the argument, unless :func:`classes_fit`."""
    if not classes_fit(target, classes, ignored):
        wrong = ((target < 0) | (target >= classes)) & (target != ignored)
        raise ValueError(f"{name}: expected classes in [0, {classes - 1}] or ignore_index {ignored}, got {target[wrong].flat[0]}")


def remembers(function: Any) -> bool:
    """Whether a function is a remembered one."""
    return boundary is not None and type(function) is compiled.Remembered


def _learn(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The result of a call, and what is to be remembered of it, or None."""
    recorder = Recorder()
    with dispatch.observe(recorder):
        result = function(*args, **kwargs)
    if type(result) is not np.ndarray:
        return result, None
    named = {name: value for name, value in kwargs.items() if name != "out"}
    memory = _memory(recorder, args, named, result, residuals=False)
    if memory is None and len(recorder) == 1 and kwargs.get("out") is not None:  # perhaps only because it was copied to out
        recorder = Recorder()
        with dispatch.observe(recorder):
            memory = _memory(recorder, args, named, function(*args, **named), residuals=False)
    return result, memory


def _memory(recorder: Recorder, args: tuple[Any, ...], named: dict[str, Any], result: np.ndarray, residuals: bool) -> Any:
    """One call as the boundary remembers it, or None where its kernel works on anything but the arguments' own memory."""
    if len(recorder) != 1 or recorder[0].backend == "reference":
        return None
    call, checks, values = recorder[0], recorder.checks, (*args, *named.values())
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
    outputs = [(a.shape, a.dtype.num) if a is not None and (residuals or a is output) else None for a in call.outputs]
    try:
        return boundary.Memory(
            dispatch.chosen(call.operator)[1],
            dispatch.current_backends.get(),
            tuple(named),
            tuple([[value.shape, value.dtype.num] if isinstance(value, np.ndarray) else value for value in values]),
            tuple([None if s is None else (s, a.shape) for s, a in zip(sources, arrays, strict=True)]),
            attributes,
            tuple(outputs),
            result.shape,
            call.operator.inplace,
            tuple([(s, classes, ignored) for s, (_, classes, ignored) in zip(checked, checks, strict=True)]),
        )
    except ValueError:  # more dimensions or arguments than it has room for
        return None


class Direct(NamedTuple):
    """A function that is one operator with nothing but reshapes around it, as its pullback needs it.

    Attributes
    ----------
    backward : Operator
    dy : (array, shape)
        An array like the result, and the shape that the kernel sees.
    constants : tuple
        What the kernel takes after ``dy``.
    gradients : tuple
        For each output of the kernel None, or (number of the argument, its shape, the shape that the kernel sees).
    """

    backward: Operator
    dy: tuple[np.ndarray, tuple[int, ...]]
    constants: tuple[Any, ...]
    gradients: tuple[Any, ...]


def compiled_pullback(
    direct: Direct, inputs: tuple[Any, ...], slow: Callable[..., Any], again: Callable[..., Any]
) -> tuple[Callable[..., Any], Any]:
    """A compiled pullback, and the Gradients that other calls may share; ``(slow, None)`` where there can be none.

    Parameters
    ----------
    direct : Direct
    inputs : tuple
        The arguments, where only arrays count.
    slow : callable
        The Python way, which takes every call that the compiled one does not.
    again : callable
        ``again(function, arguments, params)`` -> the Python way of another call like this one.
    """
    backend, kernel = dispatch.chosen(direct.backward)
    arrays = (direct.dy[0], *inputs, *direct.backward.split((None, *direct.constants))[0])
    if boundary is None or backend == "reference" or not all(a is None or (is_ready(a) and a.size) for a in arrays):
        return slow, None
    like = (direct.dy[0].shape, direct.dy[1], direct.dy[0].dtype.num)
    try:
        gradients = pullback.Gradients(
            kernel, dispatch.current_backends, dispatch.current_observer, like, direct.gradients, len(inputs), again
        )
        return pullback.Pullback(gradients, direct.constants, inputs, slow), gradients
    except ValueError:  # more dimensions or arguments than it has room for
        return slow, None


def remember_gradient(
    function: Any,
    args: tuple[Any, ...],
    params: dict[str, Any],
    recorder: Recorder,
    result: np.ndarray,
    direct: Direct,
    gradients: Any,
) -> None:
    """Have the next call like this one go straight to the forward kernel, and its pullback to the backward kernel."""
    if not all(type(value) is np.ndarray or type(value) in PLAIN for value in (*args, *params.values())):
        return
    call = _memory(recorder, args, params, result, residuals=True)
    if call is None:
        return
    arrays, attributes = recorder[0].operator.split(recorder[0].args)
    passed = (*arrays, *attributes, *recorder[0].outputs)
    constants: list[Any] = []
    for value in direct.constants:
        number = next((i for i, other in enumerate(passed) if other is value), None) if isinstance(value, np.ndarray) else None
        if number is None and isinstance(value, np.ndarray):
            return
        constants.append([value] if number is None else number)
    function.keep(boundary.Record(call, gradients, tuple(constants)))


def is_ready(array: Any) -> bool:
    """Whether kernels can work on an array's own memory: a plain one of the machine's byte order, contiguous and aligned."""
    return type(array) is np.ndarray and array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative


def _same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two contiguous arrays are the same elements, be it in another shape."""
    return is_ready(a) and is_ready(b) and a.ctypes.data == b.ctypes.data and a.size == b.size and a.dtype == b.dtype


def _source(array: np.ndarray, given: dict[int, np.ndarray]) -> int | None:
    """The number of the argument that an array of the kernel is."""
    return next((index for index, value in given.items() if _same_memory(array, value)), None)
