"""Compiled kernels entered with arguments in plain C: by Python, and by the executor of plans."""

import subprocess
import sys
import threading

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn, optim
from fastnn.kernels import find, operators
from fastnn.plan.program import PythonExecutor

pytestmark = pytest.mark.skipif(not dispatch.is_available("cython"), reason="fastnn was installed without compiled kernels")

COMPILED = [operator for operator in operators() if "cython" in operator.needs and not operator.variadic]


def compiled(name):
    return find(name).kernel("cython")


def make_executor(calls, counters=()):
    from fastnn.kernels.executor import Executor

    return Executor(calls, counters)


@pytest.mark.parametrize("operator", COMPILED, ids=lambda operator: operator.name)
def test_kernels_take_what_their_operators_declare(operator):
    """In that order: a plan fills in arguments by their places. All kernels of a family come through one door, which releases the GIL."""
    from fastnn.kernels.entry import Kernel

    known = operator.kernel("cython").__self__
    assert isinstance(known, Kernel)
    assert known.name == operator.name
    assert known.names == (*operator.params, *operator.attributes, *operator.outputs)


X, W, Y = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32), np.empty((2, 4), np.float32)


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("linear", (X, W, Y), "expected 4 arguments, got 3"),
        ("linear", (X, None, None, Y), "w cannot be None"),
        ("linear", (X, W, 1.0, Y), "b cannot be 1.0"),
        ("linear_activated", (X, W, None, None, Y), "activation cannot be None"),
        ("linear_activated", (X, W, None, 3, Y), "activation cannot be 3"),
        ("leaky_relu", (X, "steep", X), "real number"),
        ("group_norm", (X, None, None, 1.5, 0.1, X, None, None), "integer"),
        ("max_pool2d", (X, 2, (2, 2), (0, 0), (1, 1), False, False, X, None), "kernel_size cannot be 2"),
        ("max_pool2d", (X, tuple(range(9)), (2, 2), (0, 0), (1, 1), False, False, X, None), "kernel_size cannot be"),
        ("max_pool2d", (X, ("a", "b"), (2, 2), (0, 0), (1, 1), False, False, X, None), "integer"),
    ],
)
def test_arguments_of_another_kind_are_refused(name, arguments, message):
    with pytest.raises(TypeError, match=message):
        compiled(name)(*arguments)


def test_a_kernel_releases_the_gil(releases_the_gil):
    x = np.ones(100_000, np.float32)
    assert releases_the_gil(compiled("relu"), x, np.empty_like(x))


def half_and_note(source, target, noted):
    """A call that only Python can make."""
    np.multiply(source, 0.5, out=target)
    noted.append(float(target[0]))


@pytest.mark.parametrize("make", [make_executor, PythonExecutor])
def test_compiled_kernels_and_python_take_turns(make):
    x, y, z, noted, counter = np.array([-2.0, 4.0]), np.empty(2), np.empty(2), [], np.zeros(2, np.int64)
    executor = make(
        [(compiled("leaky_relu"), [x, 0.5, y]), (half_and_note, [y, y, noted]), (compiled("add"), [y, y, z])], [counter]
    )
    executor.run()
    np.testing.assert_array_equal(z, [-1.0, 4.0])
    executor.set(0, 1, 0.25)
    executor.run()
    np.testing.assert_array_equal(z, [-0.5, 4.0])
    assert noted == [-0.5, -0.25]
    np.testing.assert_array_equal(counter, [2, 2])


@pytest.mark.parametrize("make", [make_executor, PythonExecutor])
@pytest.mark.parametrize("columns", [1, 2, 5])
def test_an_epoch_gathers_rows_and_counts_steps(make, columns):
    rng = np.random.default_rng(0)
    table, batch, total = (
        rng.standard_normal((10, columns)).astype(np.float32),
        np.zeros((3, columns), np.float32),
        np.zeros((), np.float32),
    )
    p, g, m, v = (np.zeros(1) for _ in range(4))
    steps, done, seen = [], np.zeros(1, np.int64), []
    executor = make(
        [
            (compiled("sum"), [batch.reshape(1, 3 * columns, 1), total.reshape(1, 1)]),
            (lambda step: steps.append(step), [0]),
            (compiled("nadam"), [p, g, m, v, 0.1, 0.9, 0.99, 1e-8, 0.0, False, 0, 0.1, 0.1, False, p, m, v]),
            (lambda: seen.append(batch.copy()), []),
        ],
        [],
    )
    order = np.array([9, 3, 4, 4, 5, 1, 7], np.int64)  # some one after the other
    result = executor.epoch([(table, batch)], order, total, [(1, 0), (2, 10)], done)
    np.testing.assert_array_equal(seen, [table[order[:3]], table[order[3:6]]])
    np.testing.assert_allclose(result, table[order[:6]].sum(), rtol=1e-5)
    assert steps == [1, 2]
    assert done[0] == 2


