"""Pooling: what the generic tests cannot know."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch
from fastnn.kernels.pooling import operators
from fastnn.nn import pooling as layers

NAN, INF = np.nan, np.inf
every_backend = pytest.mark.usefixtures("backend")


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_max_pool_is_exact_to_the_bit(rng, dtype):
    x = rng.standard_normal((3, 4, 8, 10)).astype(dtype)
    x[0, 0, 0, :2] = [-0.0, 0.0]
    x[0, 0, 1, :2] = -1
    y = F.max_pool2d(x, 2)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, x.reshape(3, 4, 4, 2, 5, 2).max(axis=(3, 5)))
    assert np.signbit(y[0, 0, 0, 0])  # of the two zeros the first


@every_backend
def test_ties_give_the_gradient_to_the_first_maximum():
    x = fastnn.tensor(np.array([[[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]]), requires_grad=True)
    F.sum(F.max_pool2d(x, 2, 1)).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[[1, 1, 0], [0, 0, 0]]])
    x = fastnn.tensor(np.ones((1, 2, 3)), requires_grad=True)
    F.sum(F.adaptive_max_pool2d(x, 1)).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[[1, 0, 0], [0, 0, 0]]])


@every_backend
@pytest.mark.parametrize("window", [[NAN, 5, 1, 2], [5, 1, 2, NAN], [INF, NAN, 0, 0]])
def test_nan_wins(window):
    x = np.array(window).reshape(1, 2, 2)
    assert np.isnan(F.max_pool2d(x, 2)).all()
    assert np.isnan(F.adaptive_max_pool2d(x, 1)).all()
    assert np.isnan(F.avg_pool2d(x, 2)).all()
    assert np.isnan(F.global_max_pool(x[None])).all()


@every_backend
def test_only_minus_infinity():
    y, indices = F.max_pool2d(np.full((1, 1, 3, 3), -INF), 3, 2, 1, return_indices=True)
    assert (y == -INF).all()
    np.testing.assert_array_equal(indices[0, 0], [[0, 1], [3, 4]])


@every_backend
def test_window_of_padding_alone():
    x = fastnn.tensor(np.ones((1, 1, 1)), requires_grad=True)
    y, indices = F.max_pool2d(x, 2, 1, 1, dilation=2, return_indices=True)
    assert y.numpy().item() == -INF
    assert indices.numpy().item() == -1
    y.backward(np.ones((1, 1, 1)))
    assert x.grad.numpy().item() == 0


@every_backend
def test_padding_is_never_the_maximum():
    x = np.full((1, 2, 2), -3.0)
    np.testing.assert_array_equal(F.max_pool2d(x, 2, 2, 1), np.full((1, 2, 2), -3.0))


@every_backend
def test_divisors_at_the_border():
    x = np.ones((1, 1, 5))
    assert F.avg_pool1d(x, 2, 2, 0, ceil_mode=True)[0, 0].tolist() == [1, 1, 1]  # what ceil_mode adds is not counted
    assert F.avg_pool1d(x, 2, 2, 1)[0, 0].tolist() == [0.5, 1, 1]
    assert F.avg_pool1d(x, 2, 2, 1, count_include_pad=False)[0, 0].tolist() == [1, 1, 1]
    assert F.avg_pool2d(x[:, None, 0], (1, 2), divisor_override=4)[0, 0].tolist() == [0.5, 0.5]


@every_backend
def test_last_window_starts_inside():
    assert F.max_pool1d(np.arange(4.0).reshape(1, 4), 2, 3, ceil_mode=True).tolist() == [[1, 3]]
    assert F.max_pool1d(np.arange(3.0).reshape(1, 3), 2, 3, ceil_mode=True).tolist() == [[1]]  # a second one would start at 3


@every_backend
@pytest.mark.parametrize("large", [1.0, 1e30])
def test_float32_means_of_large_windows_are_accurate(rng, large):
    x = ((rng.random((1, 1, 301, 300)) + 1) * large).astype(np.float32)
    exact = x.astype(np.float64)
    bound = 16 * np.finfo(np.float32).eps * exact.mean()
    assert abs(F.global_avg_pool(x)[0, 0] - exact.mean()) <= bound
    assert abs(F.avg_pool2d(x, (301, 300))[0, 0, 0, 0] - exact.mean()) <= bound
    dy = np.ones((1, 1, 1, 1), np.float32)
    dx = fastnn.vjp(lambda v: F.avg_pool2d(v, (301, 300)), x)[1](dy)[0]
    np.testing.assert_allclose(dx, 1 / (301 * 300), rtol=1e-6)


@every_backend
@pytest.mark.parametrize("window", [3, 7, 10, 13, 16, 17])
@pytest.mark.parametrize("stride", [1, 2, None])
def test_float32_means_of_equal_numbers(rng, window, stride):
    """Every rounding goes the same way, and how far depends on the number: each plane has another one."""
    numbers = rng.uniform(0.5, 2, (1, 60, 1, 1)).astype(np.float32)
    y, pullback = fastnn.vjp(F.avg_pool2d, np.broadcast_to(numbers, (1, 60, 40, 35)), kernel_size=window, stride=stride)
    assert (np.abs(y / numbers - 1.0) <= 16 * np.finfo(np.float32).eps).all()
    (dx,) = pullback(np.broadcast_to(numbers, y.shape))
    shares = fastnn.vjp(F.avg_pool2d, np.ones((1, 1, 40, 35)), kernel_size=window, stride=stride)[1](
        np.ones((1, 1, *y.shape[2:]))
    )[0]
    assert (np.abs(dx - numbers * shares) <= 16 * np.finfo(np.float32).eps * numbers * shares).all()


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(1, 6, 24, 24), (2, 16, 8, 8), (3, 5, 4, 32), (70, 2, 14, 6), (1, 1, 2, 2), (9, 20, 20, 10)], ids=str
)
def test_maxima_of_whole_planes_equal_those_of_single_windows(shape, dtype, rng, shared_work, two_threads):
    """Windows of 2x2 without margins are computed across rows and planes: to the bit what windows beside a margin give."""
    x = rng.standard_normal(shape)
    for value in (np.nan, 0.0, -0.0, np.inf, -np.inf):
        x[rng.random(shape) < 0.1] = value
    x = x.astype(dtype)
    expected, places = F.max_pool2d(np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1))), 2, return_indices=True)
    raw = np.full(x.size // 4 + 64, 7, dtype)
    out = raw[32:-32].reshape(expected.shape)
    for threads in (1, 2):
        fastnn.set_num_threads(threads)
        out[...] = 0
        F.max_pool2d(x, 2, out=out)
        assert out.tobytes() == expected.tobytes()
        out[...] = 0
        _, indices = F.max_pool2d(x, 2, return_indices=True, out=out)
        assert out.tobytes() == expected.tobytes()
        np.testing.assert_array_equal(indices, places // (shape[3] + 1) * shape[3] + places % (shape[3] + 1))
    assert np.all(raw[:32] == 7) and np.all(raw[-32:] == 7)


@pytest.mark.parametrize("width", [2, 28, 75])
def test_float32_sums_that_overflow(width):
    x = np.full((1, 1, 4, width), 3e38, np.float32)
    x[0, 0, 0, 0] = NAN
    y = F.avg_pool2d(x, 2)[0, 0]
    assert np.isnan(y[0, 0])
    np.testing.assert_allclose(np.delete(y.ravel(), 0), 3e38, rtol=1e-6)


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape, index", [((2, 3, 9, 33), np.int16), ((1, 1, 200, 170), np.int32)])
def test_positions_are_as_small_as_the_plane(rng, dtype, shape, index):
    x = rng.standard_normal(shape).astype(dtype)
    arguments = (x, (3, 3), (2, 2), (1, 1), (1, 1), False)
    y, small = dispatch.run(operators.max_pool2d, (*arguments, False))
    _, wide = dispatch.run(operators.max_pool2d, (*arguments, True))
    assert (small.dtype, wide.dtype) == (index, np.int64)
    np.testing.assert_array_equal(small, wide)
    np.testing.assert_array_equal(x.reshape(*shape[:2], -1)[0, 0][wide[0, 0]], y[0, 0])
    dy = rng.standard_normal(y.shape).astype(dtype)
    gradients = [dispatch.run(operators.max_pool2d_backward, (dy, i, *arguments[1:5], shape))[0] for i in (small, wide)]
    np.testing.assert_array_equal(*gradients)


@every_backend
def test_indices_of_a_tape(rng):
    x = fastnn.tensor(rng.standard_normal((1, 2, 6, 6)), requires_grad=True)
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    assert indices.numpy().dtype == np.int64
    y.backward(np.ones(y.shape))
    np.testing.assert_array_equal(np.flatnonzero(x.grad.numpy()[0, 0]), np.sort(indices.numpy()[0, 0].ravel()))


@every_backend
def test_shapes_without_batch_and_empty_batches():
    assert F.max_pool2d(np.zeros((3, 4, 6)), 2).shape == (3, 2, 3)
    assert F.avg_pool1d(np.zeros((3, 6)), 2).shape == (3, 3)
    assert F.adaptive_avg_pool2d(np.zeros((3, 4, 6)), (None, 2)).shape == (3, 4, 2)
    assert F.adaptive_max_pool1d(np.zeros((2, 3, 6)), 4).shape == (2, 3, 4)
    assert F.max_pool2d(np.zeros((0, 3, 4, 4)), 2).shape == (0, 3, 2, 2)
    assert F.avg_pool2d(np.zeros((0, 3, 4, 4)), 2).shape == (0, 3, 2, 2)
    assert F.adaptive_avg_pool2d(np.zeros((2, 3, 4, 4)), 0).shape == (2, 3, 0, 0)
    assert F.global_avg_pool(np.zeros((2, 3, 4))).shape == (2, 3)


@every_backend
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("pool", [F.global_avg_pool, lambda x: F.avg_pool2d(x, 2)], ids=["global", "windows"])
def test_large_gradients_have_the_bits_of_small_ones(rng, pool, threads):
    """From 32 MiB on they go past the caches, in lines that planes share."""
    x = rng.standard_normal((9, 10, 310, 302), dtype=np.float32)
    y, pullback = fastnn.vjp(pool, x)
    dy = rng.standard_normal(y.shape, dtype=np.float32)
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(threads)
    try:
        (dx,) = pullback(dy)
    finally:
        fastnn.set_num_threads(before)
    for n in range(len(x)):
        one = slice(n, n + 1)
        np.testing.assert_array_equal(dx[one], fastnn.vjp(pool, x[one])[1](dy[one])[0])


def test_out():
    x = np.random.default_rng(0).standard_normal((2, 4, 4))
    for pool in (
        lambda **k: F.max_pool2d(x, 2, **k),
        lambda **k: F.avg_pool2d(x, 2, **k),
        lambda **k: F.adaptive_avg_pool2d(x, 2, **k),
    ):
        out = np.empty((2, 2, 2))
        assert pool(out=out) is out
        np.testing.assert_array_equal(out, pool())
        strided = np.empty((2, 2, 4))[..., ::2]
        pool(out=strided)
        np.testing.assert_array_equal(strided, out)
    out = np.empty((2, 2, 2))
    y, indices = F.max_pool2d(x, 2, return_indices=True, out=out)
    assert y is out
    assert indices.dtype == np.int64


@every_backend
def test_huge_padded_windows_end_soon():
    x = np.array([[1.0, 7.0, 3.0]])
    assert F.max_pool1d(x, 2**31 - 3, 1, 2**30 - 2).tolist() == [[7, 7, 7]]
    assert F.max_pool1d(x, 2, 1, 0, dilation=2).tolist() == [[3]]


X = np.zeros((1, 2, 4, 4))


@pytest.mark.parametrize(
    "f, error, name",
    [
        (lambda: F.max_pool2d(X, 0), ValueError, "kernel_size"),
        (lambda: F.max_pool2d(X, 5), ValueError, "kernel_size"),
        (lambda: F.max_pool2d(X, (2, 2, 2)), ValueError, "kernel_size"),
        (lambda: F.max_pool2d(X, 2.0), TypeError, "kernel_size"),
        (lambda: F.max_pool2d(X, 2, 0), ValueError, "stride"),
        (lambda: F.max_pool2d(X, 2, True), TypeError, "stride"),
        (lambda: F.max_pool2d(X, 2, padding=-1), ValueError, "padding"),
        (lambda: F.max_pool2d(X, 3, padding=2), ValueError, "padding"),
        (lambda: F.max_pool2d(X, 2, dilation=0), ValueError, "dilation"),
        (lambda: F.max_pool2d(X, 2, 10**30), OverflowError, "stride"),
        (lambda: F.max_pool2d(X[0, 0], 2), ValueError, "input"),
        (lambda: F.max_pool2d(X[:, :, :0], 1), ValueError, "input"),
        (lambda: F.max_pool2d(None, 2), TypeError, "input"),
        (lambda: F.max_pool2d(X.astype(np.int64), 2), TypeError, "input"),
        (lambda: F.max_pool2d(X, 2, out=np.zeros((1, 2, 2, 3))), ValueError, "out"),
        (lambda: F.avg_pool2d(X, 2, divisor_override=0), ValueError, "divisor_override"),
        (lambda: F.avg_pool2d(X, 2, divisor_override=1.5), TypeError, "divisor_override"),
        (lambda: F.avg_pool1d(X, 2), ValueError, "input"),
        (lambda: F.adaptive_avg_pool2d(X, -1), ValueError, "output_size"),
        (lambda: F.adaptive_avg_pool2d(X, (1, 2, 3)), ValueError, "output_size"),
        (lambda: F.adaptive_max_pool2d(X, "3"), TypeError, "output_size"),
        (lambda: F.adaptive_max_pool2d(X, 10**10), OverflowError, "output_size"),
        (lambda: F.global_avg_pool(X[0, 0]), ValueError, "input"),
    ],
)
def test_errors(f, error, name):
    with pytest.raises(error, match=name):
        f()


def test_modules():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 8))
    arguments = {
        "MaxPool2d": {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 1, "ceil_mode": True},
        "MaxPool1d": {"kernel_size": 3},
        "AvgPool2d": {"kernel_size": (2, 3), "padding": (1, 0), "count_include_pad": False, "divisor_override": 5},
        "AvgPool1d": {"kernel_size": 2, "stride": 1, "ceil_mode": True},
        "AdaptiveAvgPool1d": {"output_size": 3},
        "AdaptiveAvgPool2d": {"output_size": (None, 3)},
        "AdaptiveMaxPool1d": {"output_size": 3},
        "AdaptiveMaxPool2d": {"output_size": (2, 3)},
    }
    for name, given_arguments in arguments.items():
        value = x[0] if "1d" in name else x
        expected = getattr(torch.nn, name)(**given_arguments)(torch.tensor(value)).numpy()
        layer = getattr(layers, name)(**given_arguments)
        np.testing.assert_allclose(np.asarray(layer(value)), expected, rtol=1e-12)
        assert "=" in repr(layer)
        assert not layer.state_dict()
    assert len(layers.MaxPool2d(2, return_indices=True)(x)) == 2
