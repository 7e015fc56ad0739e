# cython: cdivision=True
"""One step of each optimiser over some elements of a parameter, its gradient and its state, in place."""

from libc.math cimport sqrt

from fastnn.kernels.arrays cimport real

cdef extern from "<math.h>" nogil:
    float sqrtf(float x) noexcept

cdef extern from "simd/adam.h" nogil:
    bint adam_f32 "fastnn_adam_f32"(
        float* p, const float* g, float* m, float* v, Py_ssize_t n, float sign, float keep, float rate, float beta1, float fresh1,
        float beta2, float fresh2, float scale, float eps) noexcept


cdef struct Update:
    void* p              # the new parameter, which starts as the old one
    const void* g
    void* state[3]       # likewise; NULL where absent
    double rates[8]
    double sign          # -1 to maximise
    double decay         # times p, added to the gradient
    double keep          # times p, before anything else (decoupled weight decay)
    Py_ssize_t n
    bint narrow          # float32


cdef inline real root(real x) noexcept nogil:
    if real is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef inline real _gradient(real g, real p, real sign, real decay) noexcept nogil:
    """The gradient that acts. Without decay p is left out, because 0 * inf is NaN."""
    return sign * g + decay * p if decay != 0 else sign * g


cdef inline void sgd_loop(real* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
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


cdef inline void adagrad_loop(real* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    cdef const real* g = <const real*> u.g
    cdef real* s = <real*> u.state[0]
    cdef real sign = <real> u.sign, decay = <real> u.decay, lr = <real> u.rates[0], eps = <real> u.rates[1]
    cdef real d
    cdef Py_ssize_t i
    for i in range(begin, end):
        d = _gradient(g[i], p[i], sign, decay)
        s[i] += d * d
        p[i] -= lr * d / (root(s[i]) + eps)


cdef inline void adadelta_loop(real* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
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


cdef inline void rmsprop_loop(real* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
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


cdef inline void adam_loop(real* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
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
    if real is float and v_max == NULL and decay == 0 and gradient_rate == 0:
        if adam_f32(p + begin, g + begin, m + begin, v + begin, end - begin, sign, keep, rate, beta1, fresh1, beta2, fresh2, scale, eps):
            return
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
