"""ONNX Runtime: inference of one example, with arrays handed over and with its memory bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from ..networks import Problem


def contestants(problem: Problem) -> dict[str, dict[str, Callable[[], Any]]]:
    """Predictions of one example."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(_model(problem).SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = problem.x[:1].copy()
    y = np.empty((1, problem.network.classes or 1), np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)

    def bound() -> np.ndarray:
        session.run_with_iobinding(binding)
        return y

    return {"predict": {"run": lambda: session.run(["y"], {"x": x})[0], "io binding": bound}}


def _model(problem: Problem) -> Any:
    """The network as an ONNX model."""
    nodes, weights, name = [], [], "x"
    for number, (kind, *sizes) in enumerate(problem.network.layers):
        last = number == len(problem.network.layers) - 1
        inputs, output = [name], "y" if last else f"value{number}"
        if kind in ("linear", "conv"):
            for part in ("weight", "bias"):
                weights.append(numpy_helper.from_array(problem.weights[f"{number}.{part}"], f"{number}.{part}"))
                inputs.append(f"{number}.{part}")
        operators: dict[str, tuple[str, dict[str, Any]]] = {
            "linear": ("Gemm", {"transB": 1}), "relu": ("Relu", {}), "tanh": ("Tanh", {}), "flatten": ("Flatten", {}),
            "pool": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            "conv": ("Conv", {"pads": [sizes[3]] * 4} if kind == "conv" else {}),
        }  # fmt: skip
        operator, attributes = operators[kind]
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        name = output
    shapes = {"x": [1, *problem.network.shape], "y": [1, problem.network.classes or 1]}
    x, y = (helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in shapes.items())
    model = helper.make_model(helper.make_graph(nodes, "network", [x], [y], weights), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    return model
