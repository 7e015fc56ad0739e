# cython: cdivision=True
"""Activation functions, compiled ahead of time: the point, then the loop.

Every loop has the same form, ``loop(a, b, y, n, p, q)``: forward a is x; backward a is dy and b the saved value; p and q are the
attributes. One driver shares the blocks out among the threads.
"""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.string cimport memcpy

from fastnn.kernels.arrays cimport data, is_float32, length, real, size
from fastnn.kernels.elementary cimport erf_, exp_, expm1_, log1p_, sigmoid_, tanh_
from fastnn.kernels.parallel cimport threads_for

cnp.import_array()

cdef enum:
    BLOCK = 1024

cdef double SELU_SCALE = 1.0507009873554804934193349852946
cdef double SELU_ALPHA = 1.6732632423543772848170429916717
cdef double HALF_ROOT = 0.70710678118654752440   # sqrt(1/2)
cdef double DENSITY = 0.39894228040143267794     # 1 / sqrt(2 pi)
cdef double SLOPE = 0.79788456080286535588       # sqrt(2 / pi)
cdef double CUBIC = 0.044715

ctypedef void (*Loop32)(const float* a, const float* b, float* y, Py_ssize_t n, float p, float q) noexcept nogil
ctypedef void (*Loop64)(const double* a, const double* b, double* y, Py_ssize_t n, double p, double q) noexcept nogil


cdef void _block(
    Loop32 loop32, Loop64 loop64, bint narrow, const char* a, const char* b, char* y, Py_ssize_t n, double p, double q
) noexcept nogil:
    """One block. In place the result goes through a buffer, because loops whose pointers are equal do not run as vector code."""
    cdef char buffer[BLOCK * 8]
    cdef bint shared = a == y or b == y
    cdef char* target = y
    if shared:
        target = &buffer[0]
    if narrow:
        loop32(<const float*> a, <const float*> b, <float*> target, n, <float> p, <float> q)
    else:
        loop64(<const double*> a, <const double*> b, <double*> target, n, p, q)
    if shared:
        memcpy(y, target, n * (4 if narrow else 8))


