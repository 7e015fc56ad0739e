"""Models of fastnn as ONNX files."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import EncodeError
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from fastnn import io
from fastnn.autograd import Tensor, no_grad
from fastnn.functional import checks
from fastnn.nn import Module
from fastnn.nn.mode import mode_kept
from fastnn.plan.graph import Graph, Value
from fastnn.plan.passes import drop_dead_code
from fastnn.plan.trace import trace

from . import emitters  # noqa: F401  # fills the writer's table
from .lacking import describe
from .reading import TYPES
from .writer import TABLE, NotDynamicError, Writer

OPSET, IR_VERSION = 21, 10  # the oldest in which every node that is written has its present meaning
ELEMENTS = {dtype: element for element, (dtype, _) in TYPES.items()}
FIXED = "dynamic_batch=False exports the model for this number of examples alone"


def export(model: Any, example: Any, file: Any, *, dynamic_batch: bool = True) -> None:
    """Write a model, in evaluation mode, as an ONNX file.

    The calls that ``model`` makes for the example are traced and written as nodes of operator set 21; parameters and buffers
    keep their names. The file is checked by ``onnx.checker`` before anything is written, and a file that was there before stays
    whole if something fails.

    Parameters
    ----------
    model : Module
    example : array or tuple of arrays
        What ``model`` is called with; only shapes and dtypes matter.
    file : path-like or binary file
    dynamic_batch : bool
        Whether the first dimension of the inputs may have any length in the file. The model is then traced for two lengths.

    Raises
    ------
    TypeError
        Where ``model`` is no Module, or an argument no array.
    ValueError
        Where the model depends on the numbers of its input, or does not work with any number of examples.
    NotImplementedError
        Where ONNX has no operators for what the model computes; the message names all of it.

    Examples
    --------
    >>> import io, numpy as np, onnx, fastnn.onnx
    >>> from fastnn import nn
    >>> file = io.BytesIO()
    >>> fastnn.onnx.export(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), np.zeros((1, 3), np.float32), file)
    >>> [node.op_type for node in onnx.load_from_string(file.getvalue()).graph.node]
    ['Gemm', 'Relu']
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a Module, got {type(model).__name__}")
    given = example if isinstance(example, (tuple, list)) else (example,)
    arrays = [_array(f"example[{i}]" if len(given) > 1 else "example", value) for i, value in enumerate(given)]
    names = _input_names(model, len(arrays))
    graph = _traced(model, names, arrays, 0)
    twin = _twin(model, names, arrays, graph) if dynamic_batch else graph
    proto = _written(model, graph, twin, names)
    try:
        onnx.checker.check_model(proto, full_check=True)
        content = proto.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise ValueError(f"model: larger than the 2 GiB that an ONNX file holds ({error})") from None
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(f"model: what came of it is no valid ONNX model ({error})") from error
    if hasattr(file, "write"):
        file.write(content)
    else:
        io.write_atomically(Path(os.path.realpath(os.fspath(file))), content)


def _array(name: str, value: Any) -> np.ndarray:
    array = value.numpy() if isinstance(value, Tensor) else checks.to_numpy(name, value)
    if array.dtype not in ELEMENTS:
        raise TypeError(f"{name}: expected floats of 32 or 64 bits, integers or booleans, got dtype {array.dtype}")
    return array if array.dtype.kind == "f" else checks.index_array(name, array)


def _input_names(model: Module, count: int) -> list[str]:
    """The names of the arguments of ``forward``."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = [name for name, parameter in inspect.signature(model.forward).parameters.items() if parameter.kind in kinds]
    return found[:count] if len(found) >= count else [f"input_{i}" for i in range(count)]


def _traced(model: Module, names: Sequence[str], arrays: Sequence[np.ndarray], more: int) -> Graph:
    """The calls of the model for so many examples more."""
    shapes = [(a.shape[0] + more, *a.shape[1:]) if a.ndim and more else a.shape for a in arrays]
    with mode_kept(model, False), no_grad():
        graph, _ = trace(model, list(zip(names, shapes, [a.dtype for a in arrays], strict=True)))
    drop_dead_code(graph)
    return graph


def _twin(model: Module, names: Sequence[str], arrays: Sequence[np.ndarray], graph: Graph) -> Graph:
    """The same calls for one example more."""
    try:
        twin = _traced(model, names, arrays, 1)
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(f"example: the model does not take one example more ({error}); {FIXED}") from error
    if [node.operator for node in graph.nodes] != [node.operator for node in twin.nodes]:
        raise ValueError(f"example: the model makes other calls for one example more; {FIXED}")
    return twin


def _twins(graph: Graph, twin: Graph) -> dict[int, Value]:
    """For each value of a graph, that of the other."""
    found = {id(a): b for a, b in zip(graph.inputs, twin.inputs, strict=True)}
    for one, other in zip(graph.nodes, twin.nodes, strict=True):
        pairs = zip((*one.inputs, *one.outputs), (*other.inputs, *other.outputs), strict=True)
        found |= {id(a): b for a, b in pairs if a is not None and b is not None}
    return found


def _written(model: Module, graph: Graph, twin: Graph, names: Sequence[str]) -> ModelProto:
    state = {id(tensor): name for name, tensor in (*model.named_buffers(), *model.named_parameters())}
    writer = Writer(_twins(graph, twin), state)
    inputs: list[ValueInfoProto] = []
    for value, name in zip(graph.inputs, names, strict=True):
        free = writer.free(name)
        writer.give(value, free)
        inputs.append(_info(writer, value, free))
    _emit_all(writer, graph, twin)
    outputs: list[ValueInfoProto] = []
    for i, value in enumerate(graph.outputs):
        name = "output" if len(graph.outputs) == 1 else f"output_{i}"
        free = _finish(writer, value, name, [info.name for info in (*inputs, *outputs)])
        outputs.append(_info(writer, value, free))
    proto = helper.make_graph(writer.nodes, type(model).__name__, inputs, outputs, writer.initializers)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(proto, producer_name="fastnn", opset_imports=opsets, ir_version=IR_VERSION)


def _emit_all(writer: Writer, graph: Graph, twin: Graph) -> None:
    """Write every call; those that ONNX has no form for are gathered first, and named together."""
    lacking: dict[str, None] = {}
    for one, other in zip(graph.nodes, twin.nodes, strict=True):
        name = one.operator.name
        try:
            if name not in TABLE:
                raise NotImplementedError(name)
            TABLE[name](writer, one, other)
        except NotDynamicError as error:
            raise ValueError(f"model: {error} ({name}); {FIXED}") from None
        except NotImplementedError as error:
            lacking[f"an ONNX form of {error}"] = None
            for value in one.outputs:
                writer.give(value, "lacking")
    if lacking:
        raise NotImplementedError(describe(list(lacking)))


def _finish(writer: Writer, value: Value, name: str, taken: list[str]) -> str:
    """Have an output of the graph stand under a name of its own."""
    free, made = writer.free(name), writer.name(value)
    if any(made in node.output for node in writer.nodes) and made not in taken:
        writer.rename(made, free)
        writer.give(value, free)
    else:
        writer.nodes.append(helper.make_node("Identity", [made], [free]))
    return free


def _info(writer: Writer, value: Value, name: str) -> ValueInfoProto:
    """Name, type and shape of an input or output; what follows the batch by a name or not at all."""
    shape = [a if a == b else "batch" if (i, b - a) == (0, 1) else None for i, (a, b) in enumerate(writer.dims(value))]
    element: int = ELEMENTS.get(value.dtype, TensorProto.UNDEFINED)
    return helper.make_tensor_value_info(name, element, shape)
