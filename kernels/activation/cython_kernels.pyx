# cython: cdivision=True
"""Activation functions, compiled ahead of time."""

from cython.parallel cimport prange

from fastnn.kernels.activation.kinked cimport (
    hardtanh_loop, hardtanh_slope, identity_loop, leaky_relu_loop, leaky_relu_slope, softsign_loop, softsign_slope, step_loop,
    threshold_loop, threshold_slope, zero_loop)
from fastnn.kernels.activation.shares cimport run
from fastnn.kernels.activation.smooth cimport (
    elu_loop, elu_slope, gelu_loop, gelu_slope, gelu_tanh_loop, gelu_tanh_slope, sigmoid_loop, sigmoid_slope, silu_loop, silu_slope,
    softplus_loop, softplus_slope, tanh_loop, tanh_slope)
from fastnn.kernels.arrays cimport real
from fastnn.kernels.entry cimport Argument, Argument32, Argument64, Entry, kernel
from fastnn.kernels.parallel cimport threads_for

cdef double SELU_SCALE = 1.0507009873554804934193349852946
cdef double SELU_ALPHA = 1.6732632423543772848170429916717


cdef int identity(const Argument* a) noexcept nogil:
    run(identity_loop[float], identity_loop[double], a, 0, 1, 0, 0, 1)
    return 0


cdef int identity_backward(const Argument* a) noexcept nogil:
    run(identity_loop[float], identity_loop[double], a, 0, 1, 0, 0, 1)
    return 0


cdef int threshold(const Argument* a) noexcept nogil:
    run(threshold_loop[float], threshold_loop[double], a, 0, 3, a[1].number, a[2].number, 1)
    return 0


cdef int threshold_backward(const Argument* a) noexcept nogil:
    run(threshold_slope[float], threshold_slope[double], a, 1, 4, a[2].number, a[3].number, 1)
    return 0


cdef int step(const Argument* a) noexcept nogil:
    run(step_loop[float], step_loop[double], a, 0, 1, 0, 0, 1)
    return 0


cdef int step_backward(const Argument* a) noexcept nogil:
    run(zero_loop[float], zero_loop[double], a, 0, 1, 0, 0, 1)
    return 0


cdef int sigmoid(const Argument* a) noexcept nogil:
    run(sigmoid_loop[float], sigmoid_loop[double], a, 0, 1, 0, 0, 8)
    return 0


cdef int sigmoid_backward(const Argument* a) noexcept nogil:
    run(sigmoid_slope[float], sigmoid_slope[double], a, 1, 2, 0, 0, 1)
    return 0


cdef int tanh(const Argument* a) noexcept nogil:
    run(tanh_loop[float], tanh_loop[double], a, 0, 1, 0, 0, 8)
    return 0


cdef int tanh_backward(const Argument* a) noexcept nogil:
    run(tanh_slope[float], tanh_slope[double], a, 1, 2, 0, 0, 1)
    return 0


cdef int hardtanh(const Argument* a) noexcept nogil:
    run(hardtanh_loop[float], hardtanh_loop[double], a, 0, 3, a[1].number, a[2].number, 1)
    return 0


cdef int hardtanh_backward(const Argument* a) noexcept nogil:
    run(hardtanh_slope[float], hardtanh_slope[double], a, 1, 4, a[2].number, a[3].number, 1)
    return 0


cdef int relu(const Argument* a) noexcept nogil:
    run(threshold_loop[float], threshold_loop[double], a, 0, 1, 0, 0, 1)
    return 0


cdef int relu_backward(const Argument* a) noexcept nogil:
    run(threshold_slope[float], threshold_slope[double], a, 1, 2, 0, 0, 1)
    return 0


cdef int leaky_relu(const Argument* a) noexcept nogil:
    run(leaky_relu_loop[float], leaky_relu_loop[double], a, 0, 2, a[1].number, 0, 1)
    return 0


cdef int leaky_relu_backward(const Argument* a) noexcept nogil:
    run(leaky_relu_slope[float], leaky_relu_slope[double], a, 1, 3, a[2].number, 0, 1)
    return 0


