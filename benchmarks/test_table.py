"""The table itself: right goals, wrong results found, failures told, and goals judged as they are worded."""

from types import SimpleNamespace

import numpy as np
import pytest

from fastnn import dispatch
from fastnn.measure import peers
from fastnn.measure.bench.kernels import Result, Settings, compare
from fastnn.measure.machine import Work, traffic_probe
from fastnn.measure.problems import kernels as problems
from fastnn.measure.problems.kernels import Problem, backend_calls, public_calls
from fastnn.measure.problems.rows import DIRECTIONS, GROUPS, ROWS, Row

from . import kernels, report

LINEAR = {"x": (3, 5), "w": (4, 5), "b": (4,)}
CONV = {"x": (2, 4, 7, 6), "w": (6, 4, 3, 3), "b": (6,)}
POOL = {"x": (2, 3, 8, 6)}
SMALL = (
    Row("rows", "linear", LINEAR, numba=True),
    Row("one row", "linear", {**LINEAR, "x": (1, 5)}, numba=True),
    Row("conv", "conv2d", CONV, {"padding": 1, "stride": 2}, numba=True),
    Row("dilated", "conv2d", CONV, {"padding": 2, "dilation": 2}, numba=True),
    Row("depthwise", "conv2d", {**CONV, "w": (4, 1, 3, 3), "b": (4,)}, {"padding": 1, "groups": 4}, numba=True),
    Row("max pool", "max_pool2d", POOL, {"kernel_size": 3, "stride": 2, "padding": 1}, numba=True),
    Row("average pool", "avg_pool2d", POOL, {"kernel_size": 2}, numba=True),
    Row("global", "global_avg_pool", POOL, numba=True),
    *(Row(name, name, {"x": (33,)}) for name in ("relu", "sigmoid", "tanh", "gelu", "elu")),
    Row("softmax", "softmax", {"x": (3, 7)}, {"dim": 1}),
    Row("cross entropy", "cross_entropy", {"x": (3, 7), "t": (3,)}),
    Row("Adam", "Adam", {"p": (9,)}, {"lr": 1e-3}),
    Row("SGD", "SGD", {"p": (9,)}, {"lr": 1e-3, "momentum": 0.9}),
)


def settings(**found):
    """As fast as it goes, against these peers."""
    return Settings(found, "float32", 1, 0.0, 3, DIRECTIONS, False, False)


def peer(variants):
    return peers.Peer("1", SimpleNamespace(variants=variants, to_numpy=np.asarray), None)


def relu_peer(forward):
    return peer(lambda problem: {"out": {"forward": lambda: forward(problem.arrays["x"])}})


def results_of(row, **found):
    return {result.direction: result for result in compare(row, settings(**found))}


def measured(label, direction="forward", **found):
    return Result(label, direction, seconds=1.0, **found)


@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.label)
@pytest.mark.parametrize("name", peers.KERNELS)
@pytest.mark.filterwarnings("ignore")
def test_every_variant_of_a_peer_is_right(row, name):
    if peers.missing([name]):
        pytest.skip(f"{name} is not installed")
    problem = Problem(row)
    with peers.running([name], 1) as found:
        library = found[name].kernels
        for variant, calls in library.variants(problem).items():
            for direction, call in calls.items():
                problem.check(variant, direction, call(), library.to_numpy)


@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.label)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_our_calls_are_right(row, dtype):
    problem = Problem(row, dtype)
    for direction, call in public_calls(problem).items():
        problem.check("fastnn", direction, call())


def test_numba_calls_run_on_numba():
    if not dispatch.is_available("numba"):
        pytest.skip("numba is not installed")
    problem, seen = Problem(SMALL[0]), []
    calls = backend_calls(problem, "numba")
    with dispatch.observe(seen.append):
        public_calls(problem)["forward"]()
        assert {call.backend for call in seen} == {dispatch.backend_for(seen[-1].operator)}
    problem.check("numba", "both", calls["both"]())
    backends = []
    calls["forward"].func.__self__.run(dispatch.current_observer.set, lambda call: backends.append(call.backend))
    calls["forward"]()
    assert set(backends) == {"numba"}


