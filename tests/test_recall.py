"""Remembered calls: the second call goes another way than the first and must find, refuse and write the same."""

import contextlib
import inspect
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch, recall
from fastnn.kernels import find

pytestmark = pytest.mark.skipif(recall.boundary is None, reason="compiled kernels are not installed")


def normal(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def classes(count, n, seed=0):
    return np.random.default_rng(seed).integers(0, n, count)


CALLS = {
    "linear": (F.linear, (normal(3, 5), normal(4, 5, seed=1), normal(4, seed=2)), {}),
    "linear without bias, by name": (F.linear, (normal(3, 5),), {"weight": normal(4, 5, seed=1)}),
    "linear of a stack": (F.linear, (normal(2, 3, 5), normal(4, 5, seed=1)), {}),
    "matmul": (F.matmul, (normal(3, 5), normal(5, 4, seed=1)), {}),
    "relu": (F.relu, (normal(7),), {}),
    "elu": (F.elu, (normal(7),), {"alpha": 2.0}),
    "softmax": (F.softmax, (normal(2, 5, 3),), {"dim": 1}),
    "conv2d": (F.conv2d, (normal(2, 3, 6, 6), normal(4, 3, 3, 3, seed=1)), {"padding": 1}),
    "conv1d": (F.conv1d, (normal(2, 3, 6), normal(4, 3, 3, seed=1)), {}),
    "max_pool2d": (F.max_pool2d, (normal(2, 3, 6, 6), 2), {}),
    "avg_pool1d": (F.avg_pool1d, (normal(2, 3, 6), 2), {}),
    "cross_entropy": (F.cross_entropy, (normal(6, 4), classes(6, 4)), {}),
    "layer_norm": (F.layer_norm, (normal(6, 4), (4,)), {}),
    "sum": (F.sum, (normal(6, 4), 0), {}),
    "mse_loss": (F.mse_loss, (normal(6, 4), normal(6, 4, seed=1)), {}),
}


def other_values(value):
    """Fresh arrays of the same layout."""
    if not isinstance(value, np.ndarray):
        return value
    return np.roll(value, 1) if value.dtype.kind == "i" else value + 1


@pytest.fixture
def kernels_called(monkeypatch):
    """How often the Python way is taken."""
    calls = []
    monkeypatch.setattr(dispatch, "_run_kernel", lambda *a, f=dispatch._run_kernel: calls.append(a[0]) or f(*a))
    return calls


@pytest.mark.parametrize("name", CALLS)
def test_a_remembered_call_gives_the_same_bits(name, kernels_called):
    function, args, kwargs = CALLS[name]
    function(*args, **kwargs)
    kernels_called.clear()
    fresh = tuple(map(other_values, args))
    named = {key: other_values(value) for key, value in kwargs.items()}
    result = function(*fresh, **named)
    assert not kernels_called, "not remembered"
    expected = function.__wrapped__(*fresh, **named)
    assert result.dtype == expected.dtype and result.shape == expected.shape
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", ["linear", "relu", "softmax", "conv2d", "conv1d", "max_pool2d"])
def test_out_is_written_and_returned(name, kernels_called):
    function, args, kwargs = CALLS[name]
    expected = function(*args, **kwargs)
    kernels_called.clear()
    out = np.full_like(expected, np.nan)
    assert function(*args, **kwargs, out=out) is out
    assert not kernels_called
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    "make, error",
    [
        (lambda y: y.astype(np.float64), TypeError),
        (lambda y: np.empty((*y.shape, 1), y.dtype), ValueError),
        (lambda y: np.broadcast_to(y, y.shape), ValueError),
        (lambda y: [*y], TypeError),
    ],
)
def test_a_wrong_out_is_refused_as_ever(make, error):
    x = normal(9)
    y = F.relu(x)
    with pytest.raises(error, match="out"):
        F.relu(x, out=make(y))


def test_out_over_an_input():
    memory = normal(40)
    x, w = memory[:20].reshape(4, 5), memory[20:].reshape(4, 5)
    expected = F.linear(x, w)
    for _ in range(2):
        copy = memory.copy()
        x, w = copy[:20].reshape(4, 5), copy[20:].reshape(4, 5)
        out = copy[2:18].reshape(4, 4)
        np.testing.assert_array_equal(F.linear(x, w, out=out), expected)
    x = normal(9)
    expected = F.relu(x)
    assert F.relu(x, out=x) is x
    np.testing.assert_array_equal(x, expected)
    shifted = normal(10)
    expected = F.relu(shifted[:-1])
    np.testing.assert_array_equal(F.relu(shifted[:-1], out=shifted[1:]), expected)


