"""The official tests of ONNX: one node each, small models of PyTorch's exporter, and nets of the model zoo.

What fastnn lacks is skipped with its name, never counted as passed.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest

import fastnn

onnx = pytest.importorskip("onnx")
version_converter = pytest.importorskip("onnx.version_converter")
pytest.importorskip("fastnn.onnx")
pytestmark = pytest.mark.usefixtures("without_compilation")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the generators of the cases
    from onnx.backend.test.loader import load_model_tests

    CASES = {case.name: case for case in load_model_tests(kind="node")}
DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
RANDOM = ("test_training_dropout", "test_training_dropout_default")  # with a mask that another generator drew
INVALID = ("test_operator_pad", "test_ConstantPad2d", "test_ReflectionPad2d", "test_ReplicationPad2d", "test_ZeroPad2d")
ABSENT = {"Conv", "ConvTranspose", "AveragePool", "MaxPool", "LpPool"}  # over three dimensions
LIGHT = {"densenet121": 1, "inception_v2": 2, "shufflenet": 3, "squeezenet": 4}  # models of the zoo, and a seed


def array(value):
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def lacking(model):
    """What fastnn lacks for a model, or None."""
    try:
        fastnn.onnx.load(model)
    except NotImplementedError as error:
        return str(error)
    return None


def assert_gives(model, inputs, outputs, rtol=1e-3, atol=1e-5):
    results = fastnn.onnx.prepare(model).run([array(value) for value in inputs])
    assert len(results) == len(outputs)
    for result, output in zip(results, map(array, outputs), strict=True):
        assert result.dtype == output.dtype and result.shape == output.shape
        np.testing.assert_allclose(result, output, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", CASES)
def test_node(name):
    case = CASES[name]
    if name.removesuffix("_mask") in RANDOM:
        pytest.skip("random numbers of another generator")
    if not fastnn.onnx.is_compatible(case.model):
        pytest.skip(lacking(case.model))
    for inputs, outputs in case.data_sets:
        assert_gives(case.model, inputs, outputs, case.rtol, case.atol)


def test_what_is_skipped_and_why():
    """Nothing is skipped that stands in the table, but for element types and dimensions that fastnn lacks."""
    known = set(fastnn.onnx.supported_operators())
    assert len(known) > 100
    reasons, tested = set(), set()
    for case in CASES.values():
        kinds, reason = {node.op_type for node in case.model.graph.node}, lacking(case.model)
        if reason is None:
            tested |= kinds
        elif kinds <= known and " of type " not in reason and "no tensors" not in reason:
            reasons.add(reason.removeprefix("fastnn lacks: ").partition(" (")[0])
    three = {f"{kind} over 3 dimensions" for kind in ABSENT}
    assert reasons - three <= {"MaxPool of uint8", "Mod of floats", "operator set 1"}
    assert known - tested <= {"GlobalLpPool"}  # which ONNX has no test of


def older_models():
    """Models of PyTorch's first exporter, brought to operator sets from 7 on by onnx itself."""
    folders = [*(DATA / "pytorch-operator").iterdir(), *(DATA / "pytorch-converted").iterdir()]
    return [pytest.param(folder, id=folder.name) for folder in sorted(folders)]


def tensors_of(folder, kind):
    paths = sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.rpartition("_")[2]))
    return [onnx.TensorProto.FromString(path.read_bytes()) for path in paths]


@pytest.mark.parametrize("opset", [7, 8, 9, 13])
@pytest.mark.parametrize("folder", older_models())
def test_models_of_older_operator_sets(folder, opset):
    model = onnx.load(folder / "model.onnx")
    if model.opset_import[0].version > 6 and opset > 7:
        pytest.skip("of a newer operator set, tested once")
    if model.opset_import[0].version <= 6:
        model = version_converter.convert_version(model, opset)
    if "PReLU" in folder.name and "multiparam" in folder.name:
        pytest.skip("its slope broadcasts by rules that ended with operator set 6")
    if opset >= 11 and folder.name in INVALID:
        pytest.skip("onnx's converter gives no valid model")
    reason = lacking(model)
    if reason is not None:
        pytest.skip(reason)
    for data in folder.glob("test_data_set_*"):
        assert_gives(model, tensors_of(data, "input"), tensors_of(data, "output"))


@pytest.mark.parametrize("name", LIGHT)
def test_nets_of_the_model_zoo(name):
    """Their weights, which are one number each in these files, replaced by random ones, against ONNX Runtime."""
    runtime = pytest.importorskip("onnxruntime")
    model, rng = onnx.load(DATA / "light" / f"light_{name}.onnx"), np.random.default_rng(LIGHT[name])
    given = {tensor.name for tensor in model.graph.initializer}
    shapes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.data_type == 7}
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape" and shapes[node.input[0]].size >= 2:
            shape = shapes[node.input[0]]
            weights = rng.standard_normal(shape).astype(np.float32) * np.sqrt(2 / max(np.prod(shape[1:]), 1))
            node.CopyFrom(
                onnx.helper.make_node("Constant", [], node.output, value=onnx.numpy_helper.from_array(weights.astype(np.float32)))
            )
    x = rng.standard_normal((1, 3, 224, 224), dtype=np.float32)
    (want,) = runtime.InferenceSession(model.SerializeToString(), _quiet(runtime)).run(None, _feed(model, given, x))
    (got,) = fastnn.onnx.prepare(model).run([x])
    assert want.std() > 1e-6 * abs(want).max() > 0
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * abs(want).max())


def _feed(model, given, x):
    return {value.name: x for value in model.graph.input if value.name not in given}


def _quiet(runtime):
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return options
