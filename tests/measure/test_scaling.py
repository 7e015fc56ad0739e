"""Scaling: laws of known growth are found within their intervals, bends are named, and everybody's step is the same step."""

import json

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn
from fastnn.cli import main
from fastnn.cli.scaling import _vary
from fastnn.measure import peers, scaling, scaling_study
from fastnn.measure.machine import caches
from fastnn.measure.problems.networks import Network, Problem, layers_of
from fastnn.measure.scaling_fit import Law, fit, slope
from fastnn.measure.scaling_result import PHASES, Curve, Scaling
from fastnn.measure.timing import Race
from fastnn.plan.stages import stages

VALUES = [2**power for power in range(8)]


def law_of(exponent, overhead=0.0, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return [(overhead + v**exponent) * (1 + noise * rng.standard_normal()) for v in VALUES]


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("overhead", [0.0, 5.0, 50.0])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_known_exponent_is_found_within_its_interval(exponent, overhead, noise):
    laws = [fit(VALUES, law_of(exponent, overhead, noise, seed)) for seed in range(20)]
    assert sum(law.low <= exponent <= law.high for law in laws) >= 18
    assert np.median([abs(law.exponent - exponent) for law in laws]) < 0.1
    if overhead:
        crossover = overhead ** (1 / exponent)
        assert np.median([law.crossover for law in laws]) == pytest.approx(crossover, rel=0.3)


def test_a_law_that_the_points_do_not_tell_has_a_wide_interval():
    law = fit(VALUES, [1.0 + 1e-6 * v for v in VALUES])  # nothing but overhead
    assert law.high - law.low > 1


@pytest.mark.parametrize("end", ["below", "above"])
def test_points_off_the_law_are_left_out_and_named(end):
    seconds = [1e-6 * s for s in law_of(2.0)]
    seconds[0 if end == "below" else -1] *= 1.8
    law = fit(VALUES, seconds)
    assert law.exponent == pytest.approx(2, abs=0.02)
    assert (law.first, law.last) == ((1, 7) if end == "below" else (0, 6))
    sentence = study({"forward": seconds}).sentences()[0]
    value = VALUES[0] if end == "below" else VALUES[-1]
    assert (
        f"{end} {VALUES[law.first] if end == 'below' else VALUES[law.last]} it bends: width {value} takes 1.8 times" in sentence
    )


def study(seconds, exponent=2):
    curves = [Curve("ours", phase, times, [0.0] * len(times)) for phase, times in seconds.items()]
    flops = {phase: [2 * v**exponent for v in VALUES] for phase in PHASES}
    both = {**seconds, "backward": seconds.get("backward", [2 * s for s in seconds["forward"]])}
    if "backward" not in seconds:
        curves.append(Curve("ours", "backward", both["backward"], [0.0] * len(VALUES)))
    return Scaling("width", VALUES, flops, [1 << 10] * len(VALUES), curves, 1)


def test_sentences_say_whether_the_theory_holds():
    held, _, ratio = study({"forward": [1e-6 * s for s in law_of(2.0, 20.0)]}).sentences()
    assert "width^2.00" in held and "theory 2.00: the theory holds" in held
    assert "overhead of 20 us rules below width 4.47" in held
    assert "backward takes 2.00 times as long as forward at width 128, theory 1.00" in ratio
    assert "faster than the theory says" in study({"forward": law_of(3.0)}).sentences()[0]
    assert "more slowly than the theory says" in study({"forward": law_of(1.0)}).sentences()[0]
    assert (
        "time hardly grows with width, 1 s of overhead rule"
        in study({"forward": [1.0 + 1e-4 * v for v in VALUES]}).sentences()[0]
    )
    scattered = [1.0, 5.0, 3.0, 20.0, 9.0, 60.0, 40.0, 300.0]
    assert "do not tell" in study({"forward": scattered}).sentences()[0]


def test_the_caches_that_a_bend_may_come_from_are_told():
    sentence = study({"forward": [*law_of(2.0)[:-1], 5e4]}).sentences()[0]
    assert "where a step touches 1 KiB" in sentence and all(level in sentence for level in caches())


@pytest.mark.parametrize(
    "values, seconds", [([1, 2], [1, 2]), ([1, 2, 3], [1, 2]), ([1, 3, 2], [1, 1, 1]), ([1, 2, 3], [1, 0, 1])]
)
def test_fit_refuses(values, seconds):
    with pytest.raises(ValueError, match="values"):
        fit(values, seconds)


def test_a_law_without_overhead_has_no_crossover():
    assert Law(0.0, 1.0, 2.0, 2.0, 2.0, 0, 1).crossover == 0
    assert Law(1.0, 0.0, 2.0, 2.0, 2.0, 0, 1).crossover == float("inf")
    assert slope([1, 10], [3, 3000]) == pytest.approx(3)


class Clock:
    """A clock that only the stages of a made-up network move."""

    now = 0.0

    def __call__(self):
        return self.now


def test_a_synthetic_workload_is_measured_from_end_to_end(monkeypatch):
    clock = Clock()

    def made_up(self, value, found, notes):
        def stage(seconds):
            def call():
                clock.now += seconds
                return 1.0

            return call

        return {"made up": [stage(1e-3 * factor * (4 + value**1.5)) for factor in (1, 2, 0.1)]}

    monkeypatch.setattr(scaling_study._Study, "contestants", made_up)
    monkeypatch.setattr(scaling_study, "Race", lambda functions: Race(functions, clock))
    found = scaling(lambda width: nn.Linear(width, width), "width", VALUES, budget=0.01)
    for curve, factor in zip(found.curves, (1, 2, 0.1), strict=True):
        law = found.law(curve)
        assert law.low <= 1.5 <= law.high and law.high - law.low < 0.2
        assert law.overhead == pytest.approx(4e-3 * factor, rel=0.05)
        assert law.crossover == pytest.approx(4 ** (1 / 1.5), rel=0.05)
    assert found.flops["forward"][0] == pytest.approx(
        32 * (2 + 1 + 3), abs=2
    )  # of each row: a product, its bias, the squared error


def chain(width=6, depth=2):
    return nn.Sequential(*[layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU())])


