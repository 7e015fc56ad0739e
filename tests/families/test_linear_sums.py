"""Sums of products in float32 lie within 16 eps sum(|a||b|) of the exact ones, however long they are."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch, use_backend

BACKENDS = [name for name in ("cython", "numba", "reference") if dispatch.is_available(name)]
BOUND = 16 * np.finfo(np.float32).eps


@pytest.mark.parametrize("shape", [(1, 300, 7), (3, 1000, 20), (64, 784, 33), (50, 900, 130)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_badly_scaled_data(shape, backend, rng):
    N, I, O = shape
    x = (rng.standard_normal((N, I)) * 10.0 ** rng.integers(-6, 6, I)).astype(np.float32)
    w = (rng.standard_normal((O, I)) * 10.0 ** rng.integers(-6, 6, I)).astype(np.float32)
    with use_backend(backend):
        y = F.linear(x, w)
    wide, bound = x.astype(np.float64) @ w.T.astype(np.float64), np.abs(x.astype(np.float64)) @ np.abs(w.T.astype(np.float64))
    assert (np.abs(y - wide) <= BOUND * bound).all()


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 0.7, 0.999, 1.4142])
@pytest.mark.parametrize(
    "shape",
    [(1, 4096, 8), (3, 2000, 20), (30, 3000, 40), (600, 3000, 3), (1, 5, 100_000), (3, 5, 60_000), (60_000, 4, 3), (200_000, 2, 1),
     (9, 60_000, 20)],
)  # fmt: skip
@pytest.mark.parametrize("backend", BACKENDS)
def test_constant_data(shape, value, backend):
    """Every rounding goes the same way."""
    N, I, O = shape
    x, w, dy = np.full((N, I), value, np.float32), np.full((O, I), value, np.float32), np.full((N, O), value, np.float32)
    with use_backend(backend):
        y, pullback = fastnn.vjp(F.linear, x, w, np.zeros(O, np.float32))
        dx, dw, db = pullback(dy)
    square = float(np.float32(value)) ** 2
    for result, exact in ((y, square * I), (dx, square * O), (dw, square * N), (db, float(np.float32(value)) * N)):
        assert np.abs(result.astype(float) - exact).max() <= BOUND * exact


@pytest.mark.parametrize("shape", [(30, 128, 40), (60, 256, 50), (3, 200_000, 16), (20, 60_000, 9), (1, 9000, 300)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_products_of_many_values(shape, backend, rng):
    """How far roundings go the same way depends on the value."""
    M, K, N = shape
    left, right = rng.uniform(0.5, 2, M).astype(np.float32), rng.uniform(0.5, 2, N).astype(np.float32)
    a, b = np.repeat(left[:, None], K, axis=1), np.repeat(right[None], K, axis=0)
    exact = np.outer(left.astype(float), right) * K
    zeros, columns, rows = np.zeros((M, N), np.float32), np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    with use_backend(backend):
        results = [
            F.linear(a, rows),
            F.linear(a, F.pack_weight(rows)),
            fastnn.vjp(F.linear, zeros, b)[1](a)[0],
            fastnn.vjp(F.linear, b, zeros)[1](columns)[1],
            *F.matmul(np.stack([a, a]), np.stack([b, b])),
            fastnn.vjp(F.matmul, zeros, rows)[1](a)[0],
            fastnn.vjp(F.matmul, columns, zeros)[1](b)[1],
        ]
    for result in results:
        assert (np.abs(result - exact) <= BOUND * exact).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("rows", "columns"), [(5, 30_000), (9, 60_001), (0, 60_000), (2050, 9000)])
def test_long_sums_with_bias_and_activation(backend, rows, columns, rng):
    """Parts of a long sum take the bias once, and the activation at their end; a packed weight the same."""
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((rows, columns), (40, columns), 40))
    with use_backend(backend):
        y = F.linear(x, w, 100 * b, activation="relu")
        packed = F.linear(x, F.pack_weight(w), 100 * b, activation="relu")
    exact = x.astype(np.float64) @ w.T.astype(np.float64) + 100 * b
    bound = BOUND * (np.abs(x).astype(np.float64) @ np.abs(w.T).astype(np.float64) + 100 * np.abs(b))
    for result in (y, packed):
        assert (np.abs(result - np.maximum(exact, 0)) <= bound).all()
    assert rows == 0 or ((y > 0).any() and (y == 0).any())
