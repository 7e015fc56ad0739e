"""Remembered gradients: pullbacks of one operator, which go straight to its kernel."""

import contextlib
import inspect
import pickle
import tracemalloc

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch, recall

from .calls import CALLS, classes, normal, other_values

pytestmark = pytest.mark.skipif(recall.boundary is None, reason="compiled kernels are not installed")


PULLBACKS = {
    "linear": (F.linear, (normal(3, 5), normal(4, 5, seed=1), normal(4, seed=2))),
    "stack": (F.linear, (normal(2, 3, 5), normal(4, 5, seed=1))),
    "softmax": (lambda x: F.softmax(x, 1), (normal(2, 5, 3),)),
    "conv2d": (F.conv2d, (normal(2, 3, 6, 6), normal(4, 3, 3, 3, seed=1))),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), (normal(2, 3, 6, 6),)),
    "cross_entropy": (F.cross_entropy, (normal(6, 4), classes(6, 4))),
}


@pytest.mark.parametrize("name", PULLBACKS)
def test_direct_pullback(name):
    f, arrays = PULLBACKS[name]
    y, pullback = fastnn.vjp(f, *arrays)
    assert isinstance(pullback, recall.pullback.Pullback)
    dy = normal(*y.shape, seed=3) if y.shape else np.float32(0.5)
    with dispatch.observe(lambda call: None):  # the Python way
        expected = pullback(dy)
    out = tuple(np.full_like(a, np.nan) if a.dtype.kind == "f" else None for a in arrays)
    results = pullback(dy, out)
    for result, given, wanted in zip(results, out, expected, strict=True):
        assert result is given
        if wanted is not None:
            np.testing.assert_array_equal(result, wanted)
    for result, wanted in zip(pullback(dy), expected, strict=True):
        np.testing.assert_array_equal(result, wanted) if wanted is not None else None
    strided = np.repeat(dy, 2, axis=-1)[..., ::2] if dy.ndim else dy
    for result, wanted in zip(pullback(strided), expected, strict=True):
        assert (result is None) == (wanted is None)
        if wanted is not None:
            np.testing.assert_array_equal(result, wanted)


def test_direct_pullback_refuses_what_the_python_way_refuses():
    x, w = normal(3, 5), normal(4, 5, seed=1)
    y, pullback = fastnn.vjp(F.linear, x, w)
    with pytest.raises(ValueError, match="dy"):
        pullback(np.zeros((4, 3), np.float32))
    with pytest.raises(TypeError, match="dy"):
        pullback(np.zeros((3, 4)))
    for out in ((x, np.empty_like(w)), (np.empty_like(w), np.empty_like(w)), (np.empty_like(x),), np.empty_like(x)):
        with pytest.raises(ValueError, match="out"):
            pullback(np.zeros_like(y), out)
    same = np.empty((5, 5), np.float32)
    _, pullback = fastnn.vjp(F.linear, normal(5, 5), normal(5, 5, seed=1))
    with pytest.raises(ValueError, match="overlaps"):
        pullback(np.zeros((5, 5), np.float32), (same, same))


def test_two_operators_have_no_direct_pullback():
    x, w = normal(3, 5), normal(4, 5, seed=1)
    _, pullback = fastnn.vjp(lambda x, w: F.relu(F.linear(x, w)), x, w)
    assert not isinstance(pullback, recall.pullback.Pullback)
    _, pullback = fastnn.vjp(lambda x: F.linear(x, x), x)
    assert not isinstance(pullback, recall.pullback.Pullback)
    np.testing.assert_allclose(pullback(np.eye(3, dtype=np.float32))[0], 2 * x, rtol=1e-6)


@pytest.mark.parametrize("name", [*CALLS, *PULLBACKS])
def test_nothing_is_allocated_with_out(name):
    if name in CALLS and "out" not in inspect.signature(CALLS[name][0]).parameters:
        pytest.skip("a loss is a number and has no out")
    if name in CALLS:
        function, args, kwargs = CALLS[name]
        large = tuple([np.concatenate([a] * 50) if index == 0 else a for index, a in enumerate(args)])
        kwargs = {**kwargs, "out": np.empty_like(function(*large, **kwargs))}
    else:
        f, arrays = PULLBACKS[name]
        large = tuple(
            [
                np.concatenate([a] * 50) if index == 0 or (a.ndim == 1 and name == "cross_entropy") else a
                for index, a in enumerate(arrays)
            ]
        )
        y, function = fastnn.vjp(f, *large)
        args, kwargs = (np.ones_like(y),), {"out": tuple(np.empty_like(a) if a.dtype.kind == "f" else None for a in large)}
        large = args
    for _ in range(2):
        function(*large, **kwargs)
    tracemalloc.start()
    try:
        function(*large, **kwargs)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1500, f"{peak} bytes"


