"""The tape: what a recorded call remembers, and the walk back over it.

Nodes know operators, not derivatives: which operator computes a gradient and what it needs is part of the operator's declaration.
The walk is iterative, so that a chain of any length works, and visits each node once, so that its time is linear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ContextDecorator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import dispatch
from fastnn.kernels import Operator
from fastnn.kernels.sums import sum_to_shape

if TYPE_CHECKING:
    from .tensor import Tensor

_recording: ContextVar[bool] = ContextVar("fastnn_recording", default=True)


class _Recording(ContextDecorator):
    """Switch recording on or off in a block or a function; per thread and task."""

    value: bool

    def __enter__(self) -> None:
        tokens = self.__dict__.setdefault("_tokens", [])
        tokens.append(_recording.set(self.value))

    def __exit__(self, *exception: object) -> None:
        _recording.reset(self.__dict__["_tokens"].pop())

    def _recreate_cm(self) -> _Recording:
        return type(self)()  # a decorated function may run in several threads: each call has its own


class no_grad(_Recording):
    """Record nothing in this block (or decorated function): results have ``requires_grad=False``.

    Examples
    --------
    >>> import fastnn
    >>> x = fastnn.tensor([1.0, 2.0], requires_grad=True)
    >>> with fastnn.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    value = False


class enable_grad(_Recording):
    """Record in this block although an outer block says ``no_grad``."""

    value = True


def is_recording() -> bool:
    """Whether calls with Tensors that require gradients are recorded now."""
    return _recording.get()


class Node:
    """One recorded call: who gets gradients, and how they are computed.

    Attributes
    ----------
    parents : tuple of Tensor or None
        One for each input; None where no gradient is wanted.
    outputs : list of (shape, dtype)
        Of each differentiable output.
    owner : object
        The module that ran the call.
    """

    __slots__ = ("outputs", "owner", "parents")

    def __init__(self, parents: tuple[Tensor | None, ...], outputs: list[tuple[tuple[int, ...], np.dtype]]) -> None:
        self.parents = parents
        self.outputs = outputs
        self.owner = dispatch.current_owner()

    def gradients(self, dys: list[np.ndarray], out: Sequence[np.ndarray | None] | None) -> Sequence[np.ndarray | None]:
        """One gradient for each parent (None where it is not wanted); written to ``out`` where that is possible."""
        raise TypeError("a node computes gradients in a subclass")

    def release(self) -> None:
        """Drop what was saved: the memory of activations is free as soon as the backward pass is over."""
        raise TypeError("a node releases memory in a subclass")


