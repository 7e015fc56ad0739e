"""Activations: kinks, NaN, infinities and denormals by hand, accuracy in units of the last place, parity with torch."""

import numpy as np
import pytest
from scipy import special

import fastnn
import fastnn.functional as F
from fastnn import dispatch, nn
from fastnn.autograd import gradcheck, tensor

BACKENDS = [name for name in ("cython", "numba", "reference") if dispatch.is_available(name)]
every_backend = pytest.mark.parametrize("backend", BACKENDS)

ACTIVATIONS = {
    "threshold": {"threshold": 0.1, "value": 20.0}, "sigmoid": {}, "tanh": {}, "hardtanh": {"min_val": -0.5, "max_val": 0.7},
    "relu": {}, "leaky_relu": {"negative_slope": 0.2}, "elu": {"alpha": 0.7}, "selu": {}, "gelu": {"approximate": "none"},
    "silu": {}, "softplus": {"beta": 2.0, "threshold": 3.0}, "softsign": {},
}  # fmt: skip
SETTINGS = [*ACTIVATIONS.items(), ("gelu", {"approximate": "tanh"}), ("softplus", {}), ("elu", {})]


@every_backend
@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_values_and_gradients_equal_torch(name, options, backend, rng):
    torch = pytest.importorskip("torch")
    x = np.concatenate([rng.standard_normal(500) * 3, [0.0, 1e-30, -1e-30, 40.0, -40.0, 700.0, -700.0]])
    theirs = torch.tensor(x, requires_grad=True)
    expected = getattr(torch.nn.functional, name)(theirs, **options)
    expected.sum().backward()
    with fastnn.use_backend(backend):
        y, pullback = fastnn.vjp(lambda v: getattr(F, name)(v, **options), x)
        (dx,) = pullback(np.ones_like(y))
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dx, theirs.grad.numpy(), rtol=1e-11, atol=1e-13)


@every_backend
def test_relu_and_hardtanh_are_exact_to_the_bit(backend):
    x = np.array([-0.0, 0.0, 1e-45, -1e-45, 3.3, -3.3, np.inf, -np.inf, np.nan, 0.5], np.float32)
    with fastnn.use_backend(backend):
        np.testing.assert_array_equal(F.relu(x), np.array([0, 0, 1e-45, 0, 3.3, 0, np.inf, 0, np.nan, 0.5], np.float32))
        np.testing.assert_array_equal(F.hardtanh(x), np.array([-0.0, 0, 1e-45, -1e-45, 1, -1, 1, -1, np.nan, 0.5], np.float32))


@every_backend
def test_gradient_at_the_kinks(backend):
    with fastnn.use_backend(backend):
        for f, x, expected in (
            (F.relu, [0.0, -0.0, 1.0], [0, 0, 1]),
            (F.step, [0.0, 1.0, -1.0], [0, 0, 0]),
            (F.hardtanh, [-1.0, 1.0, 0.0], [0, 0, 1]),
        ):
            np.testing.assert_array_equal(fastnn.vjp(f, np.array(x))[1](np.ones(3))[0], expected)


@every_backend
def test_step_is_zero_at_zero(backend):
    with fastnn.use_backend(backend):
        np.testing.assert_array_equal(F.step(np.array([-1.0, 0.0, 2.0, np.nan])), [0, 0, 1, np.nan])


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_stays_and_infinity_has_its_limit(name, dtype, backend):
    limits = {"threshold": (np.inf, 20), "sigmoid": (1, 0), "tanh": (1, -1), "hardtanh": (0.7, -0.5), "relu": (np.inf, 0),
              "leaky_relu": (np.inf, -np.inf), "elu": (np.inf, -0.7), "selu": (np.inf, -1.0507009873554805 * 1.6732632423543772),
              "softplus": (np.inf, 0)}  # fmt: skip
    with fastnn.use_backend(backend):
        y = getattr(F, name)(np.array([np.nan, np.inf, -np.inf], dtype), **ACTIVATIONS[name])
    assert np.isnan(y[0]) and y.dtype == dtype
    if name in limits:
        np.testing.assert_allclose(y[1:], np.array(limits[name], dtype), rtol=1e-6)


def every_float32(step=4001):
    """Finite numbers of all sizes, evenly spread over the bit patterns."""
    size = np.arange(0, 0x7F800000, step, np.uint32).view(np.float32)
    return np.concatenate([size, -size])


def many_float64(rng):
    size = np.concatenate([rng.uniform(0, 750, 50_000), rng.uniform(0, 30, 200_000), 10.0 ** rng.uniform(-300, 0, 50_000)])
    return np.concatenate([size, -size])


def logistic(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def phi(x):
    return special.ndtr(x.astype(np.float64)).astype(x.dtype)


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / x.dtype.type(np.pi)) * (x + x.dtype.type(0.044715) * x**3)))


SELU = np.longdouble("1.0507009873554804934193349852946"), np.longdouble("1.6732632423543772848170429916717")

