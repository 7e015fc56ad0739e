"""A graph made ready to run: every value has memory, every call its kernel and arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

import numpy as np

from fastnn import dispatch
from fastnn.autograd import Tensor, generation
from fastnn.custom.entries import GeneratedOperator
from fastnn.kernels import isa

from .graph import Graph, Node, Value
from .memory import Layout, arrays_in_arena, plan_memory

executor, guard, shortcut = isa.helpers("executor", "guard", "shortcut")


class PythonExecutor:
    """What the compiled Executor does, for installations without a compiler."""

    def __init__(self, calls: Sequence[tuple[Callable[..., Any], Sequence[Any]]], counters: Sequence[np.ndarray]) -> None:
        self.calls = [(kernel, list(arguments)) for kernel, arguments in calls]
        self.counters = counters
        self.stamps: np.ndarray | None = None

    def set(self, call: int, argument: int, value: Any) -> None:
        """Give one call another argument from now on."""
        self.calls[call][1][argument] = value

    def run(self) -> None:
        """All calls once."""
        for counter in self.counters:
            counter += 1
        stamps = self.stamps
        if stamps is not None:
            stamps[0] = perf_counter_ns()
        for number, (kernel, arguments) in enumerate(self.calls, 1):
            kernel(*arguments)
            if stamps is not None:
                stamps[number] = perf_counter_ns()

    @property
    def lengths(self) -> list[int]:
        """How many calls are timed together: each alone."""
        return [1] * len(self.calls)

    def watch(self, stamps: np.ndarray | None) -> None:
        """From now on each run leaves the clock's nanoseconds here: before the first call, and after each. None ends it."""
        self.stamps = stamps

    def epoch(
        self,
        sources: Sequence[tuple[np.ndarray, np.ndarray]],
        order: np.ndarray,
        loss: np.ndarray,
        steps: Sequence[tuple[int, int]],
        done: np.ndarray,
    ) -> float:
        """Run once for each batch of rows, and count them in ``done``; the sum of the losses."""
        size, total = len(sources[0][1]), 0.0
        for first in range(0, len(order) - size + 1, size):
            for table, batch in sources:
                np.take(table, order[first : first + size], axis=0, out=batch)
            for call, argument in steps:
                self.set(call, argument, self.calls[call][1][argument] + 1)
            self.run()
            done += 1
            total += float(loss.item())
        return total


class Program:
    """Calls over one arena.

    Parameters
    ----------
    graph : Graph
        After its passes.

    Attributes
    ----------
    inputs, outputs : list of array
        Where a step finds what it is given, and leaves what it gives.
    layout : Layout
    places : dict
        By the ``id`` of a node, the number of its call and of the first argument that is an attribute.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layout: Layout = plan_memory(graph)
        self.arena, self._arrays = arrays_in_arena(graph, self.layout)
        self.inputs = [self._arrays[id(value)] for value in graph.inputs]
        self.outputs = [self.array(value) for value in graph.outputs]
        self._bound = [(v.source, v.memory(), v.requires_grad) for v in graph.bound() if isinstance(v.source, Tensor)]
        self._generation = generation["number"]
        self.places: dict[int, tuple[int, int]] = {}
        calls: list[tuple[Callable[..., Any], list[Any]]] = []
        for node in graph.nodes:
            call = self._call(node)
            if call is not None:
                self.places[id(node)] = len(calls), 0 if len(call[1]) == len(node.attributes) else len(node.inputs)
                calls.append(call)
        self.executor = (executor.Executor if executor is not None else PythonExecutor)(calls, graph.counters)

    def array(self, value: Value) -> np.ndarray:
        """The memory of a value."""
        return self._arrays[id(value)] if id(value) in self._arrays else value.memory()

    def is_current(self) -> bool:
        """Whether all Tensors still have the memory, and want the gradients, that they had when the program was made."""
        number = generation["number"]
        if number != self._generation and all(
            t._data is memory and t._requires_grad is wants for t, memory, wants in self._bound
        ):
            self._generation = number
        return number == self._generation

    def place(self, node: Node, index: int) -> tuple[int, int]:
        """The number of a node's call, and of the argument that is one of its attributes."""
        call, first = self.places[id(node)]
        return call, first + index

    def set_attribute(self, node: Node, index: int, value: Any) -> None:
        """Give a call another attribute from now on."""
        self.executor.set(*self.place(node, index), value)
        node.attributes = (*node.attributes[:index], value, *node.attributes[index + 1 :])

    def run(self) -> None:
        """One step."""
        if dispatch.observed():
            self._run_observed()
        else:
            self.executor.run()

    def _call(self, node: Node) -> tuple[Callable[..., Any], list[Any]] | None:
        """The kernel of a node, and its arguments; None for a view, which needs no call."""
        inputs = [None if value is None else self.array(value) for value in node.inputs]
        outputs = [None if value is None else self.array(value) for value in node.outputs]
        if node.is_view and inputs[0] is not None and outputs[0] is not None and np.may_share_memory(inputs[0], outputs[0]):
            return None
        backend, kernel = dispatch.chosen(node.operator)
        if backend == "numba" and isinstance(node.operator, GeneratedOperator):
            kernel = node.operator.entry(inputs, node.attributes) or kernel
        ready = all(a is None or (a.flags.c_contiguous and a.flags.aligned) for a in (*inputs, *outputs))
        if backend != "reference" and ready:
            return kernel, [*inputs, *node.attributes, *outputs]
        return _through_dispatch(node, inputs, outputs), list(node.attributes)

    def _run_observed(self) -> None:
        """One step through dispatch, which tells its observer of each call."""
        for counter in self.graph.counters:
            counter += 1
        for node in self.graph.nodes:
            inputs = [None if value is None else self.array(value) for value in node.inputs]
            outputs = [None if value is None else self.array(value) for value in node.outputs]
            if id(node) in self.places:
                with dispatch.scope(node.owner, node.phase):
                    _through_dispatch(node, inputs, outputs)(*node.attributes)


def _through_dispatch(node: Node, inputs: list[Any], outputs: list[Any]) -> Callable[..., None]:
    """A call for kernels that make new arrays, or memory that kernels cannot take as it is."""
    operator, wanted = node.operator, [output is not None for output in outputs]

    def run(*attributes: Any) -> None:
        dispatch.run(operator, (*inputs, *attributes), outputs, wanted)

    return run
