"""The tape, its Tensors, and functions with a gradient of their own."""

import threading

import numpy as np
import pytest

import fastnn.functional as F
from fastnn.autograd import Function, Tensor, enable_grad, gradcheck, no_grad, tensor


def leaf(*shape, seed=0):
    return tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def test_gradients_accumulate_and_a_tensor_used_twice_gets_both():
    x = leaf(3)
    (x * x + x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.numpy() + 1)
    (x * 3).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.numpy() + 4)


def test_leaf_gradients_share_no_memory():
    a, b, seed = leaf(2), leaf(2, seed=1), np.ones(2)
    (a + b).backward(seed)
    a.grad.numpy()[:] = 9
    np.testing.assert_array_equal(b.grad.numpy(), [1, 1])
    np.testing.assert_array_equal(seed, [1, 1])


def test_a_leaf_itself_can_go_backward():
    x = leaf(2)
    x.backward(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(x.grad.numpy(), [1, 2])


def test_broadcasting_is_undone():
    a, b = leaf(3, 1), leaf(4, seed=1)
    ((a * b) / 2 - b).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), np.full((3, 1), b.numpy().sum() / 2))
    np.testing.assert_allclose(b.grad.numpy(), np.full(4, a.numpy().sum() / 2 - 3))


def test_long_chain_and_ladder_are_linear_and_not_recursive():
    x = tensor(1.0, requires_grad=True)
    y = x
    for _ in range(50_000):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1
    z = x
    for _ in range(60):
        z = z + z
    x.grad = None
    z.backward()
    assert x.grad.item() == 2.0**60


def test_second_backward_is_refused_or_right():
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 4 * x.numpy())
    with pytest.raises(ValueError, match="retain_graph"):
        y.backward()


def test_changed_in_place_since_is_refused():
    x = leaf(3)
    y = (x * x).sum()
    x.numpy()[:] = 0
    x._touch()
    with pytest.raises(ValueError, match="changed in place"):
        y.backward()


def test_no_grad_detach_and_leaf_rules():
    x = leaf(2)
    with no_grad():
        y = x * 2
        with enable_grad():
            assert (x * 2).requires_grad
    assert not y.requires_grad and y.is_leaf

    @no_grad()
    def double(v):
        return v * 2

    assert not double(x).requires_grad and (x * 2).requires_grad
    z = x.detach()
    assert not z.requires_grad and np.shares_memory(z.numpy(), x.numpy())
    with pytest.raises(ValueError, match="detach"):
        (x * 2).requires_grad = False


def test_recording_is_per_thread():
    x, seen = leaf(2), []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: tensor([1, 2], requires_grad=True), TypeError, "requires_grad"),
        (lambda: tensor([1.0, 2.0], requires_grad=True).backward(), ValueError, "grad"),
        (lambda: tensor([1.0]).backward(), ValueError, "does not require"),
        (lambda: tensor([1.0, 2.0], requires_grad=True).backward(np.ones(3, np.float32)), ValueError, r"\(2,\).*\(3,\)"),
        (lambda: tensor([1.0, 2.0], requires_grad=True).backward(np.ones(2)), TypeError, "float64"),
        (lambda: tensor(None), TypeError, "data"),
        (lambda: tensor("abc"), TypeError, "data"),
        (lambda: tensor([[1.0], [1.0, 2.0]]), ValueError, "data"),
        (lambda: tensor(np.array([1j])), TypeError, "complex"),
        (lambda: tensor(np.array([None])), TypeError, "object"),
        (lambda: tensor([1.0, 2.0]).item(), ValueError, "item"),
        (lambda: tensor([1.0, 2.0])[5], IndexError, "key"),
        (lambda: tensor([1.0, 2.0]) + "a", TypeError, "other"),
        (lambda: tensor([1.0, 2.0]) + np.ones(2), TypeError, "float64"),
        (lambda: tensor([1.0, 2.0]) + tensor([1.0, 2.0, 3.0]), ValueError, "broadcast"),
    ],
)
def test_errors(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_assigned_grad_is_checked():
    x = tensor([1.0, 2.0], requires_grad=True)
    x.grad = np.array([3.0, 4.0], np.float32)
    assert isinstance(x.grad, Tensor)
    with pytest.raises(ValueError, match="grad"):
        x.grad = np.zeros(3, np.float32)


def test_python_scalars_keep_float32_and_numpy_arrays_leave_the_operator_to_the_tensor():
    x = tensor([1.0, 2.0])
    for y in (x * 2, 2.0 * x, x / 3, 1 - x, x**2, 2**x, x + np.float64(1), np.ones(2, np.float32) * x, x + np.arange(2)):
        assert isinstance(y, Tensor) and y.dtype == np.float32
    np.testing.assert_array_equal((np.ones(2, np.float32) - x).numpy(), [0, -1])


def test_tensor_copies_and_constructor_shares():
    a = np.ones(2)
    assert not np.shares_memory(tensor(a).numpy(), a)
    assert np.shares_memory(Tensor(a).numpy(), a)
    assert tensor([1.0]).dtype == np.float32 and tensor([1]).dtype == np.int64 and tensor(a).dtype == np.float64


def test_function_with_two_inputs_constants_and_saved_tensors(rng):
    class Scale(Function):
        @staticmethod
        def forward(ctx, x, w, power):
            ctx.save_for_backward(x, w)
            ctx.power = power
            return x**power * w

        @staticmethod
        def backward(ctx, dy):
            x, w = ctx.saved_tensors
            assert ctx.needs_input_grad[2] is False
            return dy * w * ctx.power * x ** (ctx.power - 1), dy * x**ctx.power, None

    assert gradcheck(lambda x, w: Scale.apply(x, w, 3), [rng.standard_normal(4), rng.standard_normal(4)])
    x = leaf(4)
    y = Scale.apply(x, tensor(np.ones(4)), 2).sum()
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.numpy())
    with pytest.raises(ValueError):
        y.backward()


def test_function_with_a_gradient_of_the_wrong_shape():
    class Bad(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, dy):
            return dy.sum()

    with pytest.raises(ValueError, match=r"Bad.backward.*\(4,\)"):
        Bad.apply(leaf(4)).backward(np.ones(4))


def test_against_torch(rng):
    torch = pytest.importorskip("torch")
    a, b = rng.standard_normal((3, 4)), rng.standard_normal((4,))
    ours = [tensor(v, requires_grad=True) for v in (a, b)]
    theirs = [torch.tensor(v, requires_grad=True) for v in (a, b)]

    def compute(x, y, maximum, where):
        z = (x * y + x.abs() ** 1.5 / (y.exp() + 1)) @ x.T
        z = maximum(z, z * 0.5) + where(z > 0, z, z * z)
        return (z[1:, [0, 2]].clamp(-1, 2) - z.reshape(-1)[3]).sum()

    compute(*ours, F.maximum, F.where).backward()
    compute(*theirs, torch.maximum, torch.where).backward()
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-12)
