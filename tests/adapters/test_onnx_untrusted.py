"""ONNX files from anybody give a value or an exception that says what is wrong: no crash, no hang, no memory, no other file."""

import contextlib
import itertools
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import nn

from .onnx_models import FLOAT, exported, onnx

pytestmark = pytest.mark.usefixtures("without_compilation")
REFUSED = (ValueError, TypeError, IndexError, MemoryError, OverflowError, NotImplementedError)
EXTREMES = [0, 1, -1, 3, 65, 2**31, 10**9, 2**62, 2**63 - 1, -(2**63)]


def small_model():
    """Convolution, pooling, normalization and linear maps, as bytes."""
    layers = [
        nn.Conv2d(1, 2, 3, stride=2, padding=1),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Flatten(),
    ]
    return exported(nn.Sequential(*layers, nn.Linear(8, 3), nn.Softmax(1)), np.zeros((1, 1, 7, 7), np.float32))


CONTENT = small_model()
EXAMPLE = np.linspace(0, 1, 49, dtype=np.float32).reshape(1, 1, 7, 7)


def model_of(nodes, initializers=(), inputs=("x",), outputs=("y",), opset=21):
    values = [[onnx.helper.make_tensor_value_info(name, FLOAT, ["n"]) for name in names] for names in (inputs, outputs)]
    graph = onnx.helper.make_graph(list(nodes), "g", *values, list(initializers))
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=9)


def attempt(content):
    """Load and run; what is refused is refused in words."""
    with contextlib.suppress(*REFUSED):
        fastnn.onnx.prepare(content).run([EXAMPLE])


def test_every_truncation():
    for length in range(len(CONTENT)):
        with pytest.raises((ValueError, NotImplementedError)):
            fastnn.onnx.load(CONTENT[:length])


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes(changes):
    content = bytearray(CONTENT)
    for place, byte in changes:
        content[place] = byte
    attempt(bytes(content))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_damaged_attributes_and_names(data):
    model = onnx.load_from_string(CONTENT)
    node = data.draw(st.sampled_from(list(model.graph.node)))
    extreme = st.sampled_from(EXTREMES)
    if node.attribute:
        attribute = data.draw(st.sampled_from(list(node.attribute)))
        attribute.i = data.draw(extreme)
        for i in range(len(attribute.ints)):
            attribute.ints[i] = data.draw(extreme)
        if attribute.t.int64_data or attribute.t.raw_data:
            attribute.t.CopyFrom(onnx.numpy_helper.from_array(np.array(data.draw(st.lists(extreme, max_size=4)), np.int64)))
    if data.draw(st.booleans()):
        node.op_type = data.draw(st.sampled_from(fastnn.onnx.supported_operators()))
    if node.input and data.draw(st.booleans()):
        node.input[0] = data.draw(st.sampled_from(["", "x", *node.output]))
    tensor = data.draw(st.sampled_from(list(model.graph.initializer)))
    if data.draw(st.booleans()):
        tensor.dims[0] = data.draw(extreme)
    attempt(model)


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04\x95\x0b.", b"\n" * 100, b"\xff" * 100], ids=["empty", "pickle", "lines", "ones"]
)
def test_other_files(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ValueError, match="file"):
        fastnn.onnx.load(tmp_path / "model.onnx")


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastnn.onnx.load(tmp_path / "none")
    with pytest.raises(TypeError, match="file"):
        fastnn.onnx.load(3)


def tensor(dims, **fields):
    return onnx.TensorProto(name="w", data_type=FLOAT, dims=dims, **fields)


@pytest.mark.parametrize(
    "wrong",
    [
        tensor([2**40, 2**40], raw_data=b"\0" * 8),
        tensor([3], raw_data=b"\0" * 8),
        tensor([-1], raw_data=b"\0" * 4),
        tensor([3], float_data=[1.0, 2.0]),
        tensor([2**62]),
        tensor([1] * 65, float_data=[1.0]),
    ],
    ids=["huge", "long", "negative", "fields", "empty", "dimensions"],
)
def test_tensors_that_are_not_what_they_say(wrong):
    model = model_of([onnx.helper.make_node("Add", ["x", "w"], ["y"])], [wrong])
    with pytest.raises(ValueError, match="w"):
        fastnn.onnx.load(model)


HUGE = {
    "ConstantOfShape": ([2**40],),
    "Expand": ("x", [2**40]),
    "Tile": ("x", [2**40]),
    "Pad": ("x", [0, 2**40]),
    "Range": (0, 2**40, 1),
}


@pytest.mark.parametrize("kind", HUGE)
def test_sizes_that_stand_in_a_file_are_not_believed(kind):
    names, initializers = [], []
    for i, value in enumerate(HUGE[kind]):
        names.append("x" if value == "x" else f"c{i}")
        if value != "x":
            initializers.append(onnx.numpy_helper.from_array(np.array(value, np.int64), f"c{i}"))
    prepared = fastnn.onnx.prepare(model_of([onnx.helper.make_node(kind, names, ["y"])], initializers))
    with pytest.raises((MemoryError, ValueError)):
        prepared.run([np.ones(1, np.float32)])


