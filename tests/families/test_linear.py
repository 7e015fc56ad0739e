"""What the table of examples cannot know about products of matrices."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn.autograd import tensor
from fastnn.dispatch import use_backend
from fastnn.kernels import isa

BACKENDS = [name for name in ("reference", "cython") if name != "cython" or isa.level() != isa.NONE]


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 3), (2, 4, 3), (0, 3), (2, 0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_takes_any_leading_dimensions(shape, bias, rng):
    x, w, b = rng.standard_normal(shape), rng.standard_normal((5, 3)), rng.standard_normal(5) if bias else None
    expected = x @ w.T + (0 if b is None else b)
    np.testing.assert_allclose(F.linear(x, w, b), expected, rtol=1e-12)
    out = np.empty(expected.shape)
    assert F.linear(x, w, b, out=out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-12)


def test_linear_with_a_one_dimensional_weight(rng):
    x, w = rng.standard_normal((4, 3)), rng.standard_normal(3)
    np.testing.assert_allclose(F.linear(x, w, np.array(2.0)), x @ w + 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("a", "b"),
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)),
     ((5, 1, 2, 3), (6, 3, 4)), ((2, 3), (5, 3, 4)), ((2, 0), (0, 4)), ((0, 2, 3), (3, 4)), ((5, 2, 3), (3,))],
)  # fmt: skip
def test_matmul_follows_numpy(a, b, rng):
    x, y = rng.standard_normal(a), rng.standard_normal(b)
    result = F.matmul(x, y)
    np.testing.assert_allclose(result, np.matmul(x, y), atol=1e-12)
    assert result.shape == np.matmul(x, y).shape


@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_and_infinity_come_through(backend, rows):
    x, w = np.ones((rows, 40), np.float32), np.ones((20, 40), np.float32)
    x[0, 1], w[3, 2], w[4, 1] = np.inf, np.nan, 0
    with use_backend(backend):
        y = F.linear(x, w)
    assert np.isnan(y[:, 3]).all(), "NaN in a weight"
    assert np.isnan(y[0, 4]), "0 * inf"
    assert np.isposinf(np.delete(y[0], [3, 4])).all()
    assert np.isfinite(np.delete(y[1:], 3, axis=1)).all()


@pytest.mark.parametrize(
    "columns, rows", [(1, 1), (2, 3), (5, 7), (17, 33), (64, 32), (100, 15), (1023, 16), (1024, 17), (1025, 15)]
)
@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_single_row(columns, rows, activation, dtype, rng):
    """One sample takes ways of its own: unaligned memory and a missing bias among them, and nothing is written beyond the end."""
    x, w = (rng.standard_normal(shape).astype(dtype) for shape in ((1, columns), (rows, columns)))
    shifted = np.empty(rows * columns + 1, dtype)[1:].reshape(rows, columns)
    shifted[...] = w
    for b in (None, rng.standard_normal(rows).astype(dtype)):
        room = np.full(rows + 16, 7, dtype)
        y = F.linear(x, w, b, activation=activation, out=room[:rows].reshape(1, rows))
        with use_backend("reference"):
            expected = F.linear(*(a if a is None else a.astype(np.float64) for a in (x, w, b)), activation=activation)
        scale = np.abs(x).astype(np.float64) @ np.abs(w).T.astype(np.float64) + (0 if b is None else np.abs(b)) + 1
        assert (np.abs(y - expected) <= 16 * np.finfo(dtype).eps * scale).all()
        assert (room[rows:] == 7).all()
        np.testing.assert_array_equal(F.linear(x, shifted, b, activation=activation), y)


@pytest.mark.parametrize("shape", [(4, 3, 1), (4, 2, 3), (1, 32, 1), (1, 1, 32), (2, 16, 1), (2, 1, 16), (3, 9, 1), (0, 2, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_a_few_numbers(shape, dtype, rng):
    N, I, O = shape
    x, w, b, dy = (rng.standard_normal(s).astype(dtype) for s in ((N, I), (O, I), O, (N, O)))
    room = [np.full(a.size + 16, 7, dtype) for a in (x, w, b)]
    _, pullback = fastnn.vjp(F.linear, x, w, b)
    found = pullback(dy, out=tuple(r[: a.size].reshape(a.shape) for r, a in zip(room, (x, w, b), strict=True)))
    for gradient, expected in zip(found, (dy @ w, dy.T @ x, dy.sum(0)), strict=True):
        np.testing.assert_allclose(gradient, expected, atol=64 * np.finfo(dtype).eps)
    assert all((r[a.size :] == 7).all() for r, a in zip(room, (x, w, b), strict=True))


@pytest.mark.parametrize("shape", [(1, 4), (20, 32)])
def test_relu_of_a_single_row_keeps_nan(shape):
    w = np.ones(shape, np.float32)
    w[0, 1] = np.nan
    y = F.linear(-np.ones((1, shape[1]), np.float32), w, activation="relu")
    assert np.isnan(y[0, 0])
    assert (y[0, 1:] == 0).all() and not np.signbit(y[0, 1:]).any()


def test_overlapping_out_gives_the_right_value(rng):
    x, w = rng.standard_normal((6, 6)), rng.standard_normal((6, 6))
    expected = x @ w.T
    np.testing.assert_allclose(F.linear(x, w, out=x), expected, rtol=1e-12)


def test_tensors_record(rng):
    x, w = tensor(rng.standard_normal((2, 3, 4)), requires_grad=True), tensor(rng.standard_normal((5, 4)), requires_grad=True)
    F.linear(x, w).backward(np.ones((2, 3, 5)))
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(w.numpy().sum(0), (2, 3, 4)))
    np.testing.assert_allclose(w.grad.numpy(), np.broadcast_to(x.numpy().sum((0, 1)), (5, 4)))


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 30), (4, 20, 40)])
def test_activation_is_that_of_the_functional(activation, shape, rng):
    x, w, b = rng.standard_normal(shape), rng.standard_normal((35, shape[-1])), rng.standard_normal(35)
    plain = fastnn.vjp(lambda *args: getattr(F, activation)(F.linear(*args)), x, w, b)
    fused = fastnn.vjp(F.linear, x, w, b, activation=activation)
    dy = rng.standard_normal(plain[0].shape)
    np.testing.assert_allclose(fused[0], plain[0], atol=1e-12)
    for ours, expected in zip(fused[1](dy), plain[1](dy), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-11)
    out = np.empty_like(fused[0])
    assert F.linear(x, w, b, activation=activation, out=out) is out
    np.testing.assert_array_equal(out, fused[0])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "shape", [(1, 5, 3), (1, 64, 64), (3, 40, 33), (15, 600, 530), (40, 17, 32), (0, 4, 3), (2, 0, 3), (5, 3, 1)]
)
def test_packed_weight_gives_the_same(backend, shape, rng):
    N, I, O = shape
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((N, I), (O, I), (O,)))
    with use_backend(backend):
        packed = F.pack_weight(w)
        assert packed.shape == (O, I)
        for activation in (None, "tanh"):
            expected = F.linear(x.astype(float), w.astype(float), b.astype(float), activation=activation)
            np.testing.assert_allclose(F.linear(x, packed, b, activation=activation), expected, atol=1e-4)
        np.testing.assert_allclose(F.linear(x.reshape(N, 1, I), packed), (x.astype(float) @ w.T)[:, None], atol=1e-4)


def test_packed_weight_is_a_copy_without_gradient(rng):
    w = rng.standard_normal((4, 3))
    packed = F.pack_weight(w)
    before = F.linear(X, packed)
    w[:] = 0
    np.testing.assert_array_equal(F.linear(X, packed), before)
    with pytest.raises(TypeError, match="input.*detach"):
        F.linear(tensor(X, requires_grad=True), packed)
    with pytest.raises(TypeError, match="bias.*detach"):
        F.linear(X, packed, tensor(B, requires_grad=True))
    with pytest.raises(TypeError, match="weight.*detach"):
        F.pack_weight(tensor(w, requires_grad=True))
    with pytest.raises(TypeError, match="input.*detach"):
        fastnn.vjp(lambda x: F.linear(x, packed), X)
    assert F.linear(tensor(X), packed).shape == (2, 4)


SHAPES = [
    (1, 700, 700),
    (3, 500, 900),
    (9, 300, 1000),
    (200, 700, 90),
    (500, 130, 520),
    (300, 600, 2),
    (90, 1024, 300),
    (2100, 600, 560),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_threads_do_not_change_a_bit(shape, dtype, rng):
    N, I, O = shape
    x, w, b, dy = (rng.standard_normal(s).astype(dtype) for s in ((N, I), (O, I), (O,), (N, O)))
    packed = F.pack_weight(w)
    results = []
    before = fastnn.get_num_threads()
    try:
        for threads in (1, 2, 3):
            fastnn.set_num_threads(threads)
            y, pullback = fastnn.vjp(F.linear, x, w, b, activation="tanh")
            results.append([y, *pullback(dy), F.linear(x, packed, b), F.matmul(dy, w), F.matmul(dy.T, x)])
    finally:
        fastnn.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape",
    [(1, 128, 8), (1, 136, 5), (1, 200, 20), (1, 256, 9), (1, 1040, 8), (30, 272, 20), (20, 528, 9), (3, 1000, 30), (150, 400, 70)],
)  # fmt: skip
def test_where_matrices_begin_does_not_change_a_bit(shape, dtype, rng):
    """Vectors are cut from whole cache lines, or columns set apart, where a matrix does not begin on a line."""
    N, I, O = shape
    x, w, dy = (rng.standard_normal(s).astype(dtype) for s in ((N, I), (O, I), (N, O)))
    results = []
    for begin in range(0, 64, w.itemsize):
        y, pullback = fastnn.vjp(F.linear, _moved(x, begin), _moved(w, begin))
        results.append((y, *pullback(dy)))
    wide = [array.astype(float) for array in (x, w, dy)]
    for result, expected in zip(results[0], (wide[0] @ wide[1].T, wide[2] @ wide[1], wide[2].T @ wide[0]), strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-4 if dtype == np.float32 else 1e-10)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def _moved(array, begin):
    """The same values so many bytes after the beginning of a cache line."""
    memory = np.empty(array.nbytes + 128, np.uint8)
    begin += -memory.ctypes.data % 64
    result = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(33, 520, 47), (40, 1024, 50), (256, 1030, 515), (257, 300, 515), (2100, 600, 560), (513, 70, 2100)]
)
def test_all_blocks_of_large_products(shape, dtype, rng):
    """Rows, columns and depths that fill more than one block, and those that fill one but for the rest."""
    N, I, O = shape
    x, w, b, dy = (rng.integers(-8, 8, s).astype(dtype) for s in ((N, I), (O, I), (O,), (N, O)))
    y, pullback = fastnn.vjp(F.linear, x, w, b)
    for result, expected in zip((y, *pullback(dy)), (x @ w.T + b, dy @ w, dy.T @ x, dy.sum(0)), strict=True):
        np.testing.assert_array_equal(result, expected)  # sums of small integers are exact


@pytest.mark.parametrize("rows", [1, 3])
def test_every_call_over_a_large_matrix_gives_the_same_bits(rows, rng):
    """Calls go over it in turn from its beginning and from its end."""
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((rows, 700), (603, 700), (603,)))
    first = F.linear(x, w, b)
    np.testing.assert_allclose(first, x.astype(float) @ w.T.astype(float) + b, rtol=0, atol=2e-3)
    for _ in range(3):
        assert F.linear(x, w, b).tobytes() == first.tobytes()


def test_operands_of_any_layout(rng):
    x, w = rng.standard_normal((70, 90)), rng.standard_normal((50, 90))
    expected = x @ w.T
    for a in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x[::-1][::-1]):
        np.testing.assert_allclose(F.linear(a, np.asfortranarray(w)), expected, atol=1e-12)
    np.testing.assert_allclose(F.matmul(x, w.T), expected, atol=1e-12)
    np.testing.assert_allclose(F.matmul(w, x.T), expected.T, atol=1e-12)


def test_many_python_threads_have_memory_of_their_own(rng):
    x, w = rng.standard_normal((60, 300)), rng.standard_normal((80, 300))
    expected = F.linear(x, w)
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: F.linear(x, w), range(200)):
            np.testing.assert_array_equal(result, expected)


X, W, B = np.ones((2, 3)), np.ones((4, 3)), np.ones(4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.linear(np.ones((2, 5)), W), ValueError, r"input.*3.*\(2, 5\)"),
        (lambda: F.linear(X, W, np.ones(3)), ValueError, r"bias.*\(4,\).*\(3,\)"),
        (lambda: F.linear(X, W, np.ones((1, 4))), ValueError, "bias"),
        (lambda: F.linear(X, W.astype(np.float32)), TypeError, "weight.*float64.*float32"),
        (lambda: F.linear(X, np.ones((1, 4, 3))), ValueError, "weight"),
        (lambda: F.linear(X, None), TypeError, "weight"),
        (lambda: F.linear(np.array(1.0), W), ValueError, "input"),
        (lambda: F.linear(X, W, B, out=np.empty((2, 3))), ValueError, r"out.*\(2, 4\)"),
        (lambda: F.linear(X, W, B, out=np.empty((2, 4), np.float32)), TypeError, "out"),
        (lambda: F.linear(X, W, B, out=np.broadcast_to(0.0, (2, 4))), ValueError, "out.*read-only"),
        (lambda: F.linear(X, W, B, out=[0]), TypeError, "out"),
        (lambda: F.linear(X, W, B, activation="gelu"), ValueError, "activation.*gelu"),
        (lambda: F.linear(X, W, B, activation=1), ValueError, "activation"),
        (lambda: F.linear(np.ones((2, 5)), F.pack_weight(W)), ValueError, r"input.*3.*\(2, 5\)"),
        (lambda: F.linear(X.astype(np.float32), F.pack_weight(W)), TypeError, "input.*float64.*float32"),
        (lambda: F.linear(X, F.pack_weight(W), np.ones(3)), ValueError, "bias"),
        (lambda: F.pack_weight(np.ones(3)), ValueError, "weight"),
        (lambda: F.pack_weight(None), TypeError, "weight"),
        (lambda: F.matmul(X, W), ValueError, "other"),
        (lambda: F.matmul(np.ones((2, 2, 3)), np.ones((5, 3, 4))), ValueError, "broadcast"),
        (lambda: F.matmul(np.array(1.0), X), ValueError, "dimension"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()
