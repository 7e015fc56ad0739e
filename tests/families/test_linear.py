"""What the table of examples cannot know about products of matrices."""

import numpy as np
import pytest

import fastnn.functional as F
from fastnn.autograd import tensor
from fastnn.dispatch import use_backend
from fastnn.kernels import isa

BACKENDS = [name for name in ("reference", "cython") if name != "cython" or isa.level() != isa.NONE]


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 3), (2, 4, 3), (0, 3), (2, 0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_takes_any_leading_dimensions(shape, bias, rng):
    x, w, b = rng.standard_normal(shape), rng.standard_normal((5, 3)), rng.standard_normal(5) if bias else None
    expected = x @ w.T + (0 if b is None else b)
    np.testing.assert_allclose(F.linear(x, w, b), expected, rtol=1e-12)
    out = np.empty(expected.shape)
    assert F.linear(x, w, b, out=out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-12)


def test_linear_with_a_one_dimensional_weight(rng):
    x, w = rng.standard_normal((4, 3)), rng.standard_normal(3)
    np.testing.assert_allclose(F.linear(x, w, np.array(2.0)), x @ w + 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("a", "b"),
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)),
     ((5, 1, 2, 3), (6, 3, 4)), ((2, 3), (5, 3, 4)), ((2, 0), (0, 4)), ((0, 2, 3), (3, 4)), ((5, 2, 3), (3,))],
)  # fmt: skip
def test_matmul_follows_numpy(a, b, rng):
    x, y = rng.standard_normal(a), rng.standard_normal(b)
    result = F.matmul(x, y)
    np.testing.assert_allclose(result, np.matmul(x, y), atol=1e-12)
    assert result.shape == np.matmul(x, y).shape


@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_and_infinity_come_through(backend, rows):
    x, w = np.ones((rows, 40), np.float32), np.ones((20, 40), np.float32)
    x[0, 1], w[3, 2], w[4, 1] = np.inf, np.nan, 0
    with use_backend(backend):
        y = F.linear(x, w)
    assert np.isnan(y[:, 3]).all(), "NaN in a weight"
    assert np.isnan(y[0, 4]), "0 * inf"
    assert np.isposinf(np.delete(y[0], [3, 4])).all()
    assert np.isfinite(np.delete(y[1:], 3, axis=1)).all()


@pytest.mark.parametrize("shape", [(1, 300, 7), (3, 1000, 20), (64, 784, 33), (50, 900, 130)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_error_bound(shape, backend, rng):
    """Within 16 eps sum(|a||b|) of the exact value of each element, on badly scaled data too."""
    N, I, O = shape
    x = (rng.standard_normal((N, I)) * 10.0 ** rng.integers(-6, 6, I)).astype(np.float32)
    w = (rng.standard_normal((O, I)) * 10.0 ** rng.integers(-6, 6, I)).astype(np.float32)
    with use_backend(backend):
        y = F.linear(x, w)
    wide, bound = x.astype(np.float64) @ w.T.astype(np.float64), np.abs(x.astype(np.float64)) @ np.abs(w.T.astype(np.float64))
    assert (np.abs(y - wide) <= 16 * np.finfo(np.float32).eps * bound).all()


def test_overlapping_out_gives_the_right_value(rng):
    x, w = rng.standard_normal((6, 6)), rng.standard_normal((6, 6))
    expected = x @ w.T
    np.testing.assert_allclose(F.linear(x, w, out=x), expected, rtol=1e-12)


def test_tensors_record(rng):
    x, w = tensor(rng.standard_normal((2, 3, 4)), requires_grad=True), tensor(rng.standard_normal((5, 4)), requires_grad=True)
    F.linear(x, w).backward(np.ones((2, 3, 5)))
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(w.numpy().sum(0), (2, 3, 4)))
    np.testing.assert_allclose(w.grad.numpy(), np.broadcast_to(x.numpy().sum((0, 1)), (5, 4)))


X, W, B = np.ones((2, 3)), np.ones((4, 3)), np.ones(4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.linear(np.ones((2, 5)), W), ValueError, r"input.*3.*\(2, 5\)"),
        (lambda: F.linear(X, W, np.ones(3)), ValueError, r"bias.*\(4,\).*\(3,\)"),
        (lambda: F.linear(X, W, np.ones((1, 4))), ValueError, "bias"),
        (lambda: F.linear(X, W.astype(np.float32)), TypeError, "weight.*float64.*float32"),
        (lambda: F.linear(X, np.ones((1, 4, 3))), ValueError, "weight"),
        (lambda: F.linear(X, None), TypeError, "weight"),
        (lambda: F.linear(np.array(1.0), W), ValueError, "input"),
        (lambda: F.linear(X, W, B, out=np.empty((2, 3))), ValueError, r"out.*\(2, 4\)"),
        (lambda: F.linear(X, W, B, out=np.empty((2, 4), np.float32)), TypeError, "out"),
        (lambda: F.linear(X, W, B, out=np.broadcast_to(0.0, (2, 4))), ValueError, "out.*read-only"),
        (lambda: F.linear(X, W, B, out=[0]), TypeError, "out"),
        (lambda: F.matmul(X, W), ValueError, "other"),
        (lambda: F.matmul(np.ones((2, 2, 3)), np.ones((5, 3, 4))), ValueError, "broadcast"),
        (lambda: F.matmul(np.array(1.0), X), ValueError, "dimension"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()
