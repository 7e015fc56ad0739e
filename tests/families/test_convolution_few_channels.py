"""Convolution with few channels a group: every register tile, phase and block edge, the bound of float32, memory around outputs."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch
from fastnn.kernels import find

BACKENDS = [name for name in ("cython", "numba", "reference") if dispatch.is_available(name)]
FORWARD, BACKWARD = find("conv2d"), find("conv2d_backward")
GUARD = 64
SHAPES = [  # x, w, stride, padding, dilation, groups
    *[((2, 2, 9, 13 + O), (O, 2, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1) for O in range(1, 18)],  # tiles of output channels
    *[((1, 1, 12, 2 * W), (3, 1, 2, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1) for W in range(2, 20)],  # ends of rows
    ((1, 3, 60, 224), (64, 3, 7, 7), (2, 2), (3, 3, 3, 3), (1, 1), 1),  # several blocks, sums in chunks
    ((2, 2, 40, 31), (5, 2, 5, 3), (3, 4), (2, 1, 3, 0), (1, 2), 1),
    ((1, 1, 37, 29), (1, 1, 4, 4), (4, 3), (0, 3, 5, 2), (3, 3), 1),
    ((2, 12, 9, 17), (9, 4, 3, 3), (2, 1), (1, 1, 1, 1), (2, 1), 3),
    ((3, 16, 14, 14), (32, 16, 5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 1),
    *[((2, 3, 9 + W, W), (3, 1, K, K), (S, S), (K // 2,) * 4, (1, 1), 3) for K in (3, 5, 7) for S in (1, 2) for W in (5, 14, 33)],
    ((1, 20, 70, 70), (20, 1, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 20),  # depthwise: blocks of channels and bands of rows
    ((1, 2, 150, 131), (2, 1, 5, 5), (1, 2), (4, 0, 7, 1), (1, 1), 2),
    ((40, 3, 16, 16), (3, 1, 3, 3), (2, 1), (0, 1, 0, 2), (1, 1), 3),
    ((2, 2, 1, 9000), (7, 2, 1, 9), (1, 1), (0, 0, 4, 4), (1, 1), 1),  # one dimension, blocks of columns
    ((1, 3, 1, 777), (4, 3, 1, 5), (1, 2), (0, 0, 3, 1), (1, 2), 1),
    # images in lanes: tiles of channels, blocks of images, taps that see nothing, phases, groups
    *[
        ((N, 6, 12, 12), (O, 6, 5, 5), (1, 1), (0, 0, 0, 0), (1, 1), 1)
        for N, O in ((16, 16), (17, 5), (33, 2), (70, 3), (130, 1))
    ],
    ((37, 18, 9, 8), (10, 9, 3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 2),
    ((20, 9, 5, 6), (7, 9, 3, 3), (3, 2), (1, 2, 1, 0), (1, 3), 1),
    ((16, 5, 8, 8), (10, 5, 5, 4), (1, 1), (4, 4, 3, 3), (1, 1), 1),
    ((20, 6, 20, 24), (9, 2, 4, 4), (1, 1), (0, 0, 0, 0), (1, 1), 3),
    # output channels in lanes: slabs of them, runs of pixels and their ends, blocks of rows, sums in chunks, strides of rows, groups
    ((1, 6, 12, 12), (16, 6, 5, 5), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((2, 3, 9, 3), (17, 3, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    ((1, 8, 160, 10), (66, 4, 3, 3), (2, 1), (1, 2, 0, 1), (1, 2), 2),
    ((3, 16, 30, 8), (16, 16, 5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 1),
    # 1x1 with many channels: tiles that lie in several images, products with and without packed weights
    *[((N, 40, H, 7), (70, 20, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 2) for N, H in ((1, 9), (7, 2), (40, 7))],
    # depthwise of stride 1: blocks of rows, more strips than are added up at once, more padding than a kernel, fewer rows
    *[((9, 40, 37, 41), (40, 1, K, K), (1, 1), (K // 2, K - 1, 0, 1), (1, 1), 40) for K in (3, 7)],
    ((1, 2, 101, 290), (2, 1, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 2),
    ((2, 3, 9, 20), (3, 1, 3, 3), (1, 1), (3, 0, 4, 5), (1, 1), 3),
    ((2, 3, 4, 17), (3, 1, 5, 5), (1, 1), (1, 1, 0, 20), (1, 1), 3),
]


def guarded(shape, dtype):
    """A buffer of sevens and a view into its middle."""
    raw = np.full(int(np.prod(shape)) + 2 * GUARD, 7, dtype)
    return raw, raw[GUARD : raw.size - GUARD].reshape(shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("call", SHAPES, ids=str)
def test_values_and_nothing_around_them(call, dtype, rng):
    x_shape, w_shape, *geometry = call
    x, w, b = (rng.standard_normal(shape).astype(dtype) for shape in (x_shape, w_shape, w_shape[:1]))
    (expected,) = FORWARD.kernel("reference")(x.astype(float), w.astype(float), b.astype(float), *geometry)
    dy = rng.standard_normal(expected.shape).astype(dtype)
    gradients = BACKWARD.kernel("reference")(dy.astype(float), x.astype(float), w.astype(float), *geometry)
    buffers = [guarded(a.shape, dtype) for a in (expected, *gradients)]
    dispatch.run(FORWARD, (x, w, b, *geometry), (buffers[0][1],))
    dispatch.run(BACKWARD, (dy, x, w, *geometry), tuple(view for _, view in buffers[1:]))
    for (raw, view), wanted in zip(buffers, (expected, *gradients), strict=True):
        np.testing.assert_allclose(view, wanted, rtol=0, atol=(2e-6 if dtype == np.float32 else 1e-13) * np.abs(wanted).max())
        assert (raw[:GUARD] == 7).all()
        assert (raw[raw.size - GUARD :] == 7).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [1.0371, 1.4142, 1.7303, 0.1])
@pytest.mark.parametrize(
    ("x", "w"), [((1, 3, 90, 90), (8, 3, 7, 7)), ((4, 16, 30, 30), (4, 16, 5, 5)), ((2, 3, 64, 64), (3, 1, 5, 5)),
     ((1, 2, 300, 20), (2, 1, 3, 3)), ((1, 2, 5, 4000), (2, 1, 3, 3)), ((40, 2, 60, 50), (2, 1, 5, 4)),
     ((64, 6, 14, 14), (16, 6, 5, 5)), ((1, 16, 12, 12), (16, 16, 5, 5))],
)  # fmt: skip
def test_float32_error_bound(backend, x, w, value):
    """Constant data is the worst case of long sums: all rounding errors point the same way."""
    groups = x[1] // w[1]
    with fastnn.use_backend(backend):
        y, pullback = fastnn.vjp(F.conv2d, np.full(x, value, np.float32), np.full(w, value, np.float32), groups=groups)
        dx, dw = pullback(np.full_like(y, value))
    inner = (slice(None), slice(None), slice(w[2] - 1, 1 - w[2]), slice(w[3] - 1, 1 - w[3]))
    product = float(np.float32(value)) ** 2
    for result, terms in (
        (y, np.prod(w[1:])), (dx[inner], w[0] // groups * w[2] * w[3]), (dw, x[0] * y.shape[2] * y.shape[3]),
    ):  # fmt: skip
        assert np.abs(result - product * terms).max() <= 16 * np.finfo(np.float32).eps * product * terms


@pytest.mark.parametrize("call", SHAPES[-23:], ids=str)
def test_same_bits_for_any_number_of_threads(call, rng, shared_work):
    x_shape, w_shape, *geometry = call
    x, w = (rng.standard_normal((3 * shape[0], *shape[1:])).astype(np.float32) for shape in (x_shape, w_shape))
    before = fastnn.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            fastnn.set_num_threads(threads)
            (y,) = dispatch.run(FORWARD, (x, w, None, *geometry))
            results.append((y, *dispatch.run(BACKWARD, (y, x, w, *geometry))))
    finally:
        fastnn.set_num_threads(before)
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, True)], ids=["dx", "dw and db"])
def test_depthwise_gradients_one_by_one(kernel, wanted, rng):
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 20, 37), (3, 1, kernel, kernel)))
    dy = rng.standard_normal(x.shape).astype(np.float32)
    geometry = ((1, 1), (kernel // 2,) * 4, (1, 1), 3)
    outputs = [np.full_like(a, np.nan) if want else None for a, want in zip((x, w, w[:, 0, 0, 0]), wanted, strict=True)]
    dispatch.run(BACKWARD, (dy, x, w, *geometry), tuple(outputs))
    exact = BACKWARD.kernel("reference")(dy.astype(float), x.astype(float), w.astype(float), *geometry)
    for result, value in zip(outputs, exact, strict=True):
        if result is not None:
            np.testing.assert_allclose(result, value, rtol=0, atol=2e-6 * np.abs(value).max())


@pytest.mark.parametrize("width", [3, 14, 40])
def test_depthwise_infinity_reaches_only_what_sees_it(width, rng):
    x, dy = (rng.uniform(1, 2, (1, 2, 8, width)).astype(np.float32) for _ in range(2))
    w = rng.uniform(1, 2, (2, 1, 3, 3)).astype(np.float32)
    x[0, 0, 0, 0], dy[0, 1, 7, width - 1] = np.inf, np.inf
    geometry = ((1, 1), (1, 1, 1, 1), (1, 1), 2)
    (y,) = dispatch.run(FORWARD, (x, w, None, *geometry))
    dx, dw, _ = dispatch.run(BACKWARD, (dy, x, w, *geometry))
    seen = np.zeros((8, width), bool)
    seen[:2, :2] = True
    np.testing.assert_array_equal(~np.isfinite(y[0]), [seen, np.zeros_like(seen)])
    np.testing.assert_array_equal(~np.isfinite(dx[0]), [np.zeros_like(seen), seen[::-1, ::-1]])
    np.testing.assert_array_equal(np.isfinite(dw[0, 0]), [[False, False, True], [False, False, True], [True, True, True]])
    assert not np.isfinite(dw[1, 0, :2, :2]).any(), "the last pixel of dy meets four taps inside"
