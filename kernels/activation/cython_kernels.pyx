# cython: cdivision=True
"""Activation functions, compiled ahead of time."""

cimport numpy as cnp
from cython.parallel cimport prange

from fastnn.kernels.activation.kinked cimport (
    hardtanh_loop, hardtanh_slope, identity_loop, leaky_relu_loop, leaky_relu_slope, softsign_loop, softsign_slope, step_loop,
    threshold_loop, threshold_slope, zero_loop)
from fastnn.kernels.activation.shares cimport run
from fastnn.kernels.activation.smooth cimport (
    elu_loop, elu_slope, gelu_loop, gelu_slope, gelu_tanh_loop, gelu_tanh_slope, sigmoid_loop, sigmoid_slope, silu_loop, silu_slope,
    softplus_loop, softplus_slope, tanh_loop, tanh_slope)
from fastnn.kernels.arrays cimport data, is_float32, length, real
from fastnn.kernels.parallel cimport threads_for

cnp.import_array()

cdef double SELU_SCALE = 1.0507009873554804934193349852946
cdef double SELU_ALPHA = 1.6732632423543772848170429916717


def identity(cnp.ndarray x not None, cnp.ndarray y not None):
    run(identity_loop[float], identity_loop[double], x, None, y, 0, 0, 1)


def identity_backward(cnp.ndarray dy not None, cnp.ndarray dx not None):
    run(identity_loop[float], identity_loop[double], dy, None, dx, 0, 0, 1)


def threshold(cnp.ndarray x not None, double threshold, double value, cnp.ndarray y not None):
    run(threshold_loop[float], threshold_loop[double], x, None, y, threshold, value, 1)


def threshold_backward(cnp.ndarray dy not None, cnp.ndarray x not None, double threshold, double value, cnp.ndarray dx not None):
    run(threshold_slope[float], threshold_slope[double], dy, x, dx, threshold, value, 1)


def step(cnp.ndarray x not None, cnp.ndarray y not None):
    run(step_loop[float], step_loop[double], x, None, y, 0, 0, 1)


def step_backward(cnp.ndarray dy not None, cnp.ndarray dx not None):
    run(zero_loop[float], zero_loop[double], dy, None, dx, 0, 0, 1)


def sigmoid(cnp.ndarray x not None, cnp.ndarray y not None):
    run(sigmoid_loop[float], sigmoid_loop[double], x, None, y, 0, 0, 8)


def sigmoid_backward(cnp.ndarray dy not None, cnp.ndarray y not None, cnp.ndarray dx not None):
    run(sigmoid_slope[float], sigmoid_slope[double], dy, y, dx, 0, 0, 1)


def tanh(cnp.ndarray x not None, cnp.ndarray y not None):
    run(tanh_loop[float], tanh_loop[double], x, None, y, 0, 0, 8)


def tanh_backward(cnp.ndarray dy not None, cnp.ndarray y not None, cnp.ndarray dx not None):
    run(tanh_slope[float], tanh_slope[double], dy, y, dx, 0, 0, 1)


def hardtanh(cnp.ndarray x not None, double low, double high, cnp.ndarray y not None):
    run(hardtanh_loop[float], hardtanh_loop[double], x, None, y, low, high, 1)


def hardtanh_backward(cnp.ndarray dy not None, cnp.ndarray x not None, double low, double high, cnp.ndarray dx not None):
    run(hardtanh_slope[float], hardtanh_slope[double], dy, x, dx, low, high, 1)


def relu(cnp.ndarray x not None, cnp.ndarray y not None):
    run(threshold_loop[float], threshold_loop[double], x, None, y, 0, 0, 1)


def relu_backward(cnp.ndarray dy not None, cnp.ndarray y not None, cnp.ndarray dx not None):
    run(threshold_slope[float], threshold_slope[double], dy, y, dx, 0, 0, 1)


def leaky_relu(cnp.ndarray x not None, double slope, cnp.ndarray y not None):
    run(leaky_relu_loop[float], leaky_relu_loop[double], x, None, y, slope, 0, 1)


def leaky_relu_backward(cnp.ndarray dy not None, cnp.ndarray x not None, double slope, cnp.ndarray dx not None):
    run(leaky_relu_slope[float], leaky_relu_slope[double], dy, x, dx, slope, 0, 1)


def elu(cnp.ndarray x not None, double alpha, cnp.ndarray y not None):
    run(elu_loop[float], elu_loop[double], x, None, y, alpha, 1, 8)


def elu_backward(cnp.ndarray dy not None, cnp.ndarray x not None, double alpha, cnp.ndarray dx not None):
    run(elu_slope[float], elu_slope[double], dy, x, dx, alpha, 1, 8)


def selu(cnp.ndarray x not None, cnp.ndarray y not None):
    run(elu_loop[float], elu_loop[double], x, None, y, SELU_SCALE * SELU_ALPHA, SELU_SCALE, 8)


def selu_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray dx not None):
    run(elu_slope[float], elu_slope[double], dy, x, dx, SELU_SCALE * SELU_ALPHA, SELU_SCALE, 8)


def gelu(cnp.ndarray x not None, cnp.ndarray y not None):
    run(gelu_loop[float], gelu_loop[double], x, None, y, 0, 0, 12)


