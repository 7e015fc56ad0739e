"""fastnn's models as ONNX files: checked by onnx, run by ONNX Runtime and by fastnn to the same result."""

import os

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import nn

from .onnx_models import exported, onnx

reference = pytest.importorskip("onnx.reference")
pytestmark = pytest.mark.usefixtures("without_compilation")


def kinds(content):
    return [node.op_type for node in onnx.load_from_string(content).graph.node if node.op_type != "Constant"]


def run(content, *inputs):
    """By ONNX Runtime, or by onnx's own evaluator where that is not installed."""
    model = onnx.load_from_string(content)
    feed = {value.name: x for value, x in zip(model.graph.input, inputs, strict=True)}
    try:
        import onnxruntime
    except ImportError:
        return reference.ReferenceEvaluator(model).run(None, feed)
    return onnxruntime.InferenceSession(content).run(None, feed)


class Block(nn.Module):
    """A skip connection around a depthwise convolution."""

    def __init__(self, channels, rng):
        super().__init__()
        self.deep = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, rng=rng)
        self.point = nn.Conv2d(channels, channels, 1, bias=False, rng=rng)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return F.relu(x + self.norm(self.point(self.deep(x))))


class Heads(nn.Module):
    """Two inputs, two outputs, arithmetic, parts, joins, reductions and products."""

    def __init__(self, rng):
        super().__init__()
        self.embed = nn.Linear(6, 8, rng=rng)
        self.scale = nn.Parameter(np.array(0.5, np.float32))
        self.places = nn.Parameter(rng.standard_normal((1, 5, 8)).astype(np.float32))

    def forward(self, tokens, mask):
        x = self.embed(tokens) + self.places
        q = F.transpose(F.reshape(x, (-1, 5, 2, 4)), 1, 2)
        scores = F.matmul(q, F.transpose(q, 2, 3)) * self.scale + F.unsqueeze(F.unsqueeze(mask, 1), 1)
        y = F.reshape(F.transpose(F.matmul(F.softmax(scores, -1), q), 1, 2), (-1, 5, 8))
        first, rest = y[:, 0], y[:, 1::2, ::-1]
        spread = F.var(rest, dim=(1, 2)) + F.mean(rest, dim=(1, 2)) - F.amax(rest, dim=(1, 2)) * F.amin(rest, dim=(1, 2))
        return F.cat([first, F.broadcast_to(F.mean(first, 1, keepdim=True), (first.shape[0], 3))], 1), F.clamp(spread, -1.0, 1.0)


def nets():
    rng = np.random.default_rng(0)
    lenet = [
        nn.Conv2d(1, 6, 5, padding=2, rng=rng), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5, rng=rng), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120, rng=rng), nn.Tanh(), nn.Linear(120, 10, rng=rng), nn.LogSoftmax(-1),
    ]  # fmt: skip
    deep = [
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False, rng=rng), nn.BatchNorm2d(8), Block(8, rng),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True), Block(8, rng), nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5, rng=rng),
    ]  # fmt: skip
    sequence = [
        nn.Conv1d(3, 8, 3, padding="same", dilation=2, rng=rng), nn.BatchNorm1d(8), nn.PReLU(8), nn.MaxPool1d(2), nn.AvgPool1d(3, 2, 1),
        nn.GroupNorm(2, 8), nn.GELU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.LayerNorm(32), nn.LayerNorm(32, elementwise_affine=False),
        nn.Linear(32, 3, rng=rng), nn.Softmax(1),
    ]  # fmt: skip
    activations = [
        nn.ELU(0.5), nn.SELU(), nn.SiLU(), nn.Softplus(2.0, 3.0), nn.Softplus(), nn.Softsign(), nn.Hardtanh(-0.2, 0.5), nn.LeakyReLU(0.2),
        nn.GELU("tanh"), nn.Threshold(0.1, -0.3), nn.Maxout(2), nn.PReLU(), nn.Identity(), nn.Sigmoid(), nn.ReLU(),
    ]  # fmt: skip
    pads = [
        nn.Conv2d(2, 4, 3, padding=2, padding_mode="reflect", rng=rng), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", rng=rng),
        nn.Conv2d(4, 4, (3, 2), padding="same", rng=rng), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2, 1, divisor_override=3),
        nn.AdaptiveAvgPool2d((3, 4)), nn.AdaptiveMaxPool2d((1, 2)), nn.AdaptiveMaxPool2d(1),
    ]  # fmt: skip
    mlp = [nn.Linear(6, 9, rng=rng), nn.ReLU(), nn.Linear(9, 4, bias=False, rng=rng)]
    return {
        "mlp": (nn.Sequential(*mlp), (3, 6), ["Gemm", "Relu", "Gemm"]),
        "mlp of sequences": (nn.Sequential(*mlp), (3, 5, 6), None),
        "lenet": (
            nn.Sequential(*lenet), (2, 1, 28, 28),
            ["Conv", "Tanh", "AveragePool"] * 2 + ["Reshape", "Gemm", "Tanh", "Gemm", "LogSoftmax"],
        ),
        "deep": (
            nn.Sequential(*deep), (2, 3, 37, 34),
            ["Conv", "BatchNormalization", *["Conv", "Conv", "BatchNormalization", "Add", "Relu"], "MaxPool",
             *["Conv", "Conv", "BatchNormalization", "Add", "Relu"], "AveragePool", "GlobalAveragePool", "Reshape", "Gemm"],
        ),
        "sequence": (nn.Sequential(*sequence), (2, 3, 40), None),
        "activations": (nn.Sequential(*activations), (4, 8), None),
        "pads": (nn.Sequential(*pads), (2, 2, 12, 13), None),
    }  # fmt: skip


