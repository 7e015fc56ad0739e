"""Profiles: right work, sums that hold, delays found where they are, on eager models and on plans."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from time import perf_counter, sleep

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn, optim
from fastnn.cli import main
from fastnn.kernels import Cost, Operator
from fastnn.kernels.operator import find
from fastnn.measure import Profile, Roofline, profile
from fastnn.plan import TimedCalls

ROOFLINE = Roofline(
    "Abacus", "v4", {"float32": {1: 1e11}, "float64": {1: 5e10}}, {"L1": {1: 1e11}, "DRAM": {1: 1e10}}, {"L1": 1 << 15}, "2026-01-01",
)  # fmt: skip


def small_network():
    fastnn.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3)
    )


def profiled(compiled=True, **options):
    model = small_network()
    given = {
        "loss": nn.CrossEntropyLoss(), "optimizer": optim.Adam(model.parameters()), "compiled": compiled, "roofline": ROOFLINE,
        "budget": 0.02,
    }  # fmt: skip
    return profile(model, (1, 6, 6), 7, **(given | options))


@pytest.fixture(params=[False, True], ids=["eager", "plan"])
def compiled(request):
    """Both ways to run a network."""
    return request.param


def test_work_of_each_layer(compiled):
    found = profiled(compiled)
    layers = {layer.name: layer for layer in found.layers}
    order = [name for name in layers if name.isdecimal()]
    assert order == sorted(order) and list(layers)[-2:] == ["loss", "optimizer"]
    assert layers["0"].kind == "Conv2d" and layers["loss"].kind == "CrossEntropyLoss" and layers["optimizer"].kind == "Adam"
    assert layers["0"].parameters == 40 and layers["5"].parameters == 111 and found.parameters == 151
    linear = layers["5"].parts
    assert set(linear) == {"forward", "backward"} and set(layers["optimizer"].parts) == {"update"}
    assert linear["forward"].flops == 2 * 7 * 36 * 3 + 7 * 3
    assert linear["backward"].flops == 4 * 7 * 36 * 3 + 7 * 3
    assert linear["forward"].bytes == 4 * (7 * 36 + 3 * 36 + 3 + 7 * 3)
    assert linear["forward"].memory == 4 * 7 * 3
    assert layers["loss"].parts["forward"].special > 0
    # the images want no gradient, so that the first layer computes only those of its parameters
    assert layers["0"].parts["backward"].flops == 2 * 7 * 4 * 36 * 9 + 7 * 4 * 36
    assert all(part.seconds > 0 and part.spread >= 0 for layer in found.layers for part in layer.parts.values())


def test_what_ran_is_named(compiled):
    with fastnn.use_backend("reference"):
        found = profiled(compiled)
    kernels = [kernel for layer in found.layers for part in layer.parts.values() for kernel in part.kernels]
    assert "conv2d_backward (reference)" in kernels and all(kernel.endswith("(reference)") for kernel in kernels)
    if dispatch.is_available("cython"):
        linear = next(layer for layer in profiled(compiled).layers if layer.name == "5")
        assert all(f"cython {dispatch.isa.level()}" in kernel for kernel in linear.parts["backward"].kernels)


def test_rates_and_limits():
    found = profiled()
    part = next(layer for layer in found.layers if layer.name == "0").parts["forward"]
    assert part.flops_per_second == part.flops / part.seconds and part.intensity == part.flops / part.bytes
    assert part.limit == pytest.approx(ROOFLINE.seconds(part.flops, part.bytes))
    assert part.fraction == part.limit / part.seconds
    forward = found.phase("forward")
    assert forward.seconds == pytest.approx(
        sum(layer.parts["forward"].seconds for layer in found.layers if "forward" in layer.parts)
    )
    assert found.total == pytest.approx(sum(layer.seconds for layer in found.layers) + found.rest)
    assert profiled(roofline=False).phase("backward").fraction is None
    with pytest.raises(ValueError, match="name"):
        found.phase("sideways")


def test_nothing_is_changed(compiled):
    model = small_network()
    optimizer = optim.Adam(model.parameters())
    model.eval()
    before = model.state_dict()
    profile(model, (1, 6, 6), 7, optimizer=optimizer, compiled=compiled, roofline=False, budget=0.0)
    assert not model.training and not optimizer.state
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_prediction_is_all_forward(compiled):
    found = profiled(compiled, training=False)
    assert {phase for layer in found.layers for phase in layer.parts} == {"forward"} and not found.training
    assert "loss" not in {layer.name for layer in found.layers}


def test_a_plan_brings_its_loss_and_optimiser():
    model = small_network()
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), clip_grad_norm=1.0)
    found = profile(plan, (1, 6, 6), 7, roofline=False, budget=0.0)
    assert found.kind == "plan" and found.arena > 0
    assert {"loss", "optimizer"} <= {layer.name for layer in found.layers}
    with pytest.raises(ValueError, match="loss"):
        profile(plan, (1, 6, 6), loss=nn.MSELoss())
    with pytest.raises(ValueError, match="training=False"):
        profile(fastnn.compile(model), (1, 6, 6))
    assert profile(fastnn.compile(model), (1, 6, 6), training=False, roofline=False, budget=0.0).kind == "plan"


def test_losses_and_targets_by_default():
    regression = profile(nn.Linear(4, 1), 4, roofline=False, budget=0.0)
    assert regression.layers[-1].kind == "MSELoss" and regression.layers[0].name == "(model)"
    pictures = profile(nn.Conv2d(2, 3, 1), (2, 4, 4), loss=nn.CrossEntropyLoss(), roofline=False, budget=0.0)
    assert [layer.name for layer in pictures.layers] == ["(model)", "loss"]
    by_function = profile(nn.Linear(4, 3), 4, loss=lambda y, t: ((y - t) ** 2).mean(), roofline=False, budget=0.0)
    assert by_function.layers[-1].name == "loss"
    batch, target = np.ones((5, 4)), np.ones((5, 2))
    given = profile(nn.Linear(4, 2).double(), batch, loss=nn.MSELoss(), target=target, roofline=False, budget=0.0)
    assert given.input_shape == (5, 4) and given.dtype == "float64"
    assert profile(nn.ReLU(), 4, roofline=False, budget=0.0).training is False  # there is nothing to train


@pytest.mark.parametrize(
    "wrong, error, match",
    [
        ({"model": 3}, TypeError, "model"),
        ({"input_shape": (0, 3)}, ValueError, "input_shape"),
        ({"input_shape": "three"}, TypeError, "input_shape"),
        ({"input_shape": np.float32(3)}, ValueError, "input_shape"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"loss": 3}, TypeError, "loss"),
        ({"budget": -1}, ValueError, "budget"),
        ({"compiled": True}, ValueError, "optimizer"),
        ({"target": "no"}, TypeError, "target"),
        ({"optimizer": 3}, TypeError, "optimizer"),
        ({"roofline": "no"}, TypeError, "roofline"),
    ],
)
def test_wrong_arguments_are_named(wrong, error, match):
    with pytest.raises(error, match=match):
        profile(**({"model": nn.Linear(3, 2), "input_shape": 3, "roofline": False} | wrong))


# honesty


def steady(measure, holds, tries=15):
    """Whether something holds in one of some measurements: a disturbed one says nothing."""
    return any(holds(measure()) for _ in range(tries))


@pytest.fixture
def one_thread():
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(1)
    yield
    fastnn.set_num_threads(before)


def test_the_rows_sum_up_to_the_step_as_seen_from_outside(compiled, one_thread):
    """Steps of more than 100 us, and of less than a scheduler's slice."""
    model = nn.Sequential(nn.Linear(192, 192), nn.ReLU(), nn.Linear(192, 192))
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    assert steady(
        lambda: profile(model, 192, 192, optimizer=optimizer, compiled=compiled, roofline=False, budget=0.2),
        lambda found: found.seconds > 1e-4 and abs(found.total / found.seconds - 1) < 0.05,
    )


