"""Models from ONNX files: the backend interface, training, compiling, every version of the operators."""

import copy
import doctest
import importlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")
pytest.importorskip("fastnn.onnx")
pytestmark = pytest.mark.usefixtures("without_compilation")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT
NEWEST = onnx.defs.onnx_opset_version()


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


# the backend interface


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


@pytest.mark.parametrize("opset", [1, 6, NEWEST + 1, 2**62])
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


# a network


def net(seed=0):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=rng), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.25, rng=1), nn.Linear(4 * 3 * 3, 3, rng=rng),
    )  # fmt: skip


def test_names_and_modes(rng):
    x = rng.standard_normal((4, 1, 6, 6)).astype(np.float32)
    original = net()
    network = fastnn.onnx.load(exported(original, x))
    own = {name: array for name, array in original.state_dict().items() if "num_batches" not in name}
    state = network.state_dict()
    assert state.keys() == own.keys()
    for name, array in own.items():
        np.testing.assert_array_equal(state[name], array)
    assert {name for name, _ in network.named_parameters()} == {name for name, _ in original.named_parameters()}
    assert not network.training
    assert (network.input_names, network.output_names, network.opset) == (("input",), ("output",), 21)
    assert "input -> output" in repr(network)
    other = net(1)
    network.load_state_dict({name: array for name, array in other.state_dict().items() if "num_batches" not in name})
    np.testing.assert_allclose(network(x).numpy(), other.eval()(x).numpy(), atol=1e-6)


def test_training_is_that_of_the_model_it_came_from(rng):
    """Batch normalization by the batch, its statistics moved, gradients to every parameter; dropout left out of the file."""
    x, y = rng.standard_normal((8, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, 8)
    original = net()
    original[5] = nn.Identity()
    network = fastnn.onnx.load(exported(original, x)).train()
    loss = nn.CrossEntropyLoss()
    for model in (original, network):
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
    state = original.state_dict()
    for name, array in network.state_dict().items():
        np.testing.assert_allclose(array, state[name], atol=1e-6, err_msg=name)


def test_compiled(rng):
    x, y = rng.standard_normal((8, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, 8)
    original = net()
    original[5] = nn.Identity()
    network = fastnn.onnx.load(exported(original, x))
    plans = [fastnn.compile(m, nn.CrossEntropyLoss(), optim.Adam(m.parameters(), lr=0.01)) for m in (original, network)]
    losses = [[plan.step(x, y) for _ in range(4)] for plan in plans]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-6)
    assert losses[1][-1] < losses[1][0]
    assert not network.training
    np.testing.assert_allclose(plans[1].predict(x[:3]), network(x[:3]).numpy(), atol=1e-6)


def embedding_model(rng):
    """Rows of a table chosen by the input, an activation by comparison, arithmetic of integers: what has no kernel of its own."""
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["i"]),
        helper.make_node("Gather", ["table", "i"], ["rows"], axis=1),
        helper.make_node("Transpose", ["rows"], ["r"], perm=[1, 2, 0]),
        helper.make_node("Greater", ["r", "zero"], ["above"]),
        helper.make_node("Mul", ["r", "tenth"], ["small"]),
        helper.make_node("Where", ["above", "r", "small"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"]),
    ]
    constants = {
        "table": rng.standard_normal((4, 10)).astype(np.float32), "two": np.array(2), "zero": np.array(0, np.float32),
        "tenth": np.array(0.1, np.float32), "w": rng.standard_normal((12, 2)).astype(np.float32), "b": np.zeros(2, np.float32),
    }  # fmt: skip
    model = model_of(nodes, {"x": ["n", 3]}, constants)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    return model


def test_integers_and_comparisons_are_trained_and_compiled(rng):
    model = embedding_model(rng)
    x, y = rng.integers(0, 5, (6, 3)), rng.integers(0, 2, 6)
    eager, planned = fastnn.onnx.load(model), fastnn.onnx.load(model)
    loss, optimizer = nn.CrossEntropyLoss(), optim.SGD(eager.parameters(), lr=0.1)
    plan = fastnn.compile(planned, loss, optim.SGD(planned.parameters(), lr=0.1))
    for _ in range(3):
        optimizer.zero_grad()
        value = loss(eager(x), y)
        value.backward()
        optimizer.step()
        assert plan.step(x, y) == pytest.approx(float(value), rel=1e-5)
    for name, array in planned.state_dict().items():
        np.testing.assert_allclose(array, eager.state_dict()[name], rtol=1e-5, atol=1e-6, err_msg=name)
        assert not np.array_equal(array, onnx.numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name)))
    np.testing.assert_allclose(plan.predict(x), eager(x).numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(IndexError):
        eager(np.full((1, 3), 7))


def test_copies_and_other_precision(rng):
    x = rng.standard_normal((4, 1, 6, 6))
    original = net()
    network = fastnn.onnx.load(exported(original, x.astype(np.float32)))
    twin = copy.deepcopy(network).double()
    y = twin(x)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y.numpy(), original.eval().double()(x).numpy(), atol=1e-12)
    assert network(x.astype(np.float32)).dtype == np.float32


