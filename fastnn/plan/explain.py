"""A graph for people: as a table, and in Graphviz's language."""

from __future__ import annotations

from typing import Any

from .graph import Graph, Node, Value

COLOURS = {"forward": "lightblue", "backward": "lightsalmon", "update": "lightgreen"}


def traced(graph: Graph) -> str:
    """The calls as the model made them, in one line."""
    return "traced: " + ", ".join(node.operator.name for node in graph.nodes if not node.is_view)


def explain(key: tuple[Any, ...], notes: list[str], graph: Graph) -> str:
    """The calls of one program with their costs, and what the passes did.

    Parameters
    ----------
    key : tuple
        The kind of program, and the shapes and dtypes of its inputs.
    notes : list of str
        What the model did, and one line for each pass.
    graph : Graph
    """
    kind, *arguments, _ = key
    inputs = ", ".join(f"{dtype}{list(shape)}" for shape, dtype in arguments)
    calls = [node for node in graph.nodes if not node.is_view]
    lines = [f"{kind}({inputs}): {len(calls)} calls", *(f"  {note}" for note in notes)]
    lines.append(f"  {'call':<32}{'phase':<10}{'output':<24}{'flops':>14}{'bytes':>14}")
    for node in calls:
        cost = _cost(node)
        output = next((value for value in node.outputs if value is not None), None)
        shape = "" if output is None else f"{output.dtype}{list(output.shape)}"
        lines.append(f"  {node.operator.name:<32}{node.phase:<10}{shape:<24}{cost.flops:>14,}{cost.bytes:>14,}")
    return "\n".join(lines)


def _cost(node: Node) -> Any:
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    itemsize = next((value.dtype.itemsize for value in values if value.dtype.kind == "f"), 8)
    return node.operator.cost(itemsize, *node.shapes())


def graphviz(graph: Graph) -> str:
    """The graph in Graphviz's language: boxes are calls, coloured by phase; edges carry shapes."""
    makers: dict[int, str] = {}
    lines = ["digraph plan {", "  rankdir=TB; node [shape=box, style=filled, fontname=Helvetica];"]
    for index, value in enumerate(graph.inputs):
        makers[id(value)] = f"input{index}"
        lines.append(f'  input{index} [label="{value.name}", fillcolor=white];')
    for index, node in enumerate(graph.nodes):
        lines.append(f'  call{index} [label="{node.operator.name}", fillcolor={COLOURS[node.phase]}];')
        sources = [value for value in node.inputs if value is not None and id(value) in makers]
        lines.extend(f'  {makers[id(value)]} -> call{index} [label="{_shape(value)}"];' for value in sources)
        makers |= {id(value): f"call{index}" for value in node.outputs if value is not None and not value.is_bound}
    return "\n".join([*lines, "}"])


def _shape(value: Value) -> str:
    return "x".join(map(str, value.shape)) or "scalar"
