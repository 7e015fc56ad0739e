"""ONNX Runtime: inference of one example, with arrays handed over and with its memory bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from onnx import helper, numpy_helper

from ..problems.networks import Problem
from .onnxruntime_kernels import session_options


def contestants(problem: Problem) -> dict[str, dict[str, Callable[[], Any]]]:
    """Predictions of one example and of a batch."""
    session = onnxruntime.InferenceSession(
        _model(problem).SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
    return {"predict": _calls(problem, session, problem.x[:1].copy()), "predict batch": _calls(problem, session, problem.x)}


def _calls(problem: Problem, session: Any, x: np.ndarray) -> dict[str, Callable[[], Any]]:
    y = np.empty((len(x), *_outputs(problem)), problem.dtype)
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y", "cpu", 0, problem.dtype.type, y.shape, y.ctypes.data)

    def bound() -> np.ndarray:
        session.run_with_iobinding(binding)
        return y

    return {"run": lambda: session.run(["y"], {"x": x})[0], "io binding": bound}


def _outputs(problem: Problem) -> tuple[int, ...]:
    """Shape of one prediction."""
    return (problem.network.classes,) if problem.network.classes else problem.network.outputs


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
    kind = helper.np_dtype_to_tensor_dtype(problem.dtype)
    shapes: dict[str, list[Any]] = {"x": ["rows", *problem.network.shape], "y": ["rows", *_outputs(problem)]}
    x, y = (helper.make_tensor_value_info(key, kind, shape) for key, shape in shapes.items())
    model = helper.make_model(helper.make_graph(nodes, "network", [x], [y], weights), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    return model