def test_every_layout_after_a_remembered_one():
    x = normal(6, 8)
    expected = F.relu(x)
    np.testing.assert_array_equal(F.relu(x[::-1]), expected[::-1])
    np.testing.assert_array_equal(F.relu(np.asfortranarray(x)), expected)
    unaligned = np.frombuffer(b"0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    np.testing.assert_array_equal(F.relu(unaligned), expected)
    x.setflags(write=False)
    np.testing.assert_array_equal(F.relu(x), expected)
    with pytest.raises(TypeError, match="input"):
        F.relu(x.astype(">f4").view(np.dtype(">f4")).astype(np.int32))


def test_one_is_not_true_nor_a_float():
    x = normal(2, 4, 4)[None]
    F.max_pool2d(x, 2, 1)
    with pytest.raises(TypeError, match="stride"):
        F.max_pool2d(x, 2, True)
    with pytest.raises(TypeError, match="stride"):
        F.max_pool2d(x, 2, 1.0)
    F.elu(x, 0.0)
    assert np.signbit(F.elu(np.full_like(x, -1.0), -0.0)).all() != np.signbit(F.elu(np.full_like(x, -1.0), 0.0)).all()


def test_class_targets_are_checked_at_every_call():
    x = normal(6, 4)
    F.cross_entropy(x, classes(6, 4))
    for wrong in (4, -1):
        target = classes(6, 4)
        target[3] = wrong
        with pytest.raises(ValueError, match=f"target.*{wrong}"):
            F.cross_entropy(x, target)
    target[3] = -100
    assert np.isfinite(F.cross_entropy(x, target))


def test_the_same_array_twice_is_not_taken_for_two():
    x, t = normal(6), normal(6, seed=1)
    assert F.mse_loss(x, x) == 0
    assert F.mse_loss(x, t) == F.mse_loss.__wrapped__(x, t) > 0
    assert F.mse_loss(x, x) == 0


def test_another_backend_is_another_call():
    x = normal(3, 5)
    F.gelu(x)
    seen = []
    with fastnn.use_backend("reference"), dispatch.observe(lambda call: seen.append(call.backend)):
        F.gelu(x)
    with dispatch.observe(lambda call: seen.append(call.backend)):
        F.gelu(x)
    assert seen == ["reference", dispatch.backend_for(find("gelu"))]


def test_more_shapes_than_are_remembered():
    for n in [*range(1, 40), *range(1, 40)]:
        x = normal(n)
        np.testing.assert_array_equal(F.relu(x), np.maximum(x, 0))


def test_tensors_record_after_a_remembered_call():
    x = normal(3, 5)
    F.relu(x)
    tensor = fastnn.tensor(x, requires_grad=True)
    F.relu(tensor).sum().backward()
    np.testing.assert_array_equal(tensor.grad.numpy(), x > 0)


def test_threads_share_what_is_remembered():
    arrays = [normal(n, seed=n) for n in range(1, 60)] * 20
    with ThreadPoolExecutor(8) as pool:
        for x, y in zip(arrays, pool.map(F.relu, arrays), strict=True):
            np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_it_is_still_a_function_to_those_who_ask():
    assert "weight" in inspect.signature(F.linear).parameters
    assert F.linear.__name__ == "linear" and "x W^T" in F.linear.__doc__
    assert pickle.loads(pickle.dumps(F.linear)) is F.linear


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


@pytest.mark.parametrize("name", ["linear", "linear of a stack", "softmax", "conv1d", "avg_pool1d", "sum"])
def test_a_first_call_with_out_is_remembered(name, kernels_called):
    function, args, kwargs = CALLS[name]
    arrays = tuple(np.concatenate([a, a]) if i == 0 else a for i, a in enumerate(args))  # a shape that no other test has
    expected = function.__wrapped__(*arrays, **kwargs)
    out = np.full_like(expected, np.nan)
    function(*arrays, out=out, **kwargs)
    np.testing.assert_array_equal(out, expected)
    kernels_called.clear()
    out[...] = np.nan
    assert function(*arrays, out=out, **kwargs) is out
    assert not kernels_called
    np.testing.assert_array_equal(out, expected)


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