cdef void _run(
    Loop32 loop32, Loop64 loop64, cnp.ndarray a, cnp.ndarray b, cnp.ndarray y, double p, double q, int work
):
    cdef Py_ssize_t n = size(y), blocks = (n + BLOCK - 1) // BLOCK, i
    cdef bint narrow = is_float32(y)
    cdef Py_ssize_t stride = BLOCK * (4 if narrow else 8)
    cdef const char* first = <const char*> data(a)
    cdef const char* second = <const char*> data(b)
    cdef char* result = <char*> data(y)
    with nogil:
        for i in prange(blocks, num_threads=threads_for(n * work // 4), schedule="static"):
            _block(loop32, loop64, narrow, first + i * stride, second + (0 if second == NULL else i * stride), result + i * stride,
                   min(<Py_ssize_t> BLOCK, n - i * BLOCK), p, q)


cdef void _identity(const real* a, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    memcpy(y, a, n * sizeof(real))


cdef void _threshold(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = q if x[i] <= p else x[i]


cdef void _threshold_backward(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = 0 if x[i] <= p else dy[i]


cdef void _step(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = 1 if x[i] > 0 else (0 if x[i] <= 0 else x[i])


cdef void _zero(const real* dy, const real* b, real* dx, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = 0


cdef void _sigmoid(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = sigmoid_(x[i])


cdef void _sigmoid_backward(const real* dy, const real* y, real* dx, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = dy[i] * y[i] * (1 - y[i])


cdef void _tanh(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = tanh_(x[i])


cdef void _tanh_backward(const real* dy, const real* y, real* dx, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = dy[i] * (1 - y[i] * y[i])


cdef void _hardtanh(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = p if x[i] < p else (q if x[i] > q else x[i])


cdef void _hardtanh_backward(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = 0 if x[i] <= p or x[i] >= q else dy[i]


cdef void _relu(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = 0 if x[i] <= 0 else x[i]


cdef void _relu_backward(const real* dy, const real* y, real* dx, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = 0 if y[i] <= 0 else dy[i]


cdef void _leaky_relu(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = x[i] if x[i] > 0 else p * x[i]


cdef void _leaky_relu_backward(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = dy[i] if x[i] > 0 else p * dy[i]


cdef void _elu(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    """q x where x > 0, else p (e^x - 1): elu and selu."""
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = q * x[i] if x[i] > 0 else p * expm1_(x[i])


cdef void _elu_backward(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = dy[i] * (q if x[i] > 0 else p * exp_(x[i]))


cdef void _gelu(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef real half = <real> 0.5, root = <real> HALF_ROOT
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = half * x[i] * (1 + erf_(x[i] * root))


cdef void _gelu_backward(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef real half = <real> 0.5, root = <real> HALF_ROOT, density = <real> DENSITY
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = dy[i] * (half * (1 + erf_(x[i] * root)) + x[i] * density * exp_(-half * x[i] * x[i]))


cdef void _gelu_tanh(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef real half = <real> 0.5, slope = <real> SLOPE, cubic = <real> CUBIC
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = half * x[i] * (1 + tanh_(slope * (x[i] + cubic * x[i] * x[i] * x[i])))


cdef void _gelu_tanh_backward(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef real half = <real> 0.5, slope = <real> SLOPE, cubic = <real> CUBIC
    cdef real t
    cdef Py_ssize_t i
    for i in range(n):
        t = tanh_(slope * (x[i] + cubic * x[i] * x[i] * x[i]))
        dx[i] = dy[i] * (half * (1 + t) + half * x[i] * (1 - t * t) * slope * (1 + 3 * cubic * x[i] * x[i]))


cdef void _silu(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = x[i] * sigmoid_(x[i])


cdef void _silu_backward(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef real s
    cdef Py_ssize_t i
    for i in range(n):
        s = sigmoid_(x[i])
        dx[i] = dy[i] * s * (1 + x[i] * (1 - s))


cdef void _softplus(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    # exp overflows float32 past 88, so the large part of log(1 + e^z) is taken out first.
    cdef real z, smooth
    cdef Py_ssize_t i
    for i in range(n):
        z = p * x[i]
        smooth = ((z if z > 0 else 0) + log1p_(exp_(-z if z > 0 else z))) / p
        y[i] = x[i] if z > q else smooth


cdef void _softplus_backward(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = dy[i] if p * x[i] > q else dy[i] * sigmoid_(p * x[i])


cdef void _softsign(const real* x, const real* b, real* y, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = x[i] / (1 + (-x[i] if x[i] < 0 else x[i]))


cdef void _softsign_backward(const real* dy, const real* x, real* dx, Py_ssize_t n, real p, real q) noexcept nogil:
    cdef real s
    cdef Py_ssize_t i
    for i in range(n):
        s = 1 + (-x[i] if x[i] < 0 else x[i])
        dx[i] = dy[i] / (s * s)


def identity(cnp.ndarray x not None, cnp.ndarray y not None):
    _run(_identity[float], _identity[double], x, None, y, 0, 0, 1)


def identity_backward(cnp.ndarray dy not None, cnp.ndarray dx not None):
    _run(_identity[float], _identity[double], dy, None, dx, 0, 0, 1)


def threshold(cnp.ndarray x not None, double threshold, double value, cnp.ndarray y not None):
    _run(_threshold[float], _threshold[double], x, None, y, threshold, value, 1)


def threshold_backward(cnp.ndarray dy not None, cnp.ndarray x not None, double threshold, double value, cnp.ndarray dx not None):
    _run(_threshold_backward[float], _threshold_backward[double], dy, x, dx, threshold, value, 1)


def step(cnp.ndarray x not None, cnp.ndarray y not None):
    _run(_step[float], _step[double], x, None, y, 0, 0, 1)


def step_backward(cnp.ndarray dy not None, cnp.ndarray dx not None):
    _run(_zero[float], _zero[double], dy, None, dx, 0, 0, 1)


def sigmoid(cnp.ndarray x not None, cnp.ndarray y not None):
    _run(_sigmoid[float], _sigmoid[double], x, None, y, 0, 0, 8)


def sigmoid_backward(cnp.ndarray dy not None, cnp.ndarray y not None, cnp.ndarray dx not None):
    _run(_sigmoid_backward[float], _sigmoid_backward[double], dy, y, dx, 0, 0, 1)


def tanh(cnp.ndarray x not None, cnp.ndarray y not None):
    _run(_tanh[float], _tanh[double], x, None, y, 0, 0, 8)


def tanh_backward(cnp.ndarray dy not None, cnp.ndarray y not None, cnp.ndarray dx not None):
    _run(_tanh_backward[float], _tanh_backward[double], dy, y, dx, 0, 0, 1)


def hardtanh(cnp.ndarray x not None, double low, double high, cnp.ndarray y not None):
    _run(_hardtanh[float], _hardtanh[double], x, None, y, low, high, 1)


def hardtanh_backward(cnp.ndarray dy not None, cnp.ndarray x not None, double low, double high, cnp.ndarray dx not None):
    _run(_hardtanh_backward[float], _hardtanh_backward[double], dy, x, dx, low, high, 1)


def relu(cnp.ndarray x not None, cnp.ndarray y not None):
    _run(_relu[float], _relu[double], x, None, y, 0, 0, 1)


def relu_backward(cnp.ndarray dy not None, cnp.ndarray y not None, cnp.ndarray dx not None):
    _run(_relu_backward[float], _relu_backward[double], dy, y, dx, 0, 0, 1)


def leaky_relu(cnp.ndarray x not None, double slope, cnp.ndarray y not None):
    _run(_leaky_relu[float], _leaky_relu[double], x, None, y, slope, 0, 1)


def leaky_relu_backward(cnp.ndarray dy not None, cnp.ndarray x not None, double slope, cnp.ndarray dx not None):
    _run(_leaky_relu_backward[float], _leaky_relu_backward[double], dy, x, dx, slope, 0, 1)


def elu(cnp.ndarray x not None, double alpha, cnp.ndarray y not None):
    _run(_elu[float], _elu[double], x, None, y, alpha, 1, 8)


def elu_backward(cnp.ndarray dy not None, cnp.ndarray x not None, double alpha, cnp.ndarray dx not None):
    _run(_elu_backward[float], _elu_backward[double], dy, x, dx, alpha, 1, 8)


def selu(cnp.ndarray x not None, cnp.ndarray y not None):
    _run(_elu[float], _elu[double], x, None, y, SELU_SCALE * SELU_ALPHA, SELU_SCALE, 8)


def selu_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray dx not None):
    _run(_elu_backward[float], _elu_backward[double], dy, x, dx, SELU_SCALE * SELU_ALPHA, SELU_SCALE, 8)


def gelu(cnp.ndarray x not None, cnp.ndarray y not None):
    _run(_gelu[float], _gelu[double], x, None, y, 0, 0, 12)


def gelu_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray dx not None):
    _run(_gelu_backward[float], _gelu_backward[double], dy, x, dx, 0, 0, 16)


def gelu_tanh(cnp.ndarray x not None, cnp.ndarray y not None):
    _run(_gelu_tanh[float], _gelu_tanh[double], x, None, y, 0, 0, 8)


def gelu_tanh_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray dx not None):
    _run(_gelu_tanh_backward[float], _gelu_tanh_backward[double], dy, x, dx, 0, 0, 12)


def silu(cnp.ndarray x not None, cnp.ndarray y not None):
    _run(_silu[float], _silu[double], x, None, y, 0, 0, 8)


def silu_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray dx not None):
    _run(_silu_backward[float], _silu_backward[double], dy, x, dx, 0, 0, 8)


def softplus(cnp.ndarray x not None, double beta, double threshold, cnp.ndarray y not None):
    _run(_softplus[float], _softplus[double], x, None, y, beta, threshold, 16)


def softplus_backward(cnp.ndarray dy not None, cnp.ndarray x not None, double beta, double threshold, cnp.ndarray dx not None):
    _run(_softplus_backward[float], _softplus_backward[double], dy, x, dx, beta, threshold, 8)


def softsign(cnp.ndarray x not None, cnp.ndarray y not None):
    _run(_softsign[float], _softsign[double], x, None, y, 0, 0, 2)


def softsign_backward(cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray dx not None):
    _run(_softsign_backward[float], _softsign_backward[double], dy, x, dx, 0, 0, 2)


cdef void _prelu(const real* x, const real* w, real* y, Py_ssize_t N, Py_ssize_t C, Py_ssize_t L) noexcept nogil:
    cdef Py_ssize_t row
    for row in prange(N * C, num_threads=threads_for(N * C * L // 4), schedule="static"):
        _leaky_relu(x + row * L, <const real*> NULL, y + row * L, L, w[row % C], <real> 0)


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
        _leaky_relu_backward(dy + row * L, x + row * L, dx + row * L, L, w[row % C], <real> 0)


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
