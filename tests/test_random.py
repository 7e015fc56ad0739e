"""Randomness and start values."""

import numpy as np
import pytest

import fastnn
from fastnn import init
from fastnn.random import generator


def test_seeds_repeat_and_numpy_is_never_touched():
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    fastnn.manual_seed(5)
    first = generator().random(3)
    second = generator().random(3)
    fastnn.manual_seed(5)
    np.testing.assert_array_equal(generator().random(3), first)
    assert (first != second).all()
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_generator_takes_seeds_and_generators():
    own = np.random.default_rng(3)
    assert generator(own) is own
    np.testing.assert_array_equal(generator(3).random(2), np.random.default_rng(3).random(2))


@pytest.mark.parametrize(("rng", "error"), [(-1, ValueError), ("a", TypeError), (1.5, TypeError), (True, TypeError)])
def test_generator_errors(rng, error):
    with pytest.raises(error, match="rng"):
        generator(rng)
    with pytest.raises(error, match="seed"):
        fastnn.manual_seed(rng)


SHAPE = (300, 40, 3, 3)
FAN_IN, FAN_OUT = 360, 2700


@pytest.mark.parametrize(
    ("make", "variance"),
    [
        (init.lecun_normal, 1 / FAN_IN), (init.lecun_uniform, 1 / FAN_IN),
        (init.glorot_normal, 2 / (FAN_IN + FAN_OUT)), (init.glorot_uniform, 2 / (FAN_IN + FAN_OUT)),
        (init.xavier_normal, 2 / (FAN_IN + FAN_OUT)), (init.xavier_uniform, 2 / (FAN_IN + FAN_OUT)),
        (init.he_normal, 2 / FAN_IN), (init.he_uniform, 2 / FAN_IN),
        (lambda s, **k: init.he_normal(s, mode="fan_out", **k), 2 / FAN_OUT),
        (lambda s, **k: init.he_uniform(s, mode="fan_avg", **k), 4 / (FAN_IN + FAN_OUT)),
        (lambda s, **k: init.glorot_normal(s, gain=3.0, **k), 18 / (FAN_IN + FAN_OUT)),
        (lambda s, **k: init.uniform(s, -1.0, 2.0, **k) - 0.5, 9 / 12), (lambda s, **k: init.normal(s, 0.0, 0.3, **k), 0.09),
    ],
)  # fmt: skip
def test_variances(make, variance):
    values = make(SHAPE, rng=0, dtype=np.float64)
    assert values.shape == SHAPE and values.dtype == np.float64
    np.testing.assert_allclose(values.var(), variance, rtol=0.02)
    np.testing.assert_allclose(values.mean(), 0, atol=5 * np.sqrt(variance / values.size))
    np.testing.assert_array_equal(make(SHAPE, rng=0, dtype=np.float64), values)
    assert make((2, 3), rng=0).dtype == np.float32


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (6, 2, 2)])
def test_orthogonal(shape):
    q = init.orthogonal(shape, gain=2.0, rng=0, dtype=np.float64).reshape(shape[0], -1)
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_constant():
    np.testing.assert_array_equal(init.constant((2, 2), 3.0), np.full((2, 2), 3, np.float32))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: init.he_normal((3,)), ValueError, "shape"),
        (lambda: init.he_normal((3, -1)), ValueError, "shape"),
        (lambda: init.he_normal((3, 3), mode="fan"), ValueError, "mode"),
        (lambda: init.uniform((3,), 2.0, 1.0), ValueError, "low"),
        (lambda: init.normal((3,), std=-1), ValueError, "std"),
        (lambda: init.normal((3,), dtype=np.int64), TypeError, "dtype"),
        (lambda: init.normal((3,), rng="a"), TypeError, "rng"),
        (lambda: init.orthogonal((3,)), ValueError, "shape"),
    ],
)
def test_errors(make, error, words):
    with pytest.raises(error, match=words):
        make()