# name -> arguments, exact value, bounds in float32 and float64 that the docstring of fastnn.functional.activation names
BOUNDS = {
    "tanh": ({}, np.tanh, 2.6, 2.6),
    "sigmoid": ({}, logistic, 3.2, 2.6),
    "elu": ({}, elu, 2.4, 1.4),
    "selu": ({}, lambda x: SELU[0] * np.where(x > 0, x, SELU[1] * elu(x)), 3.6, 3.6),
    "softplus": ({}, lambda x: np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 21)))), 3.2, 2.2),
    "softsign": ({}, lambda x: x / (1 + np.abs(x)), 1.6, 1.6),
    "silu": ({}, lambda x: x * logistic(x), 4.2, 3.6),
}
OF_THE_INPUT = {
    "gelu": ({}, lambda x: x * phi(x), 1.8, 2.6),
    "gelu_tanh": ({"approximate": "tanh"}, gelu_tanh, 1.8, 1.8),
}
every_bound = pytest.mark.parametrize("name", [*BOUNDS, *OF_THE_INPUT])


def largest_error(name, x, exact):
    """The largest error of F's function in units of the last place, and its bound."""
    options, function, *bounds = (BOUNDS | OF_THE_INPUT)[name]
    y = getattr(F, name.removesuffix("_tanh"))(x, **options)
    with np.errstate(all="ignore"):
        expected = function(x.astype(exact))
        unit = np.spacing(np.abs(expected if name in BOUNDS else x).astype(x.dtype)).astype(exact)
        # x sigmoid(x) is as exact as the sigmoid, which is denormal here
        known = np.isfinite(unit) & ~((name == "silu") & (x < (-87 if x.dtype == np.float32 else -700)))
        return np.where(known, np.abs(y.astype(exact) - expected) / unit, 0).max(), bounds[x.dtype == np.float64]


@every_backend
@every_bound
def test_float32_error_in_units_of_the_last_place(name, backend):
    with fastnn.use_backend(backend):
        error, bound = largest_error(name, every_float32(40_009 if backend == "reference" else 4001), np.float64)
    assert 0.4 < error < bound


@every_backend
@every_bound
@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="longdouble is no wider than float64")
def test_float64_error_in_units_of_the_last_place(name, backend, rng):
    with fastnn.use_backend(backend):
        error, bound = largest_error(name, many_float64(rng), np.longdouble)
    assert 0.4 < error < bound


@every_backend
@pytest.mark.parametrize(("dtype", "eps"), [(np.float32, 2.0**-23), (np.float64, 2.0**-52)])
@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (F.gelu, lambda x: phi(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)),
        (F.elu, lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0)))),
        (F.softplus, lambda x: np.where(x > 20, 1, special.expit(x))),
        (F.sigmoid, lambda x: special.expit(x) * special.expit(-x)),
        (F.tanh, lambda x: np.cosh(np.clip(x, -300, 300)) ** -2.0),
    ],
)
def test_slopes_err_by_two_eps(f, slope, dtype, eps, backend):
    x = every_float32(40_009)
    x = x[np.abs(x) < 1e18].astype(dtype)
    with fastnn.use_backend(backend):
        (dx,) = fastnn.vjp(f, x)[1](np.ones_like(x))
    np.testing.assert_allclose(dx, slope(x.astype(np.float64)), rtol=0, atol=2.2 * eps)


@every_backend
def test_saturated_values_are_exact(backend):
    x = np.array([30, 100, 1e30], np.float32)
    with fastnn.use_backend(backend):
        for f, above, below in ((F.tanh, 1, -1), (F.sigmoid, 1, None), (F.elu, None, -1), (F.gelu, None, 0)):
            np.testing.assert_array_equal(f(x), x if above is None else np.full(3, above))
            if below is not None:
                np.testing.assert_array_equal(f(-x), np.full(3, below))
        assert np.all(F.sigmoid(-1000 * x) == 0)


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "elu", "gelu", "softplus"])
def test_same_bits_at_every_size_and_place(name, dtype, backend, rng):
    """Tiles, their rests, results that begin within a line, and results that go past the caches."""
    f = getattr(F, name)
    x = (4 * rng.standard_normal((5 << 20) // np.dtype(dtype).itemsize)).astype(dtype)
    out = np.empty(x.size + 16, dtype)
    with fastnn.use_backend(backend):
        whole, pullback = fastnn.vjp(f, x)
        (slopes,) = pullback(whole)
        for size in (1, 3, 63, 64, 65, 129, 1000, 4096, 5003):
            for shift in (0, 1, 7):
                y = out[shift : shift + size]
                out[:] = 7
                f(x[:size], out=y)
                np.testing.assert_array_equal(y, whole[:size])
                assert np.all(out[:shift] == 7) and np.all(out[shift + size :] == 7)
        (dx,) = fastnn.vjp(f, x[3:70_000])[1](whole[3:70_000])
    np.testing.assert_array_equal(dx, slopes[3:70_000])


@every_backend
def test_denormals_are_kept(backend):
    x = np.array([1e-42, -1e-42], np.float32)
    with fastnn.use_backend(backend):
        for f in (F.tanh, F.softsign, F.relu, F.identity):
            assert f(x)[0] == x[0]
        assert 0 < F.sigmoid(np.array([-100.0], np.float32))[0] < 1e-43


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_out_may_be_the_input(name, backend, rng):
    x = rng.standard_normal(3000).astype(np.float32)
    with fastnn.use_backend(backend):
        expected = getattr(F, name)(x, **ACTIVATIONS[name])
        assert getattr(F, name)(x, **ACTIVATIONS[name], out=x) is x
    np.testing.assert_array_equal(x, expected)


@every_backend
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 4, 4), (7,)])
@pytest.mark.parametrize("count", [1, 3])
def test_prelu_equals_torch(shape, count, backend, rng):
    torch = pytest.importorskip("torch")
    if count > 1 and len(shape) == 1:
        pytest.skip("one dimension has one channel")
    x, w = rng.standard_normal(shape), rng.standard_normal(count)
    theirs = [torch.tensor(v, requires_grad=True) for v in (x, w)]
    expected = torch.nn.functional.prelu(*theirs)
    dy = rng.standard_normal(shape)
    expected.backward(torch.tensor(dy))
    with fastnn.use_backend(backend):
        y, pullback = fastnn.vjp(F.prelu, x, w)
        gradients = pullback(dy)
    np.testing.assert_allclose(y, expected.detach().numpy())
    for mine, other in zip(gradients, theirs, strict=True):
        np.testing.assert_allclose(mine, other.grad.numpy(), rtol=1e-12)


