"""The loops of the activations, over flat arrays and point functions. Rates arrive in the dtype of the arrays."""

from ..elementary_numba import erf, exp, expm1, log1p
from ..elementary_numba import sigmoid as logistic
from ..elementary_numba import tanh as hyperbolic_tangent
from ..numba_support import kernel, reassociating_kernel


@kernel
def copy(x, y):
    for i in range(y.size):
        y[i] = x[i]


@kernel
def clear(y):
    for i in range(y.size):
        y[i] = 0


@kernel
def threshold(x, limit, value, y):
    for i in range(y.size):
        y[i] = value if x[i] <= limit else x[i]


@kernel
def pass_above(dy, x, limit, dx):
    zero = dx.dtype.type(0)
    for i in range(dx.size):
        dx[i] = zero if x[i] <= limit else dy[i]


@kernel
def step(x, y):
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for i in range(y.size):
        y[i] = one if x[i] > zero else (zero if x[i] <= zero else x[i])


@kernel
def sigmoid(x, y):
    for i in range(y.size):
        y[i] = logistic(x[i])


@kernel
def sigmoid_backward(dy, y, dx):
    one = dx.dtype.type(1)
    for i in range(dx.size):
        dx[i] = dy[i] * y[i] * (one - y[i])


@kernel
def tanh(x, y):
    for i in range(y.size):
        y[i] = hyperbolic_tangent(x[i])


@kernel
def tanh_backward(dy, y, dx):
    one = dx.dtype.type(1)
    for i in range(dx.size):
        dx[i] = dy[i] * (one - y[i] * y[i])


@kernel
def hardtanh(x, low, high, y):
    for i in range(y.size):
        y[i] = low if x[i] < low else (high if x[i] > high else x[i])


@kernel
def hardtanh_backward(dy, x, low, high, dx):
    zero = dx.dtype.type(0)
    for i in range(dx.size):
        dx[i] = zero if x[i] <= low or x[i] >= high else dy[i]


@kernel
def leaky_relu(x, slope, y):
    zero = y.dtype.type(0)
    for i in range(y.size):
        y[i] = x[i] if x[i] > zero else slope * x[i]


@kernel
def leaky_relu_backward(dy, x, slope, dx):
    zero = dx.dtype.type(0)
    for i in range(dx.size):
        dx[i] = dy[i] if x[i] > zero else slope * dy[i]


@kernel
def elu(x, alpha, scale, y):
    zero = y.dtype.type(0)
    for i in range(y.size):
        below = alpha * expm1(x[i])
        y[i] = scale * x[i] if x[i] > zero else below


@kernel
def elu_backward(dy, x, alpha, scale, dx):
    zero = dx.dtype.type(0)
    for i in range(dx.size):
        below = alpha * exp(x[i])
        dx[i] = dy[i] * (scale if x[i] > zero else below)


@kernel
def gelu(x, half, root, y):
    one = y.dtype.type(1)
    for i in range(y.size):
        y[i] = half * x[i] * (one + erf(x[i] * root))


@kernel
def gelu_backward(dy, x, half, root, density, dx):
    one = dx.dtype.type(1)
    for i in range(dx.size):
        dx[i] = dy[i] * (half * (one + erf(x[i] * root)) + x[i] * density * exp(-half * x[i] * x[i]))


@kernel
def gelu_tanh(x, half, slope, cubic, y):
    one = y.dtype.type(1)
    for i in range(y.size):
        y[i] = half * x[i] * (one + hyperbolic_tangent(slope * (x[i] + cubic * x[i] * x[i] * x[i])))


@kernel
def gelu_tanh_backward(dy, x, half, slope, cubic, dx):
    one, three = dx.dtype.type(1), dx.dtype.type(3)
    for i in range(dx.size):
        t = hyperbolic_tangent(slope * (x[i] + cubic * x[i] * x[i] * x[i]))
        dx[i] = dy[i] * (half * (one + t) + half * x[i] * (one - t * t) * slope * (one + three * cubic * x[i] * x[i]))


@kernel
def silu(x, y):
    for i in range(y.size):
        y[i] = x[i] * logistic(x[i])


@kernel
def silu_backward(dy, x, dx):
    one = dx.dtype.type(1)
    for i in range(dx.size):
        s = logistic(x[i])
        dx[i] = dy[i] * s * (one + x[i] * (one - s))


@kernel
def softplus(x, beta, limit, y):
    zero = y.dtype.type(0)
    for i in range(y.size):
        z = beta * x[i]
        smooth = ((z if z > zero else zero) + log1p(exp(-z if z > zero else z))) / beta
        y[i] = x[i] if z > limit else smooth


@kernel
def softplus_backward(dy, x, beta, limit, dx):
    for i in range(dx.size):
        dx[i] = dy[i] if beta * x[i] > limit else dy[i] * logistic(beta * x[i])


@kernel
def softsign(x, y):
    one = y.dtype.type(1)
    for i in range(y.size):
        y[i] = x[i] / (one + abs(x[i]))


@kernel
def softsign_backward(dy, x, dx):
    one = dx.dtype.type(1)
    for i in range(dx.size):
        s = one + abs(x[i])
        dx[i] = dy[i] / (s * s)


@kernel
def prelu(x, w, y):
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            leaky_relu(x[n, c], w[c], y[n, c])


@kernel
def prelu_dx(dy, x, w, dx):
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            leaky_relu_backward(dy[n, c], x[n, c], w[c], dx[n, c])


@reassociating_kernel
def negative_sum(dy, x):
    zero = dy.dtype.type(0)
    total = zero
    for i in range(x.size):
        total += zero if x[i] > zero else x[i] * dy[i]
    return total


@kernel
def prelu_dw(dy, x, dw):
    for c in range(x.shape[1]):
        dw[c] = 0
        for n in range(x.shape[0]):
            for start in range(0, x.shape[2], 256):  # short sums, so that float32 keeps its digits
                dw[c] += negative_sum(dy[n, c, start : start + 256], x[n, c, start : start + 256])
