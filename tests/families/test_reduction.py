"""Reductions: what the generic tests cannot know."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F

NAN, INF = np.nan, np.inf
DIMS = [None, 0, 1, -1, (0, 1), (1, 2), (0, 2), (-1, 0), (0, 1, 2, 3), (1, 3), ()]
every_backend = pytest.mark.usefixtures("backend")


@every_backend
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", DIMS, ids=str)
def test_agrees_with_torch(rng, dim, keepdim):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 4, 5))
    for name in ("sum", "mean", "var", "amax", "amin"):
        theirs, ours = torch.tensor(x, requires_grad=True), fastnn.tensor(x, requires_grad=True)
        along = () if dim is None and name in ("amax", "amin") else dim
        along = None if dim == () and name == "var" else along  # there torch 2.13 gives infinite gradients
        expected = getattr(torch, name)(theirs, dim=along, keepdim=keepdim)
        y = getattr(F, name)(ours, dim, keepdim=keepdim)
        np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-12)
        expected.square().sum().backward()
        F.sum(y * y).backward()
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-10, atol=1e-13)


@every_backend
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_max_and_min_along_a_dimension(rng, dim):
    torch = pytest.importorskip("torch")
    x = rng.integers(0, 3, (4, 9, 5)).astype(np.float32)
    for name in ("max", "min"):
        values, indices = getattr(F, name)(x, dim, True)
        expected = getattr(torch, name)(torch.tensor(x), dim, True)
        assert values.dtype == np.float32
        assert indices.dtype == np.int64
        np.testing.assert_array_equal(values, expected.values.numpy())
        np.testing.assert_array_equal(indices, getattr(np, "arg" + name)(x, dim, keepdims=True))  # the first one


@every_backend
@pytest.mark.parametrize("correction", [0, 1, 0.5, 3, 4])
@pytest.mark.filterwarnings("ignore:var")
def test_variance_correction(rng, correction):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((3, 5))
    expected = torch.tensor(x).var(0, correction=correction).numpy()
    np.testing.assert_allclose(F.var(x, 0, correction=correction), expected, rtol=1e-12)


@every_backend
@pytest.mark.parametrize("shape, dim", [((4,), 0), ((4, 3), 0), ((4, 3), 1), ((2, 5000), 1), ((5000, 2), 0), ((2, 3, 4), (0, 2))])
def test_first_extremum_gets_the_gradient(shape, dim):
    for reduce in (F.amax, F.amin):
        x = fastnn.tensor(np.ones(shape), requires_grad=True)
        y = reduce(x, dim)
        F.sum(y).backward()
        g = np.moveaxis(x.grad.numpy(), dim, range(len(np.atleast_1d(dim))))
        count = g.size // y.numpy().size
        assert (g.reshape(count, -1)[0] == 1).all()
        assert g.sum() == y.numpy().size
    for reduce in (F.max, F.min):
        x = fastnn.tensor(np.ones(shape), requires_grad=True)
        reduce(x).backward()
        assert x.grad.numpy().flat[0] == x.grad.numpy().sum() == 1


@every_backend
@pytest.mark.parametrize("tail", [(), (3,)])
@pytest.mark.parametrize("where", [0, 1, 40, 4095, 4096, 8999])
def test_nan_wins_and_the_first_is_named(rng, tail, where):
    x = rng.standard_normal((9000, *tail))
    x[where] = NAN
    x[where:][5::7] = NAN
    x[:2] = np.where(np.isnan(x[:2]), NAN, [[INF] * max(1, *tail, 0)] if tail else INF)
    for reduce in (F.max, F.min):
        values, indices = reduce(x, 0)
        assert np.isnan(values).all()
        assert (indices == where).all()
        assert np.isnan(reduce(x))
    assert np.isnan(F.sum(x, 0)).all()


@every_backend
def test_infinity_and_signed_zero():
    assert F.max(np.full(50, -INF)) == -INF
    values, indices = F.max(np.array([-INF, INF, INF, 0.0]), 0)
    assert (values, indices) == (INF, 1)
    assert np.signbit(F.max(np.array([-0.0, 0.0])))
    assert not np.signbit(F.min(np.array([0.0, -0.0])))
    assert np.isnan(F.sum(np.array([INF, -INF])))
    assert F.sum(np.array([INF, 1.0])) == INF


@every_backend
@pytest.mark.parametrize("shape, dim", [((1_000_003,), 0), ((100_003, 3), 0), ((2, 100_003), 1)])
def test_long_sums_are_accurate(rng, shape, dim):
    x = (rng.random(shape) + 1).astype(np.float32)
    exact = x.astype(np.longdouble)
    eps = np.finfo(np.float32).eps
    np.testing.assert_allclose(F.sum(x, dim), exact.sum(dim).astype(float), rtol=eps)
    np.testing.assert_allclose(F.mean(x, dim), exact.mean(dim).astype(float), rtol=eps)
    np.testing.assert_allclose(F.sum(x.astype(np.float64), dim), exact.sum(dim).astype(float), rtol=1e-13)
    shifted = (x + 1000).astype(np.float32)
    np.testing.assert_allclose(F.var(shifted, dim), shifted.astype(np.float64).var(dim, ddof=1), rtol=4 * eps)


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scalars_keep_their_dtype(dtype):
    x = np.arange(6, dtype=dtype).reshape(2, 3)
    for result in (F.sum(x), F.mean(x), F.var(x), F.max(x), F.min(x), F.amax(x), F.amin(x), F.sum(x[0, :1].reshape(()))):
        assert result.shape == ()
        assert result.dtype == dtype
    assert F.sum(x, keepdim=True).shape == (1, 1)
    assert [part.shape for part in F.max(x[0, :1].reshape(()), 0)] == [(), ()]


@every_backend
@pytest.mark.filterwarnings("error")
def test_nothing_to_reduce():
    x = np.zeros((2, 0, 3), np.float32)
    np.testing.assert_array_equal(F.sum(x, 1), np.zeros((2, 3)))
    assert F.sum(x) == 0
    assert np.isnan(F.mean(x, 1)).all()
    assert F.mean(x, 1).shape == (2, 3)
    assert np.isnan(F.mean(x))
    assert np.isnan(F.var(x))
    assert np.isnan(F.var(np.ones(1)))
    assert F.max(x, 0)[0].shape == (0, 3)
    for reduce in (F.max, F.min, F.amax, F.amin):
        with pytest.raises(ValueError, match="input"):
            reduce(x)
        with pytest.raises(ValueError, match="input"):
            reduce(x, 1)
    for reduce in (F.sum, F.mean):
        assert fastnn.vjp(lambda v, reduce=reduce: reduce(v, 1), x)[1](np.ones((2, 3), np.float32))[0].shape == x.shape


@every_backend
def test_out(rng):
    x = rng.standard_normal((3, 4, 5))
    for reduce in (F.sum, F.mean, F.var, F.amax, F.amin):
        out = np.empty((3, 5))
        assert reduce(x, 1, out=out) is out
        np.testing.assert_array_equal(out, reduce(x, 1))
        strided = np.empty((5, 3)).T
        reduce(x, 1, out=strided)
        np.testing.assert_array_equal(strided, out)


def test_inputs_in_any_memory(rng):
    x = rng.standard_normal((6, 8, 10))
    for view in (np.asfortranarray(x), x[::-1, :, ::2], x.transpose(2, 0, 1), np.broadcast_to(x[:1], x.shape)):
        np.testing.assert_allclose(F.sum(view, (0, 2)), view.sum((0, 2)), rtol=1e-12)
        np.testing.assert_array_equal(F.max(view, 1)[1], view.argmax(1))


X = np.zeros((2, 3))


@pytest.mark.parametrize(
    "f, error, name",
    [
        (lambda: F.sum(X, 2), IndexError, "dim"),
        (lambda: F.mean(X, (0, -3)), IndexError, "dim"),
        (lambda: F.sum(X, (0, 0)), ValueError, "dim"),
        (lambda: F.sum(X, 0.5), TypeError, "dim"),
        (lambda: F.max(X, (0, 1)), TypeError, "dim"),
        (lambda: F.max(X, 2), IndexError, "dim"),
        (lambda: F.sum(None), TypeError, "input"),
        (lambda: F.sum([1.0]), TypeError, "input"),
        (lambda: F.sum(X.astype(np.int64)), TypeError, "input"),
        (lambda: F.amax(X.astype(np.float16)), TypeError, "input"),
        (lambda: F.var(X, correction="1"), TypeError, "correction"),
        (lambda: F.var(X, correction=NAN), ValueError, "correction"),
        (lambda: F.sum(X, 0, out=np.zeros(2)), ValueError, "out"),
        (lambda: F.sum(X, 0, out=np.zeros(3, np.float32)), TypeError, "out"),
    ],
)
def test_errors(f, error, name):
    with pytest.raises(error, match=name):
        f()
