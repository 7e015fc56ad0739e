# cython: cdivision=True
"""Softmax, compiled ahead of time. A unit of work is one row of a gradient, a block of short rows, or a strip of columns; results of
rows are computed run by run."""

from cython.parallel cimport parallel, prange

from fastnn.kernels.arrays cimport real
from fastnn.kernels.entry cimport Argument, Argument32, Argument64, Entry, kernel
from fastnn.kernels.lanes cimport LARGE, fence
from fastnn.kernels.parallel cimport threads_for
from fastnn.kernels.softmax.columns cimport SHORT, WIDTH, columns, columns_backward, gather, scatter
from fastnn.kernels.softmax.rows cimport log_softmax_row_backward, rows, softmax_row_backward

cdef struct Job:
    Py_ssize_t A
    Py_ssize_t C
    Py_ssize_t B
    Py_ssize_t units
    bint logarithm
    bint large


cdef void _short_rows(const Job* job, const real* dy, const real* x, real* y, Py_ssize_t count) noexcept nogil:
    cdef real values[SHORT * WIDTH]
    cdef real gradients[SHORT * WIDTH]
    gather(x, job.C, count, values)
    if dy == NULL:
        columns(<const real*> values, values, job.C, WIDTH, count, job.logarithm)
        scatter(<const real*> values, job.C, count, y)
    else:
        gather(dy, job.C, count, gradients)
        columns_backward(<const real*> gradients, <const real*> values, gradients, job.C, WIDTH, count, job.logarithm)
        scatter(<const real*> gradients, job.C, count, y)


cdef void _unit(const Job* job, Py_ssize_t i, const real* dy, const real* x, real* y) noexcept nogil:
    """Forward where ``dy`` is NULL, but for rows, else backward with x the saved result and y the gradient."""
    cdef Py_ssize_t C = job.C, strips, at, count
    if job.B > 1:
        strips = (job.B + WIDTH - 1) // WIDTH
        at = i % strips * WIDTH
        count = min(<Py_ssize_t> WIDTH, job.B - at)
        at += i // strips * C * job.B
        if dy == NULL:
            columns(x + at, y + at, C, job.B, count, job.logarithm)
        else:
            columns_backward(dy + at, x + at, y + at, C, job.B, count, job.logarithm)
    elif C <= SHORT:
        at = i * WIDTH
        _short_rows(job, <const real*> NULL if dy == NULL else dy + at * C, x + at * C, y + at * C, min(<Py_ssize_t> WIDTH, job.A - at))
    elif job.logarithm:
        log_softmax_row_backward(dy + i * C, x + i * C, y + i * C, C, job.large)
    else:
        softmax_row_backward(dy + i * C, x + i * C, y + i * C, C, job.large)


cdef void _run(const Job* job, const real* dy, const real* x, real* y) noexcept nogil:
    cdef int threads = threads_for(job.A * job.C * job.B * 2)
    cdef Py_ssize_t i, t
    cdef bint whole = dy == NULL and job.B == 1 and job.C > SHORT
    if threads == 1 and whole:
        rows(x, y, 0, job.A, job.C, job.logarithm, job.large)
        fence()
    elif threads == 1:
        for i in range(job.units):
            _unit(job, i, dy, x, y)
        fence()
    elif whole:
        with parallel(num_threads=threads):
            for t in prange(threads, schedule="static", chunksize=1):
                rows(x, y, job.A * t // threads, job.A * (t + 1) // threads, job.C, job.logarithm, job.large)
            fence()
    else:
        with parallel(num_threads=threads):
            for i in prange(job.units, schedule="static"):
                _unit(job, i, dy, x, y)
            fence()


cdef inline void _call(
    const real* dy, const real* x, real* y, Py_ssize_t A, Py_ssize_t C, Py_ssize_t B, bint logarithm
) noexcept nogil:
    cdef Job job = Job(A, C, B, A, logarithm, A * C * B * <Py_ssize_t> sizeof(real) >= LARGE)
    if B > 1:
        job.units = A * ((B + WIDTH - 1) // WIDTH)
    elif C <= SHORT:
        job.units = (A + WIDTH - 1) // WIDTH
    if C > 0 and B > 0:
        _run(&job, dy, x, y)


cdef int softmax(const Argument* a) noexcept nogil:
    _call(NULL, a[0].input, a[1].output, a[0].dims[0], a[0].dims[1], a[0].dims[2], False)
    return 0


cdef int softmax_backward(const Argument* a) noexcept nogil:
    _call(a[0].input, a[1].input, a[2].output, a[1].dims[0], a[1].dims[1], a[1].dims[2], False)
    return 0


cdef int log_softmax(const Argument* a) noexcept nogil:
    _call(NULL, a[0].input, a[1].output, a[0].dims[0], a[0].dims[1], a[0].dims[2], True)
    return 0


cdef int log_softmax_backward(const Argument* a) noexcept nogil:
    _call(a[0].input, a[1].input, a[2].output, a[1].dims[0], a[1].dims[1], a[1].dims[2], True)
    return 0


kernel(globals(), "softmax(x, y)", <Entry> softmax[Argument32], <Entry> softmax[Argument64])
kernel(globals(), "softmax_backward(dy, y, dx)", <Entry> softmax_backward[Argument32], <Entry> softmax_backward[Argument64])
kernel(globals(), "log_softmax(x, y)", <Entry> log_softmax[Argument32], <Entry> log_softmax[Argument64])
kernel(globals(), "log_softmax_backward(dy, y, dx)",
       <Entry> log_softmax_backward[Argument32], <Entry> log_softmax_backward[Argument64])