def gelu_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray dx not None):
    run(gelu_slope[float], gelu_slope[double], dy, x, dx, 0, 0, 16)


def gelu_tanh(cnp.ndarray x not None, cnp.ndarray y not None):
    run(gelu_tanh_loop[float], gelu_tanh_loop[double], x, None, y, 0, 0, 8)


def gelu_tanh_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray dx not None):
    run(gelu_tanh_slope[float], gelu_tanh_slope[double], dy, x, dx, 0, 0, 12)


def silu(cnp.ndarray x not None, cnp.ndarray y not None):
    run(silu_loop[float], silu_loop[double], x, None, y, 0, 0, 8)


def silu_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray dx not None):
    run(silu_slope[float], silu_slope[double], dy, x, dx, 0, 0, 8)


def softplus(cnp.ndarray x not None, double beta, double threshold, cnp.ndarray y not None):
    run(softplus_loop[float], softplus_loop[double], x, None, y, beta, threshold, 16)


def softplus_backward(cnp.ndarray dy not None, cnp.ndarray x not None, double beta, double threshold, cnp.ndarray dx not None):
    run(softplus_slope[float], softplus_slope[double], dy, x, dx, beta, threshold, 8)


def softsign(cnp.ndarray x not None, cnp.ndarray y not None):
    run(softsign_loop[float], softsign_loop[double], x, None, y, 0, 0, 2)


def softsign_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray dx not None):
    run(softsign_slope[float], softsign_slope[double], dy, x, dx, 0, 0, 2)


cdef inline void _sloped(const real* a, const real* x, real* y, Py_ssize_t n, real w) noexcept nogil:
    """y = a where x > 0, else w a."""
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = a[i] if x[i] > 0 else w * a[i]


cdef void _prelu(const real* x, const real* w, real* y, Py_ssize_t N, Py_ssize_t C, Py_ssize_t L) noexcept nogil:
    cdef Py_ssize_t row
    for row in prange(N * C, num_threads=threads_for(N * C * L // 4), schedule="static"):
        _sloped(x + row * L, x + row * L, y + row * L, L, w[row % C])


def prelu(cnp.ndarray x not None, cnp.ndarray w not None, cnp.ndarray y not None):
    cdef Py_ssize_t N = length(x, 0), C = length(x, 1), L = length(x, 2)
    if is_float32(x):
        with nogil:
            _prelu(<const float*> data(x), <const float*> data(w), <float*> data(y), N, C, L)
    else:
        with nogil:
            _prelu(<const double*> data(x), <const double*> data(w), <double*> data(y), N, C, L)


cdef real _negative_sum(const real* dy, const real* x, Py_ssize_t n) noexcept nogil:
    """Sum of x dy where x is not above 0, in 16 interleaved partial sums that are added in a fixed order.

    The operand is chosen, not the sum: GCC 12 compiles a conditional addition of two vectors of doubles to wrong AVX-512 code.
    """
    cdef real parts[16]
    cdef real total = 0, below
    cdef Py_ssize_t i, j
    for j in range(16):
        parts[j] = 0
    for i in range(n // 16):
        for j in range(16):
            below = 0 if x[16 * i + j] > 0 else x[16 * i + j]
            parts[j] += below * dy[16 * i + j]
    for i in range(n // 16 * 16, n):
        parts[0] += 0 if x[i] > 0 else x[i] * dy[i]
    for j in range(16):
        total += parts[j]
    return total


cdef void _prelu_dw(const real* dy, const real* x, real* dw, Py_ssize_t N, Py_ssize_t C, Py_ssize_t L) noexcept nogil:
    cdef Py_ssize_t c, n
    for c in prange(C, num_threads=threads_for(N * C * L // 4), schedule="static"):
        dw[c] = 0
        for n in range(N):
            dw[c] += _negative_sum(dy + (n * C + c) * L, x + (n * C + c) * L, L)


cdef void _prelu_dx(const real* dy, const real* x, const real* w, real* dx, Py_ssize_t N, Py_ssize_t C, Py_ssize_t L) noexcept nogil:
    cdef Py_ssize_t row
    for row in prange(N * C, num_threads=threads_for(N * C * L // 4), schedule="static"):
        _sloped(dy + row * L, x + row * L, dx + row * L, L, w[row % C])


def prelu_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray w not None, cnp.ndarray dx, cnp.ndarray dw
):
    cdef Py_ssize_t N = length(x, 0), C = length(x, 1), L = length(x, 2)
    cdef bint narrow = is_float32(x)
    with nogil:
        if dx is not None:
            if narrow:
                _prelu_dx(<const float*> data(dy), <const float*> data(x), <const float*> data(w), <float*> data(dx), N, C, L)
            else:
                _prelu_dx(<const double*> data(dy), <const double*> data(x), <const double*> data(w), <double*> data(dx), N, C, L)
        if dw is not None:
            if narrow:
                _prelu_dw(<const float*> data(dy), <const float*> data(x), <float*> data(dw), N, C, L)
            else:
                _prelu_dw(<const double*> data(dy), <const double*> data(x), <double*> data(dw), N, C, L)
