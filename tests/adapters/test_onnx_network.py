"""Networks from ONNX files are modules: trained, compiled, copied and converted."""

import copy

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim

from .onnx_models import exported, helper, model_of, onnx

pytestmark = pytest.mark.usefixtures("without_compilation")


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


@pytest.mark.parametrize("compiled", [False, True])
def test_a_profile_has_a_row_for_each_node(compiled, rng):
    """Nodes of one name are told apart; a parameter that two nodes read counts once."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="dense"),
        helper.make_node("Relu", ["h"], ["a"], name="same"),
        helper.make_node("MatMul", ["a", "w"], ["m"], name="again"),
        helper.make_node("Sigmoid", ["m"], ["y"], name="same"),
    ]
    weights = {"w": rng.standard_normal((3, 3)).astype(np.float32), "b": np.ones(3, np.float32)}
    network = fastnn.onnx.load(model_of(nodes, {"x": ["n", 3]}, weights))
    found = fastnn.profile(
        nn.Sequential(nn.Tanh(), network), 3, 2, optimizer=optim.SGD(network.parameters()), compiled=compiled, roofline=False, budget=0.01
    )  # fmt: skip
    rows = {layer.name: (layer.kind, layer.parameters) for layer in found.layers}
    nodes = {"1.dense": ("Gemm", 12), "1.a": ("Relu", 0), "1.again": ("MatMul", 0), "1.y": ("Sigmoid", 0)}
    if compiled:
        del nodes["1.a"]  # computed by the linear kernel
    assert nodes.items() <= rows.items() and not rows.keys() - nodes.keys() - {"0", "loss", "optimizer", "other"}
    for layer in found.layers:
        if layer.name in nodes:
            assert set(layer.parts) == {"forward", "backward"}
