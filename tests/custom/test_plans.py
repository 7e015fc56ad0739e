"""Operators made of scalar functions in plans."""

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn, optim
from fastnn.training import train_step

from .operators import BACKENDS, blend, swish


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