def test_small_files_that_ask_for_much_get_nothing(monkeypatch):
    """Outer products, and a chain that doubles; what is allocated stays near what is allowed."""
    column = onnx.numpy_helper.from_array(np.ones((2**17, 1), np.float32), "column")
    row = onnx.numpy_helper.from_array(np.ones((1, 2**17), np.float32), "row")
    for kind in ("Add", "MatMul", "Max", "PRelu", "Pow"):
        prepared = fastnn.onnx.prepare(
            model_of([onnx.helper.make_node(kind, ["column", "row"], ["y"])], [column, row], inputs=())
        )
        tracemalloc.start()
        with pytest.raises((MemoryError, ValueError)):
            prepared.run([])
        assert tracemalloc.get_traced_memory()[1] < 2**26
        tracemalloc.stop()
    monkeypatch.setattr("fastnn.onnx.network.ROOM", 2**20)
    names = ["x", *(f"v{i}" for i in range(60)), "y"]
    chain = [onnx.helper.make_node("Concat", [a, a], [b], axis=0) for a, b in itertools.pairwise(names)]
    prepared = fastnn.onnx.prepare(model_of(chain))
    tracemalloc.start()
    with pytest.raises(MemoryError, match="justify"):
        prepared.run([np.ones(8, np.float32)])
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("padding", [{"auto_pad": "SAME_LOWER"}, {"pads": [500_000, 0, 500_000, 2]}], ids=["same", "pads"])
def test_windows_of_padding_take_no_time(kind, padding):
    model = model_of([onnx.helper.make_node(kind, ["x"], ["y"], kernel_shape=[1_000_000, 3], **padding)])
    del model.graph.input[0].type.tensor_type.shape.dim[:]
    model.graph.input[0].type.tensor_type.shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=n) for n in (1, 3, 32, 32))
    with pytest.raises(ValueError, match="kernel_shape"):
        fastnn.onnx.prepare(model).run([np.ones((1, 3, 32, 32), np.float32)])


def with_external_data(location, offset="0", length="8", dims=(2,)):
    weight = onnx.TensorProto(name="w", data_type=FLOAT, dims=dims, data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        weight.external_data.add(key=key, value=value)
    return model_of([onnx.helper.make_node("Add", ["x", "w"], ["y"])], [weight])


def test_external_data_is_read_from_the_folder_that_is_allowed(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "weights").write_bytes(np.array([9, 1, 2], np.float32).tobytes())
    model = with_external_data("weights", offset="4")
    with pytest.raises(ValueError, match="external_data"):
        fastnn.onnx.load(model)
    network = fastnn.onnx.load(model, external_data=inside)
    np.testing.assert_array_equal(network.w.numpy(), [1, 2])
    assert fastnn.onnx.is_compatible(model, external_data=inside)


@pytest.mark.parametrize(
    "changes",
    [
        {"location": "../secret"},
        {"location": "link"},
        {"location": "folder/../../secret"},
        {"location": ""},
        {"location": "."},
        {"location": "none"},
        {"location": "weights\0"},
        {"offset": "8"},
        {"offset": "-4"},
        {"offset": "a"},
        {"length": "4"},
        {"length": str(2**62)},
        {"dims": (2**60,), "length": str(2**62)},
    ],
    ids=str,
)
def test_external_data_elsewhere(tmp_path, changes):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 8)
    (inside / "weights").write_bytes(b"\0" * 12)
    with contextlib.suppress(OSError):
        os.symlink(tmp_path / "secret", inside / "link")
    with pytest.raises(ValueError, match="'w'"):
        fastnn.onnx.load(with_external_data(**{"location": "weights", **changes}), external_data=inside)
    with pytest.raises(ValueError, match="'w'"):
        fastnn.onnx.load(with_external_data(str(tmp_path / "secret")), external_data=inside)


def test_no_other_file_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(CONTENT)
    opened, real = [], os.open
    monkeypatch.setattr(os, "open", lambda *args, **options: opened.append(args[0]) or real(*args, **options))
    builtin = open
    monkeypatch.setattr("io.open", lambda *args, **options: opened.append(args[0]) or builtin(*args, **options))
    fastnn.onnx.prepare(path).run([EXAMPLE])
    assert [os.fspath(name) for name in opened] == [os.fspath(path)]


def test_names_that_are_odd():
    for name in (
        "forward",
        "training",
        "opset",
        "_steps",
        "_parameters",
        "__class__",
        ".",
        "a..b",
        "",
        "a" * 1000,
        ".".join("abcdefghijklmnopqrstuvwxyz"),
        "a/b::c",
        "a.b",
        "a",
    ):
        weights = [onnx.numpy_helper.from_array(np.ones(2, np.float32), n) for n in dict.fromkeys((name or "w", "a.b.c", "a"))]
        node = onnx.helper.make_node("Sum", ["x", *(w.name for w in weights)], ["y"])
        network = fastnn.onnx.load(model_of([node], weights))
        np.testing.assert_array_equal(network(np.zeros(2, np.float32)).numpy(), [len(weights)] * 2)
        assert len(network.state_dict()) == len(weights)


def test_a_deep_graph():
    names = ["x", *(f"v{i}" for i in range(5000)), "y"]
    nodes = [onnx.helper.make_node("Neg", [a], [b]) for a, b in itertools.pairwise(names)]
    (y,) = fastnn.onnx.prepare(model_of(nodes)).run([np.ones(1, np.float32)])
    assert y == -1