@pytest.mark.parametrize("optimizer", scaling_study.OPTIMIZERS)
def test_stages_are_a_step(optimizer, rng):
    x, y = rng.standard_normal((2, 5, 6)).astype(np.float32)
    one, two = chain(), chain()
    two.load_state_dict(one.state_dict())
    losses = []
    for model in (one, two):
        plan = fastnn.compile(model, nn.MSELoss(), scaling_study.OPTIMIZERS[optimizer](model.parameters()))
        if model is one:
            losses.append([plan.step(x, y) for _ in range(2)])
        else:
            calls = stages(plan, x, y)
            assert list(calls) == list(PHASES)
            losses.append([scaling_study._step(list(calls.values())) for _ in range(2)])
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0]


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize("optimizer", scaling_study.OPTIMIZERS)
@pytest.mark.filterwarnings("ignore")
def test_peers_take_the_same_steps(name, optimizer):
    if peers.missing([name]):
        pytest.skip(f"{name} is not installed")
    pytest.importorskip("threadpoolctl")
    layers = (("conv", 1, 2, 3, 1), ("relu",), ("pool",), ("flatten",), ("linear", 18, 4), ("tanh",))
    problem = Problem(Network("", layers, (1, 6, 6), 5, optimizer, 0, 1, outputs=(4,)))
    plan = problem.plan()
    expected = [plan.step(problem.x, problem.y) for _ in range(4)]
    with peers.running([name], 1) as found:
        for calls in found[name].networks.stages(problem).values():
            assert [scaling_study._step(calls) for _ in range(4)] == pytest.approx(expected, rel=1e-5)


def test_who_computes_something_else_does_not_take_part():
    study = scaling_study._Study(lambda width: chain(width), "width", None, None, "sgd", None, True)
    wrong = [lambda: 3.0, lambda: None, lambda: None]
    networks = type("module", (), {"stages": staticmethod(lambda problem: {"wrong": wrong})})
    notes = []
    found = study.contestants(4, {"torch": peers.Peer("1", None, networks)}, notes)
    assert len(found) == 2 and all("fastnn" in name for name in found)
    assert len(notes) == 1 and "PyTorch, wrong does not take part: its losses at width 4" in notes[0]


def test_theory_counts_what_a_step_computes():
    study = scaling_study._Study(lambda depth: chain(8, depth), "depth", None, lambda depth: 16, "sgd", None, False)
    one, many = study.theory(1), study.theory(5)
    product, bias, relu = 2 * 16 * 64, 16 * 8, 16 * 8
    forward = [flops["forward"] for flops, _ in (one, many)]
    assert (forward[1] - forward[0]) / 4 == product + bias + relu
    backward = [flops["backward"] for flops, _ in (one, many)]
    assert (backward[1] - backward[0]) / 4 == pytest.approx(2 * product, rel=0.1)
    assert backward[0] < 1.5 * forward[0]  # nobody wants the gradient of the data
    assert many[1] > one[1] > 4 * (64 + 2 * 16 * 8)