def test_constants_are_not_trained():
    nodes = [
        helper.make_node("Constant", [], ["half"], value=onnx.numpy_helper.from_array(np.array(0.5, np.float32))),
        helper.make_node("Mul", ["x", "half"], ["a"]),
        helper.make_node("Mul", ["a", "w"], ["b"]),
        helper.make_node("Add", ["b", "scalar"], ["y"]),
    ]
    network = fastnn.onnx.load(model_of(nodes, {"x": [2]}, {"w": np.ones(2, np.float32), "scalar": np.array(1, np.float32)}))
    assert [name for name, _ in network.named_parameters()] == ["w"]
    assert list(network.state_dict()) == ["w"]
    np.testing.assert_array_equal(network(np.ones(2, np.float32)).numpy(), [1.5, 1.5])
    assert network.double()(np.ones(2)).dtype == np.float64


def test_dropout_and_its_seed():
    constants = {"p": np.array(0.5, np.float32), "t": np.array(True)}
    model = model_of([helper.make_node("Dropout", ["x", "p"], ["y"], seed=3)], {"x": [1000]}, constants)
    x = np.ones(1000, np.float32)
    network = fastnn.onnx.load(model)
    np.testing.assert_array_equal(network(x), x)
    first, second = network.train()(x), network(x)
    assert 400 < (first == 0).sum() < 600 and set(np.unique(first)) == {0, 2}
    assert (first != second).any()
    np.testing.assert_array_equal(fastnn.onnx.load(model).train()(x), first)
    always = model_of([helper.make_node("Dropout", ["x", "p", "t"], ["y"])], {"x": [1000]}, constants)
    assert 400 < (fastnn.onnx.load(always)(x) == 0).sum() < 600


def test_several_inputs_and_outputs(rng):
    a, b = rng.standard_normal((2, 3)).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    nodes = [helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("Sub", ["a", "b"], ["d"])]
    network = fastnn.onnx.load(model_of(nodes, {"a": [2, 3], "b": [3]}, outputs=("s", "d", "a")))
    s, d, same = network(a, b)
    np.testing.assert_array_equal(s, a + b)
    np.testing.assert_array_equal(d, a - b)
    np.testing.assert_array_equal(same, a)
    with pytest.raises(TypeError, match=r"expected 2 \(a, b\), got 1"):
        network(a)


def test_an_error_names_the_node():
    network = fastnn.onnx.load(
        model_of(
            [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], {"x": [2, 3]}, {"w": np.ones((4, 2), np.float32)}
        )
    )
    with pytest.raises(ValueError) as caught:
        network(np.ones((2, 3), np.float32))
    assert "product" in str(getattr(caught.value, "__notes__", ""))


@pytest.mark.parametrize(
    "options", [{}, {"is_causal": 1}, {"left_window_size": 1, "right_window_size": 0}, {"softcap": 2.0}], ids=str
)
@pytest.mark.parametrize("masked", [False, True])
def test_attention_has_gradients(options, masked, rng):
    """A query that may see nothing gives zeros; in a plan too."""
    q, k, v = (rng.standard_normal((2, heads, length, 3)).astype(np.float32) for heads, length in ((4, 3), (2, 5), (2, 5)))
    mask = rng.random((3, 5)) > 0.4
    mask[1] = False
    inputs = ["x", "k", "v", *(["m"] if masked else [])]
    constants = {"k": k, "v": v, **({"m": mask} if masked else {})}
    network = fastnn.onnx.load(
        model_of([helper.make_node("Attention", inputs, ["y"], **options)], {"x": q.shape}, constants, 25, ir_version=12)
    )
    y = network(q).numpy()
    assert y.shape == q.shape and np.isfinite(y).all()
    assert (y[:, :, 1] == 0).all() == masked
    np.testing.assert_allclose(fastnn.compile(network).predict(q), y, rtol=1e-5, atol=1e-6)
    assert fastnn.gradcheck(network.double(), q.astype(np.float64))


ELEMENTARY = {
    "Erf": None, "Sin": np.sin, "Cos": np.cos, "Tan": np.tan, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan, "Sinh": np.sinh,
    "Cosh": np.cosh, "Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh, "Floor": np.floor, "Ceil": np.ceil,
    "Round": np.round, "Sign": np.sign,
}  # fmt: skip


