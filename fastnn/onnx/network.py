"""A model of ONNX as a module of fastnn."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any

import numpy as np
from onnx import ModelProto

from fastnn import dispatch
from fastnn.autograd import Tensor
from fastnn.functional import checks
from fastnn.nn import Module, Parameter

from . import lacking, reading
from .node import DOMAINS, TABLE, Node
from .reading import TYPES
from .values import ROOM, numbers, room

MOST_PARTS = 16  # of a dotted name that becomes modules in modules
GROWTH = 256  # how many times larger than the inputs an array may be that is computed from them


class Network(Module):
    """The graph of an ONNX model; made by :func:`fastnn.onnx.load`.

    Floating initializers of at least one dimension are Parameters under their own names (dots make submodules, so that
    ``state_dict`` has the exporter's keys), running statistics of batch normalization are buffers, all else is constant.

    Attributes
    ----------
    input_names, output_names : tuple of str
        As the file calls them.
    opset : int
        The version of the operators.
    """

    def __init__(self, model: ModelProto) -> None:
        super().__init__()
        graph = model.graph
        self.opset = lacking.opset_of(model) or lacking.OLDEST
        nodes = [Node(proto, self.opset) for proto in graph.node]
        given = {initializer.name for initializer in graph.initializer}
        declared = [value for value in graph.input if value.name not in given]
        self.input_names = tuple(value.name for value in declared)
        self.output_names = tuple(value.name for value in graph.output)
        self._ranks = [
            len(value.type.tensor_type.shape.dim) if value.type.tensor_type.HasField("shape") else None for value in declared
        ]
        self._types = [TYPES[value.type.tensor_type.elem_type][0] for value in declared]
        self._constants: dict[str, np.ndarray] = {}
        self._places: dict[str, tuple[Module, str]] = {}
        self._steps = _schedule([node for node in nodes if node.kind != "Constant"], self.output_names)
        self._bytes = 0
        statistics = {name for node in nodes if node.kind == "BatchNormalization" for name in node.inputs[3:5]}
        for tensor in graph.initializer:  # last, so that none takes the name of an attribute above
            self._enter(tensor.name, reading.to_array(tensor), tensor.name in statistics, bool(tensor.dims))
        for node in nodes:
            if node.kind == "Constant":
                self._enter(node.outputs[0], TABLE["Constant"].function(node), False, False)
        self.eval()

    def _enter(self, full: str, array: np.ndarray, is_statistic: bool, is_state: bool) -> None:
        """Keep an array of the file: as a parameter, as a buffer, or, where it is no state, as a constant of the present precision."""
        self._bytes += array.nbytes
        if array.dtype not in checks.FLOATS:
            self._constants[full] = array
            return
        owner, name = self._home(full)
        if is_state and not is_statistic:
            owner.register_parameter(name, Parameter(array))
        else:
            owner.register_buffer(name, array, persistent=is_state)
        self._places[full] = (owner, name)

    def _home(self, name: str) -> tuple[Module, str]:
        """The submodule and the attribute for an initializer of this name."""
        parts = name.split(".")
        if len(parts) > MOST_PARTS or not all(parts):
            parts = [name.replace(".", "_") or "_"]
        owner: Module = self
        for part in parts[:-1]:
            child = owner._modules.get(part)
            if child is None:
                if hasattr(owner, part):
                    return self._free(self, "_".join(parts))
                child = Module()
                owner.add_module(part, child)
            owner = child
        return self._free(owner, parts[-1])

    @staticmethod
    def _free(owner: Module, name: str) -> tuple[Module, str]:
        """A name near this one that the module does not have yet."""
        count, free = 1, name
        while hasattr(owner, free):
            count, free = count + 1, f"{name}_{count}"
        return owner, free

    def forward(self, *inputs: Any) -> Any:
        """The outputs for inputs in the order of ``input_names``; one alone as it is, several as a tuple."""
        if len(inputs) != len(self.input_names):
            raise TypeError(f"inputs: expected {len(self.input_names)} ({', '.join(self.input_names)}), got {len(inputs)}")
        values: dict[str, Any] = dict(self._constants)
        size = 0
        for name, value, dtype, rank in zip(self.input_names, inputs, self._types, self._ranks, strict=True):
            values[name] = checked = _checked_input(name, value, dtype, rank)
            size += int(np.prod(checked.shape, dtype=object)) * checked.dtype.itemsize
        for name, (owner, attribute) in self._places.items():
            tensor = getattr(owner, attribute)
            values[name] = tensor.numpy() if attribute in owner._transient else tensor
        token = room.set(ROOM + self._bytes + GROWTH * size)
        try:
            observed, unobserved = dispatch.observed(), nullcontext()
            for node, last in self._steps:
                with dispatch.scope(node, "forward") if observed else unobserved:
                    self._run(node, values)
                for name in last:
                    values.pop(name, None)
        finally:
            room.reset(token)
        results = tuple([values[name] for name in self.output_names])
        return results[0] if len(results) == 1 else results

    def _run(self, node: Node, values: dict[str, Any]) -> None:
        """Compute one node and enter its outputs."""
        implementation = TABLE[node.kind]
        options = {"training": self.training} if implementation.trains else {}
        try:
            arguments = [values[name] if name else None for name in node.inputs]
            results = implementation.function(node, *arguments, **options)
        except (AttributeError, KeyError, AssertionError, ArithmeticError, RecursionError) as error:
            if isinstance(error, OverflowError):
                raise
            raise ValueError(f"{node}: its attributes or inputs do not fit ({type(error).__name__}: {error})") from error
        except (TypeError, ValueError, IndexError) as error:
            error.add_note(f"in node {node}")
            raise
        results = results if isinstance(results, tuple) else (results,)
        if any(node.outputs[len(results) :]):
            raise ValueError(f"{node}: expected at most {len(results)} outputs, got {', '.join(node.outputs)}"[:400])
        values.update((name, result) for name, result in zip(node.outputs, results, strict=False) if name)

    def profiled_parts(self) -> dict[str, tuple[Node, str, list[Tensor]]]:
        """The nodes by their names, or what they write where several have one name: kind, and the parameters and buffers they read."""
        nodes = [node for node, _ in self._steps]
        count = Counter(node.name for node in nodes)
        state = {name: getattr(owner, attribute) for name, (owner, attribute) in self._places.items()}
        return {
            node.name if count[node.name] == 1 else ", ".join(filter(None, node.outputs)): (
                node, node.kind, [state[name] for name in node.inputs if name in state],
            )
            for node in nodes
        }  # fmt: skip

    def extra_repr(self) -> str:
        """Inputs, outputs and number of nodes."""
        return f"{', '.join(self.input_names)} -> {', '.join(self.output_names)}, {len(self._steps)} nodes"


def _schedule(nodes: list[Node], kept: tuple[str, ...]) -> list[tuple[Node, list[str]]]:
    """Each node with the values that nobody reads after it."""
    seen, steps = set(kept), []
    for node in reversed(nodes):
        names = dict.fromkeys((*node.inputs, *node.outputs))
        steps.append((node, [name for name in names if name not in seen]))
        seen.update(names)
    return steps[::-1]


def _checked_input(name: str, value: Any, dtype: np.dtype, rank: int | None) -> Any:
    """An input of the declared number of dimensions; floats of either kind, so that a network can be converted."""
    if dtype in checks.FLOATS:
        return checks.array(name, value, rank)
    if getattr(type(value), "abstract", False):
        checks.check_ndim(name, value, rank)
        return value
    array = numbers(value) if isinstance(value, Tensor) else checks.to_numpy(name, value)
    if (array.dtype.kind == "b") != (dtype.kind == "b") or array.dtype.kind not in "biu":
        raise TypeError(f"{name}: expected dtype {dtype}, got {array.dtype}")
    checks.check_ndim(name, array, rank)
    return array.astype(dtype, copy=False)


def load(file: Any, *, external_data: Any = None) -> Network:
    """A model from an ONNX file, as a module that can be run, trained and compiled.

    The module starts in evaluation mode. ``train()`` has batch normalization and dropout behave as in training, whatever
    mode they were exported in.

    Parameters
    ----------
    file : path-like, binary file, bytes or onnx.ModelProto
    external_data : path-like, optional
        A folder from which weights that stand outside the file may be read. Without it such a file is refused.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the file is malformed, or refers to external data that is not allowed or not there.
    NotImplementedError
        Where it asks for what fastnn lacks; the message names all of it.

    Notes
    -----
    Nothing in a file is executed or unpickled, no other file is read, and no array is made that is larger than the file and
    the inputs justify: at run time 1 GiB, the weights' size and 256 times that of the inputs together.

    Examples
    --------
    >>> import io, numpy as np, fastnn.onnx
    >>> from fastnn import nn
    >>> file = io.BytesIO()
    >>> fastnn.onnx.export(nn.Linear(3, 2), np.zeros((1, 3), np.float32), file)
    >>> fastnn.onnx.load(file.getvalue())(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """
    model = reading.parse(file)
    versions = lacking.lacking_versions(model)
    if versions:
        raise NotImplementedError(lacking.describe(versions))
    reading.check(model, external_data)
    reasons = lacking.lacking_parts(model)
    if reasons:
        raise NotImplementedError(lacking.describe(reasons))
    if not any(entry.domain in DOMAINS for entry in model.opset_import):
        raise ValueError("file: the model names no version of the standard operators")
    return Network(model)
