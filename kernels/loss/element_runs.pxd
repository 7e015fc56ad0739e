# cython: cdivision=True
"""Losses of all elements and their gradients. Threads share out chunks; the chunks' sums are added up in one order."""

from cython.parallel cimport prange
from libc.stdlib cimport free, malloc

from fastnn.kernels.arrays cimport offset, real
from fastnn.kernels.lanes cimport CHUNK, chunk_sum
from fastnn.kernels.loss.class_runs cimport FEW, MEAN, NONE, Reduction
from fastnn.kernels.loss.elements cimport BINARY, LOGITS, Loss, element_gradients, element_losses, target_gradients
from fastnn.kernels.parallel cimport threads_for


cdef inline real chunk_loss(
    Loss loss, const real* x, const real* t, const real* w, const real* p, double beta, Py_ssize_t n
) noexcept nogil:
    cdef real buffer[CHUNK]
    element_losses(loss, x, t, w, p, beta, buffer, n)
    return chunk_sum(<const real*> buffer, n)


cdef inline void forward_chunk(
    Loss loss, Py_ssize_t i, const real* x, const real* t, const real* w, const real* p, double beta, real* y, real* sums, Py_ssize_t n
) noexcept nogil:
    """Chunk i: its losses, or their sum where ``sums`` is not NULL."""
    cdef Py_ssize_t at = i * CHUNK, count = min(<Py_ssize_t> CHUNK, n - i * CHUNK)
    if sums == NULL:
        element_losses(loss, x + at, t + at, offset(w, at), offset(p, at), beta, y + at, count)
    else:
        sums[i] = chunk_loss(loss, x + at, t + at, offset(w, at), offset(p, at), beta, count)


cdef inline int work_of(Loss loss) noexcept nogil:
    """Of one element."""
    return 4 if BINARY <= loss <= LOGITS else 1


cdef inline int elements_forward(
    Loss loss, const real* x, const real* t, const real* w, const real* p, double beta, Reduction reduction, real* y, Py_ssize_t n
) noexcept nogil:
    """Returns 0, or -1 without memory."""
    cdef Py_ssize_t chunks = (n + CHUNK - 1) // CHUNK, i
    cdef int threads = threads_for(work_of(loss) * n)
    cdef real few[FEW]
    cdef real* sums = NULL
    cdef double total = 0
    if reduction != NONE:
        sums = few
        if chunks > FEW:
            sums = <real*> malloc(chunks * sizeof(real))
        if sums == NULL:
            return -1
    if threads == 1:
        for i in range(chunks):
            forward_chunk(loss, i, x, t, w, p, beta, y, sums, n)
    else:
        for i in prange(chunks, num_threads=threads, schedule="static"):
            forward_chunk(loss, i, x, t, w, p, beta, y, sums, n)
    if sums != NULL:
        for i in range(chunks):
            total += sums[i]
        y[0] = <real> (total / n if reduction == MEAN else total)
        if chunks > FEW:
            free(sums)
    return 0


cdef inline void backward_chunk(
    Loss loss, Py_ssize_t i, const real* dy, const real* x, const real* t, const real* w, const real* p, double beta,
    real factor, bint each, real* dx, real* dt, Py_ssize_t n,
) noexcept nogil:
    cdef real scale[CHUNK]
    cdef Py_ssize_t at = i * CHUNK, count = min(<Py_ssize_t> CHUNK, n - i * CHUNK), j
    for j in range(count):
        scale[j] = (dy[at + j] if each else factor) * (1 if w == NULL else w[at + j])
    if dx != NULL:
        element_gradients(loss, x + at, t + at, offset(p, at), beta, <const real*> scale, dx + at, count)
    if dt != NULL:
        target_gradients(loss, x + at, t + at, offset(p, at), beta, <const real*> scale, dt + at, count)


cdef inline void elements_backward(
    Loss loss, const real* dy, const real* x, const real* t, const real* w, const real* p, double beta, Reduction reduction,
    real* dx, real* dt, Py_ssize_t n,
) noexcept nogil:
    cdef bint each = reduction == NONE
    cdef Py_ssize_t chunks = (n + CHUNK - 1) // CHUNK, i
    cdef int threads = threads_for(work_of(loss) * n)
    cdef real factor = 0 if each else (dy[0] / <real> n if reduction == MEAN else dy[0])
    if threads == 1:
        for i in range(chunks):
            backward_chunk(loss, i, dy, x, t, w, p, beta, factor, each, dx, dt, n)
    else:
        for i in prange(chunks, num_threads=threads, schedule="static"):
            backward_chunk(loss, i, dy, x, t, w, p, beta, factor, each, dx, dt, n)
