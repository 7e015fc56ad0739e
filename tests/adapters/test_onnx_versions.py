"""Every version of the operators, against onnx's own evaluator (and ONNX Runtime where it is installed)."""

import numpy as np
import pytest

import fastnn

from .onnx_models import FLOAT, helper, model_of, onnx

reference = pytest.importorskip("onnx.reference")
pytestmark = pytest.mark.usefixtures("without_compilation")


X = np.random.default_rng(0).standard_normal((2, 4, 6, 7)).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def by_version(opset, limit, before, after):
    """Attributes before ``limit``, constants as inputs from then on."""
    return (before, {}) if opset < limit else ({}, after)


def cases(opset):
    """(operator, attributes, constant inputs, number of outputs) in the form of this operator set."""
    yield "Softmax", {"axis": 2}, {}, 1
    yield "LogSoftmax", {}, {}, 1
    yield "Flatten", {"axis": 2}, {}, 1
    yield "Clip", *by_version(opset, 11, {"min": -0.5, "max": 0.25}, {"low": np.float32(-0.5), "high": np.float32(0.25)}), 1
    yield "Slice", *by_version(opset, 10, {"starts": [1, -3], "ends": [9, -1], "axes": [2, 3]},
                               {"s": ints(1, -2), "e": ints(9, -7), "a": ints(2, 3), "t": ints(2, -1)}), 1  # fmt: skip
    yield "Pad", *by_version(opset, 11, {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 1.5},
                             {"p": ints(0, 0, 1, 2, 0, 0, 3, 0), "v": np.float32(1.5)}), 1  # fmt: skip
    attributes, inputs = by_version(opset, 11, {"pads": [0, 0, 1, 2, 0, 0, 3, 0]}, {"p": ints(0, 0, 1, 2, 0, 0, 3, 0)})
    yield "Pad", {**attributes, "mode": "reflect"}, inputs, 1
    yield "Pad", {**attributes, "mode": "edge"}, inputs, 1
    yield "Squeeze", *by_version(opset, 13, {"axes": [0]}, {"a": ints(0)}), -1
    yield "Unsqueeze", *by_version(opset, 13, {"axes": [0, 3]}, {"a": ints(0, 3)}), 1
    attributes, inputs = by_version(opset, 13, {"split": [1, 3]}, {"s": ints(1, 3)})
    yield "Split", {**attributes, "axis": 1}, inputs, 2
    yield "Split", {"axis": 2, **({"num_outputs": 3} if opset >= 18 else {})}, {}, 3
    for kind in (
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceLogSumExp",
        "ReduceSum",
    ):
        axes = by_version(opset, 13 if kind == "ReduceSum" else 18, {"axes": [1, 3]}, {"a": ints(1, 3)})
        yield kind, {**axes[0], "keepdims": 0}, axes[1], 1
        yield kind, {}, {}, 1
    yield "ArgMax", {"axis": 2, "keepdims": 0}, {}, 1
    yield "Dropout", {}, {}, 1
    conv = {"strides": [2, 1], "dilations": [1, 2], "pads": [1, 0, 0, 2], "group": 2}
    yield "Conv", conv, {"w": X[:, :2, :3, :3].repeat(2, 0), "b": X[0, :, 0, 0]}, 1
    yield "Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"w": X[:, :, :3, :4].copy()}, 1
    yield "Conv", {"auto_pad": "SAME_LOWER", "strides": [1, 2]}, {"w": X[:, :, :2, :3].copy()}, 1
    pool = {"kernel_shape": [3, 2], "strides": [2, 2]}
    for padding in ({}, {"pads": [1, 0, 1, 0]}, {"pads": [0, 1, 2, 0]}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "VALID"}):
        yield "MaxPool", {**pool, **padding}, {}, 1
        yield "AveragePool", {**pool, **padding}, {}, 1
        yield "AveragePool", {**pool, **padding, "count_include_pad": 1}, {}, 1
    if opset >= 10:
        yield "MaxPool", {**pool, "ceil_mode": 1}, {}, 1
        yield "MaxPool", {**pool, "dilations": [2, 3], "pads": [1, 1, 1, 1]}, {}, 1
        yield "AveragePool", {**pool, "ceil_mode": 1, "pads": [1, 0, 1, 0]}, {}, 1
    if opset >= 8:
        yield "MaxPool", pool, {}, 2
    transposed = {"strides": [2, 3], "dilations": [2, 1], "pads": [1, 0, 0, 2], "output_padding": [1, 2], "group": 2}
    yield "ConvTranspose", transposed, {"w": X[0, :, :3, :3].reshape(4, 1, 3, 3), "b": X[0, :2, 0, 0]}, 1
    yield "ConvTranspose", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"w": X[0, :, :3, :4].reshape(4, 1, 3, 4)}, 1
    yield "ConvTranspose", {"output_shape": [13, 12], "strides": [2, 2]}, {"w": X[0, :, :3, :2].reshape(4, 1, 3, 2)}, 1
    scales = np.array([1, 1, 1.5, 2], np.float32)
    if opset < 10:
        for mode in ("nearest", "linear"):
            by_scale = {"mode": mode, "scales": scales.tolist()} if opset < 9 else {"mode": mode}
            yield "Upsample", by_scale, {} if opset < 9 else {"s": scales}, 1
    if opset == 10:
        yield "Resize", {"mode": "nearest"}, {"s": scales}, 1
        yield "Resize", {"mode": "linear"}, {"s": scales}, 1
    if opset >= 11:
        for mode in ("nearest", "linear", "cubic"):
            for coordinates in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
                attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
                yield "Resize", attributes, {"r": np.zeros(0, np.float32), "s": scales}, 1
        sizes = {"r": np.zeros(0, np.float32), "s": np.zeros(0, np.float32), "z": ints(2, 4, 3, 4)}
        yield "Resize", {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1}, sizes, 1
        if opset >= 18:
            yield "Resize", {"mode": "linear", "antialias": 1}, sizes, 1
    yield "Hardmax", {"axis": 2}, {}, 1
    if opset >= 11:
        yield "CumSum", {"exclusive": 1, "reverse": 1}, {"a": np.array(2)}, 1
    yield "GlobalAveragePool", {}, {}, 1
    yield "GlobalMaxPool", {}, {}, 1
    yield "LRN", {"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 1.5}, {}, 1
    yield "PRelu", {}, {"slope": X[0, :, :1, :1].copy()}, 1
    yield "PRelu", {}, {"slope": X[0, 0].copy()}, 1
    channel = dict(zip("sbmv", (X[0, :, 0, 0], X[0, :, 1, 0], X[0, :, 2, 0], abs(X[0, :, 3, 0])), strict=True))
    yield "BatchNormalization", {"epsilon": 0.01}, channel, 1
    yield "InstanceNormalization", {"epsilon": 0.01}, {"s": channel["s"], "b": channel["b"]}, 1
    yield "Elu", {"alpha": 0.3}, {}, 1
    yield "Selu", {"alpha": 1.5, "gamma": 1.2}, {}, 1
    yield "HardSigmoid", {"alpha": 0.3, "beta": 0.4}, {}, 1
    yield "Transpose", {"perm": [0, 2, 3, 1]}, {}, 1
    yield "Gather", {"axis": 1}, {"i": np.array([[3, 0], [1, 1]])}, 1
    yield "Tile", {}, {"r": ints(1, 2, 1, 3)}, 1
    yield "SpaceToDepth", {"blocksize": 1}, {}, 1
    yield "DepthToSpace", {"blocksize": 2}, {}, 1
    if opset >= 8:
        yield "Expand", {}, {"s": ints(3, 1, 1, 1, 1)}, 1
    if opset >= 17:
        yield "LayerNormalization", {"axis": 2, "epsilon": 0.1}, {"s": X[0, 0].copy(), "b": X[0, 1].copy()}, 3
    if opset >= 21:
        yield "GroupNormalization", {"num_groups": 2}, {"s": X[0, :, 0, 0].copy(), "b": X[0, :, 1, 0].copy()}, 1


@pytest.mark.parametrize("opset", range(7, onnx.defs.onnx_opset_version() + 1))
def test_every_version(opset):
    wrong = []
    for kind, attributes, constants, count in cases(opset):
        names = ["y", "z", "v"][: abs(count)]
        shape = (1, *X.shape[1:]) if count < 0 else X.shape
        node = helper.make_node(kind, ["x", *constants], names, **attributes)
        model = model_of([node], {"x": shape}, {name: np.asarray(array) for name, array in constants.items()}, opset, names)
        results = fastnn.onnx.prepare(model).run([X[: shape[0]]])
        wanted = expected(model, X[: shape[0]])
        if wanted is None:
            continue
        for result, want in zip(results, wanted, strict=True):
            if result.shape != want.shape or result.dtype != want.dtype or not np.allclose(result, want, rtol=1e-4, atol=1e-5):
                wrong.append((kind, attributes, result.shape, want.shape))
    assert not wrong


# What onnx's evaluator computes otherwise than its documents say: for several groups or channels, or by the newest version alone.
WRONG = ("ConvTranspose", "LRN", "Upsample")
WRONG_BEFORE = ("BatchNormalization", "Hardmax", "LogSoftmax", "Resize", "Softmax")


def expected(model, x):
    """What ONNX Runtime gives, or onnx's evaluator where it is not installed or does not know the operator set."""
    try:
        import onnxruntime
    except ImportError:
        onnxruntime = None
    if onnxruntime is not None:
        model.graph.ClearField("output")
        kinds = {name: onnx.TensorProto.INT64 for name in ("z",) if model.graph.node[0].op_type == "MaxPool"}
        element = onnx.TensorProto.INT64 if model.graph.node[0].op_type == "ArgMax" else FLOAT
        outputs = model.graph.node[0].output
        model.graph.output.extend(helper.make_tensor_value_info(n, kinds.get(n, element), None) for n in outputs)
        try:
            return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
        except Exception as error:
            if "opset" not in str(error) and "NOT_IMPLEMENTED" not in str(error):
                raise
    kind, opset = model.graph.node[0].op_type, model.opset_import[0].version
    if kind in WRONG or (opset < 15 and kind in WRONG_BEFORE):
        return None
    try:
        return reference.ReferenceEvaluator(model).run(None, {"x": x})
    except (NotImplementedError, RuntimeError):
        return None
