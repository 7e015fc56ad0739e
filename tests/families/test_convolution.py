"""Convolution: drawn shapes, parity with torch and SciPy, NaN and infinity, the bound of float32, the table of refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
import fastnn.functional as F
from fastnn import dispatch, nn
from fastnn.kernels import find

BACKENDS = [name for name in ("cython", "numba", "reference") if dispatch.is_available(name)]
every_backend = pytest.mark.parametrize("backend", BACKENDS)
FORWARD, BACKWARD = find("conv2d"), find("conv2d_backward")


@st.composite
def calls(draw):
    """Shapes and geometry of a convolution whose kernel fits into the padded input."""
    groups = draw(st.integers(1, 3))
    kernel, stride, dilation = ([draw(st.integers(1, high)) for _ in range(2)] for high in (4, 3, 3))
    padding = [draw(st.integers(0, 3)) for _ in range(4)]
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    sizes = [max(1, span - sum(padding[2 * i : 2 * i + 2])) + draw(st.integers(0, 9)) for i, span in enumerate(spans)]
    x = (draw(st.integers(0, 3)), groups * draw(st.integers(1, 3)), *sizes)
    w = (groups * draw(st.integers(1, 4)), x[1] // groups, *kernel)
    return x, w, draw(st.booleans()), tuple(stride), tuple(padding), tuple(dilation), groups


@every_backend
@settings(max_examples=60, deadline=None)
@given(call=calls(), seed=st.integers(0, 99))
def test_every_backend_equals_the_reference(backend, call, seed):
    x_shape, w_shape, bias, *geometry = call
    rng = np.random.default_rng(seed)
    x, w, b = rng.standard_normal(x_shape), rng.standard_normal(w_shape), rng.standard_normal(w_shape[0]) if bias else None
    (expected,) = FORWARD.kernel("reference")(x, w, b, *geometry)
    with fastnn.use_backend(backend):
        (y,) = dispatch.run(FORWARD, (x, w, b, *geometry))
        dy = rng.standard_normal(y.shape)
        gradients = dispatch.run(BACKWARD, (dy, x, w, *geometry))
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-11)
    for mine, other in zip(gradients, BACKWARD.kernel("reference")(dy, x, w, *geometry), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-11, atol=1e-11)


CASES_2D = [
    {}, {"stride": 2, "padding": 1}, {"padding": (2, 1), "dilation": (1, 2)}, {"padding": "same"}, {"padding": "same", "dilation": 3},
    {"padding": "valid", "stride": (2, 3)}, {"groups": 2, "padding": 1}, {"groups": 4, "stride": (1, 2)},
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch's own, of its speed
@pytest.mark.parametrize("options", CASES_2D, ids=str)
@pytest.mark.parametrize("batch", [(3,), ()])
def test_conv2d_equals_torch(options, batch, rng):
    torch = pytest.importorskip("torch")
    arrays = [
        rng.standard_normal((*batch, 4, 11, 9)),
        rng.standard_normal((8, 4 // options.get("groups", 1), 3, 2)),
        rng.standard_normal(8),
    ]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = torch.nn.functional.conv2d(*theirs, **options)
    dy = rng.standard_normal(tuple(expected.shape))
    expected.backward(torch.tensor(dy))
    y, pullback = fastnn.vjp(F.conv2d, *arrays, **options)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-11, atol=1e-12)
    for mine, other in zip(pullback(dy), theirs, strict=True):
        np.testing.assert_allclose(mine, other.grad.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"stride": 3, "padding": 2}, {"padding": "same", "dilation": 2}, {"groups": 2}], ids=str)
@pytest.mark.parametrize("batch", [(3,), ()])
def test_conv1d_equals_torch(options, batch, rng):
    torch = pytest.importorskip("torch")
    arrays = [
        rng.standard_normal((*batch, 4, 13)),
        rng.standard_normal((6, 4 // options.get("groups", 1), 4)),
        rng.standard_normal(6),
    ]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = torch.nn.functional.conv1d(*theirs, **options)
    expected.sum().backward()
    y, pullback = fastnn.vjp(F.conv1d, *arrays, **options)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-11, atol=1e-12)
    for mine, other in zip(pullback(np.ones_like(y)), theirs, strict=True):
        np.testing.assert_allclose(mine, other.grad.numpy(), rtol=1e-11, atol=1e-12)
    out = np.empty_like(y)
    assert F.conv1d(*arrays, **options, out=out) is out
    np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    "options", [{"padding": (2, 1)}, {"padding": "same"}, {"padding": 1, "stride": 2, "groups": 2}, {"padding": "valid"}], ids=str
)
def test_layers_equal_torch(mode, options, rng):
    torch = pytest.importorskip("torch")
    ours = nn.Conv2d(4, 6, 3, padding_mode=mode, **options).double()
    theirs = torch.nn.Conv2d(4, 6, 3, padding_mode=mode, **options).double()
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    x = rng.standard_normal((2, 4, 7, 8))
    mine, other = fastnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(mine), theirs(other)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-11, atol=1e-12)
    (y * y).sum().backward()
    (z * z).sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-10, atol=1e-11)
    line = nn.Conv1d(4, 6, 3, padding_mode=mode, padding=2)
    assert line(x[:, :, 0].astype(np.float32)).shape == (2, 6, 10)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize(("x", "w"), [((5, 7), (3, 2)), ((4, 4), (4, 4)), ((1, 6), (1, 3)), ((6, 5), (2, 4)), ((3, 3), (5, 4))])
def test_convolve2d_equals_scipy(mode, x, w, rng):
    signal = pytest.importorskip("scipy.signal")
    a, b = rng.standard_normal(x), rng.standard_normal(w)
    np.testing.assert_allclose(F.convolve2d(a, b, mode), signal.convolve2d(a, b, mode), rtol=1e-11, atol=1e-12)


def test_convolve2d_has_gradients(rng):
    for mode in ("full", "same", "valid"):
        assert fastnn.gradcheck(
            lambda a, b, mode=mode: F.convolve2d(a, b, mode), [rng.standard_normal((5, 6)), rng.standard_normal((2, 3))]
        )


@pytest.mark.parametrize(
    ("arguments", "size"), [((28, 5), 24), ((28, 5, 2, 2), 14), ((7, 3, 2), 3), ((10, 3, 1, 0, 3), 4), ((3, 3), 1)]
)
def test_output_size(arguments, size):
    assert F.conv_output_size(*arguments) == size


@every_backend
def test_nan_and_infinity_reach_what_they_touch(backend, rng):
    x, w = rng.standard_normal((1, 2, 6, 6)), rng.standard_normal((3, 2, 3, 3))
    x[0, 0, 2, 2], x[0, 1, 5, 5] = np.nan, np.inf
    w[:, 1, 2, 2] = 0
    with fastnn.use_backend(backend):
        y = F.conv2d(x, w)
    assert np.isnan(y[0, :, :3, :3]).all() and np.isnan(y[0, :, 3, 3]).all(), "NaN, and 0 * inf"
    assert np.isfinite(y[0, :, 3, :3]).all()


@every_backend
@pytest.mark.parametrize("channels", [1, 64, 300])
def test_float32_error_bound(backend, channels):
    """Constant data is the worst case of long sums: all rounding errors point the same way."""
    x, w = np.full((1, channels, 6, 6), 0.1, np.float32), np.full((9, channels, 3, 3), 0.1, np.float32)
    with fastnn.use_backend(backend):
        y, pullback = fastnn.vjp(F.conv2d, x, w)
        dx, dw = pullback(np.full_like(y, 0.1))
    product = float(np.float32(0.1)) ** 2
    for value, terms in ((y, 9 * channels), (dw, 16), (dx[:, :, 2:4, 2:4], 81)):
        assert np.abs(value - product * terms).max() <= 16 * np.finfo(np.float32).eps * product * terms


X, W = np.ones((2, 4, 5, 5)), np.ones((6, 4, 3, 3))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.conv2d(X[0, 0], W), ValueError, "input"),
        (lambda: F.conv2d(X, W[0]), ValueError, "weight"),
        (lambda: F.conv2d(X[:, :3], W), ValueError, r"input.*4 channels"),
        (lambda: F.conv2d(X, W, np.ones(4)), ValueError, "bias"),
        (lambda: F.conv2d(X, W, np.ones((1, 6))), ValueError, "bias"),
        (lambda: F.conv2d(X, W.astype(np.float32)), TypeError, "weight"),
        (lambda: F.conv2d(X, W, stride=0), ValueError, "stride"),
        (lambda: F.conv2d(X, W, stride=1.5), TypeError, "stride"),
        (lambda: F.conv2d(X, W, stride=True), TypeError, "stride"),
        (lambda: F.conv2d(X, W, stride=(1, 2, 3)), ValueError, "stride"),
        (lambda: F.conv2d(X, W, padding=-1), ValueError, "padding"),
        (lambda: F.conv2d(X, W, padding="full"), ValueError, "padding"),
        (lambda: F.conv2d(X, W, padding="same", stride=2), ValueError, "padding"),
        (lambda: F.conv2d(X, W, dilation=0), ValueError, "dilation"),
        (lambda: F.conv2d(X, W, dilation=3), ValueError, "weight"),
        (lambda: F.conv2d(X, W, groups=0), ValueError, "groups"),
        (lambda: F.conv2d(X, W, groups=4), ValueError, "groups"),
        (lambda: F.conv2d(X, np.ones((6, 4, 0, 3))), ValueError, "weight"),
        (lambda: F.conv2d(X, W, padding=10**12), (MemoryError, OverflowError), "padding|room"),
        (lambda: F.conv2d(X, W, stride=2**63), OverflowError, "stride"),
        (lambda: F.conv2d(X, W, out=np.empty((2, 6, 5, 5))), ValueError, "out"),
        (lambda: F.conv_output_size(3, 5), ValueError, "kernel_size"),
        (lambda: F.convolve2d(X, W), ValueError, "x"),
        (lambda: F.convolve2d(X[0, 0], W[0, 0], "wrap"), ValueError, "mode"),
        (lambda: F.convolve2d(np.ones((2, 5)), np.ones((3, 3)), "valid"), ValueError, "w"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels"),
        (lambda: nn.Conv2d(4, 4, 0), ValueError, "kernel_size"),
        (lambda: nn.Conv2d(4, 4, 3, padding_mode="mirror"), ValueError, "padding_mode"),
        (lambda: nn.Conv2d(4, 4, 3, device="cuda"), ValueError, "device"),
        (lambda: nn.Conv2d(4, 4, 3, padding=5, padding_mode="reflect")(X), ValueError, "padding"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()
