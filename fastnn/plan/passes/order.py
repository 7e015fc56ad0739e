"""Order: what commutes goes where it has less to do."""

from __future__ import annotations

from fastnn.kernels.activation.operators import relu, relu_backward
from fastnn.kernels.pooling.operators import max_pool2d, max_pool2d_backward

from ..graph import Graph, Node, Value


def pool_before_relu(graph: Graph) -> str:
    """Take the maximum of windows before relu, not after: relu and its gradient then work on the pooled elements alone.

    The values are the same, since relu never decreases. So are the gradients, to the bit: where the maximum is positive the same element
    gets them, and nothing gets any where it is not. Windows with dilation stay, which may lie outside the plane and give -inf.
    """
    readers = graph.readers()
    takers: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for value in node.inputs:
            takers.setdefault(id(value), []).append(node)
    exchanged = 0
    for first in [node for node in graph.nodes if node.operator is relu]:
        (x,), (y,) = first.inputs, first.outputs
        found = {node.operator: node for node in takers.get(id(y), ())}
        pool, gate = found.pop(max_pool2d, None), found.pop(relu_backward, None)
        if pool is None or found or readers[id(y)] != 1 + (gate is not None) or max(pool.attributes[3]) > 1:
            continue
        unpool = None
        if pool.outputs[1] is not None:
            backward = takers.get(id(pool.outputs[1]), [])
            unpool = backward[0] if len(backward) == 1 and backward[0].operator is max_pool2d_backward else None
        if (pool.outputs[1] is not None or gate is not None) and not _follows(unpool, gate, readers):
            continue
        (z, indices) = pool.outputs
        assert z is not None and x is not None
        pooled = Value(z.shape, z.dtype, name="max_pool2d.y")
        places = {
            id(first): Node(max_pool2d, (x,), pool.attributes, (pooled, indices), pool.owner),
            id(pool): Node(relu, (pooled,), (), (z,), first.owner),
        }
        if unpool is not None and gate is not None:
            gated = Value(z.shape, z.dtype, name="relu_backward.dx")
            inputs = (gated, *unpool.inputs[1:])
            places |= {
                id(unpool): Node(relu_backward, (unpool.inputs[0], z), (), (gated,), gate.owner, "backward"),
                id(gate): Node(max_pool2d_backward, inputs, unpool.attributes, gate.outputs, unpool.owner, "backward"),
            }
        graph.nodes = [places.get(id(node), node) for node in graph.nodes]
        exchanged += 1
    return f"order: {exchanged} relus after the max pooling that they stood before"


def _follows(unpool: Node | None, gate: Node | None, readers: dict[int, int]) -> bool:
    """Whether the gradient of relu takes the result of the gradient of pooling, and nobody else does."""
    return unpool is not None and gate is not None and gate.inputs[0] is unpool.outputs[0] and readers[id(unpool.outputs[0])] == 1
