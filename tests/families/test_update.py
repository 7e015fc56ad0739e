"""Optimiser updates: what the generic tests cannot know."""

import numpy as np
import pytest

from fastnn import dispatch
from fastnn.kernels.examples import cases, draw
from fastnn.kernels.update import operators

CASES = [case for case in cases() if case.operator.family == "update"]
NAN, INF = np.nan, np.inf
every_backend = pytest.mark.usefixtures("backend")


def one(*values):
    return np.array(values, np.float64)


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_in_place_gives_the_same_bits(case, dtype):
    args = draw(case, dtype)
    expected = dispatch.run(case.operator, args)
    arrays, attributes = case.operator.split(args)
    p, g, *state = [None if a is None else a.copy() for a in arrays]
    results = dispatch.run(case.operator, (p, g, *state, *attributes), [p, *state])
    for result, given, wanted in zip(results, (p, *state), expected, strict=True):
        assert result is given
        if wanted is not None:
            np.testing.assert_array_equal(result, wanted)
    np.testing.assert_array_equal(g, arrays[1])


@every_backend
def test_sgd_by_hand():
    p, b = dispatch.run(operators.sgd, (one(1.0), one(2.0), one(4.0), 0.5, 0.25, 0.5, False, 0.0, False, False))
    assert (p.item(), b.item()) == (0.0, 2.0)  # b = 4/4 + 2/2
    p, b = dispatch.run(operators.sgd, (one(1.0), one(2.0), one(4.0), 0.5, 0.25, 0.0, True, 1.0, False, True))
    assert (p.item(), b.item()) == (1.5, 0.0)  # g = -2 + 1; b = 4/4 - 1; p = 1 - (-1 + 0) / 2
    p, b = dispatch.run(operators.sgd, (one(1.0), one(2.0), None, 0.5, 0.0, 0.0, False, 0.5, False, False))
    assert (p.item(), b) == (-0.25, None)


@every_backend
def test_first_step_of_sgd_ignores_the_buffer():
    p, b = dispatch.run(operators.sgd, (one(1.0), one(2.0), one(NAN), 0.5, 0.9, 0.5, False, 0.0, True, False))
    assert (p.item(), b.item()) == (0.0, 2.0)


@every_backend
def test_adam_by_hand():
    p, m, v, v_max = dispatch.run(
        operators.adam, (one(1.0), one(2.0), one(0.0), one(0.0), one(16.0), 0.5, 0.5, 0.75, 0.0, 0.0, False, 1, False, False)
    )
    assert (m.item(), v.item(), v_max.item()) == (1.0, 1.0, 16.0)
    np.testing.assert_allclose(p, 1 - 0.5 * (1 / 0.5) / np.sqrt(16 / 0.25), rtol=1e-15)
    p, m, v, v_max = dispatch.run(
        operators.adam, (one(1.0), one(2.0), one(0.0), one(0.0), None, 0.5, 0.5, 0.75, 0.0, 0.5, True, 1, False, False)
    )
    assert v_max is None
    np.testing.assert_allclose(p, 0.75 - 0.5, rtol=1e-15)  # the decay first; m and v have no part in it
    p, m, v, _ = dispatch.run(
        operators.adam, (one(1.0), one(2.0), one(0.0), one(0.0), None, 0.5, 0.5, 0.75, 1.0, 0.0, False, 1, False, True)
    )
    np.testing.assert_allclose(p, 1 - 0.5 * np.sqrt(0.25) / 0.5 * 1 / (np.sqrt(1) + 1), rtol=1e-15)


@every_backend
@pytest.mark.parametrize("count", [1, 15, 16, 17, 1000])
def test_adam_of_any_second_moment(count, rng):
    """Zeros, infinities, NaN and denormal numbers change nothing beside them, and roots are good to the last places."""
    special = np.array([0, INF, NAN, 1e-45, 1e-38, 1e-36, 1e36, 3e38, 1])
    v = np.where(rng.random(count) < 0.3, rng.choice(special, count), 10.0 ** rng.uniform(-30, 30, count)).astype(np.float32)
    m, zeros = rng.standard_normal(count).astype(np.float32), np.zeros(count, np.float32)
    lr, beta1, beta2, step = 0.5, 0.5, 0.75, 2
    with np.errstate(all="ignore"):
        args = zeros, zeros, m, v, None, lr, beta1, beta2, 0.0, 0.0, False, step, False, False
        result, _, second, _ = dispatch.run(operators.adam, args)
        root = np.sqrt(second.astype(np.float64) / (1 - beta2**step))
        expected = -lr * beta1 * m.astype(np.float64) / (1 - beta1**step) / root
    known = np.isfinite(expected) & (np.abs(expected) > 1e-37)
    np.testing.assert_allclose(result[known], expected[known], rtol=1e-6)
    np.testing.assert_array_equal(result[~np.isfinite(expected)], expected[~np.isfinite(expected)])


