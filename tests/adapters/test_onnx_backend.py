"""The backend interface of ONNX: what is taken, what is lacking, and what the page says of it."""

import doctest
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import nn

from .onnx_models import exported, helper, model_of, onnx

pytestmark = pytest.mark.usefixtures("without_compilation")


def test_backend_interface(rng):
    x = rng.standard_normal((4, 3)).astype(np.float32)
    layer = nn.Linear(3, 2)
    content = exported(layer, x)
    model = onnx.load_from_string(content)
    assert fastnn.onnx.supports_device("CPU") and fastnn.onnx.supports_device("CPU:0")
    assert not fastnn.onnx.supports_device("CUDA") and not fastnn.onnx.supports_device(None)
    assert fastnn.onnx.is_compatible(model) and not fastnn.onnx.is_compatible(model, "CUDA")
    with pytest.raises(ValueError, match="device"):
        fastnn.onnx.prepare(model, "CUDA")
    prepared = fastnn.onnx.prepare(model)
    wanted = layer(x).numpy()
    for inputs in ([x], (x,), x, {"input": x}, [fastnn.tensor(x)]):
        (y,) = prepared.run(inputs)
        assert type(y) is np.ndarray
        np.testing.assert_array_equal(y, wanted)
    for wrong in ({"other": x}, [x[0]]):
        with pytest.raises(ValueError, match="input"):
            prepared.run(wrong)
    for wrong in ([], [x, x], [None], [x.astype(int)], ["x"]):
        with pytest.raises(TypeError, match="input"):
            prepared.run(wrong)


def test_everything_that_is_lacking_is_named_at_once():
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="bigger"),
        helper.make_node("Conv", ["a", "w"], ["b"], name="three"),
        helper.make_node("Cast", ["b"], ["c"], to=onnx.TensorProto.FLOAT16),
        helper.make_node("Nothing", ["c"], ["y"], domain="elsewhere"),
    ]
    constants = {"s": np.ones(5, np.float32), "w": np.ones((1, 1, 3, 3, 3), np.float32), "h": np.ones(2, np.float16)}
    model = model_of(nodes, {"x": [1, 1, 5, 5, 5]}, constants)
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    for function in (fastnn.onnx.load, fastnn.onnx.prepare):
        with pytest.raises(NotImplementedError) as caught:
            function(model)
        words = (
            "Det",
            "'bigger'",
            "Conv over 3 dimensions",
            "'three'",
            "Cast to float16",
            "elsewhere::Nothing",
            "tensors of type float16",
        )
        for word in words:
            assert word in str(caught.value)
    assert not fastnn.onnx.is_compatible(model)


@pytest.mark.parametrize("opset", [1, 6, onnx.defs.onnx_opset_version() + 1, 2**62])
def test_other_operator_sets(opset):
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, opset=opset)
    assert not fastnn.onnx.is_compatible(model)
    with pytest.raises(NotImplementedError, match=str(opset)):
        fastnn.onnx.load(model)


def test_a_newer_format():
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, ir_version=onnx.IR_VERSION + 1)
    with pytest.raises(NotImplementedError, match="format"):
        fastnn.onnx.load(model)


def test_what_is_found_out_when_it_runs():
    """The number of dimensions of a computed kernel is not known before."""
    nodes = [helper.make_node("Reshape", ["v", "s"], ["w"]), helper.make_node("Conv", ["x", "w"], ["y"])]
    constants = {"v": np.ones(27, np.float32), "s": np.array([1, 1, 3, 3, 3])}
    model = model_of(nodes, {"x": [1, 1, 4, 4, 4]}, constants)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    model.graph.input[0].type.tensor_type.shape.SetInParent()
    with pytest.raises((NotImplementedError, ValueError)):
        fastnn.onnx.prepare(model).run([np.ones((1, 1, 4, 4, 4), np.float32)])


def test_the_page_lists_the_operators():
    page = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text(encoding="utf-8")
    table = page.partition("## Operators")[2].partition("Not there:")[0]
    listed = re.findall(r"\b[A-Z]\w+\b", table)
    assert sorted(listed) == fastnn.onnx.supported_operators()


def test_examples_in_docstrings():
    for name in ("network", "export"):
        module = importlib.import_module(f"fastnn.onnx.{name}")
        result = doctest.testmod(module)
        assert result.attempted > 2 and not result.failed


def test_an_error_names_the_node():
    network = fastnn.onnx.load(
        model_of(
            [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], {"x": [2, 3]}, {"w": np.ones((4, 2), np.float32)}
        )
    )
    with pytest.raises(ValueError) as caught:
        network(np.ones((2, 3), np.float32))
    assert "product" in str(getattr(caught.value, "__notes__", ""))