def test_maxout():
    x = np.array([[1.0, 3.0, 3.0, 3.0, -1.0, np.nan]])
    np.testing.assert_array_equal(F.maxout(x, 2), [[3, 3, np.nan]])
    np.testing.assert_array_equal(F.maxout(x, 6), [[np.nan]])
    y, pullback = fastnn.vjp(lambda v: F.maxout(v, 2, dim=-1), x[:, :4])
    np.testing.assert_array_equal(pullback(np.ones_like(y))[0], [[0, 1, 1, 0]])  # a tie: the first
    assert gradcheck(lambda v: F.maxout(v, 3, 0), np.random.default_rng(0).standard_normal((6, 4)))


X = np.ones((2, 4))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.relu(X, inplace=True), ValueError, "inplace"),
        (lambda: F.hardtanh(X, 1.0, -1.0), ValueError, "min_val"),
        (lambda: F.leaky_relu(X, "a"), TypeError, "negative_slope"),
        (lambda: F.leaky_relu(X, float("nan")), ValueError, "negative_slope"),
        (lambda: F.elu(X, None), TypeError, "alpha"),
        (lambda: F.gelu(X, "erf"), ValueError, "approximate"),
        (lambda: F.softplus(X, beta=0), ValueError, "beta"),
        (lambda: F.prelu(X, np.ones(3)), ValueError, "weight"),
        (lambda: F.prelu(X, np.ones((2, 2))), ValueError, "weight"),
        (lambda: F.prelu(X, np.ones(4, np.float32)), TypeError, "weight"),
        (lambda: F.maxout(X, 3), ValueError, "pieces"),
        (lambda: F.maxout(X, 0), ValueError, "pieces"),
        (lambda: F.maxout(X, 2, dim=2), IndexError, "dim"),
        (lambda: F.maxout(np.array(1.0), 1), ValueError, "input"),
        (lambda: nn.LeakyReLU(inplace=True), ValueError, "inplace"),
        (lambda: nn.Hardtanh(2.0, 1.0), ValueError, "min_val"),
        (lambda: nn.GELU("x"), ValueError, "approximate"),
        (lambda: nn.PReLU(0), ValueError, "num_parameters"),
        (lambda: nn.Softmax(), ValueError, "dim"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (nn.Identity(3, a=4), F.identity), (nn.Threshold(0.1, 2.0), lambda x: F.threshold(x, 0.1, 2.0)), (nn.Step(), F.step),
        (nn.Sigmoid(), F.sigmoid), (nn.Tanh(), F.tanh), (nn.Hardtanh(-2, 0.5), lambda x: F.hardtanh(x, -2, 0.5)), (nn.ReLU(), F.relu),
        (nn.LeakyReLU(0.3), lambda x: F.leaky_relu(x, 0.3)), (nn.PReLU(init=0.1).double(), lambda x: F.leaky_relu(x, np.float32(0.1))),
        (nn.ELU(2.0), lambda x: F.elu(x, 2.0)), (nn.SELU(), F.selu), (nn.GELU("tanh"), lambda x: F.gelu(x, "tanh")), (nn.SiLU(), F.silu),
        (nn.Softplus(2.0, 5.0), lambda x: F.softplus(x, 2.0, 5.0)), (nn.Softsign(), F.softsign),
        (nn.Maxout(2), lambda x: F.maxout(x, 2)), (nn.Softmax(1), lambda x: F.softmax(x, 1)),
        (nn.LogSoftmax(-1), lambda x: F.log_softmax(x, 1)),
    ],
)  # fmt: skip
def test_modules(module, function, rng):
    x = rng.standard_normal((3, 4))
    np.testing.assert_allclose(module(tensor(x)).numpy(), function(x), rtol=1e-7)
    assert type(module).__name__ in repr(module)
