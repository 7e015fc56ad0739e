"""ONNX Runtime, forward only: a session of one node with the weights as initialisers, bound to memory that is there already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from ..problems.kernels import Calls, Problem

version = ort.__version__
_threads = 1


@contextmanager
def running(threads: int) -> Iterator[None]:
    """Remember how many threads the sessions may have."""
    global _threads
    before, _threads = _threads, threads
    try:
        yield
    finally:
        _threads = before


def session_options() -> ort.SessionOptions:
    """Options of a session on so many threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = _threads, 1
    return options


def to_numpy(result: Any) -> np.ndarray:
    """The values of an OrtValue."""
    return result.numpy()


def variants(problem: Problem) -> dict[str, Calls]:
    """One session; none where the operation is no node of ONNX."""
    nodes = _nodes(problem)
    if nodes is None:
        return {}
    arrays, dy = problem.arrays, problem.dy
    kind = helper.np_dtype_to_tensor_dtype(dy.dtype)
    graph = helper.make_graph(
        nodes,
        "row",
        [helper.make_tensor_value_info("x", kind, arrays["x"].shape)],
        [helper.make_tensor_value_info("y", kind, _output_shape(problem))],
        [numpy_helper.from_array(array, name) for name, array in arrays.items() if name != "x"],
    )
    opset = helper.make_opsetid("", 20)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
    x = ort.OrtValue.ortvalue_from_numpy(arrays["x"])
    y = ort.OrtValue.ortvalue_from_shape_and_type(_output_shape(problem), dy.dtype.type)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", x)
    binding.bind_ortvalue_output("y", y)

    def forward() -> Any:
        session.run_with_iobinding(binding)
        return y

    return {"io binding": {"forward": forward}}


def _output_shape(problem: Problem) -> tuple[int, ...]:
    shape = problem.dy.shape
    return (*shape, 1, 1) if problem.row.operation == "global_avg_pool" else shape


def _nodes(problem: Problem) -> list[Any] | None:
    operation, options = problem.row.operation, problem.row.options
    if operation == "linear":
        return [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)]
    if operation == "conv2d":
        attributes = {"strides": "stride", "dilations": "dilation"}
        given = {name: [options[key]] * 2 for name, key in attributes.items() if key in options}
        given["pads"] = [options.get("padding", 0)] * 4
        return [helper.make_node("Conv", ["x", "w", "b"], ["y"], group=options.get("groups", 1), **given)]
    if operation in ("max_pool2d", "avg_pool2d"):
        kernel, name = options["kernel_size"], "MaxPool" if operation == "max_pool2d" else "AveragePool"
        strides, pads = [options.get("stride", kernel)] * 2, [options.get("padding", 0)] * 4
        return [helper.make_node(name, ["x"], ["y"], kernel_shape=[kernel] * 2, strides=strides, pads=pads)]
    if operation == "softmax":
        return [helper.make_node("Softmax", ["x"], ["y"], axis=1)]
    if operation == "cross_entropy":
        return [helper.make_node("SoftmaxCrossEntropyLoss", ["x", "t"], ["y"])]
    return [helper.make_node(_SIMPLE[operation], ["x"], ["y"])] if operation in _SIMPLE else None


_SIMPLE = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "gelu": "Gelu", "elu": "Elu", "global_avg_pool": "GlobalAveragePool",
}  # fmt: skip