class OperatorNode(Node):
    """A recorded call of an operator."""

    __slots__ = ("attributes", "operator", "saved", "versions")

    def __init__(
        self, operator: Operator, args: tuple[Any, ...], raw: tuple[Any, ...], results: tuple[Any, ...], parents: tuple[Any, ...]
    ) -> None:
        arrays, attributes = operator.split(raw)
        super().__init__(parents, [(results[operator.outputs.index(n)].shape, results[0].dtype) for n in operator.differentiable])
        self.operator = operator
        named = dict(zip(operator.params, arrays, strict=not operator.variadic))
        named.update(zip(operator.outputs, results, strict=True))
        self.saved: tuple[Any, ...] | None = tuple([named[name] for name in operator.saves])
        self.versions = [
            (arg, arg._version)
            for name, arg in zip(operator.params, args, strict=False)
            if name in operator.saves and hasattr(arg, "_version")
        ]
        known = dict(zip(operator.attributes, attributes, strict=True))
        backward = operator.backward
        assert backward is not None
        self.attributes = tuple(
            [known[name] if name in known else named[name.removesuffix("_shape")].shape for name in backward.attributes]
        )

    def gradients(self, dys: list[np.ndarray], out: Sequence[np.ndarray | None] | None) -> Sequence[np.ndarray | None]:
        """What the backward operator gives for each parent."""
        if self.saved is None:
            raise ValueError(
                f"backward: the values saved for {self.operator.name} are gone after the first backward pass; "
                "pass retain_graph=True there to go back a second time"
            )
        for tensor, version in self.versions:
            if tensor._version != version:
                raise ValueError(
                    f"backward: a Tensor of shape {tensor.shape} saved for {self.operator.name} was changed in place since"
                )
        backward = self.operator.backward
        assert backward is not None
        args = (*dys, *self.saved, *self.attributes)
        if self.operator.variadic:
            results = dispatch.run(backward, args)[0:]
            return [g if parent is not None else None for g, parent in zip(results, self.parents, strict=True)]
        order = {name: index for index, name in enumerate(backward.outputs)}
        slots = [order.get("d" + name) for name in self.operator.params]
        wanted: list[bool] = [False] * len(order)
        given: list[np.ndarray | None] = [None] * len(order)
        for index, (slot, parent) in enumerate(zip(slots, self.parents, strict=True)):
            if slot is not None and parent is not None:
                wanted[slot] = True
                if out is not None and self.operator.needs and self.gradient_shapes()[slot] == parent.shape:
                    given[slot] = out[index]
        results = dispatch.run(backward, args, given if any(g is not None for g in given) else None, wanted)
        return [None if slot is None else results[slot] for slot in slots]

    def gradient_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes that the backward operator computes, before what was broadcast is added up."""
        backward = self.operator.backward
        assert backward is not None and self.saved is not None
        saved = [None if array is None else array.shape for array in self.saved]
        return backward.shape(*[shape for shape, _ in self.outputs], *saved, *self.attributes)

    def release(self) -> None:
        """Drop the saved arrays."""
        self.saved = None
        self.versions = []


def ordered(roots: Sequence[Tensor]) -> list[Node]:
    """The nodes under ``roots``, every node before the ones that it depends on."""
    finished: list[Node] = []
    seen: set[int] = set()
    for root in roots:
        if root._node is None or id(root._node) in seen:
            continue
        seen.add(id(root._node))
        stack: list[tuple[Node, Iterator[Tensor | None]]] = [(root._node, iter(root._node.parents))]
        while stack:
            node, parents = stack[-1]
            for parent in parents:
                if parent is not None and parent._node is not None and id(parent._node) not in seen:
                    seen.add(id(parent._node))
                    stack.append((parent._node, iter(parent._node.parents)))
                    break
            else:
                finished.append(node)
                stack.pop()
    finished.reverse()
    return finished


class _Sum:
    """A gradient that adds up. The first contribution is kept as it came, so it is never written to."""

    __slots__ = ("owned", "value")

    def __init__(self, value: np.ndarray, owned: bool) -> None:
        self.value = value
        self.owned = owned

    def add(self, other: np.ndarray) -> None:
        if self.owned:
            self.value += other
        else:
            self.value, self.owned = np.asarray(self.value + other), True


def backpropagate(
    root: Tensor, gradient: np.ndarray, out: dict[int, np.ndarray] | None = None, retain: bool = False
) -> dict[int, tuple[Tensor, np.ndarray]]:
    """Gradients of ``<gradient, root>`` to all leaves under ``root``.

    Parameters
    ----------
    root : Tensor
    gradient : array of the shape and dtype of ``root``
    out : dict, optional
        Arrays to write to, by the ``id`` of the leaf.
    retain : bool
        Keep the saved values for another pass.

    Returns
    -------
    dict
        (leaf, gradient) by the leaf's ``id``. No two gradients share memory with each other or with ``gradient``.
    """
    if root._node is None:
        return {id(root): (root, gradient.copy())}
    nodes = ordered([root])
    sums: dict[int, list[_Sum | None]] = {id(node): [None] * len(node.outputs) for node in nodes}
    leaves: dict[int, tuple[Tensor, _Sum]] = {}
    direct = _single_use(nodes, out) if out else {}
    sums[id(root._node)][root._slot] = _Sum(gradient, False)
    for node in nodes:
        dys = [
            np.zeros(shape, dtype) if total is None else total.value
            for total, (shape, dtype) in zip(sums.pop(id(node)), node.outputs, strict=True)
        ]
        targets = [direct.get(id(parent)) for parent in node.parents] if direct else None
        with dispatch.scope(node.owner, "backward") if dispatch.observed() else _NOTHING:
            gradients = node.gradients(dys, targets)
        for parent, value in zip(node.parents, gradients, strict=True):
            if parent is None or value is None:
                continue
            own = value.base is None and not any(value is dy for dy in dys)
            own = own or any(value is target for target in direct.values())
            if value.shape != parent.shape:
                value, own = np.asarray(sum_to_shape(value, parent.shape)), True
            if parent._node is not None:
                slots = sums[id(parent._node)]
                if slots[parent._slot] is None:
                    slots[parent._slot] = _Sum(value, own)
                else:
                    slots[parent._slot].add(value)  # type: ignore[union-attr]
            elif id(parent) in leaves:
                leaves[id(parent)][1].add(value)
            else:
                leaves[id(parent)] = (parent, _Sum(value if own else value.copy(), True))
    if not retain:
        for node in nodes:
            node.release()
    return {key: (leaf, total.value) for key, (leaf, total) in leaves.items()}


class _Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *exception: object) -> None: ...


_NOTHING = _Nothing()


def _single_use(nodes: list[Node], out: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """The arrays of ``out`` whose leaf gets exactly one contribution: that one can be written there at once."""
    uses = dict.fromkeys(out, 0)
    for node in nodes:
        for parent in node.parents:
            if id(parent) in uses:
                uses[id(parent)] += 1
    return {key: array for key, array in out.items() if uses[key] == 1}