def test_a_wrong_result_is_found():
    problem = Problem(SMALL[0])
    y = problem.expected["forward"][0]
    problem.check("right", "forward", y.astype(np.float32))
    for wrong in (y * 1.001, np.where(y == y.max(), np.nan, y), y[:2], y.T[:, :2]):
        with pytest.raises((AssertionError, ValueError)):
            problem.check("wrong", "forward", wrong)
    with pytest.raises(ValueError, match="zip"):
        problem.check("incomplete", "backward", problem.expected["backward"][:2])


def test_peers_that_fail_do_not_compete_and_the_row_goes_on():
    def refuse(problem):
        raise RuntimeError("not here")

    slow = relu_peer(lambda x: max((np.maximum(x, 0) for _ in range(500)), key=id))
    wrong, loud = relu_peer(lambda x: x), relu_peer(lambda x: 1 / 0)
    result = results_of(
        Row("relu", "relu", {"x": (33,)}, goals={"forward": 1.0}), slow=slow, wrong=wrong, loud=loud, absent=peer(refuse)
    )
    forward = result["forward"]
    assert set(forward.peers) == {"slow"} and forward.best == "slow" and not forward.error
    assert forward.ratio == pytest.approx(forward.peers["slow"] / forward.seconds) and forward.ratio > 5
    assert [note.partition(":")[0] for note in forward.notes] == ["absent", "wrong out", "loud out"]
    assert result["backward"].ratio is None and result["both"].seconds > result["forward"].seconds / 2


@pytest.mark.parametrize(
    "row", [Row("refused", "linear", {"x": (3, 5), "w": (4, 6), "b": (4,)}), Row("unknown", "no_such", {"x": (3,)})]
)
def test_our_failure_is_a_result(row):
    for direction, result in results_of(row).items():
        assert result.error and result.ratio == 0.0, direction
        assert report.line(result, [])[2] == "ERROR"


def test_fast_convolutions_are_fast_in_their_own_rows_alone(monkeypatch):
    chosen = []
    monkeypatch.setattr(problems, "set_convolution_precision", chosen.append)
    row = Row("fast", "conv2d", CONV, {"padding": 1}, precision="fast")
    assert not any(result.error for result in results_of(row).values())
    assert chosen == ["fast", "default"] * 3
    assert not any(result.error for result in results_of(SMALL[2]).values()) and len(chosen) == 6


def test_goals_are_those_of_rows_groups_and_calls():
    assert len({row.label for row in ROWS}) == len(ROWS)
    assert all(row.goals or row.group or row.packed for row in ROWS)
    assert {row.group for row in ROWS} - {""} == GROUPS.keys()
    assert [row.label for row in ROWS if row.allowed] == ["linear 1x4->4"]
    by_label = {row.label: row for row in ROWS}
    assert by_label["linear 1x256->256"].goals == {"forward": 2.0, "backward": 6.0}
    assert by_label["average pool global 64x112x112 N=16"].goals == {"forward": 1.0, "backward": 1.5}
    assert by_label["cross entropy 128x10"].goals == {"forward": 4.0, "both": 4.0}
    assert by_label["gelu 1e5"].goals == {"forward": 2.0, "backward": 1.5}
    assert GROUPS["conv 3x3 N=16"] == ({"forward": 1.0, "backward": 1.0}, 0.9)


@pytest.mark.parametrize(
    "ratios, share", [((2.0, 1.0, 1.0, 1.1), 1.0), ((9.0, 0.9), 0.9), ((1.1, 1.1), 1.1 / 1.2), ((0.0, 9.0), 0.0)]
)
def test_a_group_is_judged_by_its_mean_and_its_lowest(ratios, share):
    results = [measured(str(i), group="conv 3x3 N=1", peers={"numpy": ratio}) for i, ratio in enumerate(ratios)]
    for result in results:
        result.error = "" if result.peers["numpy"] else "wrong"
    (goal,) = report.goals(results)
    assert goal.share == pytest.approx(share, rel=1e-2)
    assert goal.verdict == ("met" if share >= 1 else "missed" if share >= 0.8 else "MISSED, below 0.8")


