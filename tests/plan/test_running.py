"""How programs run: memory, threads, interruptions, forks, observers."""

import os
import signal
import threading
import tracemalloc
import warnings

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn, optim

from .networks import MODELS, batches, twins


@pytest.mark.skipif(not dispatch.is_available("cython"), reason="only compiled kernels write without allocating")
def test_nothing_is_allocated_after_the_first_step():
    model = nn.Sequential(nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 3))
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
    ((x, y),) = batches((300,), [200], np.float32)
    for _ in range(3):
        plan.step(x, y)
    tracemalloc.start()
    try:
        plan.step(x, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000, f"{peak} bytes"


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


def test_bits_do_not_depend_on_threads(shared_work):
    losses = []
    for count in (1, 3):
        fastnn.manual_seed(0)
        model = nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 3))
        plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
        ((x, y),) = batches((300,), [256], np.float32)
        before = fastnn.get_num_threads()
        fastnn.set_num_threads(count)
        try:
            losses.append([plan.step(x, y) for _ in range(5)])
        finally:
            fastnn.set_num_threads(before)
    assert losses[0] == losses[1]


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
