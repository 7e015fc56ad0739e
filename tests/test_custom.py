"""Operators made of scalar functions: values and derivatives, on every backend and in plans."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn, optim
from fastnn.training import train_step

CURVATURE = 0.25


@fastnn.operator
def swish(x, *, beta=1.5):
    return x / (1 + math.exp(-beta * x))


@fastnn.operator
def blend(a, b):
    """Branches, loops, augmented assignments, constants from outside."""
    total = 0.0
    for k in range(3):
        total += a**k * math.sin(b) + CURVATURE * k
    if a > b:
        total = total * max(a, b) - math.sqrt(a * a + 1)
    elif a > 0:
        weight = math.tanh(a) if b > 0 else -abs(b)
        total -= weight / (1 + b * b)
    while total > 10:
        total *= 0.5
    return total + math.pow(b * b + 1, 0.3) - min(a, 0.5) ** 2


def tangent(x, *, power):
    return power * x ** (power - 1)


@fastnn.operator(derivative=tangent)
def raised(x, *, power):
    return x**power


BACKENDS = [name for name in ("numba", "reference") if dispatch.is_available(name)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("function", [swish, blend], ids=["swish", "blend"])
def test_values_and_gradients(function, backend, rng):
    arrays = [rng.standard_normal((40, 3)) for _ in range(1 if function is swish else 2)]
    with fastnn.use_backend(backend):
        result = function(*arrays)
        expected = np.vectorize(function.__wrapped__)(*arrays)
        np.testing.assert_allclose(result, expected, rtol=1e-12)
        assert fastnn.gradcheck(function, arrays, rtol=1e-6)
        single = function(*[a.astype(np.float32) for a in arrays])
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_broadcasting_numbers_and_out(backend, rng):
    a, b = rng.standard_normal((4, 1)), rng.standard_normal(3)
    with fastnn.use_backend(backend):
        full = blend(*map(np.ascontiguousarray, np.broadcast_arrays(a, b)))
        np.testing.assert_array_equal(blend(a, b), full)
        out = np.empty((4, 3))
        assert blend(a, b, out=out) is out
        np.testing.assert_array_equal(out, full)
        np.testing.assert_allclose(blend(a, 0.5), blend(a, np.full((4, 1), 0.5)))
        np.testing.assert_allclose(swish(a, beta=2.0), a / (1 + np.exp(-2 * a)), rtol=1e-12)
        y, pullback = fastnn.vjp(blend, a, b)
        da, db = pullback(np.ones_like(y))
        assert da.shape == a.shape and db.shape == b.shape
        assert swish(np.zeros((0, 2))).shape == (0, 2)
        assert np.isnan(swish(np.array([np.nan]))).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_derivative_that_is_given(backend):
    with fastnn.use_backend(backend):
        _, pullback = fastnn.vjp(raised, np.array([3.0]), power=2.0)
        np.testing.assert_allclose(pullback(np.ones(1))[0], [6.0])


def test_in_a_plan(rng):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 1)

        def forward(self, x):
            return self.last(swish(self.first(x)))

    x, y = rng.standard_normal((8, 3)).astype(np.float32), rng.standard_normal((8, 1)).astype(np.float32)
    model = Net()
    plan = fastnn.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    losses = [plan.step(x, y) for _ in range(50)]
    assert losses[-1] < 0.8 * losses[0]


class Gated(nn.Module):
    """Operators of users' own with arrays of one shape, and with such as broadcast."""

    def __init__(self, beta):
        super().__init__()
        self.first, self.last, self.beta = nn.Linear(3, 4), nn.Linear(4, 1), beta
        self.scale = nn.Parameter(np.full(4, 0.5, np.float32))

    def forward(self, x):
        h = self.first(x)
        return self.last(blend(swish(h, beta=self.beta), h) + blend(h, self.scale))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-10), (np.float32, 1e-4)])
