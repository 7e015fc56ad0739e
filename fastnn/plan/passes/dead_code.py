"""Dead code: calls whose results nobody wants, and outputs that nobody reads."""

from __future__ import annotations

from ..graph import Graph


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
