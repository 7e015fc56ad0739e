"""Masks: the gradient of a small linear map takes the gradient of the activation after it along."""

from __future__ import annotations

import math

from fastnn.kernels.linear.operators import linear_activated_backward, linear_backward

from ..graph import Graph, Node
from .epilogues import ACTIVATIONS

MOST = 1024  # elements; a larger mask has work for more threads, and the saved call is lost in the noise of its products


def fuse_masks(graph: Graph) -> str:
    """One call instead of two, which is what counts in a network whose products take less than a microsecond."""
    readers = graph.readers()
    names = {f"{name}_backward": name for name in ACTIVATIONS}
    masks = {id(node.outputs[0]): node for node in graph.nodes if node.operator.name in names and not node.attributes}
    fused: set[int] = set()
    nodes = []
    for node in graph.nodes:
        mask = masks.get(id(node.inputs[0])) if node.operator is linear_backward else None
        if mask is None or readers[id(node.inputs[0])] > 1 or math.prod(node.shapes()[0]) > MOST:
            nodes.append(node)
            continue
        fused.add(id(mask))
        (dy, y), (_, x, w) = mask.inputs, node.inputs
        activation = names[mask.operator.name]
        nodes.append(Node(linear_activated_backward, (dy, x, w, y), (activation,), node.outputs, node.owner, node.phase))
    graph.nodes = [node for node in nodes if id(node) not in fused]
    return f"masks: {len(fused)} gradients of activations taken along by the linear maps before them"
