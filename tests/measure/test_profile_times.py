"""Times of profiles: sums that hold, delays found where they are, on eager models and on plans."""

import math
from time import perf_counter, sleep

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn, optim
from fastnn.kernels import Cost, Operator
from fastnn.kernels.operator import find
from fastnn.measure import profile
from fastnn.plan import TimedCalls

from .profiles import small_network


def steady(measure, holds, tries=15):
    """Whether something holds in one of some measurements: a disturbed one says nothing."""
    return any(holds(measure()) for _ in range(tries))


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
