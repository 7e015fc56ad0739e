"""Writing a traced graph as nodes of ONNX: names, constants, and shapes that follow the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from fastnn.plan.graph import Node, Value

Dims = tuple[tuple[int, int], ...]  # each length in a trace and in another with one example more


class NotDynamicError(ValueError):
    """A model whose graph for another number of examples is not the same graph."""


class Writer:
    """Collects nodes, initializers and names.

    Attributes
    ----------
    nodes : list of NodeProto
    initializers : list of TensorProto
    """

    def __init__(self, twins: dict[int, Value], names: dict[int, str]) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._twins = twins
        self._given = names  # of parameters and buffers, by the identity of their Tensor
        self._taken = set(names.values())
        self._names: dict[tuple[int, Dims], str] = {}
        self._bases: dict[int, tuple[str, Dims]] = {}
        self._kept: list[Any] = []  # whose identity stands for them
        self._counts: dict[str, int] = {}

    # names

    def fresh(self, stem: str) -> str:
        """A name that nothing else has."""
        while True:
            self._counts[stem] = self._counts.get(stem, 0) + 1
            name = f"{stem}_{self._counts[stem]}"
            if name not in self._taken:
                self._taken.add(name)
                return name

    def free(self, name: str) -> str:
        """This name, or one like it if it is taken."""
        if name in self._taken:
            return self.fresh(name)
        self._taken.add(name)
        return name

    def dims(self, value: Value) -> Dims:
        """The shape of a value in both traces."""
        return tuple(zip(value.shape, self._twins.get(id(value), value).shape, strict=True))

    def base(self, value: Value) -> tuple[str, Dims]:
        """The name of what holds the elements of a value, and its shape, which may be another: reshapes are written where needed."""
        if id(value) not in self._bases:
            self._bases[id(value)] = self._bound(value), self.dims(value)
            self._kept.append(value)
        return self._bases[id(value)]

    def name(self, value: Value | None) -> str:
        """The name of a value in its own shape; "" for None."""
        if value is None:
            return ""
        name, dims = self.base(value)
        wanted = self.dims(value)
        if dims == wanted:
            return name
        key = (id(value), wanted)
        if key not in self._names:
            self._names[key] = self.reshaped(name, dims, wanted)
        return self._names[key]

    def reshaped(self, name: str, dims: Dims, wanted: Dims) -> str:
        """The elements in another shape: a constant one where it does not follow the batch, else with 0 (as before) and -1."""
        target = []
        for i, (a, b) in enumerate(wanted):
            if a == b:
                target.append(a)
            else:
                target.append(0 if i < len(dims) and dims[i] == (a, b) else -1)
        static = any(a == b == 0 for a, b in wanted)
        if target.count(-1) > 1 or (static and target != [a for a, _ in wanted]):
            raise NotDynamicError("a reshape joins the examples of a batch in a way that no single shape says")
        return self.node("Reshape", [name, self.constant(np.array(target, np.int64))], allowzero=int(static))

    def give(self, value: Value | None, name: str, dims: Dims | None = None) -> None:
        """Say where the elements of a value are, and in which shape if not its own."""
        if value is not None:
            self._bases[id(value)] = name, self.dims(value) if dims is None else dims
            self._kept.append(value)

    def rename(self, old: str, new: str) -> None:
        """Give what a node writes another name."""
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == old:
                        names[i] = new

    # parts

    def node(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> Any:
        """Append a node; the name of its output, or a list of them. Attributes that are None are left out."""
        names = [self.fresh(kind.lower()) for _ in range(outputs)]
        inputs = list(inputs)
        while inputs and not inputs[-1]:
            inputs.pop()
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(kind, inputs, names, name=self.fresh(f"{kind.lower()}_node"), **given))
        return names[0] if outputs == 1 else names

    def constant(self, array: Any) -> str:
        """The name of a constant."""
        return self.node("Constant", [], value=numpy_helper.from_array(np.array(array, order="C")))

    def like(self, value: Value, number: float) -> str:
        """The name of a constant number in the dtype of a value."""
        return self.constant(np.array(number, value.dtype))

    def _bound(self, value: Value) -> str:
        """A parameter or buffer by its name, anything else that exists already as a constant."""
        if not value.is_bound:
            raise ValueError("model: a value is used that no call makes")
        name = self._given.get(id(value.source))
        if self.dims(value) != tuple((n, n) for n in value.shape):
            raise NotDynamicError(f"an array of shape {value.shape} that the model makes follows the number of examples")
        if name is None:
            return self.constant(value.memory())
        self.initializers.append(numpy_helper.from_array(np.array(value.memory(), order="C"), name))
        return name


Emitter = Callable[[Writer, Node, Node], None]
TABLE: dict[str, Emitter] = {}


def emits(*operators: str) -> Callable[[Emitter], Emitter]:
    """Enter the function below into the table: ``emit(writer, node, twin)`` writes nodes for fastnn's operators of these names."""

    def enter(function: Emitter) -> Emitter:
        TABLE.update(dict.fromkeys(operators, function))
        return function

    return enter


def result(writer: Writer, node: Node, name: str, dims: Dims | None = None) -> None:
    """Give the first output of a node, in a shape that may be another than its own."""
    writer.give(node.outputs[0], name, dims)
