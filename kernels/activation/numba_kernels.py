"""Activation functions, compiled just in time: flat loops over point functions. Rates arrive in the dtype of the arrays."""

from ..elementary_numba import erf, exp, expm1, log1p
from ..elementary_numba import sigmoid as logistic
from ..elementary_numba import tanh as hyperbolic_tangent
from ..numba_support import kernel, reassociating_kernel

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
HALF_ROOT, DENSITY, SLOPE, CUBIC = 0.70710678118654752440, 0.39894228040143267794, 0.79788456080286535588, 0.044715


def _flat(*arrays):
    return [array.reshape(-1) for array in arrays]


def _rates(array, *values):
    return [array.dtype.type(value) for value in values]


@kernel
def _copy(x, y):
    for i in range(y.size):
        y[i] = x[i]


@kernel
def _clear(y):
    for i in range(y.size):
        y[i] = 0


@kernel
def _threshold(x, limit, value, y):
    for i in range(y.size):
        y[i] = value if x[i] <= limit else x[i]


@kernel
def _pass_above(dy, x, limit, dx):
    zero = dx.dtype.type(0)
    for i in range(dx.size):
        dx[i] = zero if x[i] <= limit else dy[i]


@kernel
def _step(x, y):
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for i in range(y.size):
        y[i] = one if x[i] > zero else (zero if x[i] <= zero else x[i])


@kernel
def _sigmoid(x, y):
    for i in range(y.size):
        y[i] = logistic(x[i])


@kernel
def _sigmoid_backward(dy, y, dx):
    one = dx.dtype.type(1)
    for i in range(dx.size):
        dx[i] = dy[i] * y[i] * (one - y[i])


@kernel
def _tanh(x, y):
    for i in range(y.size):
        y[i] = hyperbolic_tangent(x[i])


@kernel
def _tanh_backward(dy, y, dx):
    one = dx.dtype.type(1)
    for i in range(dx.size):
        dx[i] = dy[i] * (one - y[i] * y[i])


@kernel
def _hardtanh(x, low, high, y):
    for i in range(y.size):
        y[i] = low if x[i] < low else (high if x[i] > high else x[i])


@kernel
def _hardtanh_backward(dy, x, low, high, dx):
    zero = dx.dtype.type(0)
    for i in range(dx.size):
        dx[i] = zero if x[i] <= low or x[i] >= high else dy[i]


@kernel
def _leaky_relu(x, slope, y):
    zero = y.dtype.type(0)
    for i in range(y.size):
        y[i] = x[i] if x[i] > zero else slope * x[i]


@kernel
def _leaky_relu_backward(dy, x, slope, dx):
    zero = dx.dtype.type(0)
    for i in range(dx.size):
        dx[i] = dy[i] if x[i] > zero else slope * dy[i]


@kernel
def _elu(x, alpha, scale, y):
    zero = y.dtype.type(0)
    for i in range(y.size):
        below = alpha * expm1(x[i])
        y[i] = scale * x[i] if x[i] > zero else below


@kernel
def _elu_backward(dy, x, alpha, scale, dx):
    zero = dx.dtype.type(0)
    for i in range(dx.size):
        below = alpha * exp(x[i])
        dx[i] = dy[i] * (scale if x[i] > zero else below)


@kernel
def _gelu(x, half, root, y):
    one = y.dtype.type(1)
    for i in range(y.size):
        y[i] = half * x[i] * (one + erf(x[i] * root))


@kernel
def _gelu_backward(dy, x, half, root, density, dx):
    one = dx.dtype.type(1)
    for i in range(dx.size):
        dx[i] = dy[i] * (half * (one + erf(x[i] * root)) + x[i] * density * exp(-half * x[i] * x[i]))


@kernel
def _gelu_tanh(x, half, slope, cubic, y):
    one = y.dtype.type(1)
    for i in range(y.size):
        y[i] = half * x[i] * (one + hyperbolic_tangent(slope * (x[i] + cubic * x[i] * x[i] * x[i])))


@kernel
def _gelu_tanh_backward(dy, x, half, slope, cubic, dx):
    one, three = dx.dtype.type(1), dx.dtype.type(3)
    for i in range(dx.size):
        t = hyperbolic_tangent(slope * (x[i] + cubic * x[i] * x[i] * x[i]))
        dx[i] = dy[i] * (half * (one + t) + half * x[i] * (one - t * t) * slope * (one + three * cubic * x[i] * x[i]))


@kernel
def _silu(x, y):
    for i in range(y.size):
        y[i] = x[i] * logistic(x[i])


@kernel
def _silu_backward(dy, x, dx):
    one = dx.dtype.type(1)
    for i in range(dx.size):
        s = logistic(x[i])
        dx[i] = dy[i] * s * (one + x[i] * (one - s))


@kernel
def _softplus(x, beta, limit, y):
    zero = y.dtype.type(0)
    for i in range(y.size):
        z = beta * x[i]
        smooth = ((z if z > zero else zero) + log1p(exp(-z if z > zero else z))) / beta
        y[i] = x[i] if z > limit else smooth


@kernel
def _softplus_backward(dy, x, beta, limit, dx):
    for i in range(dx.size):
        dx[i] = dy[i] if beta * x[i] > limit else dy[i] * logistic(beta * x[i])