@pytest.mark.parametrize("kind", ELEMENTARY)
def test_elementary_functions_of_tensors(kind):
    """Values, NaN and infinity among them, and gradients; Numba compiles the first one alone, to spare time."""
    x = np.array([-0.75, -0.5, 0.3, 0.5, 0.9, 0.0])
    x = x + 2 if kind == "Acosh" else x
    network = fastnn.onnx.load(model_of([helper.make_node(kind, ["x"], ["y"])], {"x": ["n"]}))
    with fastnn.use_backend("cython" if kind == "Erf" and fastnn.dispatch.is_available("cython") else "reference"):
        if kind == "Erf":
            wanted = [-0.7111556337, -0.5204998778, 0.3286267595, 0.5204998778, 0.7969082124, 0.0]
            np.testing.assert_allclose(network(fastnn.tensor(x)).numpy(), wanted, rtol=1e-9)
            np.testing.assert_allclose(network(x), wanted, rtol=1e-9)
        else:
            odd = np.concatenate([x, [1.5, 2.5, -2.5, np.nan, np.inf, -np.inf]]).astype(np.float32)
            with np.errstate(invalid="ignore"):
                wanted = ELEMENTARY[kind](odd)
            np.testing.assert_allclose(network(fastnn.tensor(odd)).numpy(), wanted, rtol=1e-5)
            np.testing.assert_array_equal(network(odd), wanted)
        if kind in ("Floor", "Ceil", "Round", "Sign"):
            np.testing.assert_array_equal(fastnn.vjp(network, x)[1](np.ones_like(x))[0], 0)
        else:
            assert fastnn.gradcheck(network, x)


RECURRENT = {
    "RNN": {},
    "RNN reversed": {"direction": "reverse", "activations": ["Relu"], "clip": 0.5},
    "RNN with numbers": {"direction": "bidirectional", "activations": ["LeakyRelu", "HardSigmoid"], "activation_alpha": [0.1, 0.3],
                         "activation_beta": [0.6]},
    "GRU": {},
    "GRU after the product": {"linear_before_reset": 1, "direction": "bidirectional"},
    "LSTM": {},
    "LSTM both ways": {"direction": "bidirectional"},
    "LSTM clipped": {"clip": 0.3, "activations": ["Sigmoid", "Softsign", "Tanh"]},
}  # fmt: skip


@pytest.mark.parametrize("lengths", [None, [5, 2, 3]])
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers(name, lengths, rng):
    """Against ONNX Runtime, with initial states, biases and peepholes; and it is trained and compiled."""
    runtime = pytest.importorskip("onnxruntime")
    kind, attributes = name.split()[0], RECURRENT[name]
    T, N, size, H = 5, 3, 4, 6
    D, G = (2 if attributes.get("direction") == "bidirectional" else 1), {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    shapes = {
        "w": (D, G * H, size),
        "r": (D, G * H, H),
        "b": (D, 2 * G * H),
        "n": None,
        "h": (D, N, H),
        "c": (D, N, H),
        "p": (D, 3 * H),
    }
    names = [key for key in shapes if kind == "LSTM" or key not in "cp"]
    constants = {key: 0.5 * rng.standard_normal(shapes[key]).astype(np.float32) for key in names if key != "n"}
    if lengths is not None:
        constants["n"] = np.array(lengths, np.int32)
    outputs = ["y", "y_h", "y_c"] if kind == "LSTM" else ["y", "y_h"]
    inputs = ["x", *(key if key in constants else "" for key in names)]
    model = model_of(
        [helper.make_node(kind, inputs, outputs, hidden_size=H, **attributes)], {"x": [T, N, size]}, constants, 14, outputs
    )
    x = rng.standard_normal((T, N, size)).astype(np.float32)
    results = fastnn.onnx.prepare(model).run([x])
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, FLOAT, None) for name in outputs)
    for result, want in zip(results, runtime.InferenceSession(model.SerializeToString()).run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-6)
    alone = model_of([helper.make_node(kind, inputs, ["y"], hidden_size=H, **attributes)], {"x": [T, N, size]}, constants, 14)
    network = fastnn.onnx.load(alone)
    np.testing.assert_allclose(fastnn.compile(network).predict(x), results[0], rtol=1e-4, atol=1e-6)
    if lengths is None:
        assert fastnn.gradcheck(network.double(), x.astype(np.float64))


# every version of the operators, against onnx's own evaluator (and ONNX Runtime where it is installed)

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


@pytest.mark.parametrize("opset", range(7, NEWEST + 1))
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
