"""Tracing: the calls that a model makes, recorded without computing them.

The model is called with symbols, which know their shape and dtype and no numbers. What looks at the numbers of one (``if x.sum() > 0``)
cannot become part of a plan, and says so with the line that did it.
"""

from __future__ import annotations

import math
import operator
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import dispatch
from fastnn.autograd import Tensor, tape
from fastnn.kernels import Operator
from fastnn.kernels.shape.operators import reshape

from .graph import ClassCheck, Graph, Node, Value
from .numpy_calls import numpy_call, result_of

PACKAGE = Path(__file__).resolve().parent.parent


class Symbol(Tensor):
    """A Tensor of a plan to be: a shape and a dtype, and no numbers."""

    __slots__ = ("tracer", "value")
    abstract = True

    def __init__(self, tracer: Tracer, value: Value) -> None:
        self.tracer = tracer
        self.value = value
        self._grad = None
        self._node = None
        self._slot = 0
        self._version = 0
        self._requires_grad = value.requires_grad

    @property
    def _data(self) -> np.ndarray:  # type: ignore[override]
        raise dispatch.TraceError(f"{_line()}: a plan has no numbers yet; what depends on them cannot be compiled")

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions."""
        return self.value.shape

    @property
    def dtype(self) -> np.dtype:
        """NumPy dtype of the elements."""
        return self.value.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.value.shape)

    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a Tensor without dimensions has no length")
        return self.shape[0]

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; of integers too."""
        if self.dtype.kind == "f":
            return super().reshape(*shape)
        wanted = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return self.tracer.reshaped(self, np.broadcast_to(np.empty((), np.bool_), self.shape).reshape(wanted).shape)

    view = reshape

    def __getitem__(self, key: Any) -> Tensor:
        if self.dtype.kind == "f":
            return super().__getitem__(key)
        return self.tracer.computed(operator.itemgetter(key), self)

    def _compare(self, other: Any, how: Any) -> Tensor:
        return self.tracer.computed(how, self, other)

    def _cast(self, dtype: Any) -> Tensor:
        if self.dtype == dtype:
            return self
        if self.requires_grad:
            raise TypeError(f"cannot convert a Tensor that requires a gradient from {self.dtype} to {np.dtype(dtype)}")
        return self.tracer.computed(operator.methodcaller("astype", dtype), self)

    def detach(self) -> Tensor:
        """The same value, to which no gradient flows."""
        return self.tracer.reshaped(self, self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._data

    def __repr__(self) -> str:
        return f"Symbol({self.value!r})"


class Tracer:
    """Records the operators that are called while it stands in ``dispatch.current_tracer``.

    Attributes
    ----------
    graph : Graph
    """

    def __init__(self) -> None:
        self.graph = Graph()
        self._bound: dict[int, Value] = {}

    def symbol(self, shape: Sequence[int], dtype: Any, name: str, requires_grad: bool = False) -> Symbol:
        """An input of the plan."""
        value = Value(tuple(shape), dtype, None, requires_grad, name)
        self.graph.inputs.append(value)
        return Symbol(self, value)

    def bind(self, source: Any) -> Value | None:
        """The value of an argument: a symbol's own, or one that stands for the memory of a Tensor or array."""
        if source is None or isinstance(source, Symbol):
            return None if source is None else source.value
        if id(source) not in self._bound:
            gradient = isinstance(source, Tensor) and source.requires_grad
            self._bound[id(source)] = Value(source.shape, source.dtype, source, gradient, "constant")
        return self._bound[id(source)]

    def __call__(self, operator: Operator, args: tuple[Any, ...], out: Sequence[Any] | None) -> Any:
        """Record one call; symbols stand for its results."""
        arrays, attributes = operator.split(args)
        inputs = [self.bind(array) for array in arrays]
        gradient = (
            tape.is_recording() and operator.backward is not None and any(v is not None and v.requires_grad for v in inputs)
        )
        outputs = self.graph.add(operator, inputs, attributes, out=out, owner=dispatch.current_owner(), requires_grad=gradient)
        symbols = tuple([None if value is None else Symbol(self, value) for value in outputs])
        return symbols[0] if len(symbols) == 1 else symbols

    def reshaped(self, symbol: Symbol, shape: tuple[int, ...]) -> Symbol:
        """The same elements in another shape, without gradient: what integers and ``detach`` want."""
        value = Value(shape, symbol.dtype, name=symbol.value.name)
        self.graph.nodes.append(Node(reshape, (symbol.value,), (shape,), (value,), dispatch.current_owner()))
        return Symbol(self, value)

    def computed(self, function: Callable[..., Any], *args: Any) -> Symbol:
        """What NumPy's ``function`` gives for these arguments at each step."""
        values = [self.bind(a if isinstance(a, (Tensor, np.ndarray)) else np.asarray(a)) for a in args]
        inputs = [value for value in values if value is not None]
        like = result_of(function, *[(value.shape, value.dtype) for value in inputs])
        value = Value(like.shape, like.dtype, name="numpy_call.y")
        self.graph.nodes.append(Node(numpy_call, inputs, (function,), (value,), dispatch.current_owner()))
        return Symbol(self, value)

    def check_classes(self, target: Any, classes: int, ignored: int) -> None:
        """Have integers checked at each step: an input, or what is taken of one."""
        value = self.bind(target)
        path: list[Node] = []
        for node in reversed(self.graph.nodes):
            if node.outputs[0] is value and len(node.inputs) == 1:
                path.insert(0, node)
                value = node.inputs[0]
        assert value is not None
        self.graph.class_checks.append(ClassCheck(value, path, classes, ignored))

    def count(self, counter: np.ndarray) -> None:
        """Have the elements of an int64 array grow by one before each step."""
        if not any(known is counter for known in self.graph.counters):
            self.graph.counters.append(counter)


def trace(
    function: Callable[..., Any], inputs: Sequence[tuple[str, Sequence[int], Any]], differentiable: bool = False
) -> tuple[Graph, list[Value]]:
    """The graph of ``function`` called with symbols, and the values that it returns.

    Parameters
    ----------
    function : callable
        Returns one Tensor or a sequence of them.
    inputs : sequence of (name, shape, dtype)
    differentiable : bool
        Whether gradients flow to the floating inputs too.

    Raises
    ------
    TraceError
        Where something depends on the numbers of a symbol.
    TypeError
        Where the result does not come from the inputs.
    """
    tracer = Tracer()
    symbols = [tracer.symbol(shape, dtype, name, differentiable and np.dtype(dtype).kind == "f") for name, shape, dtype in inputs]
    token = dispatch.current_tracer.set(tracer)
    try:
        result = function(*symbols)
    finally:
        dispatch.current_tracer.reset(token)
    results = result if isinstance(result, (tuple, list)) else (result,)
    for item in results:
        if not isinstance(item, Symbol):
            raise TypeError(f"expected a Tensor that was computed from the input, got {type(item).__name__}")
    tracer.graph.outputs = [item.value for item in results]
    return tracer.graph, tracer.graph.outputs


def _line() -> str:
    """Where the user's code stands: the innermost frame outside this package."""
    for frame in reversed(traceback.extract_stack()):
        if not Path(frame.filename).resolve().is_relative_to(PACKAGE):
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return "somewhere"