NETS = nets()


@pytest.mark.parametrize("name", NETS)
def test_networks(name, rng):
    model, shape, wanted_kinds = NETS[name]
    x = rng.standard_normal(shape).astype(np.float32)
    model.train()
    model(x)  # running statistics are not what they start as
    content = exported(model, x)
    assert model.training
    if wanted_kinds is not None:
        assert kinds(content) == wanted_kinds
    more = rng.standard_normal((5, *shape[1:])).astype(np.float32)
    wanted = np.asarray(model.eval()(more))
    (theirs,) = run(content, more)
    np.testing.assert_allclose(theirs, wanted, rtol=1e-4, atol=2e-6)
    back = fastnn.onnx.load(content)
    np.testing.assert_allclose(np.asarray(back(more)), wanted, rtol=1e-4, atol=2e-6)
    assert {n for n, _ in back.named_parameters()} == {n for n, _ in model.named_parameters()}
    again = exported(back, x)
    np.testing.assert_allclose(run(again, more)[0], wanted, rtol=1e-4, atol=2e-6)


def test_several_inputs_and_outputs(rng):
    model = Heads(rng)
    tokens, mask = rng.standard_normal((2, 5, 6)).astype(np.float32), rng.standard_normal((2, 5)).astype(np.float32)
    content = exported(model, (tokens[:1], mask[:1]))
    graph = onnx.load_from_string(content).graph
    assert [value.name for value in graph.input] == ["tokens", "mask"]
    assert [value.name for value in graph.output] == ["output_0", "output_1"]
    wanted = [y.numpy() for y in model(tokens, mask)]
    for results in (run(content, tokens, mask), fastnn.onnx.prepare(content).run({"mask": mask, "tokens": tokens})):
        for result, want in zip(results, wanted, strict=True):
            np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-6)


FOLLOWING = {
    "examples joined": lambda x: F.reshape(x, (1, -1)),
    "examples exchanged": lambda x: F.transpose(x, 0, 1) * 2,
    "broadcast to each example": lambda x: F.mean(x, 0, keepdim=True) + x,
}
FIXED = {
    "repeated for each example": lambda x: F.broadcast_to(F.mean(x, 0, keepdim=True), x.shape) + x,
    "made for each example": lambda x: x + np.ones(x.shape, np.float32),
    "examples as channels": lambda x: F.reshape(x, (2, -1)),
    "all but one": lambda x: x[: x.shape[0] - 1],
}


@pytest.mark.parametrize("name", [*FOLLOWING, *FIXED])
def test_graphs_that_follow_the_batch_and_those_that_cannot(name, rng):
    x, more = (rng.standard_normal((n, 3)).astype(np.float32) for n in (2, 4))
    model = Calls({**FOLLOWING, **FIXED}[name])
    (y,) = run(exported(model, x, dynamic_batch=False), x)
    np.testing.assert_allclose(y, model(x), rtol=1e-6)
    if name in FOLLOWING:
        np.testing.assert_allclose(run(exported(model, x), more)[0], model(more), rtol=1e-6)
    else:
        with pytest.raises(ValueError, match="dynamic_batch=False"):
            exported(model, x)


