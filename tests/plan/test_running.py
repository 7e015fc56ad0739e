"""How programs run: memory, threads, interruptions, forks, observers."""

import os
import signal
import subprocess
import sys
import threading
import tracemalloc
import warnings

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch, nn, optim
from fastnn.plan import locks
from fastnn.plan.checked import rows_in

from .networks import MODELS, assert_same_state, batches, twins


def dense():
    return nn.Sequential(nn.Linear(300, 200), nn.Tanh(), nn.Dropout(0.1), nn.Linear(200, 3))


def images():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(8 * 3 * 3, 3),
    )  # fmt: skip


LARGE = {"dense": (dense, (300,), 200), "images": (images, (3, 16, 16), 64)}


@pytest.mark.skipif(not dispatch.is_available("cython"), reason="only compiled kernels write without allocating")
@pytest.mark.parametrize("clipping", [{}, {"clip_grad_norm": 0.1, "clip_grad_value": 0.05}], ids=["", "clipped"])
@pytest.mark.parametrize("name", LARGE)
def test_nothing_is_allocated_after_the_first_step(name, clipping):
    make, shape, rows = LARGE[name]
    model = make()
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()), **clipping)
    ((x, y),) = batches(shape, [rows], np.float32)
    for _ in range(3):
        plan.step(x, y)
    tracemalloc.start()
    try:
        plan.step(x, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000, f"{peak} bytes"


def test_the_first_step_imports_nothing_slow():
    code = """
import sys, numpy as np, fastnn
from fastnn import nn, optim
model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
plan.step(np.ones((64, 784), np.float32), np.zeros(64, int))
print(*{name.partition(".")[0] for name in sys.modules} & {"numba", "llvmlite", "scipy", "sklearn", "matplotlib", "rich", "torch"})
"""
    if not dispatch.is_available("cython"):
        pytest.skip("Numba stands in where nothing is compiled")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


@pytest.mark.parametrize("name", MODELS)
def test_the_arena_is_little_larger_than_what_lives_in_it(name):
    model, _, shape = twins(name)
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
    ((x, y),) = batches(shape, [50])
    plan.step(x, y)
    (compiled,) = plan._compiled.values()
    layout = compiled.program.layout
    assert layout.live <= layout.size <= 1.3 * layout.live


def test_two_plans_in_two_threads():
    results = {}

    def train(seed):
        rng = np.random.default_rng(seed)
        model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 2)).double()
        model.load_state_dict({k: np.full_like(v, 0.01) for k, v in model.state_dict().items()})
        plan = fastnn.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
        x, y = rng.standard_normal((40, 20)), rng.standard_normal((40, 2))
        results[threading.current_thread().name, seed] = [plan.step(x, y) for _ in range(50)]

    train(0)
    train(1)
    threads = [threading.Thread(target=train, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, thread in enumerate(threads):
        assert results[thread.name, seed] == results["MainThread", seed]


@pytest.mark.parametrize("name", LARGE)
def test_bits_do_not_depend_on_threads(name, shared_work):
    make, shape, rows = LARGE[name]
    ((x, y),) = batches(shape, [rows], np.float32)
    found = []
    before = fastnn.get_num_threads()
    for count in (1, 3):
        fastnn.manual_seed(0)
        model = make()
        plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()), clip_grad_norm=0.5)
        fastnn.set_num_threads(count)
        try:
            losses = [plan.step(x, y), plan.epoch(x, y, batch_size=rows // 4, seed=0)]
        finally:
            fastnn.set_num_threads(before)
        found.append((losses, model.state_dict()))
    assert found[0][0] == found[1][0]
    for key, value in found[0][1].items():
        np.testing.assert_array_equal(value, found[1][1][key], err_msg=key)


def test_an_exception_on_the_way_leaves_a_model_that_can_be_used():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm, self.works = nn.Linear(6, 3), nn.BatchNorm1d(3), False

        def forward(self, x):
            y = self.norm(self.layer(x))
            if not self.works:
                raise KeyError("on the way")
            return y

    model = Fails().eval()
    optimizer = optim.Adam(model.parameters())
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optimizer)
    ((x, y),) = batches((6,), [5], np.float32)
    before = model.state_dict()
    for call in (lambda: plan.step(x, y), lambda: plan.epoch(x, y), lambda: plan.predict(x), lambda: plan.gradients(x, y)):
        with pytest.raises(KeyError, match="on the way"):
            call()
    assert not any(module.training for module in model.modules())
    assert not optimizer.state
    assert_same_state(model.state_dict(), before, 0)
    model.works = True
    assert np.isfinite(plan.step(x, y))
    assert optimizer.state[model.layer.weight]["step"] == 1


def test_observers_see_the_calls_of_a_plan():
    model, _, shape = twins("mlp")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
    ((x, y),) = batches(shape, [5])
    plan.step(x, y)
    calls = []
    with dispatch.observe(calls.append):
        plan.step(x, y)
    assert [call.phase for call in calls if call.operator.name == "adam"] == ["update"] * 4
    assert calls[0].owner is model[0] and calls[0].phase == "forward"
    assert any(call.owner is model[0] and call.phase == "backward" for call in calls)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled lock", "lock in Python"])
def test_a_loss_that_calls_its_own_plan_is_refused(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(locks, "guard", None)
    x, model = np.ones((2, 3), np.float32), nn.Linear(3, 3)
    plan = fastnn.compile(
        model, lambda prediction, y: F.mse_loss(prediction, plan.predict(x)), optim.SGD(model.parameters(), lr=0.1)
    )
    with pytest.raises(ValueError, match="by its own model, loss or optimiser"):
        plan.step(x, x)
    plan.loss = nn.MSELoss()
    assert plan.step(x, x) > 0


def test_a_plan_that_is_called_while_it_predicts_is_refused(monkeypatch):
    """By a signal's handler, say. A call like the last one refuses too."""
    plan, x, calls = fastnn.compile(nn.Linear(3, 2)), np.ones((4, 3), np.float32), []

    def run(*arguments, run=dispatch._run_reference):
        calls.append(arguments)
        with pytest.raises(ValueError, match="by its own model, loss or optimiser"):
            plan.predict(x)
        return run(*arguments)

    with fastnn.use_backend("reference"):
        expected = plan.predict(x)
        monkeypatch.setattr(dispatch, "_run_reference", run)
        for _ in range(5):
            np.testing.assert_array_equal(plan.predict(x), expected)
    assert len(calls) == 5


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
def test_an_interrupted_epoch_counts_its_steps():
    model = nn.Linear(64, 64)
    optimizer = optim.Adam(model.parameters())
    plan = fastnn.compile(model, nn.MSELoss(), optimizer)
    x = np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32)
    plan.step(x[:1], x[:1])
    plan.step(x[:1], x[:1])

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            for _ in range(1000):
                plan.epoch(x, x, batch_size=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    count = optimizer.state[model.weight]["step"]
    plan.step(x[:1], x[:1])
    assert optimizer.state[model.weight]["step"] == count + 1 > 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_born_while_a_plan_runs_can_use_it():
    model = nn.Linear(400, 400)
    plan = fastnn.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=1e-3))
    x = np.random.default_rng(0).standard_normal((2000, 400)).astype(np.float32)
    plan.predict(x[:3])
    running = threading.Thread(target=lambda: [plan.epoch(x, x, batch_size=50) for _ in range(5)])
    running.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of forks beside threads
        child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if np.isfinite(plan.predict(x[:3])).all() else 1)
    running.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_thread_that_predicts_all_the_time_lets_others_predict():
    plan, x, ends = fastnn.compile(nn.Linear(512, 512)), np.ones((64, 512), np.float32), threading.Event()
    expected, found = plan.predict(x), []
    busy = threading.Thread(target=lambda: [plan.predict(x) for _ in iter(ends.is_set, True)])
    other = threading.Thread(target=lambda: found.extend(np.array_equal(plan.predict(x), expected) for _ in range(50)))
    busy.start()
    other.start()
    try:
        other.join(timeout=60)  # it would have waited until the other thread ends
        assert not other.is_alive() and found == [True] * 50
    finally:
        ends.set()
        busy.join()
        other.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_born_during_a_prediction_predicts_from_its_own_input():
    plan = fastnn.compile(nn.Sequential(*[nn.Linear(512, 512) for _ in range(4)]))
    theirs, own = np.random.default_rng(0).standard_normal((2, 8, 512)).astype(np.float32)
    expected = plan.predict(own)
    plan.predict(own)
    ends = threading.Event()
    running = threading.Thread(target=lambda: [plan.predict(theirs) for _ in iter(ends.is_set, True)])
    running.start()
    try:
        for _ in range(3):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python warns of forks beside threads
                child = os.fork()
            if child == 0:
                signal.alarm(20)
                os._exit(0 if np.array_equal(plan.predict(own), expected) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        ends.set()
        running.join()


def test_many_dimensions():
    shape = (1, 2, 1, 2, 1, 2, 1, 2, 1, 3)
    model = nn.Linear(3, 2)
    x, y = np.linspace(-1, 1, 48, dtype=np.float32).reshape(shape), np.zeros((*shape[:-1], 2), np.float32)
    plan = fastnn.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    losses = [plan.step(x, y) for _ in range(4)]
    assert losses == sorted(losses, reverse=True)
    for _ in range(3):
        np.testing.assert_allclose(plan.predict(x), model(fastnn.tensor(x)).numpy(), atol=1e-6)


class Codes(nn.Module):
    """Its loss takes classes from the input."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Parameter(np.zeros((4, 3), np.float32))

    def forward(self, x):
        return F.cross_entropy(self.scores, x)


def test_classes_among_the_inputs_of_an_epoch_are_checked_and_kept():
    model = Codes()
    plan = fastnn.compile(model, lambda loss, y: loss + y.sum(), optim.SGD(model.parameters(), lr=0.0))
    X, Y = np.arange(16) % 3, np.zeros(16, np.float32)
    run = plan.epochs(X, Y, batch_size=4)
    expected = run(np.arange(16))
    X[5] = 2**40
    assert run(np.arange(16)) == expected
    with pytest.raises(ValueError, match=f"X: .*{2**40}"):
        plan.epoch(X, Y, batch_size=4)


def test_the_order_of_an_epoch_is_kept():
    order = np.arange(5)
    rows = rows_in(order, 5)
    order[0] = 10**9
    assert rows.tolist() == [0, 1, 2, 3, 4]