def test_goals_of_rows_calls_numba_and_threads():
    results = [
        measured("a", goal=2.0, peers={"numpy": 3.0, "torch": 1.9}),
        measured("a", "backward", numba=1.0),
        measured("b", "backward", numba=16.0),
        measured("c", allowed=0.5),
        measured("d", two_threads=1.62, machine_threads=1.7),
    ]
    shares = {(goal.name.partition(",")[0], goal.direction): goal.share for goal in report.goals(results)}
    assert shares == pytest.approx(
        {("a", "forward"): 0.95, ("Cython's time over Numba's", "backward"): 0.5, ("c", "forward"): 0.5, ("d", "forward"): 0.9}
    )
    text = "0 of 4 goals met, 4 missed: 1 lie beyond the machine; of the other 3, 2 are below 0.8"
    assert text in report.summary(report.Report({}, [], results))[0]


@pytest.mark.parametrize(
    "ratio, fraction, verdict",
    [
        (2.0, 0.5, "met"),
        (1.7, 0.95, "beyond the machine"),
        (1.7, 0.5, "missed"),
        (1.7, 1.1, "missed"),
        (0.9, 0.95, "MISSED, below 0.8"),
    ],
)
def test_a_goal_is_beyond_the_machine_where_the_limit_holds(ratio, fraction, verdict):
    result = measured("a", goal=2.0, peers={"numpy": ratio}, variants={"numpy": "out"}, arithmetic=fraction, traffic=0.0)
    assert result.ratio == pytest.approx(ratio) and result.fraction == pytest.approx(fraction)
    (goal,) = report.goals([result])
    assert goal.verdict == verdict == report.line(result, [])[-2]


def test_work_of_each_direction():
    linear = Problem(SMALL[0]).works
    assert linear["forward"] == [Work(2 * 3 * 5 * 4 + 12, 4 * (15 + 20 + 4), 4 * 12, 0)]
    assert linear["backward"] == [Work(4 * 3 * 5 * 4 + 12, 4 * (12 + 15 + 20), 4 * (15 + 20 + 4), 0)]
    assert linear["both"] == linear["forward"] + linear["backward"]
    ((_, read, written, updated),) = Problem(SMALL[-1]).works["forward"]
    assert (read, written, updated) == (4 * 9, 0, 4 * 18)


def test_the_traffic_probe_moves_what_the_row_moves_or_a_multiple():
    _, share = traffic_probe([Work(0, 1 << 20, 1 << 21, 1 << 19)])
    assert share == 1
    probe, share = traffic_probe([Work(0, 1 << 10, 0, 0), Work(0, 0, 1 << 10, 1 << 10)])
    probe()
    assert share == 3 * 2**10 / 2**17


def test_reports_are_kept_apart_by_what_was_measured_with(tmp_path):
    old = report.Report({"ISA level": "v4"}, ["jax"], [measured("relu 1e3"), measured("elu 1e3", peers={"numpy": 2.0})])
    old.save(tmp_path / "rows.json")
    read = report.Report.load(tmp_path / "rows.json")
    assert read == old
    new = report.Report({"ISA level": "v4"}, ["jax"], [measured("elu 1e3", "backward"), measured("relu 1e3", goal=2.0)])
    new.keep(read)
    assert [(r.label, r.direction, r.goal) for r in new.results] == [
        ("relu 1e3", "forward", 2.0), ("elu 1e3", "forward", None), ("elu 1e3", "backward", None)
    ]  # fmt: skip
    for versions, missing in (({"ISA level": "v3"}, ["jax"]), ({"ISA level": "v4"}, [])):
        with pytest.raises(ValueError, match="two tables"):
            report.Report(versions, missing).keep(old)


def test_the_command_writes_markdown_json_and_a_picture(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    from . import picture

    json, markdown, image = (tmp_path / name for name in ("rows.json", "rows.md", "rows.png"))
    options = ["--quick", "--no-numba", "--peers", "numpy", "--json", str(json), "--markdown", str(markdown)]
    kernels.main([*options, "--only", "relu 1e3"])
    kernels.main([*options, "--only", "linear 1x4->4", "--keep"])
    assert "The table does not count: PyTorch, JAX, ONNX Runtime not installed" in capsys.readouterr().out
    text = markdown.read_text()
    assert "| relu 1e3 | backward |" in text and "| linear 1x4->4, time of a call | forward |" in text
    assert len(report.Report.load(json).results) == 4
    picture.main([str(json), "--picture", str(image)])
    assert image.stat().st_size > 10_000