def test_comparisons(rng):
    x, more = (rng.standard_normal((n, 3)).astype(np.float32) for n in (2, 4))
    model = Calls(lambda x: F.where(x != 0, F.where(x > 0.5, x, -x), F.where(x <= model.output_1, x * 2, x)))
    (y,) = run(exported(model, fastnn.tensor(x)), more)
    np.testing.assert_array_equal(y, model(fastnn.tensor(more)).numpy())


def test_fixed_and_dynamic_batch(rng):
    x = rng.standard_normal((2, 6)).astype(np.float32)
    model = NETS["mlp"][0]
    shapes = [
        [d.dim_param or d.dim_value for d in onnx.load_from_string(content).graph.input[0].type.tensor_type.shape.dim]
        for content in (exported(model, x), exported(model, x, dynamic_batch=False))
    ]
    assert shapes == [["batch", 6], [2, 6]]


def test_double(rng):
    x = rng.standard_normal((2, 6))
    model = nn.Sequential(nn.Linear(6, 4, rng=rng), nn.Tanh()).double()
    (y,) = run(exported(model, x), x)
    np.testing.assert_allclose(y, model(x).numpy(), rtol=1e-12)


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.output_1 = nn.Parameter(np.ones(3, np.float32))

    def forward(self, x):
        return self.function(x)


def test_an_output_that_is_an_input_or_comes_twice(rng):
    x = rng.standard_normal((2, 3)).astype(np.float32)
    model = Calls(lambda x: x)
    model.function = lambda x: (x, x * model.output_1, F.reshape(x, (-1, 1, 3)), x + 1, x + 1)
    results = run(exported(model, x), x)
    for result, want in zip(results, (x, x, x[:, None], x + 1, x + 1), strict=True):
        np.testing.assert_array_equal(result, want)


INDICES = {
    "slices": lambda x: x[:, 1:-1, ::2],
    "backwards": lambda x: x[:, ::-1, 4:1:-2],
    "an int and a new dimension": lambda x: x[:, 2, None],
    "negative": lambda x: x[..., -1],
    "an array": lambda x: x[:, np.array([0, 2, 2])],
    "a table": lambda x: x[:, :, np.array([[0, 1], [3, 2]])],
}


@pytest.mark.parametrize("name", INDICES)
def test_indexing(name, rng):
    x = rng.standard_normal((2, 4, 6)).astype(np.float32)
    more = rng.standard_normal((5, 4, 6)).astype(np.float32)
    function = INDICES[name]
    (y,) = run(exported(Calls(lambda x: function(x) * 2), x), more)
    np.testing.assert_array_equal(y, function(more) * 2)


def test_what_onnx_has_no_form_for_is_named_at_once():
    x = np.zeros((2, 1, 5, 5), np.float32)
    labels = np.zeros((2, 5, 5), np.int64)
    model = Calls(
        lambda x: (
            F.cross_entropy(x, labels),
            F.adaptive_max_pool2d(x, 3),
            F.avg_pool2d(x, 2, ceil_mode=True, divisor_override=3),
        )
    )
    with pytest.raises(NotImplementedError) as caught:
        exported(model, x, dynamic_batch=False)
    for word in ("cross_entropy", "adaptive_max_pool2d", "divisor_override"):
        assert word in str(caught.value)


def test_what_depends_on_numbers():
    with pytest.raises(ValueError, match="no numbers"):
        exported(Calls(lambda x: x if x.sum() > 0 else -x), np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    ("model", "example", "error"),
    [(F.relu, np.ones(2, np.float32), "model"), (nn.ReLU(), [1.0], "example"), (nn.ReLU(), np.ones(2, np.float16), "example")],
)
def test_wrong_arguments(model, example, error):
    with pytest.raises(TypeError, match=error):
        exported(model, example)


def test_a_failure_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    fastnn.onnx.export(nn.ReLU(), np.ones((1, 2), np.float32), path)
    before = path.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        fastnn.onnx.export(nn.Tanh(), np.ones((1, 2), np.float32), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.onnx"]
