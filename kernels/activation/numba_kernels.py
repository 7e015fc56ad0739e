"""Activation functions, compiled just in time."""

from . import numba_loops as loops

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
HALF_ROOT, DENSITY, SLOPE, CUBIC = 0.70710678118654752440, 0.39894228040143267794, 0.79788456080286535588, 0.044715


def _flat(*arrays):
    return [array.reshape(-1) for array in arrays]


def _rates(array, *values):
    return [array.dtype.type(value) for value in values]


def identity(x, y):
    loops.copy(*_flat(x, y))


def identity_backward(dy, dx):
    loops.copy(*_flat(dy, dx))


def threshold(x, threshold, value, y):
    loops.threshold(x.reshape(-1), *_rates(x, threshold, value), y.reshape(-1))


def threshold_backward(dy, x, threshold, value, dx):
    loops.pass_above(*_flat(dy, x), *_rates(x, threshold), dx.reshape(-1))


def step(x, y):
    loops.step(*_flat(x, y))


def step_backward(dy, dx):
    loops.clear(dx.reshape(-1))


def sigmoid(x, y):
    loops.sigmoid(*_flat(x, y))


def sigmoid_backward(dy, y, dx):
    loops.sigmoid_backward(*_flat(dy, y, dx))


def tanh(x, y):
    loops.tanh(*_flat(x, y))


def tanh_backward(dy, y, dx):
    loops.tanh_backward(*_flat(dy, y, dx))


def hardtanh(x, low, high, y):
    loops.hardtanh(x.reshape(-1), *_rates(x, low, high), y.reshape(-1))


def hardtanh_backward(dy, x, low, high, dx):
    loops.hardtanh_backward(*_flat(dy, x), *_rates(x, low, high), dx.reshape(-1))


def relu(x, y):
    loops.threshold(x.reshape(-1), *_rates(x, 0, 0), y.reshape(-1))


def relu_backward(dy, y, dx):
    loops.pass_above(*_flat(dy, y), *_rates(y, 0), dx.reshape(-1))


def leaky_relu(x, slope, y):
    loops.leaky_relu(x.reshape(-1), *_rates(x, slope), y.reshape(-1))


def leaky_relu_backward(dy, x, slope, dx):
    loops.leaky_relu_backward(*_flat(dy, x), *_rates(x, slope), dx.reshape(-1))


def elu(x, alpha, y):
    loops.elu(x.reshape(-1), *_rates(x, alpha, 1), y.reshape(-1))


def elu_backward(dy, x, alpha, dx):
    loops.elu_backward(*_flat(dy, x), *_rates(x, alpha, 1), dx.reshape(-1))


def selu(x, y):
    loops.elu(x.reshape(-1), *_rates(x, SELU_SCALE * SELU_ALPHA, SELU_SCALE), y.reshape(-1))


def selu_backward(dy, x, dx):
    loops.elu_backward(*_flat(dy, x), *_rates(x, SELU_SCALE * SELU_ALPHA, SELU_SCALE), dx.reshape(-1))


def gelu(x, y):
    loops.gelu(x.reshape(-1), *_rates(x, 0.5, HALF_ROOT), y.reshape(-1))


def gelu_backward(dy, x, dx):
    loops.gelu_backward(*_flat(dy, x), *_rates(x, 0.5, HALF_ROOT, DENSITY), dx.reshape(-1))


def gelu_tanh(x, y):
    loops.gelu_tanh(x.reshape(-1), *_rates(x, 0.5, SLOPE, CUBIC), y.reshape(-1))


def gelu_tanh_backward(dy, x, dx):
    loops.gelu_tanh_backward(*_flat(dy, x), *_rates(x, 0.5, SLOPE, CUBIC), dx.reshape(-1))


def silu(x, y):
    loops.silu(*_flat(x, y))


def silu_backward(dy, x, dx):
    loops.silu_backward(*_flat(dy, x, dx))


def softplus(x, beta, threshold, y):
    loops.softplus(x.reshape(-1), *_rates(x, beta, threshold), y.reshape(-1))


def softplus_backward(dy, x, beta, threshold, dx):
    loops.softplus_backward(*_flat(dy, x), *_rates(x, beta, threshold), dx.reshape(-1))


def softsign(x, y):
    loops.softsign(*_flat(x, y))


def softsign_backward(dy, x, dx):
    loops.softsign_backward(*_flat(dy, x, dx))


def prelu(x, w, y):
    loops.prelu(x, w, y)


def prelu_backward(dy, x, w, dx, dw):
    if dx is not None:
        loops.prelu_dx(dy, x, w, dx)
    if dw is not None:
        loops.prelu_dw(dy, x, dw)