@kernel
def _softsign(x, y):
    one = y.dtype.type(1)
    for i in range(y.size):
        y[i] = x[i] / (one + abs(x[i]))


@kernel
def _softsign_backward(dy, x, dx):
    one = dx.dtype.type(1)
    for i in range(dx.size):
        s = one + abs(x[i])
        dx[i] = dy[i] / (s * s)


@kernel
def _prelu(x, w, y):
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            _leaky_relu(x[n, c], w[c], y[n, c])


@kernel
def _prelu_dx(dy, x, w, dx):
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            _leaky_relu_backward(dy[n, c], x[n, c], w[c], dx[n, c])


@reassociating_kernel
def _negative_sum(dy, x):
    zero = dy.dtype.type(0)
    total = zero
    for i in range(x.size):
        total += zero if x[i] > zero else x[i] * dy[i]
    return total


@kernel
def _prelu_dw(dy, x, dw):
    for c in range(x.shape[1]):
        dw[c] = 0
        for n in range(x.shape[0]):
            for start in range(0, x.shape[2], 256):  # short sums, so that float32 keeps its digits
                dw[c] += _negative_sum(dy[n, c, start : start + 256], x[n, c, start : start + 256])


def identity(x, y):
    _copy(*_flat(x, y))


def identity_backward(dy, dx):
    _copy(*_flat(dy, dx))


def threshold(x, threshold, value, y):
    _threshold(x.reshape(-1), *_rates(x, threshold, value), y.reshape(-1))


def threshold_backward(dy, x, threshold, value, dx):
    _pass_above(*_flat(dy, x), *_rates(x, threshold), dx.reshape(-1))


def step(x, y):
    _step(*_flat(x, y))


def step_backward(dy, dx):
    _clear(dx.reshape(-1))


def sigmoid(x, y):
    _sigmoid(*_flat(x, y))


def sigmoid_backward(dy, y, dx):
    _sigmoid_backward(*_flat(dy, y, dx))


def tanh(x, y):
    _tanh(*_flat(x, y))


def tanh_backward(dy, y, dx):
    _tanh_backward(*_flat(dy, y, dx))


def hardtanh(x, low, high, y):
    _hardtanh(x.reshape(-1), *_rates(x, low, high), y.reshape(-1))


def hardtanh_backward(dy, x, low, high, dx):
    _hardtanh_backward(*_flat(dy, x), *_rates(x, low, high), dx.reshape(-1))


def relu(x, y):
    _threshold(x.reshape(-1), *_rates(x, 0, 0), y.reshape(-1))


def relu_backward(dy, y, dx):
    _pass_above(*_flat(dy, y), *_rates(y, 0), dx.reshape(-1))


def leaky_relu(x, slope, y):
    _leaky_relu(x.reshape(-1), *_rates(x, slope), y.reshape(-1))


def leaky_relu_backward(dy, x, slope, dx):
    _leaky_relu_backward(*_flat(dy, x), *_rates(x, slope), dx.reshape(-1))


def elu(x, alpha, y):
    _elu(x.reshape(-1), *_rates(x, alpha, 1), y.reshape(-1))


def elu_backward(dy, x, alpha, dx):
    _elu_backward(*_flat(dy, x), *_rates(x, alpha, 1), dx.reshape(-1))


def selu(x, y):
    _elu(x.reshape(-1), *_rates(x, SELU_SCALE * SELU_ALPHA, SELU_SCALE), y.reshape(-1))


def selu_backward(dy, x, dx):
    _elu_backward(*_flat(dy, x), *_rates(x, SELU_SCALE * SELU_ALPHA, SELU_SCALE), dx.reshape(-1))


def gelu(x, y):
    _gelu(x.reshape(-1), *_rates(x, 0.5, HALF_ROOT), y.reshape(-1))


def gelu_backward(dy, x, dx):
    _gelu_backward(*_flat(dy, x), *_rates(x, 0.5, HALF_ROOT, DENSITY), dx.reshape(-1))


def gelu_tanh(x, y):
    _gelu_tanh(x.reshape(-1), *_rates(x, 0.5, SLOPE, CUBIC), y.reshape(-1))


def gelu_tanh_backward(dy, x, dx):
    _gelu_tanh_backward(*_flat(dy, x), *_rates(x, 0.5, SLOPE, CUBIC), dx.reshape(-1))


def silu(x, y):
    _silu(*_flat(x, y))


def silu_backward(dy, x, dx):
    _silu_backward(*_flat(dy, x, dx))


def softplus(x, beta, threshold, y):
    _softplus(x.reshape(-1), *_rates(x, beta, threshold), y.reshape(-1))


def softplus_backward(dy, x, beta, threshold, dx):
    _softplus_backward(*_flat(dy, x), *_rates(x, beta, threshold), dx.reshape(-1))


def softsign(x, y):
    _softsign(*_flat(x, y))


def softsign_backward(dy, x, dx):
    _softsign_backward(*_flat(dy, x, dx))


def prelu(x, w, y):
    _prelu(x, w, y)


def prelu_backward(dy, x, w, dx, dw):
    if dx is not None:
        _prelu_dx(dy, x, w, dx)
    if dw is not None:
        _prelu_dw(dy, x, dw)
