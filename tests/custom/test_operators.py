"""Operators made of scalar functions: values and derivatives, on every backend."""

import math

import numpy as np
import pytest

import fastnn

from .operators import BACKENDS, blend, swish


def tangent(x, *, power):
    return power * x ** (power - 1)


@fastnn.operator(derivative=tangent)
def raised(x, *, power):
    return x**power


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