@pytest.mark.parametrize("threads", [1, 2])
def test_updates_as_one_call_equal_single_ones(threads, shared_work):
    """More of them than are made at a time, of both dtypes, with other options here and there; and one of no elements."""
    rng = np.random.default_rng(0)
    nadam, before = compiled("nadam"), fastnn.get_num_threads()
    calls, expected = [], []
    for number, size in enumerate([3, 0, 5000, 1] * 10):
        dtype = np.float32 if number % 3 else np.float64
        p, g, m, v = (rng.standard_normal(size).astype(dtype) ** 2 for _ in range(4))
        lr, step = (0.1, 3) if number % 7 else (0.2, 4)
        options = [lr, 0.9, 0.99, 1e-8, 0.01, False, step, 0.1, 0.2, False]
        alone = [a.copy() for a in (p, g, m, v)]
        nadam(*alone, *options, alone[0], *alone[2:])
        expected.append(alone)
        calls.append((nadam, [p, g, m, v, *options, p, m, v]))
    try:
        fastnn.set_num_threads(threads)
        executor = make_executor(calls)
        assert executor.lengths == [40]
        executor.run()
    finally:
        fastnn.set_num_threads(before)
    for (_, arguments), arrays in zip(calls, expected, strict=True):
        for actual, wanted in zip(arguments[:4], arrays, strict=True):
            np.testing.assert_array_equal(actual, wanted)


def test_arguments_that_do_not_fit_are_refused_when_a_plan_is_made():
    with pytest.raises(TypeError, match=r"relu\(x, y\): y cannot be None"):
        make_executor([(compiled("relu"), [X, None])])
    with pytest.raises(TypeError, match="relu: expected 2 arguments, got 1"):
        make_executor([(compiled("relu"), [X])])


def test_arrays_of_many_dimensions_are_left_to_python():
    x = np.arange(4.0).reshape((1,) * 9 + (4,))
    y = np.empty_like(x)
    make_executor([(compiled("add"), [x, x, y])]).run()
    np.testing.assert_array_equal(y, 2 * x)


def test_an_exception_comes_back_and_the_executor_goes_on():
    x, y, fails = np.ones(2), np.empty(2), [True]

    def perhaps():
        if fails[0]:
            raise KeyError("here")

    executor = make_executor([(perhaps, []), (compiled("add"), [x, x, y])])
    done = np.zeros(1, np.int64)
    for attempt in (executor.run, lambda: executor.epoch([(x, y)], np.arange(2), y, [], done)):
        with pytest.raises(KeyError, match="here"):
            attempt()
    assert done[0] == 0
    fails[0] = False
    executor.run()
    np.testing.assert_array_equal(y, [2.0, 2.0])


WITHOUT_MEMORY = """
import resource, threading
import numpy as np, fastnn
from fastnn.kernels import find
from fastnn.kernels.executor import Executor
N, I, O = 4096, 10, 2000
x, w, y, dy = np.ones((N, I)), np.ones((O, I)), np.ones((N, O)), np.ones((N, O))
dx, dw, db = np.empty((N, I)), np.empty((O, I)), np.empty(O)
gradients = find("linear_activated_backward").kernel("cython")
executor = Executor([(gradients, [dy, x, w, y, "relu", dx, dw, db])], [])
executor.run()
ready, go, found = threading.Event(), threading.Event(), []
def elsewhere():  # a thread that has no memory yet for what kernels compute in between
    ready.set(); go.wait()
    for attempt in (executor.run, lambda: executor.epoch([(x, x)], np.arange(N), db, [], np.zeros(1, np.int64))):
        try:
            attempt()
        except MemoryError as error:
            found.append(str(error))
threading.stack_size(1 << 20)
thread = threading.Thread(target=elsewhere); thread.start(); ready.wait()
used = 4096 * int(open("/proc/self/statm").read().split()[0])
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), limits[1]))
go.set(); thread.join()
resource.setrlimit(resource.RLIMIT_AS, limits)
db[:] = 0
executor.run()
assert (db == N).all()
print(found)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
def test_no_memory_is_an_exception_and_the_executor_goes_on():
    said = subprocess.run([sys.executable, "-c", WITHOUT_MEMORY], capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("linear_activated_backward: no room") == 2


def network(width):
    model = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
    return fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))


def test_plans_run_at_once_in_two_threads():
    """With a switch interval of an hour the second plan gets on only while the first one runs without the GIL."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((4096, 8)).astype(np.float32), rng.integers(0, 3, 4096)
    long, short = network(64), network(4)
    long.epoch(X[:64], Y[:64]), short.epoch(X[:64], Y[:64])
    running, losses = threading.Event(), []

    def train():
        running.set()
        losses.append(long.epoch(X, Y, order=np.tile(np.arange(4096), 100)))

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=train)
    made = 0
    try:
        sys.setswitchinterval(3600)
        thread.start()
        running.wait()
        while thread.is_alive():
            short.epoch(X[:64], Y[:64])
            made += not losses
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert losses and np.isfinite(losses[0])
    assert made > 1


def test_an_epoch_allocates_nothing_for_its_steps():
    import tracemalloc

    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((4096, 8)).astype(np.float32), rng.integers(0, 3, 4096)
    plan = network(16)
    plan.epoch(X, Y, batch_size=4, shuffle=False)
    tracemalloc.start()
    try:
        plan.epoch(X, Y, batch_size=4, shuffle=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    order = 4096 * 8  # as large as its checked copy, and as the copy of Y
    assert peak < 3 * order + 20_000, f"{peak} bytes for 1,024 steps"


def test_subclasses_of_arrays_keep_their_dtype(rng):
    class Subclass(np.ndarray):
        pass

    x = rng.standard_normal((4, 6, 1)).astype(np.float32)
    y, expected = np.full((2, *x.shape), 7, np.float32), np.empty_like(x)
    compiled("softmax")(x, expected)
    compiled("softmax")(x.view(Subclass), y[0])
    np.testing.assert_array_equal(y[0], expected)
    assert (y[1] == 7).all()
