"""ONNX models that tests make."""

import io

import pytest

import fastnn

onnx = pytest.importorskip("onnx")
pytest.importorskip("fastnn.onnx")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT


def exported(model, example, **options):
    file = io.BytesIO()
    fastnn.onnx.export(model, example, file, **options)
    return file.getvalue()


def model_of(nodes, shapes, constants=None, opset=21, outputs=("y",), ir_version=8):
    """A model whose inputs have these shapes and whose constants are given as arrays."""
    inputs = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in shapes.items()]
    results = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    given = [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    for result in results:
        result.type.tensor_type.shape.SetInParent()
    graph = helper.make_graph(list(nodes), "g", inputs, results, given)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
