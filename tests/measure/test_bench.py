"""fastnn bench: what is wrong does not compete, what noise leaves open is no win, and a run can be kept and compared."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import fastnn
from fastnn.cli import main
from fastnn.measure import peers
from fastnn.measure.bench import kernels, networks, report, suites
from fastnn.measure.bench.kernels import Result, Settings, compare
from fastnn.measure.bench.networks import compare_network
from fastnn.measure.problems.networks import NETWORKS, Network, Problem
from fastnn.measure.problems.rows import ROWS, Row
from fastnn.measure.timing import Race

pytest.importorskip("threadpoolctl")

RELU = Row("relu", "relu", {"x": (33,)})
SMALL = Network("small", (("linear", 3, 4), ("relu",), ("linear", 4, 3)), (3,), 5, "sgd", 3, 3)


def settings(directions=("forward",), **found):
    return Settings(found, "float32", 1, 0.0, 40, directions, numba=False, two_threads=False)


def kernel_peer(forward):
    variants = lambda problem: {"out": {"forward": lambda: forward(problem.arrays["x"])}}  # noqa: E731
    return peers.Peer("1", SimpleNamespace(variants=variants, to_numpy=np.asarray), None)


class World:
    """A clock that calls move forward, by a time of their own and noise."""

    def __init__(self, noise):
        self.now, self.noise = 0.0, noise
        self.rng = np.random.default_rng(1)  # of the first 24 seeds, 21 leave 0.2 and 0.21 uncertain with a noise of 3

    def clock(self):
        return self.now

    def lasting(self, seconds, call):
        def run(*arguments):
            self.now += seconds * (1 + self.noise * self.rng.exponential())
            return call(*arguments)

        return run


@pytest.mark.parametrize(
    "seconds, noise, verdict", [(0.3, 0.05, "faster"), (0.1, 0.05, "slower"), (0.2, 0.0, "even"), (0.21, 3.0, "uncertain")]
)
def test_a_verdict_is_given_where_the_samples_allow_it(monkeypatch, seconds, noise, verdict):
    world = World(noise)
    calls = kernels.public_calls
    monkeypatch.setattr(
        kernels, "public_calls", lambda problem: {d: world.lasting(0.2, call) for d, call in calls(problem).items()}
    )
    monkeypatch.setattr(kernels, "Race", lambda functions: Race(functions, world.clock))
    peer = kernel_peer(world.lasting(seconds, lambda x: np.maximum(x, 0)))
    (result,) = compare(
        RELU, replace(settings(torch=peer), threads=2)
    )  # nothing else is timed then, which would not move this clock
    assert result.verdict == verdict and not result.error
    assert result.low <= result.ratio <= result.high
    assert report.table([result])[1][-2] == verdict
    counted = report.Run({}, [], [result]).summary()[0]
    assert f"(1 {verdict})" in counted


def test_a_peer_whose_kernel_is_wrong_does_not_compete():
    wrong, right = kernel_peer(lambda x: np.maximum(x, 0) * 1.001), kernel_peer(lambda x: np.maximum(x, 0))
    (result,) = compare(RELU, settings(torch=wrong, jax=right))
    assert set(result.peers) == {"jax"} and result.seconds > 0
    assert len(result.notes) == 1 and result.notes[0].startswith("torch out: AssertionError")


def test_our_own_wrong_kernel_is_an_error(monkeypatch):
    monkeypatch.setattr(kernels, "public_calls", lambda problem: {"forward": lambda: problem.arrays["x"]})
    (result,) = compare(RELU, settings(torch=kernel_peer(lambda x: np.maximum(x, 0))))
    assert result.verdict == "error" and result.seconds is None and "fastnn" in result.error
    assert "errors: relu forward" in report.Run({}, [], [result]).summary()


def network_peer(factor=1.0):
    def contestants(problem):
        calls = networks.plan_calls(problem)
        return {contest: {"copy": lambda call=call: factor * call()} for contest, call in calls.items()}

    return peers.Peer("1", None, SimpleNamespace(contestants=contestants))


@pytest.mark.parametrize("contest", networks.CONTESTS)
def test_a_peer_whose_network_is_wrong_does_not_compete(contest):
    (result,) = compare_network(SMALL, settings((contest,), torch=network_peer(1.01), jax=network_peer()))
    assert set(result.peers) == {"jax"} and not result.error and result.direction == contest
    assert len(result.notes) == 1 and result.notes[0].startswith("torch copy: AssertionError")


def test_what_fails_costs_its_own_row():
    def refuse(problem):
        raise RuntimeError("not here")

    loud = peers.Peer("1", None, SimpleNamespace(contestants=refuse))
    (result,) = compare_network(SMALL, settings(("step",), torch=loud))
    assert result.notes == ["torch: RuntimeError: not here"] and result.seconds and result.ratio is None and result.verdict == ""
    (result,) = compare_network(
        Network("broken", (("linear", 3, 4), ("linear", 5, 2)), (3,), 5, "sgd", 2, 3), settings(("step",))
    )
    assert result.verdict == "error"


@pytest.mark.parametrize("name", peers.NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("ignore")
def test_every_library_computes_the_network(name, dtype):
    if peers.missing([name]):
        pytest.skip(f"{name} is not installed")
    convolution = (("conv", 1, 2, 3, 1), ("relu",), ("pool",), ("flatten",), ("linear", 18, 3))
    small = [SMALL, Network("regression", (("linear", 3, 4), ("tanh",), ("linear", 4, 1)), (3,), 5, "adam", 0, 3)]
    if dtype == "float32":  # ONNX Runtime has no convolution of doubles
        small.append(Network("images", convolution, (1, 6, 6), 4, "momentum", 3, 2))
    with peers.running([name], 1) as found:
        for network in small:
            expected = networks.plan_calls(Problem(network, dtype=dtype))
            problem = Problem(network, dtype=dtype)
            for contest, variants in found[name].networks.contestants(problem).items():
                wanted = [expected[contest]() for _ in range(3)]
                for variant, call in variants.items():
                    if "compile" not in variant:
                        networks._check(call, wanted)
                expected = networks.plan_calls(Problem(network, dtype=dtype))


def test_peers_leave_nothing_behind():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads(), torch.is_inference_mode_enabled()
    with peers.running(["torch"], 1):
        assert torch.is_inference_mode_enabled() and torch.get_num_threads() == 1
    assert (torch.get_num_threads(), torch.is_inference_mode_enabled()) == before


def made(label, direction="forward", seconds=1.0, ratio=2.0, **found):
    return Result(label, direction, seconds=seconds, spread=0.0, peers={"numpy": ratio * seconds}, low=ratio, high=ratio, **found)


def test_geometric_means_and_losses():
    run = report.Run({}, [], [made("a", ratio=2.0), made("b", ratio=0.5), made("c", ratio=8.0), made("d", "step", ratio=1.0)])
    mean, step, lost = run.summary()
    assert mean.startswith("forward: 2.00 times as fast as the best peer, geometric mean of 3 (2 faster, 1 slower)")
    assert "NumPy 2.00 (3)" in mean and "(1 even)" in step
    assert lost == "slower than the best peer: b forward 0.50 (NumPy)"
    assert report.geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)
    assert report.geometric_mean([0.0, 2.0]) == 0.0


def test_what_a_run_saves_is_what_it_loads(tmp_path):
    run = report.Run(
        {"fastnn": "0"}, ["jax"], [made("a", reference=9.0, arithmetic=0.5, traffic=0.1), Result("b", "step", error="no")]
    )
    run.save(tmp_path / "run.json")
    assert report.Run.load(tmp_path / "run.json") == run
    row = json.loads((tmp_path / "run.json").read_text())["rows"][0]
    assert row["verdict"] == "faster" and row["fraction"] == 0.5 and row["bound"] == "arithmetic"
    text = run.markdown()
    assert "| a | 1 s | 0 % | 9 s | 2 s | 2.00 | 2.00-2.00 | faster | 50 % arithmetic |" in text
    assert "- b, step: no" in text and "Not installed or left out: JAX." in text
    assert report.table(run.results, narrow=True)[1][3] == "2 s NumPy"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"versions": {}, "missing": [], "rows": [{"x": 1}]}'])
def test_a_file_that_is_no_run_is_refused(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="fastnn bench"):
        report.Run.load(path)


def test_changes_between_runs_beyond_their_spreads():
    names = ("same", "slow", "fast", "noisy", "machine", "alone")
    old = report.Run({"fastnn": "1"}, [], [made(name) for name in (*names, "gone")])
    seconds = {"same": 1.05, "slow": 1.5, "fast": 0.5, "noisy": 1.4, "machine": 0.5, "alone": 0.5}
    new = report.Run({"fastnn": "2"}, [], [made(name, seconds=seconds[name], ratio=2 / seconds[name]) for name in names])
    new.results[3].spread = 0.5
    new.results[4].peers = {"numpy": 1.0}  # which took 2.0: everything has become faster
    new.results[5].peers = {}
    (_, *rows), told = report.changes(old, new)
    assert {row[0]: row[6] for row in rows} == {
        "same": "unchanged", "slow": "slower", "fast": "faster", "noisy": "unchanged", "machine": "uncertain", "alone": "faster"
    }  # fmt: skip
    assert "fastnn was 1, is 2" in told and "1 results stand in one of the two runs alone" in told
    assert any("the machine has changed" in text for text in told)


def test_the_short_set_is_part_of_the_full_one():
    assert set(suites.SHORT_ROWS) <= {row.label for row in ROWS}
    assert set(suites.SHORT_NETWORKS) <= {network.name for network in NETWORKS}
    for name, directions in suites.SHORT_DIRECTIONS.items():
        assert set(directions) <= set(suites.SUITES[name])


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(suites, "SHORT_ROWS", ("relu 1e3",))
    monkeypatch.setattr(suites, "NETWORKS", (SMALL,))
    monkeypatch.setattr(suites, "SHORT_NETWORKS", ("small",))
    monkeypatch.setattr(suites, "_SHORT", (0.0, 3))


def test_the_command_compares_prints_and_writes(quick, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    files = {kind: str(tmp_path / f"run.{suffix}") for kind, suffix in (("plot", "png"), ("json", "json"), ("markdown", "md"))}
    threads = fastnn.get_num_threads()
    assert main(["bench", "--peers", "numpy", *[word for kind, path in files.items() for word in (f"--{kind}", path)]]) == 0
    assert fastnn.get_num_threads() == threads
    printed = capsys.readouterr().out
    for word in ("Forward", "Backward", "Step", "Predict batch", "relu 1e3", "small", "geometric mean of 1", "PyTorch"):
        assert word in printed
    run = report.Run.load(files["json"])
    assert [result.direction for result in run.results] == ["forward", "backward", "step", "predict", "predict batch"]
    assert all(result.reference and result.ratio and not result.error for result in run.results)
    assert (tmp_path / "run.png").stat().st_size > 5_000 and "## Step" in (tmp_path / "run.md").read_text()
    assert main(["bench", "--compare", files["json"], files["json"]]) == 0
    assert "fastnn takes 1.000 times as long as before, geometric mean of 5 rows" in capsys.readouterr().out


def test_the_command_tells_of_a_wrong_kernel(quick, monkeypatch, capsys):
    monkeypatch.setattr(kernels, "public_calls", lambda problem: {"forward": lambda: problem.arrays["x"]})
    assert main(["bench", "--suite", "kernels", "--peers", "numpy"]) == 1
    assert "ERROR" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong, error",
    [({"suites": "kernels"}, TypeError), ({"peers": "torch"}, TypeError), ({"peers": 3}, TypeError), ({"suites": ["games"]}, ValueError)],
)  # fmt: skip
def test_names_are_a_list(wrong, error):
    with pytest.raises(error, match=next(iter(wrong))):
        suites.bench(**wrong)


@pytest.mark.parametrize(
    "arguments",
    [["--suite", "games"], ["--peers", "theano"], ["--dtype", "float16"], ["--threads", "0"], ["--json", "/no/such/folder/x"],
     ["--compare", "/no/such", "/files"], ["--compare", "/no/such", "/files", "--markdown", "changes.md"]],
)  # fmt: skip
def test_the_command_refuses_in_one_line(arguments, capsys):
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fastnn") and error.count("\n") == 1
