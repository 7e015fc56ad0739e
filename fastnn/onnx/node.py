"""A node of a graph, and the table of the functions that compute nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto

from .reading import TYPES, to_array

DOMAINS = ("", "ai.onnx")  # two names of the standard operators


class Node:
    """One node: an operator's name and version, its attributes as Python values, and the names that it reads and writes.

    Attributes
    ----------
    kind : str
        The operator, for example "Conv".
    name : str
        The node's own name, or what it writes.
    version : int
        The operator set in which this version of the operator came.
    attributes : dict
        With the defaults of the operator's schema.
    inputs, outputs : tuple of str
        "" where an optional one is left out.
    """

    __slots__ = ("attributes", "inputs", "kind", "name", "outputs", "version")

    def __init__(self, proto: NodeProto, opset: int) -> None:
        schema = onnx.defs.get_schema(proto.op_type, opset, "")
        self.kind, self.version = proto.op_type, schema.since_version
        self.inputs, self.outputs = tuple(proto.input), tuple(proto.output)
        self.name = proto.name or next(iter(self.outputs), "")
        defaults = {name: attribute.default_value for name, attribute in schema.attributes.items()}
        given = {attribute.name: attribute for attribute in proto.attribute}
        self.attributes = {name: _value(value) for name, value in (defaults | given).items() if value.type}

    def __getitem__(self, name: str) -> Any:
        return self.attributes[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or ``default`` where it has no value."""
        return self.attributes.get(name, default)

    def wants(self, index: int) -> bool:
        """Whether the graph takes output ``index``."""
        return index < len(self.outputs) and self.outputs[index] != ""

    def __repr__(self) -> str:
        return f"{self.kind} {self.name[:80]!r}"


def _value(attribute: AttributeProto) -> Any:
    """The value of an attribute: int, float, str, array, or a list of them; None for what has no such form."""
    if attribute.type == AttributeProto.TENSOR:
        return to_array(attribute.t) if attribute.t.data_type in TYPES else None
    fields = {
        AttributeProto.INT: attribute.i, AttributeProto.FLOAT: attribute.f, AttributeProto.STRING: attribute.s,
        AttributeProto.INTS: attribute.ints, AttributeProto.FLOATS: attribute.floats, AttributeProto.STRINGS: attribute.strings,
    }  # fmt: skip
    value = fields.get(attribute.type)
    if value is None or isinstance(value, (int, float, bytes)):
        return _text(value)
    return [_text(item) for item in value]


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class Facts(NamedTuple):
    """What is known of the values of a graph before it runs, by name.

    Attributes
    ----------
    types : dict of str to dtype
    ranks : dict of str to int
    """

    types: dict[str, np.dtype]
    ranks: dict[str, int]


Result = Callable[[Node, Facts], Any]


def like(position: int) -> Result:
    """An output of the dtype of an input."""
    return lambda node, facts: facts.types.get(node.inputs[position]) if position < len(node.inputs) else None


def always(dtype: Any) -> Result:
    """An output of one dtype whatever goes in."""
    return lambda node, facts: np.dtype(dtype)


class Implementation(NamedTuple):
    """How fastnn computes an operator.

    Attributes
    ----------
    function : callable
        ``function(node, *inputs)`` -> the output or a tuple of outputs; None stands for an input that is left out.
    lacks : callable, optional
        ``lacks(node, facts)`` -> what of this node cannot be computed, in words, or None.
    integers : bool
        Whether the first input may hold integers or booleans.
    results : tuple of callable
        ``result(node, facts)`` -> the dtype of each output, None where it is not known; those that are missing have the first input's.
    trains : bool
        Whether ``function`` takes ``training=``, True while the network is trained.
    """

    function: Callable[..., Any]
    lacks: Callable[[Node, Facts], str | None] | None
    integers: bool
    results: tuple[Result, ...]
    trains: bool


TABLE: dict[str, Implementation] = {}


def implements(
    *kinds: str, lacks: Any = None, integers: bool = False, results: tuple[Result, ...] = (), trains: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter the function below into the table, for the operators of these names."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        TABLE.update(dict.fromkeys(kinds, Implementation(function, lacks, integers, results, trains)))
        return function

    return enter


def enter_all(functions: Mapping[str, Callable[..., Any]], **options: Any) -> None:
    """Enter functions of arrays, which need nothing of their node."""
    for kind, function in functions.items():
        implements(kind, **options)(_without_node(function))


def _without_node(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda node, *inputs: function(*inputs)