@pytest.mark.parametrize("beta", [0.7, 2])
def test_plans_compute_what_eager_steps_do(backend, dtype, tolerance, beta, rng):
    x, y = rng.standard_normal((8, 3)).astype(dtype), rng.standard_normal((8, 1)).astype(dtype)
    fastnn.manual_seed(0)
    model, twin = Gated(beta).to(dtype), Gated(beta).to(dtype)
    twin.load_state_dict(model.state_dict())
    ours, theirs = (optim.SGD(m.parameters(), lr=0.01) for m in (model, twin))
    with fastnn.use_backend(backend):
        plan = fastnn.compile(model, nn.MSELoss(), ours)
        for _ in range(4):
            assert plan.step(x, y) == pytest.approx(train_step(twin, nn.MSELoss(), theirs, x, y)[0], rel=tolerance)
    for (name, value), expected in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.skipif("numba" not in BACKENDS or not dispatch.is_available("cython"), reason="needs Numba and compiled kernels")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loops_have_entries_for_plans(dtype, rng):
    """What a plan enters without Python computes what the loops do."""
    calls = []
    a, b = (rng.standard_normal((5, 7)).astype(dtype) for _ in range(2))
    with dispatch.observe(calls.append):
        expected, pullback = fastnn.vjp(blend, a, b)
        gradients = pullback(np.ones_like(a))
    forward, backward = (call.operator for call in calls)
    y, da, db = np.empty_like(a), np.empty_like(a), np.empty_like(a)
    forward.entry((a, b), ())(a, b, y)
    np.testing.assert_array_equal(y, expected)
    backward.entry((np.ones_like(a), a, b), ())(np.ones_like(a), a, b, da, None)
    np.testing.assert_array_equal(da, gradients[0])
    backward.entry((np.ones_like(a), a, b), ())(np.ones_like(a), a, b, None, db)
    np.testing.assert_array_equal(db, gradients[1])
    assert forward.entry((a, b[0]), ()) is None  # broadcasting is Python's matter
    with dispatch.observe(calls.append):
        swish(a, beta=0.5)
    assert calls[-1].operator.entry((a,), (2,)) is None  # and so are ints
    calls[-1].operator.entry((a,), (0.5,))(a, 0.5, y)
    np.testing.assert_array_equal(y, swish(a, beta=0.5))


def one(x):
    return 1.0


@fastnn.operator(derivative=one)
def limited(x):
    if x > 2:
        raise ValueError("more than two")
    return x