@every_backend
def test_many_steps_leave_no_correction():
    args = (one(1.0), one(2.0), one(2.0), one(4.0), None, 0.5, 0.9, 0.999, 0.0, 0.0, False, 10**9, False, False)
    np.testing.assert_allclose(dispatch.run(operators.adam, args)[0], 0.5, rtol=1e-15)


@every_backend
def test_zero_over_zero_is_nan_and_no_error():
    assert np.isnan(dispatch.run(operators.adagrad, (one(1.0), one(0.0), one(0.0), 0.1, 0.0, 0.0, False))[0]).all()
    assert dispatch.run(operators.adagrad, (one(1.0), one(0.0), one(0.0), 0.1, 0.0, 1e-10, False))[0] == 1.0
    args = (one(1.0), one(0.0), one(0.0), one(0.0), 1.0, 0.9, 0.0, 0.0, False)
    assert np.isnan(dispatch.run(operators.adadelta, args)[0]).all()


@every_backend
@pytest.mark.parametrize("case", [case for case in CASES if case.number == 3 or case.example["p"] == (300, 401)], ids=str)
def test_nan_in_the_gradient_stays_where_it_is(case):
    args = list(draw(case, np.float32))
    clean = dispatch.run(case.operator, tuple(args))
    args[1] = args[1].copy()
    args[1][7, 11] = NAN
    for before, after in zip(clean, dispatch.run(case.operator, tuple(args)), strict=True):
        if before is not None:
            assert np.isnan(after[7, 11])
            changed = ~np.isclose(before, after, rtol=1e-6)
            assert changed.sum() == 1


@every_backend
def test_infinite_parameter_is_left_out_where_nothing_decays():
    p, g, s = one(INF, -INF), one(1.0, 1.0), one(1.0, 1.0)
    calls = {
        operators.sgd: (p, g, s, 0.1, 0.9, 0.0, True, 0.0, False, True),
        operators.adagrad: (p, g, s, 0.1, 0.0, 1e-10, False),
        operators.adadelta: (p, g, s, s, 0.1, 0.9, 1e-10, 0.0, False),
        operators.rmsprop: (p, g, s, None, s, 0.1, 0.9, 1e-8, 0.0, 0.9, False),
        operators.adam: (p, g, s, s, s, 0.1, 0.9, 0.99, 1e-8, 0.0, False, 3, False, False),
        operators.nadam: (p, g, s, s, 0.1, 0.9, 0.99, 1e-8, 0.0, False, 3, 0.1, 0.1, False),
    }
    for operator, args in calls.items():
        new, *state = dispatch.run(operator, args)
        np.testing.assert_array_equal(new, p, err_msg=operator.name)
        assert all(np.isfinite(value).all() for value in state if value is not None)


@every_backend
@pytest.mark.parametrize("rate", [0.9, 0.99, 0.999, 0.99999])
def test_float32_keeps_the_small_complement_of_a_rate(rate):
    """1 - 0.999 taken in float32 would be wrong in the fifth digit."""
    p, g, zero = (np.full(5, value, np.float32) for value in (1.0, 3.0, 0.0))
    squares = [
        dispatch.run(operators.adadelta, (p, g, zero, zero, 1.0, rate, 1e-6, 0.0, False))[1],
        dispatch.run(operators.rmsprop, (p, g, zero, None, None, 0.01, rate, 1e-8, 0.0, 0.0, False))[1],
        dispatch.run(operators.adam, (p, g, zero, zero, None, 0.01, 0.9, rate, 1e-8, 0.0, False, 1, False, False))[2],
    ]
    np.testing.assert_allclose(squares, (1 - rate) * 9, rtol=3e-7)


def test_costs_count_what_is_there():
    with_all = operators.adam.cost(4, (10, 10), (10, 10), (10, 10), (10, 10), (10, 10))
    without = operators.adam.cost(4, (10, 10), (10, 10), (10, 10), (10, 10), None)
    assert without.bytes == 4 * 100 * 7  # read p, g, m, v; write p, m, v
    assert with_all.bytes == 4 * 100 * 9
    assert operators.sgd.cost(4, (10,), (10,), None).special == 0
    assert operators.adadelta.cost(4, (10,), (10,), (10,), (10,)).special == 20