def test_nothing_is_left_changed():
    before = fastnn.get_num_threads()
    model = chain()
    weights = {name: value.copy() for name, value in model.state_dict().items()}
    found = scaling(lambda batch: model, "batch", [1, 2, 3], budget=0.001, threads=1, optimizer="adam", eager=True)
    assert fastnn.get_num_threads() == before
    backend = next(name for name in dispatch.current_backends.get() if dispatch.is_available(name))
    assert [curve.name for curve in found.curves[::3]] == [f"fastnn, {backend}", f"fastnn, {backend}, eager"]
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, weights[name])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"values": [1, 2]}, "values"), ({"values": [1, 3, 2]}, "values"), ({"optimizer": "lion"}, "optimizer"),
        ({"peers": ["theano"]}, "peers"), ({"peers": "torch"}, "peers: expected a list"), ({"make_model": 3}, "make_model"),
        ({"backends": "numba"}, "backends: expected a list"), ({"values": 3}, "values"),
        ({"make_model": lambda width: 3}, "make_model"), ({"backends": ["fortran"]}, "fortran"),
        ({"make_model": lambda width: nn.Conv2d(1, 1, 1)}, "input_shape"), ({"batch_size": 0}, "batch_size"), ({"threads": 0}, "threads"),
        ({"budget": -1.0}, "budget"), ({"parameter": 3}, "parameter"),
    ],
)  # fmt: skip
def test_scaling_refuses_by_name(change, message):
    arguments = {"make_model": chain, "parameter": "width", "values": [2, 3, 4], "budget": 0.001} | change
    with pytest.raises((ValueError, TypeError), match=message):
        scaling(**arguments)


def test_layers_of_a_chain_and_what_is_none():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3), nn.Tanh())
    assert layers_of(model) == (("conv", 1, 2, 3, 1), ("relu",), ("pool",), ("flatten",), ("linear", 8, 3), ("tanh",))
    for layer in (nn.Conv2d(2, 2, 3, stride=2), nn.Linear(2, 2, bias=False), nn.MaxPool2d(3), nn.Sigmoid(), nn.Sequential()):
        with pytest.raises(ValueError, match="model"):
            layers_of(nn.Sequential(layer))
    with pytest.raises(ValueError, match="Sequential"):
        layers_of(nn.Linear(2, 2))


@pytest.mark.parametrize(
    "text, values",
    [
        ("depth=1..8", [1, 2, 4, 8]),
        ("width=16..100", [16, 32, 64, 100]),
        ("kernel=1..7", [1, 3, 5, 7]),
        ("batch=2,5,9", [2, 5, 9]),
    ],
)
def test_values_to_vary(text, values):
    assert _vary(text) == (text.partition("=")[0], values)


@pytest.mark.parametrize(
    "arguments",
    [["--vary", "height=1..8"], ["--vary", "depth=1,2"], ["--vary", "depth=4..1"], ["--vary", "depth=a..b"], ["--vary", "kernel=2,4,6"],
     ["--kernel", "4"], ["--vary", "image=4..16", "--width", "3"], ["--json", "/no/such/folder/x.json"], ["--threads", "0"],
     ["--peers", "theano"], ["--vary", "depth=1..1000000000"], ["--depth", "1000000000"], ["--vary", "kernel=1..10000000001"],
     ["--vary", "width=1..2000000"], ["--vary", "batch=1..99999999999"], ["--vary", "depth=1..4", "--vary", "image=1..9999999"]],
)  # fmt: skip
def test_the_command_refuses_in_one_line(arguments, capsys):
    assert main(["scaling", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fastnn") and error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--vary", "width=2,4,8", "--depth", "2"], ["--vary", "kernel=1,3,5", "--image", "6", "--channels", "2"]]
)
def test_the_command_prints_and_writes(arguments, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    files = {kind: tmp_path / f"study.{suffix}" for kind, suffix in (("plot", "svg"), ("json", "json"), ("markdown", "md"))}
    options = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    assert main(["scaling", *arguments, "--budget", "0.01", "--batch", "3", *options]) == 0
    printed = capsys.readouterr().out
    name = arguments[1].partition("=")[0]
    assert f"time grows as {name}^" in printed and "backward takes" in printed
    (found,) = json.loads(files["json"].read_text())["studies"]
    assert found["parameter"] == name and len(found["curves"]) == 3 and len(found["curves"][0]["seconds"]) == 3
    assert f"| {name} |" in files["markdown"].read_text()
    assert name in files["plot"].read_text()
