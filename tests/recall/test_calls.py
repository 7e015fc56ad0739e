"""Remembered calls: the second call goes another way than the first and must find, refuse and write the same."""

import inspect
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch, recall
from fastnn.kernels import find

from .calls import CALLS, classes, normal, other_values

pytestmark = pytest.mark.skipif(recall.boundary is None, reason="compiled kernels are not installed")


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


def test_names_in_any_order_interned_or_not(kernels_called):
    x, weight, bias, out = normal(3, 5), normal(4, 5, seed=1), normal(4, seed=2), np.empty((3, 4), np.float32)
    expected = F.linear(x, weight=weight, bias=bias)
    kernels_called.clear()
    fresh = {"".join(["bi", "as"]): bias, "".join(["o", "ut"]): out, "".join(["wei", "ght"]): weight}
    assert F.linear(x, **fresh) is out
    assert not kernels_called
    np.testing.assert_array_equal(out, expected)
    with pytest.raises(TypeError, match="unexpected keyword argument 'biased'"):
        F.linear(x, weight=weight, biased=bias)
