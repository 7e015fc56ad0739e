# cython: cdivision=True
"""One step of an optimiser, compiled ahead of time.

The state is copied to the outputs where those are other arrays, and then changed in place: with few pointers that never overlap the
compiler vectorises the loops, which it does not where an output may be the memory of an input.
"""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.string cimport memcpy

from fastnn.kernels.arrays cimport data, is_float32, real, size
from fastnn.kernels.parallel cimport threads_for

cnp.import_array()

cdef extern from "<math.h>" nogil:
    float sqrtf(float x) noexcept

cdef enum:
    BLOCK = 4096  # elements of a piece of work: a block of every array stays in L2


cdef struct Update:
    void* p              # the new parameter, which starts as the old one
    const void* g
    void* state[3]       # likewise; NULL where absent
    double rates[8]
    double sign          # -1 to maximise
    double decay         # times p, added to the gradient
    double keep          # times p, before anything else (decoupled weight decay)
    Py_ssize_t n

ctypedef void (*Loop32)(float* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil
ctypedef void (*Loop64)(double* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil


cdef inline real root(real x) noexcept nogil:
    if real is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef inline real _gradient(real g, real p, real sign, real decay) noexcept nogil:
    """The gradient that acts. Without decay p is left out, because 0 * inf is NaN."""
    return sign * g + decay * p if decay != 0 else sign * g


cdef void* _in_place(cnp.ndarray source, cnp.ndarray target) noexcept:
    """The output's memory with the input's values in it; NULL where one of them is absent."""
    if source is None or target is None:
        return NULL
    if data(source) != data(target):
        memcpy(data(target), data(source), cnp.PyArray_NBYTES(source))
    return data(target)


cdef Update _bind(cnp.ndarray p, cnp.ndarray g, cnp.ndarray p_new, double weight_decay, bint decoupled, double lr, bint maximize):
    cdef Update u
    u.p = _in_place(p, p_new)
    u.g = data(g)
    u.state = [NULL, NULL, NULL]
    u.sign = -1 if maximize else 1
    u.decay = 0 if decoupled else weight_decay
    u.keep = 1 - lr * weight_decay if decoupled else 1
    u.n = size(p)
    return u


cdef inline void _block(Loop32 loop32, Loop64 loop64, Update* u, bint narrow, Py_ssize_t block) noexcept nogil:
    if narrow:
        loop32(<float*> u.p, u, block * BLOCK, min(u.n, (block + 1) * BLOCK))
    else:
        loop64(<double*> u.p, u, block * BLOCK, min(u.n, (block + 1) * BLOCK))


cdef void _run(Loop32 loop32, Loop64 loop64, Update* u, bint narrow) noexcept nogil:
    """Share the blocks out among the threads."""
    cdef Py_ssize_t blocks = (u.n + BLOCK - 1) // BLOCK, block
    cdef int threads = threads_for(4 * u.n)
    if threads == 1:
        for block in range(blocks):
            _block(loop32, loop64, u, narrow, block)
    else:
        for block in prange(blocks, num_threads=threads, schedule="static"):
            _block(loop32, loop64, u, narrow, block)


cdef void _sgd(real* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    cdef const real* g = <const real*> u.g
    cdef real* b = <real*> u.state[0]
    cdef real sign = <real> u.sign, decay = <real> u.decay, lr = <real> u.rates[0]
    cdef real momentum = <real> u.rates[1], fresh = <real> u.rates[2]
    cdef bint first = u.rates[3] != 0, nesterov = u.rates[4] != 0
    cdef real d
    cdef Py_ssize_t i
    if b == NULL:
        for i in range(begin, end):
            p[i] -= lr * _gradient(g[i], p[i], sign, decay)
    else:
        for i in range(begin, end):
            d = _gradient(g[i], p[i], sign, decay)
            b[i] = d if first else momentum * b[i] + fresh * d
            p[i] -= lr * (d + momentum * b[i] if nesterov else b[i])


def sgd(
    cnp.ndarray p not None, cnp.ndarray g not None, cnp.ndarray b, double lr, double momentum, double dampening, bint nesterov,
    double weight_decay, bint first, bint maximize, cnp.ndarray p_new not None, cnp.ndarray b_new,
):
    cdef Update u = _bind(p, g, p_new, weight_decay, False, lr, maximize)
    u.state[0] = _in_place(b, b_new)
    u.rates = [lr, momentum, 1 - dampening, first, nesterov, 0, 0, 0]
    with nogil:
        _run(_sgd[float], _sgd[double], &u, is_float32(p))


cdef void _adagrad(real* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    cdef const real* g = <const real*> u.g
    cdef real* s = <real*> u.state[0]
    cdef real sign = <real> u.sign, decay = <real> u.decay, lr = <real> u.rates[0], eps = <real> u.rates[1]
    cdef real d
    cdef Py_ssize_t i
    for i in range(begin, end):
        d = _gradient(g[i], p[i], sign, decay)
        s[i] += d * d
        p[i] -= lr * d / (root(s[i]) + eps)


def adagrad(
    cnp.ndarray p not None, cnp.ndarray g not None, cnp.ndarray s not None, double lr, double weight_decay, double eps, bint maximize,
    cnp.ndarray p_new not None, cnp.ndarray s_new not None,
):
    cdef Update u = _bind(p, g, p_new, weight_decay, False, lr, maximize)
    u.state[0] = _in_place(s, s_new)
    u.rates = [lr, eps, 0, 0, 0, 0, 0, 0]
    with nogil:
        _run(_adagrad[float], _adagrad[double], &u, is_float32(p))


cdef void _adadelta(real* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    cdef const real* g = <const real*> u.g
    cdef real* s = <real*> u.state[0]
    cdef real* a = <real*> u.state[1]
    cdef real sign = <real> u.sign, decay = <real> u.decay, lr = <real> u.rates[0], rho = <real> u.rates[1]
    cdef real fresh = <real> u.rates[2], eps = <real> u.rates[3]
    cdef real d
    cdef Py_ssize_t i
    for i in range(begin, end):
        d = _gradient(g[i], p[i], sign, decay)
        s[i] = rho * s[i] + fresh * d * d
        d = d * root(a[i] + eps) / root(s[i] + eps)
        a[i] = rho * a[i] + fresh * d * d
        p[i] -= lr * d


def adadelta(
    cnp.ndarray p not None, cnp.ndarray g not None, cnp.ndarray s not None, cnp.ndarray a not None, double lr, double rho, double eps,
    double weight_decay, bint maximize, cnp.ndarray p_new not None, cnp.ndarray s_new not None, cnp.ndarray a_new not None,
):
    cdef Update u = _bind(p, g, p_new, weight_decay, False, lr, maximize)
    u.state[0] = _in_place(s, s_new)
    u.state[1] = _in_place(a, a_new)
    u.rates = [lr, rho, 1 - rho, eps, 0, 0, 0, 0]
    with nogil:
        _run(_adadelta[float], _adadelta[double], &u, is_float32(p))


cdef void _rmsprop(real* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    cdef const real* g = <const real*> u.g
    cdef real* s = <real*> u.state[0]
    cdef real* mean = <real*> u.state[1]
    cdef real* b = <real*> u.state[2]
    cdef real sign = <real> u.sign, decay = <real> u.decay
    cdef real lr = <real> u.rates[0], alpha = <real> u.rates[1], fresh = <real> u.rates[2]
    cdef real eps = <real> u.rates[3], momentum = <real> u.rates[4]
    cdef real d, variance
    cdef Py_ssize_t i
    for i in range(begin, end):
        d = _gradient(g[i], p[i], sign, decay)
        s[i] = alpha * s[i] + fresh * d * d
        variance = s[i]
        if mean != NULL:
            mean[i] = alpha * mean[i] + fresh * d
            variance = s[i] - mean[i] * mean[i]
        d = d / (root(variance) + eps)
        if b != NULL:
            b[i] = momentum * b[i] + d
            d = b[i]
        p[i] -= lr * d


def rmsprop(
    cnp.ndarray p not None, cnp.ndarray g not None, cnp.ndarray s not None, cnp.ndarray mean, cnp.ndarray b, double lr, double alpha,
    double eps, double weight_decay, double momentum, bint maximize,
    cnp.ndarray p_new not None, cnp.ndarray s_new not None, cnp.ndarray mean_new, cnp.ndarray b_new,
):
    cdef Update u = _bind(p, g, p_new, weight_decay, False, lr, maximize)
    u.state[0] = _in_place(s, s_new)
    u.state[1] = _in_place(mean, mean_new)
    u.state[2] = _in_place(b, b_new)
    u.rates = [lr, alpha, 1 - alpha, eps, momentum, 0, 0, 0]
    with nogil:
        _run(_rmsprop[float], _rmsprop[double], &u, is_float32(p))


cdef void _adam(real* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    cdef const real* g = <const real*> u.g
    cdef real* m = <real*> u.state[0]
    cdef real* v = <real*> u.state[1]
    cdef real* v_max = <real*> u.state[2]
    cdef real sign = <real> u.sign, decay = <real> u.decay, keep = <real> u.keep
    cdef real rate = <real> u.rates[0], beta1 = <real> u.rates[1], fresh1 = <real> u.rates[2]
    cdef real beta2 = <real> u.rates[3], fresh2 = <real> u.rates[4], scale = <real> u.rates[5], eps = <real> u.rates[6]
    cdef real gradient_rate = <real> u.rates[7]
    cdef real d, w, largest
    cdef Py_ssize_t i
    for i in range(begin, end):
        d = _gradient(g[i], p[i], sign, decay)
        w = keep * p[i]
        m[i] = beta1 * m[i] + fresh1 * d
        v[i] = beta2 * v[i] + fresh2 * d * d
        largest = v[i]
        if v_max != NULL:
            largest = v_max[i] if v_max[i] > v[i] else v[i]  # a NaN in v comes through
            v_max[i] = largest
        p[i] = w - (rate * m[i] + gradient_rate * d) / (root(largest) * scale + eps)


cdef void _run_adam(
    Update* u, double rate, double gradient_rate, double beta1, double beta2, double eps, long long step, bint narrow
) noexcept nogil:
    u.rates = [rate, beta1, 1 - beta1, beta2, 1 - beta2, 1 / sqrt(1 - beta2 ** <double> step), eps, gradient_rate]
    _run(_adam[float], _adam[double], u, narrow)


def adam(
    cnp.ndarray p not None, cnp.ndarray g not None, cnp.ndarray m not None, cnp.ndarray v not None, cnp.ndarray v_max, double lr,
    double beta1, double beta2, double eps, double weight_decay, bint decoupled, long long step, bint maximize,
    cnp.ndarray p_new not None, cnp.ndarray m_new not None, cnp.ndarray v_new not None, cnp.ndarray v_max_new,
):
    cdef Update u = _bind(p, g, p_new, weight_decay, decoupled, lr, maximize)
    u.state[0] = _in_place(m, m_new)
    u.state[1] = _in_place(v, v_new)
    u.state[2] = _in_place(v_max, v_max_new)
    with nogil:
        _run_adam(&u, lr / (1 - beta1 ** <double> step), 0, beta1, beta2, eps, step, is_float32(p))


def nadam(
    cnp.ndarray p not None, cnp.ndarray g not None, cnp.ndarray m not None, cnp.ndarray v not None, double lr, double beta1,
    double beta2, double eps, double weight_decay, bint decoupled, long long step, double gradient_rate, double momentum_rate,
    bint maximize, cnp.ndarray p_new not None, cnp.ndarray m_new not None, cnp.ndarray v_new not None,
):
    cdef Update u = _bind(p, g, p_new, weight_decay, decoupled, lr, maximize)
    u.state[0] = _in_place(m, m_new)
    u.state[1] = _in_place(v, v_new)
    with nogil:
        _run_adam(&u, momentum_rate, gradient_rate, beta1, beta2, eps, step, is_float32(p))
