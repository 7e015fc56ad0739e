"""A graph for people: as a table, and in Graphviz's language."""

from __future__ import annotations

from typing import Any

from .graph import Graph, Value
from .memory import plan_memory

COLOURS = {"forward": "lightblue", "backward": "lightsalmon", "update": "lightgreen"}


def explain(key: tuple[Any, ...], traced: Graph, notes: list[str], graph: Graph) -> str:
    """The calls of one program before and after its passes, with their costs, and what each pass did.

    Parameters
    ----------
    key : tuple
        The kind of program, and the shapes and dtypes of its inputs.
    traced : Graph
        What the model, the loss, their gradients and the optimiser came to.
    notes : list of str
        One line for each pass.
    graph : Graph
        After the passes.
    """
    kind, *arguments, _ = key
    inputs = ", ".join(f"{dtype}{list(shape)}" for shape, dtype in arguments)
    return "\n".join([f"{kind}({inputs})", *_table("before", traced), *(f"  {note}" for note in notes), *_table("after", graph)])


def _table(title: str, graph: Graph) -> list[str]:
    """A line for each call, and their sums before."""
    calls = [node for node in graph.nodes if not node.is_view]
    costs = [node.cost() for node in calls]
    flops, moved = sum(cost.flops for cost in costs), sum(cost.bytes for cost in costs)
    size = plan_memory(graph).size
    width = max([30, *(len(node.operator.name) + 2 for node in calls)])  # a chain has a long name
    lines = [
        f"  {title}: {len(calls)} calls, {flops:,} flops, {moved:,} bytes read and written, an arena of {size:,} bytes",
        f"    {'call':<{width}}{'phase':<10}{'output':<24}{'flops':>14}{'bytes':>14}",
    ]
    for node, cost in zip(calls, costs, strict=True):
        output = next((value for value in node.outputs if value is not None), None)
        shape = "" if output is None else f"{output.dtype}{list(output.shape)}"
        lines.append(f"    {node.operator.name:<{width}}{node.phase:<10}{shape:<24}{cost.flops:>14,}{cost.bytes:>14,}")
    return lines


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