class Sleeping(nn.Module):
    """Does nothing, in a known time."""

    def __init__(self, operator):
        super().__init__()
        self.operator = operator

    def forward(self, x):
        return dispatch.call(self.operator, x)


@pytest.fixture
def sleeper(monkeypatch):
    """An operator that copies and sleeps: 4 ms forward, 9 ms backward."""
    identity = find("identity")

    def slow(name, seconds, params, outputs, backward=None):
        def kernel(x):
            end = perf_counter() + seconds
            while (left := end - perf_counter()) > 0:
                sleep(left)
            return (x.copy(),)

        operator = Operator(
            name, identity.package, params, lambda x: (x,), lambda itemsize, x: Cost(0, 2 * itemsize * math.prod(x)),
            outputs=outputs, backward=backward, needs=(),
        )  # fmt: skip
        monkeypatch.setattr(operator, "kernel", lambda backend: kernel if backend == "reference" else None)
        return operator

    return slow("sleep", 4e-3, ("x",), ("y",), slow("sleep_backward", 9e-3, ("dy",), ("dx",)))


def test_delays_are_found_where_they_are(compiled, sleeper):
    model = nn.Sequential(nn.Linear(8, 8), Sleeping(sleeper), nn.Linear(8, 2))
    optimizer = optim.SGD(model.parameters(), lr=0.01)

    def right(found):
        rows = {layer.name: layer.parts for layer in found.layers}
        others = found.total - rows["1"]["forward"].seconds - rows["1"]["backward"].seconds
        return 4e-3 <= rows["1"]["forward"].seconds < 4.4e-3 and 9e-3 <= rows["1"]["backward"].seconds < 9.5e-3 and others < 2e-3

    assert steady(lambda: profile(model, 8, 4, optimizer=optimizer, compiled=compiled, roofline=False, budget=0.2), right)


