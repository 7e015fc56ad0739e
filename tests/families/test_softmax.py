"""Softmax and its logarithm: extremes, dimensions, parity with torch."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch

BACKENDS = [name for name in ("cython", "numba", "reference") if dispatch.is_available(name)]
every_backend = pytest.mark.parametrize("backend", BACKENDS)
both = pytest.mark.parametrize("name", ["softmax", "log_softmax"])


@every_backend
@both
@pytest.mark.parametrize(
    ("shape", "dim"),
    [((7,), 0), ((3, 5), 1), ((3, 5), 0), ((2, 3, 40), -2), ((2, 3, 4, 5), 1), ((), 0), ((0, 3), 1), ((4, 1), 1)],
)
def test_values_and_gradients_equal_torch(name, shape, dim, backend, rng):
    torch = pytest.importorskip("torch")
    x, dy = np.asarray(rng.standard_normal(shape) * 5), np.asarray(rng.standard_normal(shape))
    theirs = torch.tensor(x, requires_grad=True)
    expected = getattr(torch.nn.functional, name)(theirs, dim)
    expected.backward(torch.tensor(dy))
    with fastnn.use_backend(backend):
        y, pullback = fastnn.vjp(lambda v: getattr(F, name)(v, dim), x)
        (dx,) = pullback(dy)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(dx, theirs.grad.numpy(), rtol=1e-10, atol=1e-14)


@every_backend
@pytest.mark.parametrize("dim", [0, 1])
def test_extremes(dim, backend):
    rows = np.array(
        [[-np.inf] * 3, [1e30, -1e30, 0], [np.inf, 0, 0], [np.nan, 1, 2], [-np.inf, 0, 0], [88, 89, 1000]], np.float32
    )
    with fastnn.use_backend(backend):
        y = F.softmax(rows if dim == 1 else rows.T, dim)
        z = F.log_softmax(rows if dim == 1 else rows.T, dim)
    y, z = (y, z) if dim == 1 else (y.T, z.T)
    for bad in (0, 2, 3):
        assert np.isnan(y[bad]).any() and np.isnan(z[bad]).any()
    assert np.isnan(y[0]).all() and np.isnan(y[3]).all()
    np.testing.assert_array_equal(y[1], [1, 0, 0])
    np.testing.assert_allclose(y[4], [0, 0.5, 0.5])
    np.testing.assert_array_equal(y[5], [0, 0, 1])
    np.testing.assert_allclose(z[5], [-912, -911, 0])


@every_backend
@both
def test_rows_of_every_length(name, backend, rng):
    for length in range(1, 70, 3):
        x = rng.standard_normal((3, length)).astype(np.float32)
        with fastnn.use_backend(backend):
            y = getattr(F, name)(x, 1)
        total = np.exp(y.astype(np.float64)) if name == "log_softmax" else y.astype(np.float64)
        np.testing.assert_allclose(total.sum(1), 1, rtol=1e-5)


@both
@pytest.mark.parametrize(
    ("options", "error"), [({}, ValueError), ({"dim": None}, ValueError), ({"dim": 2}, IndexError), ({"dim": 1.0}, TypeError)]
)
def test_errors(name, options, error):
    with pytest.raises(error, match="dim"):
        getattr(F, name)(np.ones((2, 3)), **options)


@every_backend
@both
def test_out_may_be_the_input_in_any_dimension(name, backend, rng):
    for dim in (0, 1):
        x = rng.standard_normal((5, 6))
        with fastnn.use_backend(backend):
            expected = getattr(F, name)(x, dim)
            assert getattr(F, name)(x, dim, out=x) is x
        np.testing.assert_array_equal(x, expected)


@both
@pytest.mark.parametrize("shape", [(1100, 1001), (300, 4500), (3, 400_001)])
def test_large_results_have_the_bits_of_single_rows(name, shape, rng):
    """Past the caches or not, on one thread or two."""
    x, dy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    before = fastnn.get_num_threads()
    try:
        for threads in (1, 2):
            fastnn.set_num_threads(threads)
            y, pullback = fastnn.vjp(lambda v: getattr(F, name)(v, 1), x)
            (dx,) = pullback(dy)
            for row in (0, 1, len(x) - 1):
                one, back = fastnn.vjp(lambda v: getattr(F, name)(v, 1), x[row : row + 1])
                np.testing.assert_array_equal(y[row], one[0])
                np.testing.assert_array_equal(dx[row], back(dy[row : row + 1])[0][0])
    finally:
        fastnn.set_num_threads(before)
    exact = np.exp(x.astype(float) - x.max(1, keepdims=True))
    exact /= exact.sum(1, keepdims=True)
    probabilities = np.exp(y.astype(float)) if name == "log_softmax" else y
    np.testing.assert_allclose(probabilities, exact, rtol=3e-6)


@every_backend
def test_far_below_the_largest(backend):
    """Denormal and vanishing results, and differences beyond every exponent."""
    x = np.array([[0, -1, -20, -87, -95, -103, -104, -1e4, -3e38, -np.inf] * 4], np.float32)
    with fastnn.use_backend(backend):
        y = F.softmax(x, 1)[0]
    exact = np.exp(x[0].astype(float))
    exact /= exact.sum()
    np.testing.assert_allclose(y, exact, rtol=2e-5, atol=3e-45)