class Limited(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(np.ones((2, 2), np.float32))

    def forward(self, x):
        return limited(fastnn.matmul(x, self.weight) * 0.5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_exceptions_leave_plans(backend):
    with fastnn.use_backend(backend):
        plan, x = fastnn.compile(Limited()), np.ones((3, 2), np.float32)
        for _ in range(3):
            np.testing.assert_array_equal(plan.predict(x), x)
            with pytest.raises(ValueError, match="more than two"):
                plan.predict(3 * x)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", [3, 20_000], ids=["", "without the GIL"])
@pytest.mark.parametrize("kind", [optim.Adam, optim.NAdam])
def test_steps_that_fail_are_none(backend, rows, kind):
    rows = 3 if backend == "reference" else rows
    x, y = np.ones((rows, 2), np.float32), np.zeros((rows, 2), np.float32)
    with fastnn.use_backend(backend):
        plans = []
        for _ in range(2):
            model = Limited()
            plans.append(fastnn.compile(model, nn.MSELoss(), kind(model.parameters(), lr=0.01)))
        for _ in range(4):
            for train in (plans[0].step, plans[0].epoch):
                with pytest.raises(ValueError, match="more than two"):
                    train(9 * x, y)
            assert plans[0].step(x, y) == plans[1].step(x, y)
    (first,), (second,) = (plan.optimizer.state.values() for plan in plans)
    assert first["step"] == second["step"] == 4 and first.get("mu_product") == second.get("mu_product")


@pytest.mark.skipif("numba" not in BACKENDS, reason="only Numba keeps files")
def test_in_a_plan_where_no_file_can_be_written(monkeypatch, tmp_path):
    from fastnn.kernels import numba_support

    (tmp_path / "file").touch()
    monkeypatch.setattr(numba_support, "cache_folder", lambda: str(tmp_path / "file" / "folder"))

    @fastnn.operator
    def shifted(x):
        return x + 0.25

    class Shifted(nn.Module):
        def forward(self, x):
            return shifted(x)

    x = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(fastnn.compile(Shifted()).predict(x), x + 0.25)


def test_what_is_refused():
    with pytest.raises(ValueError, match="line 3"):

        @fastnn.operator
        def has_list(x):
            return [x][0]

    with pytest.raises(ValueError, match="np comes from outside"):

        @fastnn.operator
        def uses_numpy(x):
            return np.exp(x)

    with pytest.raises(ValueError, match="source"):
        fastnn.operator(eval("lambda x: x"))
    with pytest.raises(ValueError, match="with def"):
        fastnn.operator(tangent, derivative=lambda x: 42.0)
    with pytest.raises(ValueError, match="same order"):
        fastnn.operator(tangent, derivative=swish.__wrapped__)
    with pytest.raises(ValueError, match="NamedExpr"):

        @fastnn.operator
        def walrus(x):
            return t if (t := x * x) > 0 else x

    with pytest.raises(ValueError, match="count a loop"):

        @fastnn.operator
        def shadow(x):
            total = x
            for x in range(3):
                total = total + x
            return total

    with pytest.raises(TypeError, match="expected an array"):
        swish([1.0, 2.0])
    with pytest.raises(TypeError, match="expected 1 arrays"):
        swish(np.ones(2), np.ones(2))
    with pytest.raises(TypeError, match="gamma"):
        swish(np.ones(2), gamma=1)
    with pytest.raises(TypeError, match="beta"):
        swish(np.ones(2), beta="x")
    with pytest.raises(TypeError, match="x: expected dtype"):
        swish(np.ones(2, int))
    with pytest.raises(ValueError, match="out"):
        swish(np.ones(2), out=np.ones(3))
    with pytest.raises(ValueError, match="b: shapes"):
        blend(np.ones(2), np.ones(3))


INFINITE = float("inf")
THIRD = np.float64(3.0)


@fastnn.operator
def awkward(y, dy, i, value, *, exp=2, n=3):
    """Names that the generated code might want for itself."""
    total = abs(y) + math.fabs(dy) + i * value**0 + min(value, INFINITE) * THIRD
    for _ in range(n):
        total += math.exp(i) * exp
    return total + y**2


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_names_and_constants(backend, rng):
    arrays = [rng.standard_normal(7) for _ in range(4)]
    with fastnn.use_backend(backend):
        np.testing.assert_allclose(awkward(*arrays), np.vectorize(awkward.__wrapped__)(*arrays), rtol=1e-12)
        assert fastnn.gradcheck(awkward, arrays, rtol=1e-6)
        _, pullback = fastnn.vjp(awkward, *[np.zeros(1) for _ in range(4)])
        assert [float(g[0]) for g in pullback(np.ones(1))] == [0.0, 0.0, 7.0, 3.0]


@fastnn.operator
def exponential(a, b):
    return a**b


@pytest.mark.parametrize("backend", BACKENDS)
def test_powers_of_zero_and_infinite_inputs(backend):
    with fastnn.use_backend(backend):
        _, pullback = fastnn.vjp(exponential, np.array([0.0, 0.0, 2.0]), np.array([2.0, 0.0, 3.0]))
        da, db = pullback(np.ones(3))
        np.testing.assert_allclose(da, [0, 0, 12])
        np.testing.assert_allclose(db, [0, 0, 8 * np.log(2)])
        _, pullback = fastnn.vjp(swish, np.array([np.inf]))
        assert pullback(np.ones(1))[0].shape == (1,)
