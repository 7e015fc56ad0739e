"""Derivatives: checked, as matrices, as pullbacks of plain functions, and of chosen inputs."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn.autograd import Function, gradcheck, jacobian, tensor, vjp


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x[1:, ::-1], lambda x: x[[0, 0, 2]], lambda x: x[None, ..., 1], lambda x: x[np.array([[0, 1], [1, 1]])],
        lambda x: x[x > 0], lambda x: x.T, lambda x: x.transpose(0, 1).reshape(-1), lambda x: x.flatten() ** 2,
        lambda x: F.cat([x, x * 2], 1), lambda x: F.stack([x, x.exp()], -1), lambda x: x.unsqueeze(1).squeeze(),
        lambda x: x.exp().log() + x.abs().sqrt(), lambda x: x.clamp(-0.5, 0.5), lambda x: F.where(x.numpy() > 0, x, -2 * x),
        lambda x: F.maximum(x, 0.1) + F.minimum(x, x * x), lambda x: x @ x.T, lambda x: F.broadcast_to(x, (2, 3, 4)),
        lambda x: 2.0**x, lambda x: 1 / (x * x + 1), lambda x: x.abs() ** x,
    ],
)  # fmt: skip
def test_gradients_of_tensor_operations(f, rng):
    assert gradcheck(f, rng.standard_normal((3, 4)))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.sum(), lambda x: x.sum(0), lambda x: x.sum(dim=(0, 1), keepdim=True), lambda x: x.mean(1), lambda x: x.var(),
        lambda x: x.var(1, keepdim=True), lambda x: x.max(), lambda x: x.max(1)[0], lambda x: x.min(dim=0, keepdim=True)[0],
        lambda x: x.tanh() * x.sigmoid() + x.relu(), lambda x: x.softmax(1), lambda x: x.log_softmax(0),
    ],
)  # fmt: skip
def test_gradients_of_tensor_methods(f, rng):
    assert gradcheck(f, rng.standard_normal((3, 4)))


def test_gradcheck_finds_a_wrong_gradient(rng):
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, dy):
            (x,) = ctx.saved_tensors
            return 2.01 * x * dy

    with pytest.raises(ValueError, match="input 0"):
        gradcheck(Wrong.apply, rng.standard_normal(4))
    with pytest.raises(TypeError, match="float64"):
        gradcheck(F.exp, np.ones(2, np.float32))


def test_jacobian_is_in_numerator_layout(rng):
    w = rng.standard_normal((2, 3))
    np.testing.assert_allclose(jacobian(lambda x: F.linear(x, w), rng.standard_normal(3)), w)
    assert jacobian(lambda x: x.reshape(6), rng.standard_normal((2, 3))).shape == (6, 2, 3)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3,), (2, 1)], ids=str)
@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "power", "maximum", "minimum"])
def test_vjp_adds_up_over_broadcast_dimensions(name, shape, rng):
    function = getattr(F, name)
    a, b = rng.uniform(0.5, 2, (2, 3)), rng.uniform(0.5, 2, shape)
    for _ in range(2):  # the second one is remembered
        for arrays in ((a, b), (b, a)):
            leaves = [tensor(array, requires_grad=True) for array in arrays]
            function(*leaves).sum().backward()
            y, pullback = vjp(function, *arrays)
            for found, leaf in zip(pullback(np.ones_like(y)), leaves, strict=True):
                assert found.shape == leaf.shape
                np.testing.assert_allclose(found, leaf.grad.numpy(), rtol=1e-12)
    out = (np.empty_like(a), np.empty_like(b))
    y, pullback = vjp(function, a, b)
    for found, expected in zip(pullback(np.ones_like(y), out=out), pullback(np.ones_like(y)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_vjp_any_number_of_times_and_out(rng):
    x, w, b = rng.standard_normal((5, 3)), rng.standard_normal((2, 3)), rng.standard_normal(2)
    y, pullback = vjp(F.linear, x, w, b)
    np.testing.assert_allclose(y, x @ w.T + b)
    dy = rng.standard_normal(y.shape)
    first = pullback(dy)
    out = tuple(np.empty_like(a) for a in (x, w, b))
    assert all(given is back for given, back in zip(out, pullback(dy, out=out), strict=True))
    for one, two, three in zip(first, out, (dy @ w, dy.T @ x, dy.sum(0)), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, three)


def test_vjp_out_when_an_input_is_used_twice_and_of_strided_memory(rng):
    x = rng.standard_normal(4)
    out = np.empty((4, 2))[:, 0]
    vjp(lambda v: v * v + v, x)[1](np.ones(4), out=(out,))
    np.testing.assert_allclose(out, 2 * x + 1)


def test_vjp_of_integers_unused_arguments_and_constants(rng):
    x, keys = rng.standard_normal(4), np.array([0, 0, 1])
    y, pullback = vjp(lambda v, unused, k: v[k], x, np.ones(2), keys)
    dx, dunused, dkeys = pullback(np.ones(3))
    np.testing.assert_array_equal(dx, [2, 1, 0, 0])
    np.testing.assert_array_equal(dunused, [0, 0])
    assert dkeys is None
    np.testing.assert_array_equal(vjp(lambda v: np.ones(3), x)[1](np.ones(3))[0], np.zeros(4))


@pytest.mark.parametrize(
    ("dy", "out", "error", "words"),
    [
        (np.ones(3), None, ValueError, "dy"),
        (np.ones(2, np.float32), None, TypeError, "dy"),
        (None, None, TypeError, "dy"),
        (np.ones(2), (np.empty(3),), ValueError, r"out\[0\]"),
        (np.ones(2), (np.empty(2, np.float32),), TypeError, r"out\[0\]"),
        (np.ones(2), (), ValueError, "out"),
        (np.ones(2), np.empty(2), ValueError, "out"),
        (np.ones(2), (np.broadcast_to(0.0, 2),), ValueError, "read-only"),
    ],
)
def test_pullback_errors(dy, out, error, words):
    with pytest.raises(error, match=words):
        vjp(lambda x: x * x, np.ones(2))[1](dy, out=out)


def test_pullback_refuses_out_over_an_input():
    x = np.ones(2)
    with pytest.raises(ValueError, match="overlaps"):
        vjp(lambda v: v * v, x)[1](np.ones(2), out=(x,))
    np.testing.assert_array_equal(x, [1, 1])


def test_grad_leaves_the_leaves_alone(rng):
    w, b, unused = (fastnn.tensor(rng.standard_normal(shape), requires_grad=True) for shape in ((2, 3), (2,), (4,)))
    x, dy = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    y = F.linear(x, w, b)
    dw, nothing, db = fastnn.autograd.grad(y, [w, unused, b], dy, retain_graph=True)
    np.testing.assert_allclose(dw.numpy(), dy.T @ x)
    np.testing.assert_allclose(db.numpy(), dy.sum(0))
    assert nothing is None
    assert w.grad is None
    y.backward(dy)
    np.testing.assert_array_equal(w.grad.numpy(), dw.numpy())


def test_grad_errors(rng):
    w = fastnn.tensor(rng.standard_normal((2, 3)), requires_grad=True)
    y = w * 2
    with pytest.raises(ValueError, match="output: expected a Tensor computed"):
        fastnn.autograd.grad(fastnn.tensor([1.0]), [w])
    with pytest.raises(TypeError, match=r"inputs\[1\]: expected a Tensor that is a leaf"):
        fastnn.autograd.grad(y, [w, y], np.ones((2, 3)))
    with pytest.raises(ValueError, match="grad_output: a gradient is needed"):
        fastnn.autograd.grad(y, [w])
    with pytest.raises(ValueError, match="grad_output: expected shape"):
        fastnn.autograd.grad(y, [w], np.ones(3))
