"""Passes over a graph: each makes it cheaper and says what it did."""

from __future__ import annotations

from collections import Counter

from fastnn.kernels.linear.operators import linear, linear_activated

from .graph import Graph, Node

ACTIVATIONS = ("relu", "sigmoid", "tanh")  # what the products' epilogue can compute


def drop_dead_code(graph: Graph) -> str:
    """Remove calls whose results nobody wants, and outputs that nobody reads."""
    needed = {id(value) for value in graph.outputs}
    kept, dropped, trimmed = [], 0, 0
    for node in reversed(graph.nodes):
        if not node.has_effect and not any(value is not None and id(value) in needed for value in node.outputs):
            dropped += 1
            continue
        outputs = [value if value is not None and (value.is_bound or id(value) in needed) else None for value in node.outputs]
        # The first output is what every kernel computes; the others may be left out.
        outputs[0] = node.outputs[0] if node.phase == "forward" else outputs[0]
        trimmed += sum(a is not b for a, b in zip(outputs, node.outputs, strict=True))
        node.outputs = tuple(outputs)
        needed |= {id(value) for value in node.inputs if value is not None}
        kept.append(node)
    graph.nodes = kept[::-1]
    return f"dead code: {dropped} calls and {trimmed} outputs removed"


def fuse_epilogues(graph: Graph) -> str:
    """Let a linear map compute the activation that alone takes its result. (These go back over from their own results.)"""
    readers = Counter(id(value) for node in graph.nodes for value in node.inputs if value is not None)
    readers.update(id(value) for value in graph.outputs)
    makers = {id(node.outputs[0]): node for node in graph.nodes if node.operator is linear}
    fused: set[int] = set()
    nodes = []
    for node in graph.nodes:
        source = makers.get(id(node.inputs[0])) if node.operator.name in ACTIVATIONS else None
        if source is None or readers[id(node.inputs[0])] > 1 or node.attributes:
            nodes.append(node)
            continue
        fused.add(id(source))
        nodes.append(Node(linear_activated, source.inputs, (node.operator.name,), node.outputs, source.owner, node.phase))
    graph.nodes = [node for node in nodes if id(node) not in fused]
    return f"epilogues: {len(fused)} activations computed by the linear maps before them"
