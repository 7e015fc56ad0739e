"""The backward half of a graph, by the operators' own rules."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastnn.kernels.arithmetic import operators as arithmetic
from fastnn.kernels.reduction import operators as reduction
from fastnn.kernels.shape.operators import reshape

from .graph import Graph, Node, Shape, Value


class _Backward:
    """Appends backward nodes to a graph, and holds the gradients found so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.gradients: dict[int, Value] = {}

    def visit(self, node: Node) -> None:
        """Append what gives the gradients of the inputs of ``node``."""
        if not any(value is not None and id(value) in self.gradients for value in node.outputs):
            return
        if not any(value is not None and value.requires_grad for value in node.inputs):
            return
        if not any(value is not None and value.requires_grad for value in node.outputs):
            return
        operator, backward = node.operator, node.operator.backward
        assert backward is not None
        named = node.named()
        if node.is_view:
            (dy,) = self.incoming(node)
            self.contribute(node.inputs[0], self.reshaped(dy, node.inputs[0].shape, node.owner), node.owner)  # type: ignore[union-attr]
            return
        if operator is arithmetic.add:  # no call: both get what came
            (dy,) = self.incoming(node)
            for value in node.inputs:
                self.contribute(value, dy, node.owner)
            return
        known = dict(zip(operator.attributes, node.attributes, strict=True))
        attributes = [known[a] if a in known else named[a.removesuffix("_shape")].shape for a in backward.attributes]  # type: ignore[union-attr]
        arguments = [*self.incoming(node), *(named[name] for name in operator.saves)]
        if operator.variadic:
            wanted = [value is not None and value.requires_grad for value in node.inputs]
            results = self.graph.add(backward, arguments, attributes, owner=node.owner, phase="backward", wanted=wanted)
            for value, gradient in zip(node.inputs, results, strict=True):
                self.contribute(value, gradient, node.owner)
            return
        takers = {"d" + name: value for name, value in zip(operator.params, node.inputs, strict=True)}
        wanted = [(taker := takers.get(name)) is not None and taker.requires_grad for name in backward.outputs]
        results = self.graph.add(backward, arguments, attributes, owner=node.owner, phase="backward", wanted=wanted)
        for name, gradient in zip(backward.outputs, results, strict=True):
            self.contribute(takers.get(name), gradient, node.owner)

    def incoming(self, node: Node) -> list[Value]:
        """The gradients of the differentiable outputs; zeros where none flows in."""
        named = dict(zip(node.operator.outputs, node.outputs, strict=False))
        found = []
        for name in node.operator.differentiable:
            value = named[name]
            assert value is not None
            found.append(self.gradients.get(id(value)) or _constant(np.zeros(value.shape, value.dtype)))
        return found

    def contribute(self, value: Value | None, gradient: Value | None, owner: object) -> None:
        """Add one gradient, which comes from a call of ``owner``, to what ``value`` has."""
        if value is None or gradient is None or not value.requires_grad:
            return
        gradient = self.summed(gradient, value.shape, owner)
        if id(value) in self.gradients:
            total = self.graph.add(arithmetic.add, (self.gradients[id(value)], gradient), (), owner=owner, phase="backward")[0]
            assert total is not None
            gradient = total
        self.gradients[id(value)] = gradient

    def reshaped(self, value: Value, to: Shape, owner: object) -> Value:
        """A view in another shape."""
        if value.shape == to:
            return value
        result = self.graph.add(reshape, (value,), (to,), owner=owner, phase="backward")[0]
        assert result is not None
        return result

    def summed(self, value: Value, to: Shape, owner: object) -> Value:
        """The adjoint of broadcasting from ``to``: sums over runs of dimensions that were repeated."""
        if value.shape == to:
            return value
        full = (1,) * (len(value.shape) - len(to)) + to
        current, last = value, len(full)
        while last:
            first = last
            while first and full[first - 1] == 1 and value.shape[first - 1] != 1:
                first -= 1
            if first == last:
                last -= 1
                continue
            here = current.shape
            form = (math.prod(here[:first]), math.prod(here[first:last]), math.prod(here[last:]))
            (total,) = self.graph.add(reduction.sum, (self.reshaped(current, form, owner),), (), owner=owner, phase="backward")
            assert total is not None
            current = self.reshaped(total, (*here[:first], *(1,) * (last - first), *here[last:]), owner)
            last = first
        return self.reshaped(current, to, owner)


def _constant(array: np.ndarray) -> Value:
    return Value(array.shape, array.dtype, array, name="constant")


def add_backward(graph: Graph, result: Value, wanted: Sequence[Value], gradient: Value | None = None) -> list[Value | None]:
    """Append the backward pass of ``result``; the gradients of ``wanted``, None where none flows.

    Parameters
    ----------
    graph : Graph
    result : Value
        A loss, or anything else with a ``gradient`` of its own shape.
    wanted : sequence of Value
    gradient : Value, optional
        What flows into ``result``; by default one, into a scalar.

    Raises
    ------
    ValueError
        Where a loss has more than one element.
    """
    if gradient is None:
        if math.prod(result.shape) != 1:
            raise ValueError(f"loss: expected a scalar, got shape {result.shape}")
        gradient = _constant(np.ones(result.shape, result.dtype))
    backward = _Backward(graph)
    backward.gradients[id(result)] = gradient
    for node in reversed(list(graph.nodes)):
        backward.visit(node)
    return [backward.gradients.get(id(value)) for value in wanted]
