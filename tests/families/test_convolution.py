"""Convolution: drawn shapes, parity with torch and SciPy, NaN and infinity, the bound of float32, the table of refusals."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
import fastnn.functional as F
from fastnn import dispatch, nn
from fastnn.kernels import find, isa

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


# ------------------------------------------------------------------------------------------------------ the compiled algorithms

compiled = pytest.mark.skipif("cython" not in BACKENDS, reason="fastnn was installed without compiled kernels")
FAST_BOUND = 2e-5  # of the largest result, of F(4x4,3x3) on normal data


@pytest.fixture
def kernels():
    """The compiled module, in which an algorithm may be forced; afterwards the choice is free again."""
    module = importlib.import_module(f"fastnn.kernels.convolution.cython_kernels_{isa.level()}")
    yield module
    module.force(None)


def gradients_and_bounds(x, w, b, geometry):
    """y, dy, dx and dw in float64, and the sums of absolute products of y, dx and dw."""
    wide = [None if a is None else a.astype(np.float64) for a in (x, w, b)]
    (y,) = FORWARD.kernel("reference")(*wide, *geometry)
    dy = np.random.default_rng(5).standard_normal(y.shape).astype(x.dtype)
    dx, dw, _ = BACKWARD.kernel("reference")(dy.astype(np.float64), *wide[:2], *geometry)
    sizes = [abs(a) for a in (dy.astype(np.float64), *wide[:2])]
    (y_sum,) = FORWARD.kernel("reference")(sizes[1], sizes[2], None if b is None else abs(wide[2]), *geometry)
    dx_sum, dw_sum, _ = BACKWARD.kernel("reference")(*sizes, *geometry)
    return (y, dx, dw), dy, (y_sum, dx_sum, dw_sum)


SHAPES = [  # x, w, stride, padding, dilation, groups
    ((2, 64, 9, 7), (64, 64, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    ((1, 65, 30, 33), (67, 65, 3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((3, 66, 5, 6), (70, 66, 3, 3), (1, 1), (2, 3, 0, 2), (1, 1), 1),
    ((17, 64, 7, 7), (65, 64, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    ((1, 130, 1, 1), (64, 130, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    ((2, 20, 23, 19), (37, 20, 3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
    ((1, 9, 40, 45), (33, 9, 3, 3), (1, 1), (2, 2, 2, 2), (2, 2), 1),
    ((2, 6, 11, 13), (6, 3, 4, 5), (3, 2), (0, 3, 1, 2), (2, 1), 2),
    ((2, 40, 16, 9), (50, 40, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((2, 12, 15, 14), (34, 6, 1, 1), (2, 3), (0, 0, 0, 0), (1, 1), 2),
    ((1, 2, 3, 300), (3, 2, 1, 150), (1, 1), (0, 0, 0, 0), (1, 1), 1),
]


@compiled
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["direct", "few_channels", "few_pixels", "pointwise", "winograd", "winograd_fast", None])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_algorithm_lies_within_its_bound(kernels, name, shape, dtype, rng):
    x, w = (rng.standard_normal(size).astype(dtype) for size in shape[:2])
    b = rng.standard_normal(w.shape[0]).astype(dtype)
    expected, dy, sums = gradients_and_bounds(x, w, b, shape[2:])
    kernels.force(name)
    y, dx, dw = np.full(dy.shape, np.nan, dtype), np.full_like(x, np.nan), np.full_like(w, np.nan)
    kernels.conv2d(x, w, b, *shape[2:], y)
    kernels.conv2d_backward(dy, x, w, *shape[2:], dx, dw, np.empty_like(b))
    eps = np.finfo(dtype).eps
    for result, exact, total in zip((y, dx, dw), expected, sums, strict=True):
        if name == "winograd_fast" and result is not dw:
            assert np.abs(result - exact).max() <= FAST_BOUND * eps / np.finfo(np.float32).eps * np.abs(exact).max()
        elif name in ("winograd", None) and w.shape[1] >= 64:
            assert (np.abs(result - exact) <= 16 * eps * total.max()).all()
        else:
            assert (np.abs(result - exact) <= 16 * eps * total).all()


@compiled
def test_huge_steps_need_no_huge_memory(kernels, rng):
    """Only the middle row of the kernel meets the input."""
    x, w = rng.standard_normal((1, 20, 4, 5)), rng.standard_normal((2, 20, 3, 3))
    geometry = ((2**28, 1), (2**29, 2**29, 1, 1), (2**29, 1), 1)
    same = ((1, 1), (0, 0, 1, 1), (1, 1), 1)
    (expected,) = FORWARD.kernel("reference")(x[:, :, :1], w[:, :, 1:2], None, *same)
    y, dx, dw = np.empty((1, 2, 1, 5)), np.empty_like(x), np.empty_like(w)
    kernels.conv2d(x, w, None, *geometry, y)
    kernels.conv2d_backward(y, x, w, *geometry, dx, dw, None)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    row, taps, _ = BACKWARD.kernel("reference")(y, x[:, :, :1], w[:, :, 1:2], *same)
    np.testing.assert_allclose(dx, np.concatenate([row, np.zeros((1, 20, 3, 5))], axis=2), rtol=1e-12)
    np.testing.assert_allclose(dw[:, :, 1:2], taps, rtol=1e-12)
    assert not dw[:, :, 0].any() and not dw[:, :, 2].any()


def test_padding_may_differ_before_and_after(rng):
    x, w = rng.standard_normal((2, 3, 7, 8)), rng.standard_normal((4, 3, 3, 2))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)))
    np.testing.assert_allclose(F.conv2d(x, w, stride=2, padding=((1, 2), (0, 3))), F.conv2d(padded, w, stride=2), atol=1e-12)
    np.testing.assert_allclose(
        F.conv1d(x[:, :, 0], w[:, :, 0], padding=((2, 0),)), F.conv1d(np.pad(x[:, :, 0], ((0, 0), (0, 0), (2, 0))), w[:, :, 0])
    )
    for wrong in (((1, 2),), ((1, -2), (0, 0)), ((1, 2, 3), (0, 0))):
        with pytest.raises(ValueError, match="padding"):
            F.conv2d(x, w, padding=wrong)


@compiled
@pytest.mark.parametrize("name", ["winograd", "winograd_fast"])
def test_winograd_keeps_nan_infinity_and_large_values_apart(kernels, name, rng):
    x, w = rng.standard_normal((2, 64, 13, 11)).astype(np.float32), rng.standard_normal((65, 64, 3, 3)).astype(np.float32)
    x[0, 3, 4, 4], x[1, 63, 12, 10], x[1, 0, 0, 0] = np.nan, np.inf, 3e38
    w[7, 3] = 0
    geometry = ((1, 1), (1, 1, 1, 1), (1, 1), 1)
    y, z = np.empty((2, 65, 13, 11), np.float32), np.empty((2, 65, 13, 11), np.float32)
    kernels.force(name)
    kernels.conv2d(x, w, None, *geometry, y)
    kernels.force("direct")
    kernels.conv2d(x, w, None, *geometry, z)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(z))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(z))
    assert np.isnan(y[0, :, 3:6, 3:6]).all() and np.isfinite(y[0, :, :3]).all(), "0 * NaN is NaN, and it stays in its windows"
    far = np.isfinite(z) & (np.abs(z) < 1e3)
    np.testing.assert_allclose(y[far], z[far], atol=1e-2)


@compiled
@pytest.mark.parametrize("name", ["direct", "pointwise", "winograd", "winograd_fast"])
def test_bits_do_not_depend_on_threads(kernels, name, rng):
    kernels.force(name)
    results = []
    for w_shape, pads in (((96, 64, 3, 3), 1), ((96, 64, 1, 1), 0)):
        x, w = rng.standard_normal((3, 64, 30, 28)).astype(np.float32), rng.standard_normal(w_shape).astype(np.float32)
        for threads in (1, 2, 3, 7):
            fastnn.set_num_threads(threads)
            y, dx, dw = np.empty((3, 96, 30, 28), np.float32), np.empty_like(x), np.empty_like(w)
            geometry = ((1, 1), (pads,) * 4, (1, 1), 1)
            kernels.conv2d(x, w, None, *geometry, y)
            kernels.conv2d_backward(y, x, w, *geometry, dx, dw, None)
            results.append((y, dx, dw))
        for other in results[1:]:
            for mine, theirs in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(mine, theirs)
        results.clear()


@compiled
def test_precision_is_read_at_every_call(rng):
    x, w = rng.standard_normal((8, 64, 56, 56)).astype(np.float32), rng.standard_normal((64, 64, 3, 3)).astype(np.float32)
    out = np.empty_like(x)
    before = [F.conv2d(x, w, padding=1, out=out).copy() for _ in range(3)][-1]
    try:
        fastnn.set_convolution_precision("fast")
        fast = F.conv2d(x, w, padding=1, out=out).copy()
    finally:
        fastnn.set_convolution_precision("default")
    np.testing.assert_array_equal(F.conv2d(x, w, padding=1, out=out), before)
    assert 0 < np.abs(fast - before).max() <= FAST_BOUND * np.abs(before).max()
    with pytest.raises(ValueError, match="precision.*'exact'"):
        fastnn.set_convolution_precision("exact")
