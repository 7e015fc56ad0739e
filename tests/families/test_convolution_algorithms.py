"""The compiled algorithms of convolution, each one forced: bounds of their errors, bits, NaN and infinity."""

import importlib

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch
from fastnn.kernels import find, isa

pytestmark = pytest.mark.skipif(not dispatch.is_available("cython"), reason="fastnn was installed without compiled kernels")
FORWARD, BACKWARD = find("conv2d"), find("conv2d_backward")
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
    # Winograd in phases: some of them have a row or a column less, or begin in the padding
    ((2, 64, 15, 18), (66, 64, 3, 3), (1, 1), (2, 2, 2, 2), (2, 2), 1),
    ((1, 64, 47, 49), (64, 64, 3, 3), (1, 1), (1, 3, 0, 4), (2, 2), 1),
    ((1, 70, 16, 17), (64, 70, 3, 3), (1, 1), (1, 3, 0, 4), (2, 1), 1),
    ((1, 64, 9, 31), (65, 64, 3, 3), (1, 1), (1, 1, 2, 2), (1, 2), 1),
    ((2, 20, 23, 19), (37, 20, 3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
    ((1, 9, 40, 45), (33, 9, 3, 3), (1, 1), (2, 2, 2, 2), (2, 2), 1),
    ((2, 6, 11, 13), (6, 3, 4, 5), (3, 2), (0, 3, 1, 2), (2, 1), 2),
    ((2, 40, 16, 9), (50, 40, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((2, 12, 15, 14), (34, 6, 1, 1), (2, 3), (0, 0, 0, 0), (1, 1), 2),
    ((1, 2, 3, 300), (3, 2, 1, 150), (1, 1), (0, 0, 0, 0), (1, 1), 1),
]


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


def test_winograd_of_a_dilation_keeps_nan_and_infinity_apart(kernels, rng):
    x, w = rng.standard_normal((2, 64, 17, 15)).astype(np.float32), rng.standard_normal((65, 64, 3, 3)).astype(np.float32)
    x[0, 3, 4, 4], x[1, 63, 16, 13] = np.nan, np.inf
    w[7, 3] = 0
    geometry = ((1, 1), (2, 2, 2, 2), (2, 2), 1)
    results = {}
    for name in ("winograd", "direct"):
        kernels.force(name)
        y, dx = np.full((2, 65, 17, 15), 7, np.float32), np.full_like(x, 7)
        kernels.conv2d(x, w, None, *geometry, y)
        kernels.conv2d_backward(y, x, w, *geometry, dx, None, None)
        results[name] = y, dx
    for result, expected in zip(results["winograd"], results["direct"], strict=True):
        np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(result), np.isinf(expected))
        finite = np.isfinite(expected)
        np.testing.assert_allclose(result[finite], expected[finite], atol=1e-4 * np.abs(expected[finite]).max())
    assert np.isnan(y[0, :, 2:7:2, 2:7:2]).all() and np.isfinite(y[0, :, 3]).all()


@pytest.mark.parametrize("name", ["direct", "pointwise", "winograd", "winograd_fast"])
def test_bits_do_not_depend_on_threads(kernels, name, rng, two_threads):
    kernels.force(name)
    results = []
    for w_shape, pads, dilation in (((96, 64, 3, 3), 1, 1), ((96, 64, 1, 1), 0, 1), ((96, 64, 3, 3), 2, 2)):
        x, w = rng.standard_normal((3, 64, 30, 28)).astype(np.float32), rng.standard_normal(w_shape).astype(np.float32)
        for threads in (1, 2, 3, 7):
            fastnn.set_num_threads(threads)
            y, dx, dw = np.empty((3, 96, 30, 28), np.float32), np.empty_like(x), np.empty_like(w)
            geometry = ((1, 1), (pads,) * 4, (dilation, dilation), 1)
            kernels.conv2d(x, w, None, *geometry, y)
            kernels.conv2d_backward(y, x, w, *geometry, dx, dw, None)
            results.append((y, dx, dw))
        for other in results[1:]:
            for mine, theirs in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(mine, theirs)
        results.clear()


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
