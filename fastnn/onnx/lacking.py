"""What a model asks for that fastnn lacks, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import GraphProto, ModelProto, TypeProto

from . import operators  # noqa: F401  # fills the table
from .node import DOMAINS, TABLE, Facts, Node
from .reading import TYPES, tensors, type_name

OLDEST = 7
NEWEST = onnx.defs.onnx_opset_version()
MOST_REASONS = 40  # in a message


def supported_operators() -> list[str]:
    """The names of the operators that fastnn computes."""
    return sorted(TABLE)


def opset_of(model: ModelProto) -> int | None:
    """The version of the standard operators that a model uses."""
    return next((entry.version for entry in model.opset_import if entry.domain in DOMAINS), None)


def lacking_versions(model: ModelProto) -> list[str]:
    """Versions of the format and of the operators that are not known here."""
    found, opset = [], opset_of(model)
    if model.ir_version > onnx.IR_VERSION:
        found.append(f"version {model.ir_version} of the format (the installed onnx knows {onnx.IR_VERSION})")
    if opset is not None and not OLDEST <= opset <= NEWEST:
        found.append(f"operator set {opset} (supported: {OLDEST} to {NEWEST})")
    return found


def lacking_parts(model: ModelProto) -> list[str]:
    """Operators, attributes and types of a well-formed model that fastnn cannot compute, each once, with an example of a node."""
    graph, opset = model.graph, opset_of(model) or OLDEST
    found = dict.fromkeys(what for what in _elements(graph) if what is not None)
    if model.functions:
        found["functions of the model's own"] = None
    if graph.sparse_initializer:
        found["sparse initializers"] = None
    facts = Facts({}, {})
    _note_given(facts, graph)
    for proto in graph.node:
        where = f" (node {proto.name[:80]!r})" if proto.name else ""
        if proto.domain not in DOMAINS:
            found[f"operator {proto.domain[:80]}::{proto.op_type[:80]}{where}"] = None
        elif proto.op_type not in TABLE:
            found[f"operator {proto.op_type}{where}"] = None
        else:
            for reason in _reasons(Node(proto, opset), facts):
                found[reason + where] = None
    return list(found)


def describe(reasons: list[str]) -> str:
    """All of it in one message."""
    more = f", and {len(reasons) - MOST_REASONS} more" if len(reasons) > MOST_REASONS else ""
    return f"fastnn lacks: {'; '.join(reasons[:MOST_REASONS])}{more}"


def _elements(graph: GraphProto) -> Iterator[str | None]:
    """What is lacking of everything in the graph whose type is written down; None where nothing is."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = value.type.WhichOneof("value")
        if kind == "tensor_type" and value.type.tensor_type.elem_type not in TYPES:
            yield f"values of type {type_name(value.type.tensor_type.elem_type)}"
        elif kind not in (None, "tensor_type"):
            yield "values that are no tensors"
    for tensor in tensors(graph):
        yield None if tensor.data_type in TYPES else f"tensors of type {type_name(tensor.data_type)}"


def _note_given(facts: Facts, graph: GraphProto) -> None:
    """Enter types and ranks of inputs and initializers."""
    for value in graph.input:
        tensor: TypeProto.Tensor = value.type.tensor_type
        if tensor.elem_type in TYPES:
            facts.types[value.name] = TYPES[tensor.elem_type][0]
        if tensor.HasField("shape"):
            facts.ranks[value.name] = len(tensor.shape.dim)
    for initializer in graph.initializer:
        facts.ranks[initializer.name] = len(initializer.dims)
        if initializer.data_type in TYPES:
            facts.types[initializer.name] = TYPES[initializer.data_type][0]


def _reasons(node: Node, facts: Facts) -> list[str]:
    """Why a node cannot be computed; enters the types of its outputs."""
    implementation = TABLE[node.kind]
    first = facts.types.get(node.inputs[0]) if node.inputs else None
    found = []
    if first is not None and first.kind != "f" and not implementation.integers:
        found.append(f"{node.kind} of {first}")
    reason = implementation.lacks(node, facts) if implementation.lacks is not None else None
    if reason is not None and reason not in found:
        found.append(reason)
    for i, name in enumerate(node.outputs):
        dtype = implementation.results[i](node, facts) if i < len(implementation.results) else first
        if dtype is not None:
            facts.types[name] = dtype
    return found