def test_a_watched_plan_computes_the_same():
    results = []
    for watched in (False, True):
        model = small_network()
        plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
        x, y = np.ones((7, 1, 6, 6), np.float32), np.arange(7) % 3
        calls = TimedCalls(plan, x, y)
        if watched:
            with calls:
                calls.run()
                assert (np.diff(calls.stamps) >= 0).all() and calls.stamps[0] > 0
            before = calls.stamps.copy()
            calls.run()
            np.testing.assert_array_equal(calls.stamps, before)  # nobody watches any more
        else:
            calls.run()
            calls.run()
        results.append(model.state_dict())
        assert sum(len(nodes) for nodes in calls.nodes) >= len(calls.nodes) == len(calls.stamps) - 1
    for name, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][name])


def test_stamps_of_the_wrong_size_are_refused():
    calls = TimedCalls(fastnn.compile(nn.Linear(3, 2)), np.ones((5, 3), np.float32))
    executor = calls._program.executor
    if not dispatch.is_available("cython"):
        pytest.skip("fastnn was installed without compiled kernels")
    for wrong in (np.zeros(9, np.int64), np.zeros(2, np.int32), np.zeros(4, np.int64)[::2]):
        with pytest.raises(ValueError, match="stamps"):
            executor.watch(wrong)


# what is shown


def test_text_and_markdown():
    found = profiled()
    text, markdown = str(found), found.markdown()
    for word in ("0 Conv2d", "backward", "all layers", "of roofline", found.between, "From outside", "Abacus", "compulsory"):
        assert word in text and word in markdown
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1 and len(table) > 10


def test_a_disturbed_measurement_says_so():
    found = replace(profiled(), seconds=1.0)
    assert "100 % apart" in str(found)
    again = "measure again"
    assert again not in str(replace(found, seconds=found.total)) and again not in str(replace(found, seconds=1e-6))


def test_plain_data():
    found = profiled()
    content = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert content["seconds"] == found.seconds and content["total"] == found.total
    assert content["layers"][0]["parts"]["forward"]["flops_per_second"] > 0
    assert set(content["phases"]) == {"forward", "backward", "update"}
    assert content["roofline"]["processor"] == "Abacus"


@pytest.mark.parametrize("name", ["profile.png", "profile.svg"])
@pytest.mark.parametrize("roofline", [ROOFLINE, False])
def test_pictures(tmp_path, name, roofline):
    pytest.importorskip("matplotlib")
    path = tmp_path / name
    profiled(roofline=roofline).plot(path)
    start = path.read_bytes()[:200]
    assert start.startswith(b"\x89PNG") if name.endswith("png") else b"<?xml" in start
    with pytest.raises(ValueError, match="expected a file name ending"):
        profiled().plot(tmp_path / "profile.txt")


