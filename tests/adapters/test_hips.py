"""fastnn's functionals under HIPS autograd."""

import numpy as np
import pytest

import fastnn.functional

autograd = pytest.importorskip("autograd")
F = pytest.importorskip("fastnn.hips")
anp = pytest.importorskip("autograd.numpy")
check_grads = pytest.importorskip("autograd.test_util").check_grads

CALLS = {
    "linear": (lambda x, w, b: F.linear(x, w, b), (4, 3), (5, 3), (5,)),
    "linear without bias": (lambda x, w: F.linear(x, w, None), (4, 3), (5, 3)),
    "linear by name": (lambda x, w, b: F.linear(x, weight=w, bias=b), (4, 3), (5, 3), (5,)),
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1), (2, 3, 6, 5), (4, 3, 3, 3), (4,)),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), (2, 3, 4, 4)),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 2), (2, 3, 4, 4)),
    "gelu": (lambda x: F.gelu(x), (7,)),
    "log_softmax": (lambda x: F.log_softmax(x, dim=1), (3, 5)),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (5,), w, b), (3, 5), (5,), (5,)),
    "cross_entropy": (lambda x: F.cross_entropy(x, np.array([1, 0, 3])), (3, 4)),
    "a network with NumPy around it": (
        lambda x, w, v: anp.sum(anp.exp(F.linear(anp.sin(F.relu(F.linear(x, w))), v)) * 0.1),
        (4, 3), (6, 3), (2, 6),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_check_grads(name, rng):
    function, *shapes = CALLS[name]
    arrays = [rng.standard_normal(shape) for shape in shapes]
    for index in range(len(arrays)):
        check_grads(lambda a: function(*arrays[:index], a, *arrays[index + 1 :]), modes=["rev"], order=1)(arrays[index])  # noqa: B023


def test_same_value_and_gradient_as_numpy(rng):
    x, w, t = rng.standard_normal((8, 3)), rng.standard_normal((4, 3)), rng.standard_normal((8, 4))
    plain = autograd.value_and_grad(lambda w: anp.sum((anp.tanh(x @ w.T) - t) ** 2))
    swapped = autograd.value_and_grad(lambda w: anp.sum((F.tanh(F.linear(x, w)) - t) ** 2))
    for one, other in zip(plain(w), swapped(w), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12)


def test_plain_arrays_pass_through(rng):
    x = rng.standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_array_equal(F.relu(x), fastnn.functional.relu(x))
    assert F.relu is F.relu
    assert "conv2d" in dir(F)
    with pytest.raises(AttributeError):
        _ = F.no_such_functional


def test_sequences_and_numbers(rng):
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((2, 4))
    check_grads(lambda a: F.cat([a, b, a * 2], 1), modes=["rev"], order=1)(a)
    check_grads(lambda pair: anp.sin(F.cat(pair, 1)), modes=["rev"], order=1)([a, b])
    check_grads(lambda number: F.multiply(a, number), modes=["rev"], order=1)(2.0)
    gradient = autograd.grad(lambda number: anp.sum(F.multiply(a, number)))(2.0)
    assert gradient == pytest.approx(a.sum(), rel=1e-12)
    with pytest.raises(TypeError, match="eps: an argument that can only be given by name"):
        autograd.grad(lambda eps: anp.sum(F.primitive(lambda x, *, eps: x + eps)(a, eps=eps)))(0.5)


def test_float32_stays(rng):
    w = rng.standard_normal((2, 3)).astype(np.float32)
    gradient = autograd.grad(lambda w: anp.sum(F.linear(np.ones((4, 3), np.float32), w)))(w)
    assert gradient.dtype == np.float32
    np.testing.assert_array_equal(gradient, np.full((2, 3), 4, np.float32))


def test_a_function_of_several_calls(rng):
    block = F.primitive(lambda x, w: fastnn.functional.relu(fastnn.functional.linear(x, w)))
    x, w = rng.standard_normal((4, 3)), rng.standard_normal((2, 3))
    check_grads(lambda w: block(x, w), modes=["rev"], order=1)(w)
    check_grads(lambda x: block(x, w), modes=["rev"], order=1)(x)


def test_only_one_derivative():
    with pytest.raises(TypeError, match="taken once"):
        autograd.grad(lambda x: anp.sum(autograd.grad(lambda x: anp.sum(F.tanh(x)))(x)))(np.ones(3))


def test_errors_of_the_functional_come_through():
    with pytest.raises(ValueError, match="weight"):
        autograd.grad(lambda w: anp.sum(F.linear(np.ones((2, 3)), w)))(np.ones((2, 4)))
