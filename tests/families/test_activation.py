"""Activations: kinks, NaN, infinities and denormals by hand, accuracy in units of the last place, parity with torch."""

import numpy as np
import pytest

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


def ulps(actual, expected):
    """Distance in units of the last place of the exact result."""
    return np.abs(actual.astype(np.float64) - expected) / np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "reference"])
@pytest.mark.parametrize(
    ("name", "exact", "bound"),
    [("tanh", np.tanh, 3), ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), 3), ("elu", lambda x: np.where(x > 0, x, np.expm1(x)), 3)],
)
def test_float32_error_in_units_of_the_last_place(name, exact, bound, backend, rng):
    x = np.concatenate([rng.uniform(-20, 20, 200_000), rng.uniform(-1, 1, 100_000), 10.0 ** rng.uniform(-30, 0, 50_000)]).astype(
        np.float32
    )
    with fastnn.use_backend(backend):
        y = getattr(F, name)(x)
    assert ulps(y, exact(x.astype(np.float64))).max() < bound


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
