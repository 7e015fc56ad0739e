"""Memory: one arena for all computed values, in which those that never live together share a place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastnn.kernels.memory import ALIGNMENT, aligned_zeros

from .graph import Graph, Node, Value


class Layout(NamedTuple):
    """Where every computed value lies.

    Attributes
    ----------
    offsets : dict
        Bytes from the start of the arena, by the ``id`` of the value.
    size : int
        Bytes of the arena.
    live : int
        The largest sum of the values that are alive at one time: no arena can be smaller.
    """

    offsets: dict[int, int]
    size: int
    live: int

    def explain(self) -> str:
        """One line for people."""
        ratio = self.size / self.live if self.live else 1.0
        return f"memory: an arena of {self.size:,} bytes, {ratio:.2f} times the largest sum of live values"


class _Block:
    """Memory that one value, its views, and what replaces it in place lie in."""

    __slots__ = ("end", "nbytes", "offset", "start")

    def __init__(self, start: int, end: int, nbytes: int) -> None:
        self.start, self.end, self.nbytes, self.offset = start, end, nbytes, 0


def _padded(nbytes: int) -> int:
    return -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT


def plan_memory(graph: Graph) -> Layout:
    """Give every computed value and every input a place in one arena.

    Blocks go from the largest to the smallest to the lowest offset at which no block with an overlapping life lies (greedy by size:
    Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, section 5.2).
    """
    last = _last_uses(graph)
    blocks: dict[int, _Block] = {}
    for given in graph.inputs:
        blocks[id(given)] = _Block(-1, last.get(id(given), -1), _padded(given.nbytes))
    for index, node in enumerate(graph.nodes):
        for position, value in enumerate(node.outputs):
            if value is None or value.is_bound:
                continue
            host = _host(node, position, value, index, blocks, last)
            if host is None and node.is_view:
                continue  # of bound memory
            if host is not None:
                blocks[id(value)] = host
                host.end = max(host.end, last.get(id(value), index))
            else:
                blocks[id(value)] = _Block(index, last.get(id(value), index), _padded(value.nbytes))
    unique = list({id(block): block for block in blocks.values()}.values())
    size = _place(unique)
    live = max((sum(b.nbytes for b in unique if b.start <= i <= b.end) for i in range(-1, len(graph.nodes))), default=0)
    return Layout({key: block.offset for key, block in blocks.items()}, size, live)


def _last_uses(graph: Graph) -> dict[int, int]:
    """The index of the last node that reads each value, views counted as the value itself."""
    last = {id(value): index for index, node in enumerate(graph.nodes) for value in node.inputs if value is not None}
    last |= {id(value): len(graph.nodes) for value in graph.outputs}
    for index in reversed(range(len(graph.nodes))):
        node = graph.nodes[index]
        if node.is_view and node.inputs[0] is not None and node.outputs[0] is not None:
            source, view = id(node.inputs[0]), id(node.outputs[0])
            last[source] = max(last.get(source, index), last.get(view, index))
    return last


def _host(node: Node, position: int, value: Value, index: int, blocks: dict[int, _Block], last: dict[int, int]) -> _Block | None:
    """The block that an output may live in: its source's for a view, a dying input's for an operator that works in place."""
    if node.is_view:
        assert node.inputs[0] is not None
        return blocks.get(id(node.inputs[0]))
    if not node.operator.inplace or position:
        return None
    for given in node.inputs:
        if given is None or id(given) not in blocks or (given.shape, given.dtype) != (value.shape, value.dtype):
            continue
        block = blocks[id(given)]
        # Another view of the block may live on; a given input's memory is the next step's too, but is written anew before it.
        if block.end == index and last.get(id(given)) == index and sum(other is given for other in node.inputs) == 1:
            return block
    return None


def _place(blocks: list[_Block]) -> int:
    """Choose the offsets; the size of the arena."""
    placed: list[_Block] = []
    for block in sorted(blocks, key=lambda b: (-b.nbytes, b.start)):
        offset = 0
        for other in sorted((o for o in placed if o.start <= block.end and block.start <= o.end), key=lambda o: o.offset):
            if offset + block.nbytes <= other.offset:
                break
            offset = max(offset, other.offset + other.nbytes)
        block.offset = offset
        placed.append(block)
    return max((block.offset + block.nbytes for block in blocks), default=0)


def arrays_in_arena(graph: Graph, layout: Layout) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The arena, and an array for every value by its ``id``."""
    arena = aligned_zeros((layout.size,), np.uint8)
    arrays = {id(value): _at(arena, layout, value) for value in graph.inputs}
    for node in graph.nodes:
        for value in (*node.inputs, *node.outputs):
            if value is None or id(value) in arrays:
                continue
            if value.is_bound:
                arrays[id(value)] = value.memory()
            elif id(value) in layout.offsets:
                arrays[id(value)] = _at(arena, layout, value)
            else:  # a view of bound memory
                arrays[id(value)] = arrays[id(node.inputs[0])].reshape(value.shape)
    return arena, arrays


def _at(arena: np.ndarray, layout: Layout, value: Value) -> np.ndarray:
    offset = layout.offsets[id(value)]
    return arena[offset : offset + value.nbytes].view(value.dtype).reshape(value.shape)