cdef int elu(const Argument* a) noexcept nogil:
    run(elu_loop[float], elu_loop[double], a, 0, 2, a[1].number, 1, 8)
    return 0


cdef int elu_backward(const Argument* a) noexcept nogil:
    run(elu_slope[float], elu_slope[double], a, 1, 3, a[2].number, 1, 8)
    return 0


cdef int selu(const Argument* a) noexcept nogil:
    run(elu_loop[float], elu_loop[double], a, 0, 1, SELU_SCALE * SELU_ALPHA, SELU_SCALE, 8)
    return 0


cdef int selu_backward(const Argument* a) noexcept nogil:
    run(elu_slope[float], elu_slope[double], a, 1, 2, SELU_SCALE * SELU_ALPHA, SELU_SCALE, 8)
    return 0


cdef int gelu(const Argument* a) noexcept nogil:
    run(gelu_loop[float], gelu_loop[double], a, 0, 1, 0, 0, 12)
    return 0


cdef int gelu_backward(const Argument* a) noexcept nogil:
    run(gelu_slope[float], gelu_slope[double], a, 1, 2, 0, 0, 16)
    return 0


cdef int gelu_tanh(const Argument* a) noexcept nogil:
    run(gelu_tanh_loop[float], gelu_tanh_loop[double], a, 0, 1, 0, 0, 8)
    return 0


cdef int gelu_tanh_backward(const Argument* a) noexcept nogil:
    run(gelu_tanh_slope[float], gelu_tanh_slope[double], a, 1, 2, 0, 0, 12)
    return 0


cdef int silu(const Argument* a) noexcept nogil:
    run(silu_loop[float], silu_loop[double], a, 0, 1, 0, 0, 8)
    return 0


cdef int silu_backward(const Argument* a) noexcept nogil:
    run(silu_slope[float], silu_slope[double], a, 1, 2, 0, 0, 8)
    return 0


cdef int softplus(const Argument* a) noexcept nogil:
    run(softplus_loop[float], softplus_loop[double], a, 0, 3, a[1].number, a[2].number, 16)
    return 0


cdef int softplus_backward(const Argument* a) noexcept nogil:
    run(softplus_slope[float], softplus_slope[double], a, 1, 4, a[2].number, a[3].number, 8)
    return 0


cdef int softsign(const Argument* a) noexcept nogil:
    run(softsign_loop[float], softsign_loop[double], a, 0, 1, 0, 0, 2)
    return 0


cdef int softsign_backward(const Argument* a) noexcept nogil:
    run(softsign_slope[float], softsign_slope[double], a, 1, 2, 0, 0, 2)
    return 0


cdef inline void _sloped(const real* a, const real* x, real* y, Py_ssize_t n, real w) noexcept nogil:
    """y = a where x > 0, else w a."""
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = a[i] if x[i] > 0 else w * a[i]


