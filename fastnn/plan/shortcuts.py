"""The compiled way of a call like the last one: what has to be unchanged for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn import dispatch
from fastnn.autograd import generation
from fastnn.optim.optimizer import State
from fastnn.random import seeding

from .compiled import Compiled
from .graph import Value
from .program import Program, shortcut

MOST_DIMENSIONS = 8  # of an array that compiled code compares


def _itself(method: Callable[..., Any]) -> Callable[..., Any]:
    return method


# Decorators of a plan's methods, which take its shortcut without Python.
stepping, predicting = (_itself, _itself) if shortcut is None else (shortcut.stepping, shortcut.predicting)
Shortcuts: Any = object if shortcut is None else shortcut.Shortcuts  # what a plan inherits


def _reads(program: Program, given: Value) -> tuple[tuple[int, int], ...]:
    """The calls, and their arguments, that read an input; none where something else than compiled kernels needs it in its place.

    Integers are read where they were copied to: another thread may change the user's after they were checked.
    """
    found, seen = [], {id(given)}  # the input and its views
    executor: Any = program.executor
    for node in program.graph.nodes:
        numbers = [number for number, value in enumerate(node.inputs) if id(value) in seen]
        if id(node) not in program.places:
            seen |= {id(value) for value in node.outputs if numbers}
        elif not all(executor.is_compiled(program.places[id(node)][0]) for _ in numbers):
            return ()
        else:
            found += [(program.places[id(node)][0], number) for number in numbers]
    is_given_back = any(id(value) in seen for value in program.graph.outputs)
    return () if is_given_back or given.dtype.kind != "f" else tuple(found)


def shortcut_of(compiled: Compiled, lock: Any) -> Any:
    """A compiled ``step`` or ``predict`` for arguments of one shape; None where there can be none.

    It compares instead of checking, and gives None to a call that is another one in any respect.
    """
    program, update = compiled.program, compiled.update
    graph = program.graph
    if shortcut is None or dispatch.observed() or (update is None and len(program.outputs) > 1):
        return None
    if any(array.ndim > MOST_DIMENSIONS for array in (*program.inputs, program.outputs[0])):
        return None
    if not all(check.is_whole and not check.source.is_bound for check in graph.class_checks):
        return None
    watched: list[Any] = [(generation, "number", generation["number"])]
    if compiled.is_random:
        watched.append((seeding, "number", seeding["number"]))
    options: tuple[Any, ...] = ()
    steps: tuple[Any, ...] = ()
    lists: tuple[Any, ...] = ()
    if update is not None:
        found = update.shortcut(program)
        if found is None:
            return None
        options, steps = found
        optimizer = update.optimizer
        groups = optimizer.param_groups
        watched += [(vars(optimizer), name, getattr(optimizer, name)) for name in ("state", "param_groups")]
        watched += [(group, "params", group["params"]) for group in groups]
        watched += [(optimizer.state, parameter, state) for parameter, state in optimizer.state.items()]
        watched += [place for place in update.arrays if not isinstance(place[0], State)]  # a State tells of changes
        lists = tuple([(group["params"], tuple(group["params"])) for group in groups])
    numbers = {id(value): number for number, value in enumerate(graph.inputs)}
    checks = [(numbers[id(check.source)], check.classes, check.ignored) for check in graph.class_checks]
    variables = [(variable, variable.get()) for variable in (dispatch.current_backends, dispatch.current_observer)]
    reads = tuple([_reads(program, value) for value in graph.inputs])
    made = shortcut.Shortcut(
        program.executor, lock, tuple(program.inputs), reads, program.outputs[0], program.arena, tuple(checks), tuple(watched), options,
        lists, tuple(variables), steps, tuple(compiled.written),
    )  # fmt: skip
    return made if compiled.is_current() else None  # another thread may have changed something while the program ran