class Page(HTMLParser):
    """Tags that are open, and everything that a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.cells = [], [], 0

    def handle_starttag(self, tag, attributes):
        self.fetched += [
            value for name, value in attributes if name in ("src", "href", "xlink:href") and not value.startswith("#")
        ]
        self.cells += tag == "td"
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_report_needs_nothing_else(tmp_path):
    path = tmp_path / "profile.html"
    profiled().report(path)
    text = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == [] and page.cells > 100
    assert not [address for address in page.fetched if not address.startswith("data:")]
    assert not re.search(r"@import|url\((?!#)", text)
    assert ("<svg" in text) == _has("matplotlib")


def _has(package):
    from importlib.util import find_spec

    return find_spec(package) is not None


# the command


@pytest.fixture
def known_roofline(monkeypatch):
    monkeypatch.setattr("fastnn.measure.profiling.measurement.machine_roofline", lambda: ROOFLINE)


def test_command(tmp_path, capsys, known_roofline):
    pytest.importorskip("matplotlib")
    files = [str(tmp_path / name) for name in ("p.svg", "p.json", "p.md", "p.html")]
    options = [text for pair in zip(("--plot", "--json", "--markdown", "--report"), files, strict=True) for text in pair]
    assert main(["profile", "--model", "12-8-3", "--batch-size", "5", "--budget", "0.01", *options]) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and "plan, step of training: input 5x12 float32" in captured.out and "2 Linear" in captured.out
    assert json.loads((tmp_path / "p.json").read_text())["kind"] == "plan"
    assert (tmp_path / "p.md").read_text().startswith("**plan") and "<svg" in (tmp_path / "p.html").read_text()


@pytest.mark.parametrize(
    "options, shown",
    [
        (["--eager"], "eager, step of training"),
        (["--inference"], "plan, prediction"),
        (["--optimizer", "none"], "eager, step of training"),
        (["--loss", "mse", "--dtype", "float64"], "float64"),
        (["--backend", "reference"], "(reference)"),
    ],
)
def test_options(options, shown, capsys, known_roofline):
    assert main(["profile", "--model", "12-8-3", "--batch-size", "5", "--budget", "0.01", *options]) == 0
    assert shown in capsys.readouterr().out


def test_parameters_belong_to_who_computes_with_them():
    class Borrowing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.tied, self.called = nn.Linear(4, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 4)
            self.tied.weight = self.inner.weight

        def forward(self, x):
            return self.called(fastnn.functional.linear(x, self.inner.weight, self.inner.bias) @ self.tied.weight)

    found = fastnn.profile(Borrowing(), 4, budget=0.01, roofline=False)
    assert {layer.name: layer.parameters for layer in found.layers} == {"(model)": 20, "called": 20, "loss": 0}
    assert found.parameters == 40


@pytest.mark.parametrize("option", [["--loss", "mse"], ["--optimizer", "sgd"]])
def test_a_prediction_has_neither_loss_nor_optimiser(option, capsys):
    assert main(["profile", "--inference", *option]) == 2
    assert f"{option[0]}: a prediction has none" in capsys.readouterr().err


def test_named_and_written_networks(tmp_path, capsys, known_roofline):
    (tmp_path / "parts.py").write_text("WIDTH = 6\n")
    file = tmp_path / "net.py"
    file.write_text(
        "from fastnn import nn\nfrom parts import WIDTH\n"
        "def with_shape():\n    return nn.Linear(WIDTH, 2), (WIDTH,)\ndef alone():\n    return nn.Linear(WIDTH, 2)\n"
        "def number():\n    return 3\n"
    )
    quick = ["--batch-size", "2", "--budget", "0.01"]
    assert main(["profile", "--model", f"{file}:with_shape", *quick]) == 0
    assert main(["profile", "--model", f"{file}:alone", "--input", "6", *quick]) == 0
    assert main(["profile", "--model", "lenet", *quick]) == 0
    assert "input 2x1x28x28" in capsys.readouterr().out
    for wrong, message in (
        (f"{file}:alone", "--input"), (f"{file}:number", "Module"), (f"{file}:other", "no function 'other'"), ("resnet", "--model"),
        (f"{file}x.py:f", "no file"), ("0-3", "--model"), ("no.safetensors", "--model: there is no file"),
    ):  # fmt: skip
        assert main(["profile", "--model", wrong, *quick]) == 2
        assert message in capsys.readouterr().err


def test_weights_whose_metadata_names_their_network(tmp_path, capsys, known_roofline):
    pytest.importorskip("safetensors")
    from fastnn.cli.models import load
    from fastnn.cli.networks import build

    path = tmp_path / "w.safetensors"
    model = build("cnn", (1, 8, 8), 3)
    described = {"model": "cnn", "input_shape": [1, 8, 8], "outputs": 3}
    fastnn.save(model.state_dict(), path, metadata={"fastnn.network": json.dumps(described)})
    found, shape = load(str(path))
    assert shape == (1, 8, 8)
    for name, value in found.state_dict().items():
        np.testing.assert_array_equal(value, model.state_dict()[name])
    for wrong in ({}, {"fastnn.network": "{"}, {"fastnn.network": json.dumps(described | {"outputs": "3"})}):
        fastnn.save(model.state_dict(), path, metadata=wrong)
        assert main(["profile", "--model", str(path)]) == 2
        assert "does not say which network" in capsys.readouterr().err


def test_onnx_files(tmp_path, known_roofline, capsys):
    pytest.importorskip("onnx")
    import fastnn.onnx

    path = tmp_path / "m.onnx"
    fastnn.onnx.export(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), np.zeros((1, 3), np.float32), path)
    assert main(["profile", "--model", str(path), "--batch-size", "5", "--budget", "0.01", "--inference"]) == 0
    assert "input 5x3" in capsys.readouterr().out
    assert main(["profile", "--model", str(tmp_path / "no.onnx")]) == 2


def test_is_imported_when_it_is_asked_for():
    assert fastnn.profile is profile and isinstance(profiled(), Profile)