cdef void _prelu(const real* x, const real* w, real* y, Py_ssize_t N, Py_ssize_t C, Py_ssize_t L) noexcept nogil:
    cdef Py_ssize_t row
    for row in prange(N * C, num_threads=threads_for(N * C * L // 4), schedule="static"):
        _sloped(x + row * L, x + row * L, y + row * L, L, w[row % C])


cdef int prelu(const Argument* a) noexcept nogil:
    _prelu(a[0].input, a[1].input, a[2].output, a[0].dims[0], a[0].dims[1], a[0].dims[2])
    return 0


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


cdef int prelu_backward(const Argument* a) noexcept nogil:
    if a[3].given:
        _prelu_dx(a[0].input, a[1].input, a[2].input, a[3].output, a[1].dims[0], a[1].dims[1], a[1].dims[2])
    if a[4].given:
        _prelu_dw(a[0].input, a[1].input, a[4].output, a[1].dims[0], a[1].dims[1], a[1].dims[2])
    return 0


kernel(globals(), "identity(x, y)", <Entry> identity[Argument32], <Entry> identity[Argument64])
kernel(globals(), "identity_backward(dy, dx)", <Entry> identity_backward[Argument32], <Entry> identity_backward[Argument64])
kernel(globals(), "threshold(x, float threshold, float value, y)", <Entry> threshold[Argument32], <Entry> threshold[Argument64])
kernel(globals(), "threshold_backward(dy, x, float threshold, float value, dx)",
       <Entry> threshold_backward[Argument32], <Entry> threshold_backward[Argument64])
kernel(globals(), "step(x, y)", <Entry> step[Argument32], <Entry> step[Argument64])
kernel(globals(), "step_backward(dy, dx)", <Entry> step_backward[Argument32], <Entry> step_backward[Argument64])
kernel(globals(), "sigmoid(x, y)", <Entry> sigmoid[Argument32], <Entry> sigmoid[Argument64])
kernel(globals(), "sigmoid_backward(dy, y, dx)", <Entry> sigmoid_backward[Argument32], <Entry> sigmoid_backward[Argument64])
kernel(globals(), "tanh(x, y)", <Entry> tanh[Argument32], <Entry> tanh[Argument64])
kernel(globals(), "tanh_backward(dy, y, dx)", <Entry> tanh_backward[Argument32], <Entry> tanh_backward[Argument64])
kernel(globals(), "hardtanh(x, float low, float high, y)", <Entry> hardtanh[Argument32], <Entry> hardtanh[Argument64])
kernel(globals(), "hardtanh_backward(dy, x, float low, float high, dx)",
       <Entry> hardtanh_backward[Argument32], <Entry> hardtanh_backward[Argument64])
kernel(globals(), "relu(x, y)", <Entry> relu[Argument32], <Entry> relu[Argument64])
kernel(globals(), "relu_backward(dy, y, dx)", <Entry> relu_backward[Argument32], <Entry> relu_backward[Argument64])
kernel(globals(), "leaky_relu(x, float slope, y)", <Entry> leaky_relu[Argument32], <Entry> leaky_relu[Argument64])
kernel(globals(), "leaky_relu_backward(dy, x, float slope, dx)",
       <Entry> leaky_relu_backward[Argument32], <Entry> leaky_relu_backward[Argument64])
kernel(globals(), "elu(x, float alpha, y)", <Entry> elu[Argument32], <Entry> elu[Argument64])
kernel(globals(), "elu_backward(dy, x, float alpha, dx)", <Entry> elu_backward[Argument32], <Entry> elu_backward[Argument64])
kernel(globals(), "selu(x, y)", <Entry> selu[Argument32], <Entry> selu[Argument64])
kernel(globals(), "selu_backward(dy, x, dx)", <Entry> selu_backward[Argument32], <Entry> selu_backward[Argument64])
kernel(globals(), "gelu(x, y)", <Entry> gelu[Argument32], <Entry> gelu[Argument64])
kernel(globals(), "gelu_backward(dy, x, dx)", <Entry> gelu_backward[Argument32], <Entry> gelu_backward[Argument64])
kernel(globals(), "gelu_tanh(x, y)", <Entry> gelu_tanh[Argument32], <Entry> gelu_tanh[Argument64])
kernel(globals(), "gelu_tanh_backward(dy, x, dx)", <Entry> gelu_tanh_backward[Argument32], <Entry> gelu_tanh_backward[Argument64])
kernel(globals(), "silu(x, y)", <Entry> silu[Argument32], <Entry> silu[Argument64])
kernel(globals(), "silu_backward(dy, x, dx)", <Entry> silu_backward[Argument32], <Entry> silu_backward[Argument64])
kernel(globals(), "softplus(x, float beta, float threshold, y)", <Entry> softplus[Argument32], <Entry> softplus[Argument64])
kernel(globals(), "softplus_backward(dy, x, float beta, float threshold, dx)",
       <Entry> softplus_backward[Argument32], <Entry> softplus_backward[Argument64])
kernel(globals(), "softsign(x, y)", <Entry> softsign[Argument32], <Entry> softsign[Argument64])
kernel(globals(), "softsign_backward(dy, x, dx)", <Entry> softsign_backward[Argument32], <Entry> softsign_backward[Argument64])
kernel(globals(), "prelu(x, w, y)", <Entry> prelu[Argument32], <Entry> prelu[Argument64])
kernel(globals(), "prelu_backward(dy, x, w, dx?, dw?)", <Entry> prelu_backward[Argument32], <Entry> prelu_backward[Argument64])
