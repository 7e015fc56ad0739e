"""The graph of a network: values, and the operator calls that make them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.kernels import Cost, Operator
from fastnn.recall import check_classes

Shape = tuple[int, ...]


class Value:
    """An array that a plan will know: given at each step, bound to memory that exists, or computed.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    source : Tensor, array or None
        The memory of a bound value (a parameter, a buffer, a constant).
    requires_grad : bool
        Whether gradients flow to it.
    name : str
        What ``explain`` calls it.
    """

    __slots__ = ("dtype", "name", "requires_grad", "shape", "source")

    def __init__(self, shape: Shape, dtype: Any, source: Any = None, requires_grad: bool = False, name: str = "") -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.source = source
        self.requires_grad = requires_grad
        self.name = name

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_bound(self) -> bool:
        """Whether its memory belongs to somebody else."""
        return self.source is not None

    def memory(self) -> np.ndarray:
        """The array of a bound value, as it is now."""
        return self.source if isinstance(self.source, np.ndarray) else self.source.numpy()

    def __repr__(self) -> str:
        return f"{self.name or 'value'}: {self.dtype}{list(self.shape)}"


class Node:
    """One call of an operator.

    Attributes
    ----------
    operator : Operator
    inputs : tuple of Value or None
    attributes : tuple
    outputs : tuple of Value or None
        None where nobody wants that output.
    owner : object
        The module that made the call.
    phase : str
        "forward", "backward" or "update".
    """

    __slots__ = ("attributes", "inputs", "operator", "outputs", "owner", "phase")

    def __init__(
        self,
        operator: Operator,
        inputs: Sequence[Value | None],
        attributes: Sequence[Any],
        outputs: Sequence[Value | None],
        owner: object = None,
        phase: str = "forward",
    ) -> None:
        self.operator = operator
        self.inputs = tuple(inputs)
        self.attributes = tuple(attributes)
        self.outputs = tuple(outputs)
        self.owner = owner
        self.phase = phase

    @property
    def is_view(self) -> bool:
        """Whether its output is the input's own memory in another shape."""
        return self.operator.name == "reshape"

    @property
    def has_effect(self) -> bool:
        """Whether it writes to memory that outlives the step."""
        return any(value is not None and value.is_bound for value in self.outputs)

    def cost(self) -> Cost:
        """What it has to do by the cost model; outputs that nobody wants cost nothing."""
        values = [value for value in (*self.inputs, *self.outputs) if value is not None]
        itemsize = next((value.dtype.itemsize for value in values if value.dtype.kind == "f"), 8)
        return self.operator.cost_of(itemsize, self.shapes(), [value is not None for value in self.outputs])

    def shapes(self) -> tuple[Any, ...]:
        """What the operator's shape and cost rules take: shapes of the inputs, and attributes."""
        return (*[None if value is None else value.shape for value in self.inputs], *self.attributes)

    def named(self) -> dict[str, Value | None]:
        """Inputs and outputs by the operator's names for them."""
        found = dict(zip(self.operator.outputs, self.outputs, strict=False))
        return found if self.operator.variadic else {**dict(zip(self.operator.params, self.inputs, strict=True)), **found}


class ClassCheck:
    """Integers that have to lie in [0, classes) or be the ignored one.

    Attributes
    ----------
    source : Value
        An input or bound value.
    classes, ignored : int
    is_whole : bool
        Whether all elements of the source are checked, in whatever shape.
    """

    __slots__ = ("_path", "classes", "ignored", "is_whole", "source")

    def __init__(self, source: Value, path: Sequence[Node], classes: int, ignored: int) -> None:
        self.source, self._path, self.classes, self.ignored = source, path, classes, ignored
        self.is_whole = all(node.is_view for node in path)

    def __call__(self, name: str, array: np.ndarray) -> None:
        """Raise ValueError, naming the argument, where elements of ``array``, given for the source, do not."""
        if not self.is_whole:
            for node in self._path:
                (array,) = node.operator.kernel("reference")(array, *node.attributes)  # type: ignore[misc]
        check_classes(name, np.ascontiguousarray(array), self.classes, self.ignored)


class Graph:
    """Nodes in the order in which they run.

    Attributes
    ----------
    nodes : list of Node
    inputs : list of Value
        Given at each step.
    outputs : list of Value
        What has to be there at the end.
    class_checks : list of ClassCheck
    counters : list of array
        int64 arrays whose elements grow by one before each step.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.class_checks: list[ClassCheck] = []
        self.counters: list[np.ndarray] = []

    def add(
        self, operator: Operator, inputs: Sequence[Value | None], attributes: Sequence[Any], *, out: Sequence[Any] | None = None,
        owner: object = None, phase: str = "forward", wanted: Sequence[bool] | None = None, requires_grad: bool = False,
    ) -> list[Value | None]:  # fmt: skip
        """Append a call; its outputs follow from the operator's shape rule. ``out`` binds outputs to memory."""
        node = Node(operator, inputs, attributes, (), owner, phase)
        described = node.shapes()
        shapes = operator.shape(*described)
        dtypes = [value.dtype for value in inputs if value is not None]
        floats = next((dtype for dtype in dtypes if dtype.kind == "f"), dtypes[0])  # integers too are reshaped
        outputs: list[Value | None] = []
        for index, shape in enumerate(shapes):
            name = operator.outputs[min(index, len(operator.outputs) - 1)]
            if shape is None or (wanted is not None and not wanted[index]):
                outputs.append(None)
                continue
            dtype = operator.index_dtype(*described) if name in operator.integers else floats
            source = out[index] if out is not None else None
            gradient = requires_grad and name in operator.differentiable
            outputs.append(Value(shape, dtype, source, gradient, f"{operator.name}.{name}"))
        node.outputs = tuple(outputs)
        self.nodes.append(node)
        return outputs

    def copy(self) -> Graph:
        """A graph with nodes of its own and the same values."""
        other = Graph()
        other.nodes = [Node(n.operator, n.inputs, n.attributes, n.outputs, n.owner, n.phase) for n in self.nodes]
        other.inputs, other.outputs = list(self.inputs), list(self.outputs)
        other.class_checks, other.counters = self.class_checks, self.counters
        return other

    def readers(self) -> Counter[int]:
        """How often each value is read, by its ``id``; being an output counts."""
        found = Counter(id(value) for node in self.nodes for value in node.inputs if value is not None)
        found.update(id(value) for value in self.outputs)
        return found

    def bound(self) -> list[Value]:
        """Every value whose memory belongs to somebody else, each once."""
        values = {id(v): v for node in self.nodes for v in (*node.inputs, *node.outputs) if v is not None and v.is_bound}
        return list(values.values())
