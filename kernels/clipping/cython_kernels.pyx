# cython: cdivision=True
"""Gradients scaled together, compiled ahead of time. Sums go in chunks, each in double, combined in ascending order."""

from cython.parallel cimport prange
from libc.math cimport sqrt

from fastnn.kernels.arrays cimport real
from fastnn.kernels.entry cimport Argument, Argument32, Argument64, Entry, kernel
from fastnn.kernels.parallel cimport threads_for
from fastnn.kernels.reduction.sums cimport CHUNK, squares_of_run
from fastnn.kernels.scratch cimport scratch


cdef inline double _chunk(const real* x, Py_ssize_t n, Py_ssize_t chunk) noexcept nogil:
    return squares_of_run(x + chunk * CHUNK, min(<Py_ssize_t> CHUNK, n - chunk * CHUNK), 0)


cdef int _joint_norm(const real* x, const real* before, real* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t chunks = (n + CHUNK - 1) // CHUNK, i
    cdef double total = <double> before[0] * before[0]
    cdef int threads = threads_for(n)
    cdef double* partial
    if threads == 1:
        for i in range(chunks):
            total += _chunk(x, n, i)
    else:
        partial = <double*> scratch(chunks * sizeof(double))
        if partial == NULL:
            return -1
        for i in prange(chunks, num_threads=threads, schedule="static"):
            partial[i] = _chunk(x, n, i)
        for i in range(chunks):
            total += partial[i]
    y[0] = <real> sqrt(total)
    return 0


cdef int joint_norm(const Argument* a) noexcept nogil:
    return _joint_norm(a[0].input, a[1].input, a[2].output, a[0].size)


cdef inline void _scale(const real* x, real* y, Py_ssize_t begin, Py_ssize_t end, double scale) noexcept nogil:
    cdef real factor = <real> scale
    cdef Py_ssize_t i
    if scale >= 1:
        for i in range(begin, end):
            y[i] = x[i]
    else:  # also where it is NaN, which spreads
        for i in range(begin, end):
            y[i] = x[i] * factor


cdef int _limited(const real* x, const real* norm, double limit, real* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t chunks = (n + CHUNK - 1) // CHUNK, i
    cdef double scale = limit / (<double> norm[0] + 1e-6)
    cdef int threads = threads_for(n)
    if x == y and scale >= 1:
        return 0
    if threads == 1:
        _scale(x, y, 0, n, scale)
    else:
        for i in prange(chunks, num_threads=threads, schedule="static"):
            _scale(x, y, i * CHUNK, min(n, (i + 1) * CHUNK), scale)
    return 0


cdef int limited(const Argument* a) noexcept nogil:
    return _limited(a[0].input, a[1].input, a[2].number, a[3].output, a[0].size)


kernel(globals(), "joint_norm(x, before, y)", <Entry> joint_norm[Argument32], <Entry> joint_norm[Argument64])
kernel(globals(), "limited(x, norm, float limit, y)", <Entry> limited[Argument32], <Entry> limited[Argument64])
