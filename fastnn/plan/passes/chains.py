"""Elementwise chains: Numba makes one loop of calls that hand their result on, so that what lies between stays in registers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from fastnn.custom.entries import GeneratedOperator, entry_kernel
from fastnn.custom.generated import generated_module
from fastnn.dispatch import current_backends, has_numba
from fastnn.kernels import Cost, Operator

from ..graph import Graph, Node, Value

# Of five calls one loop takes 0.4 of their time from 32,768 elements on, 0.6 from 262,144; of two calls about as long as they do.
LEAST = 32768
SHORTEST = 3

# One element of the first output, by the inputs {0}, {1}, ... Python's numbers would make double of float32: ONE, ZERO and TWO do not.
FORMULAS = {
    "add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}", "divide": "{0} / {1}",
    "negative": "-{0}", "negative_backward": "-{0}", "exp": "exp({0})", "exp_backward": "{0} * {1}",
    "sqrt": "math.sqrt({0})", "sqrt_backward": "{0} / (TWO * {1})", "multiply_backward": "{0} * {2}", "divide_backward": "{0} / {2}",
    "relu": "ZERO if {0} <= ZERO else {0}", "relu_backward": "{0} if {1} > ZERO else ZERO",
    "tanh": "tanh({0})", "tanh_backward": "{0} * (ONE - {1} * {1})",
    "sigmoid": "sigmoid({0})", "sigmoid_backward": "{0} * ({1} * (ONE - {1}))",
    "silu": "{0} * sigmoid({0})",
}  # fmt: skip


class Step(NamedTuple):
    """One call of a chain: its operator, and for each input the number of the chain's input, or -1 for the step before."""

    operator: Operator
    sources: tuple[int, ...]


class Chain(GeneratedOperator):
    """Several elementwise operators, one after the other, as one.

    Parameters
    ----------
    steps : tuple of Step
    scalars : tuple of bool
        Which inputs have one element.
    """

    def __init__(self, steps: tuple[Step, ...], scalars: tuple[bool, ...]) -> None:
        super().__init__(
            "+".join(step.operator.name for step in steps), __package__, tuple(f"x{i}" for i in range(len(scalars))),
            _shape, functools.partial(_cost, len(steps)), needs=(),  # not in place: the loop would not be vectorised
        )  # fmt: skip
        self.steps, self.scalars = steps, scalars
        self._generated: Any = None

    def kernel(self, backend: str) -> Callable[..., Any] | None:
        """The loop, or its steps one by one."""
        return {"numba": self._run, "reference": self._reference}.get(backend)

    def _run(self, *arrays: np.ndarray) -> None:
        self._module().run(*[array.reshape(-1) for array in arrays])

    def entry(self, inputs: Sequence[np.ndarray | None], attributes: Sequence[Any]) -> Callable[..., Any] | None:
        """The loop as a C function."""
        numbers = tuple(range(len(inputs) + 1))
        assert inputs[0] is not None
        return entry_kernel(self._module(), self.name, ("array",) * len(numbers), (("run", numbers),), str(inputs[0].dtype))

    def _module(self) -> ModuleType:
        if self._generated is None:
            self._generated = generated_module("chain", self._text())
        return self._generated

    def _reference(self, *arrays: np.ndarray) -> tuple[np.ndarray]:
        value = arrays[0]
        for step in self.steps:
            kernel: Any = step.operator.kernel("reference")
            value = kernel(*[value if source < 0 else arrays[source] for source in step.sources])[0]
        return (value,)

    def _text(self) -> str:
        """The source of the loop."""
        names = [f"x{i}[0]" if scalar else f"x{i}[i]" for i, scalar in enumerate(self.scalars)]
        lines = [
            "import math",
            "from fastnn.kernels.elementary_numba import exp, sigmoid, tanh",
            "from fastnn.kernels.numba_support import kernel",
            "@kernel",
            f"def run({', '.join(self.params)}, y):",
            "    ZERO, ONE, TWO = y.dtype.type(0), y.dtype.type(1), y.dtype.type(2)",
            "    for i in range(y.size):",
        ]
        for step in self.steps:
            formula = FORMULAS[step.operator.name].format(*["t" if source < 0 else names[source] for source in step.sources])
            lines.append(f"        t = {formula}")
        return "\n".join([*lines, "        y[i] = t", ""])


def _shape(*shapes: tuple[int, ...]) -> tuple[tuple[int, ...]]:
    return (max(shapes, key=math.prod),)


def _cost(steps: int, itemsize: int, *shapes: tuple[int, ...]) -> Cost:
    size = max(map(math.prod, shapes))
    return Cost(flops=steps * size, bytes=itemsize * (sum(map(math.prod, shapes)) + size))


@functools.cache
def _chain(steps: tuple[Step, ...], scalars: tuple[bool, ...]) -> Chain:
    """One operator for equal chains, so that its loop is compiled once."""
    return Chain(steps, scalars)


def fuse_chains(graph: Graph) -> str:
    """Make one call of neighbours in a chain, each of which alone takes the result of the one before. Without Numba they stay."""
    if not has_numba() or current_backends.get() == ("reference",):
        return "chains: none, without Numba"
    readers = graph.readers()
    earlier = [node for node in graph.nodes if node.phase != "update"]
    written = {id(value.memory()) for node in earlier for value in node.outputs if value is not None and value.is_bound}
    chains: list[list[Node]] = []
    ends: dict[int, list[Node]] = {}  # by the value that a chain ends with
    for node in graph.nodes:
        if not _is_link(node, written):
            continue
        before = [ends[id(value)] for value in node.inputs if id(value) in ends and readers[id(value)] == 1]
        chain = before[0] if before else []
        if not before:
            chains.append(chain)
        else:
            del ends[id(chain[-1].outputs[0])]
        chain.append(node)
        ends[id(node.outputs[0])] = chain
    fused = [chain for chain in chains if len(chain) >= SHORTEST]
    places = {id(chain[-1]): _fused(chain) for chain in fused}
    gone = {id(node) for chain in fused for node in chain[:-1]}
    graph.nodes = [places.get(id(node), node) for node in graph.nodes if id(node) not in gone]
    return f"chains: {len(fused)} of {sum(map(len, fused))} elementwise calls"


def _is_link(node: Node, written: set[int]) -> bool:
    """Whether a call can be a part of a chain: one large result, of inputs that are as large or have one element."""
    output, *others = node.outputs
    if node.operator.name not in FORMULAS or node.attributes or output is None or output.is_bound or any(others):
        return False
    shapes = {value.shape for value in node.inputs if value is not None and math.prod(value.shape) != 1}
    return (
        math.prod(output.shape) >= LEAST
        and shapes == {output.shape}
        and not any(value is None or (value.is_bound and id(value.memory()) in written) for value in node.inputs)
    )


def _fused(chain: Sequence[Node]) -> Node:
    """The call of a whole chain. The first step's result is what goes on, so its sources are inputs alone."""
    inputs: list[Value] = []
    steps, last = [], None
    for node in chain:
        sources = []
        for value in node.inputs:
            assert value is not None
            if value is last:
                sources.append(-1)
                continue
            if not any(value is known for known in inputs):
                inputs.append(value)
            sources.append(next(i for i, known in enumerate(inputs) if known is value))
        steps.append(Step(node.operator, tuple(sources)))
        last = node.outputs[0]
    operator = _chain(tuple(steps), tuple(math.prod(value.shape) == 1 for value in inputs))
    return Node(operator, inputs, (), chain[-1].outputs, chain[-1].owner, chain[-1].phase)
