"""Sums of products of a convolution in float32 lie within 16 eps sum(|a||b|) of the exact ones, however long they are."""

import numpy as np
import pytest

import fastnn
from fastnn import dispatch
from fastnn.kernels import find

BACKENDS = [name for name in ("cython", "numba", "reference") if dispatch.is_available(name)]
FORWARD, BACKWARD = find("conv2d"), find("conv2d_backward")
EPS = np.finfo(np.float32).eps
SHAPES = [  # x, w, stride: what is long
    ((1, 512, 15, 15), (50, 512, 3, 3), 2),  # channels of a few taps
    ((1, 16, 30, 30), (2, 16, 30, 30), 1),  # taps
    ((1, 1, 1, 12_000), (3, 1, 1, 9000), 1),
    ((1, 5, 1, 1998), (5, 1, 1, 999), 1),
    ((1, 20, 50, 50), (20, 1, 21, 21), 1),
    ((1, 10_000, 2, 2), (20, 10_000, 1, 1), 1),  # channels of 1x1
    ((2, 20_000, 3, 5), (40, 20_000, 1, 1), 1),
    ((1, 60_000, 1, 1), (3, 60_000, 1, 1), 1),
    ((1, 20, 2, 2), (20_000, 20, 1, 1), 1),
    ((2, 12, 2, 2), (20_002, 6, 2, 2), 2),
    ((1, 3, 9, 9), (9000, 3, 3, 3), 1),
    ((1, 20, 1, 20_000), (40, 20, 1, 3), 1),  # a row of pixels
    ((1, 20, 3, 5003), (40, 20, 3, 7), 1),
    ((1, 24, 100, 100), (40, 24, 3, 3), 1),  # an image
    ((1, 30, 120, 120), (50, 30, 1, 1), 1),
    ((20_000, 32, 1, 1), (20, 32, 1, 1), 1),  # images of few pixels
    ((20_000, 3, 2, 2), (4, 3, 2, 2), 1),
    ((900, 40, 5, 5), (50, 20, 1, 1), 1),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("x", "w", "stride"), SHAPES, ids=str)
def test_sums_of_equal_products(backend, x, w, stride, rng):
    """Every rounding goes the same way, and how far depends on the value: each channel has another one."""

    def values(shape, axis):
        column = rng.uniform(0.5, 2, shape[axis]).astype(np.float32)
        return np.ascontiguousarray(np.broadcast_to(column.reshape(-1, *[1] * (len(shape) - 1 - axis)), shape))

    geometry = (1 if x[2] == 1 else stride, stride), (0, 0, 0, 0), (1, 1), x[1] // w[1]

    def check(operator, *args):
        exact = operator.kernel("reference")(*(a.astype(float) for a in args), *[None] * (operator is FORWARD), *geometry)
        with fastnn.use_backend(backend):
            found = dispatch.run(operator, (*args, *[None] * (operator is FORWARD), *geometry))
        for result, sums in zip(found, exact, strict=True):
            assert (np.abs(result - sums) <= 16 * EPS * sums).all()
        return found

    ones = np.ones(x, np.float32)
    (y,) = check(FORWARD, ones, values(w, 0))
    check(BACKWARD, np.ones_like(y), ones, values(w, 1))
    check(BACKWARD, values(y.shape, 1), ones, np.ones(w, np.float32))


@pytest.mark.parametrize(("x", "w", "stride"), SHAPES, ids=str)
def test_bits_of_long_sums_do_not_depend_on_threads(x, w, stride, rng, shared_work):
    geometry = (1 if x[2] == 1 else stride, stride), (0, 0, 0, 0), (1, 1), x[1] // w[1]
    images, weights = rng.standard_normal(x).astype(np.float32), rng.standard_normal(w).astype(np.float32)
    before, results = fastnn.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            fastnn.set_num_threads(threads)
            (y,) = dispatch.run(FORWARD, (images, weights, None, *geometry))
            results.append((y, *dispatch.run(BACKWARD, (y, images, weights, *geometry))))
    finally:
        fastnn.set_num_threads(before)
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(one, other)