@pytest.mark.parametrize("name", CALLS)
def test_a_remembered_vjp_gives_the_same_bits(name, kernels_called):
    function, args, kwargs = CALLS[name]
    arrays = tuple(a for a in args if isinstance(a, np.ndarray))
    rest = [a for a in args if not isinstance(a, np.ndarray)]
    names = [n for n in inspect.signature(function).parameters if n not in kwargs][len(arrays) :]
    kwargs = {**kwargs, **dict(zip(names, rest, strict=False))}
    fastnn.vjp(function, *arrays, **kwargs)
    kernels_called.clear()
    fresh = tuple(map(other_values, arrays))
    y, pullback = fastnn.vjp(function, *fresh, **kwargs)
    dy = normal(*y.shape, seed=3) if y.shape else np.float32(0.5)
    gradients = pullback(dy)
    assert not kernels_called, "not remembered"
    with dispatch.observe(lambda call: None):  # the Python way
        expected, slow = fastnn.vjp(function, *fresh, **kwargs)
        wanted = slow(dy)
        again = pullback(dy)
    np.testing.assert_array_equal(y, expected)
    assert y.shape == expected.shape and y.dtype == expected.dtype
    for result, second, right in zip(gradients, again, wanted, strict=True):
        assert (result is None) == (right is None) == (second is None)
        if right is not None:
            np.testing.assert_array_equal(result, right)
            np.testing.assert_array_equal(second, right)


def test_a_remembered_vjp_refuses_what_the_first_one_refused():
    scores, target = normal(6, 4), classes(6, 4)
    for _ in range(2):
        _, pullback = fastnn.vjp(F.cross_entropy, scores, target)
    with pytest.raises(ValueError, match="target"):
        fastnn.vjp(F.cross_entropy, scores, target + 4)
    with pytest.raises(ValueError, match="input"):
        fastnn.vjp(F.cross_entropy, np.float32(1), target)
    with pytest.raises(TypeError, match="dy"):
        pullback(np.ones((), np.float64))
    with pytest.raises(ValueError, match="out"):
        pullback(np.ones((), np.float32), (scores, None))


def test_a_remembered_vjp_keeps_its_own_arrays():
    x = normal(5)
    fastnn.vjp(F.tanh, x)
    first, pull_first = fastnn.vjp(F.tanh, x)
    kept = first.copy()
    second, _ = fastnn.vjp(F.tanh, x + 1)
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_allclose(pull_first(np.ones(5, np.float32))[0], 1 - np.tanh(x) ** 2, rtol=1e-5)


def test_a_vjp_follows_the_backend():
    x = normal(5)
    for _ in range(2):
        fastnn.vjp(F.relu, x)
    seen = []
    with fastnn.use_backend("reference"), dispatch.observe(lambda call: seen.append(call.backend)):
        fastnn.vjp(F.relu, x)[1](x)
    assert seen == ["reference", "reference"]
    with fastnn.use_backend("reference"):
        _, pullback = fastnn.vjp(F.relu, x)
    assert not isinstance(pullback, recall.pullback.Pullback)


@pytest.mark.parametrize("observed", [False, True])
def test_a_gradient_is_not_written_over_what_the_pullback_keeps(observed):
    y, pullback = fastnn.vjp(F.tanh, normal(5))
    with (
        dispatch.observe(lambda call: None) if observed else contextlib.nullcontext(),
        pytest.raises(ValueError, match="overlaps"),
    ):
        pullback(np.ones(5, np.float32), (y,))
    loss, pullback = fastnn.vjp(F.mse_loss, normal(5), normal(5, seed=1))
    np.testing.assert_array_equal(pullback(1.0)[0], pullback(np.ones_like(loss))[0])


def test_vjp_and_pullbacks_are_called_like_functions():
    assert pickle.loads(pickle.dumps(fastnn.vjp)) is fastnn.vjp
    assert list(inspect.signature(fastnn.vjp).parameters) == ["f", "arrays", "params"]
    x, dy = normal(5), normal(5, seed=1)
    _, pullback = fastnn.vjp(F.elu, x, alpha=2.0)
    for _ in range(2):
        _, again = fastnn.vjp(F.elu, x, **{"".join(["al", "pha"]): 2.0})
        np.testing.assert_array_equal(again(out=None, dy=dy)[0], pullback(dy)[0])
        with pytest.raises(TypeError, match="at least 1 positional argument"):
            again()
        with pytest.raises(TypeError, match="unexpected keyword argument 'into'"):
            again(dy, into=None)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'f'"):
        fastnn.vjp()
