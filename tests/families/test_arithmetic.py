"""Arithmetic where the numbers end: division by zero, NaN."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F


@pytest.mark.parametrize("backend", ["cython", "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_division_by_zero(backend, dtype):
    a, b = np.array([1, -1, 0, np.nan, 3], dtype), np.array([0, 0, 0, 0, 2], dtype)
    wanted = np.array([np.inf, -np.inf, np.nan, np.nan, 1.5], dtype)
    if backend == "cython" and not fastnn.dispatch.is_available("cython"):
        pytest.skip("no compiled kernels")
    with fastnn.use_backend(backend):
        np.testing.assert_array_equal(F.divide(a, b), wanted)
        np.testing.assert_array_equal(F.divide(np.stack([a, a]), b), [wanted, wanted])
        _, pullback = fastnn.vjp(fastnn.log, np.zeros(2, dtype))
        np.testing.assert_array_equal(pullback(np.array([1, -1], dtype))[0], [np.inf, -np.inf])
        _, pullback = fastnn.vjp(F.sqrt, np.zeros(1, dtype))
        np.testing.assert_array_equal(pullback(np.ones(1, dtype))[0], [np.inf])
        _, pullback = fastnn.vjp(F.divide, np.ones(1, dtype), np.zeros(1, dtype))
        da, db = pullback(np.ones(1, dtype))
        np.testing.assert_array_equal([da, db], [[np.inf], [-np.inf]])
