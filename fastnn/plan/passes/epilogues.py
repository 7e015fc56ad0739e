"""Epilogues: a linear map computes the activation of its result while that is in registers."""

from __future__ import annotations

from fastnn.kernels.linear.operators import linear, linear_activated

from ..graph import Graph, Node

ACTIVATIONS = ("relu", "sigmoid", "tanh")  # what the products' epilogue can compute


def fuse_activations(graph: Graph) -> str:
    """Let a linear map compute the activation that alone takes its result. (These go back over from their own results.)"""
    readers = graph.readers()
    makers = {id(node.outputs[0]): node for node in graph.nodes if node.operator is linear}
    fused: set[int] = set()
    nodes = []
    for node in graph.nodes:
        source = makers.get(id(node.inputs[0])) if node.operator.name in ACTIVATIONS and not node.attributes else None
        if source is None or readers[id(node.inputs[0])] > 1:
            nodes.append(node)
            continue
        fused.add(id(source))
        nodes.append(Node(linear_activated, source.inputs, (node.operator.name,), node.outputs, source.owner, node.phase))
    graph.nodes = [node for node in nodes if id(node) not in fused]
    return f"epilogues: {len(fused)} activations computed by the linear maps before them"
