# cython: cdivision=True
"""Products of matrices, compiled ahead of time. Threads share out blocks of rows or columns of the result."""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastnn.kernels.arrays cimport data, is_float32, length, real
from fastnn.kernels.gemm cimport dot, gemm, gemm_workspace
from fastnn.kernels.parallel cimport threads_for

cnp.import_array()

# With fewer rows than this a register tile would be mostly padding: plain rows of dot products are faster.
cdef enum:
    FEW_ROWS = 4


cdef int _multiply(
    real* c, Py_ssize_t c_stride,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* b, Py_ssize_t b_k, Py_ssize_t b_column,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, bint accumulate,
) noexcept nogil:
    """C = or += A B, the longer side of C split evenly among the threads. Returns 0, or -1 without memory."""
    cdef int threads = threads_for(m * n * k // 16)
    cdef Py_ssize_t space = gemm_workspace(sizeof(real))
    cdef char* workspace = <char*> malloc(space * threads)
    cdef Py_ssize_t step, begin, count
    cdef int t
    if workspace == NULL:
        return -1
    step = ((max(m, n) + threads - 1) // threads + 63) // 64 * 64
    for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        begin = t * step
        count = min(step, max(m, n) - begin)
        if count > 0:
            if m >= n:
                gemm(c + begin * c_stride, c_stride, a + begin * a_row, a_row, a_k, b, b_k, b_column,
                     count, n, k, accumulate, workspace + t * space)
            else:
                gemm(c + begin, c_stride, a, a_row, a_k, b + begin * b_column, b_k, b_column,
                     m, count, k, accumulate, workspace + t * space)
    free(workspace)
    return 0


cdef int _linear(
    const real* x, const real* w, const real* b, real* y, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O
) noexcept nogil:
    cdef Py_ssize_t n, o
    cdef int threads
    if N < FEW_ROWS:
        threads = threads_for(N * O * I // 8)
        for o in prange(O, num_threads=threads, schedule="static"):
            for n in range(N):
                y[n * O + o] = dot(I, x + n * I, w + o * I) + (0 if b == NULL else b[o])
        return 0
    if b != NULL:
        for n in range(N):
            memcpy(y + n * O, b, O * sizeof(real))
    return _multiply(y, O, x, I, 1, w, 1, I, N, O, I, b != NULL)


def linear(cnp.ndarray x not None, cnp.ndarray w not None, cnp.ndarray b, cnp.ndarray y not None):
    cdef Py_ssize_t N = length(x, 0), I = length(x, 1), O = length(w, 0)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _linear(<const float*> data(x), <const float*> data(w), <const float*> data(b), <float*> data(y), N, I, O)
    else:
        with nogil:
            failed = _linear(<const double*> data(x), <const double*> data(w), <const double*> data(b), <double*> data(y), N, I, O)
    if failed:
        raise MemoryError("linear: no room for the packed panels")


cdef void _add_scaled(real* y, const real* x, real scale, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] += scale * x[i]


cdef void _linear_dx_few_rows(
    const real* dy, const real* w, real* dx, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O
) noexcept nogil:
    """dx = dy w, each thread a range of columns; w is read once, in order."""
    cdef int threads = threads_for(N * O * I // 8)
    cdef Py_ssize_t step = (I + threads - 1) // threads
    cdef Py_ssize_t n, o, begin, count
    cdef int t
    for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        begin = t * step
        count = min(step, I - begin)
        if count > 0:
            for n in range(N):
                memset(dx + n * I + begin, 0, count * sizeof(real))
            for o in range(O):
                for n in range(N):
                    _add_scaled(dx + n * I + begin, w + o * I + begin, dy[n * O + o], count)


cdef void _linear_dw_few_rows(
    const real* dy, const real* x, real* dw, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O
) noexcept nogil:
    cdef int threads = threads_for(N * O * I // 8)
    cdef Py_ssize_t n, o
    for o in prange(O, num_threads=threads, schedule="static"):
        memset(dw + o * I, 0, I * sizeof(real))
        for n in range(N):
            _add_scaled(dw + o * I, x + n * I, dy[n * O + o], I)


cdef int _linear_backward(
    const real* dy, const real* x, const real* w, real* dx, real* dw, real* db, Py_ssize_t N, Py_ssize_t I, Py_ssize_t O
) noexcept nogil:
    cdef Py_ssize_t n
    cdef int failed = 0
    if db != NULL:
        memset(db, 0, O * sizeof(real))
        for n in range(N):
            _add_scaled(db, dy + n * O, 1, O)
    if N < FEW_ROWS:
        if dx != NULL:
            _linear_dx_few_rows(dy, w, dx, N, I, O)
        if dw != NULL:
            _linear_dw_few_rows(dy, x, dw, N, I, O)
        return 0
    if dx != NULL:
        failed |= _multiply(dx, I, dy, O, 1, w, I, 1, N, I, O, False)
    if dw != NULL:
        failed |= _multiply(dw, I, dy, 1, O, x, I, 1, O, I, N, False)
    return failed


def linear_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray w not None, cnp.ndarray dx, cnp.ndarray dw, cnp.ndarray db
):
    cdef Py_ssize_t N = length(x, 0), I = length(x, 1), O = length(w, 0)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _linear_backward(
                <const float*> data(dy), <const float*> data(x), <const float*> data(w),
                <float*> data(dx), <float*> data(dw), <float*> data(db), N, I, O)
    else:
        with nogil:
            failed = _linear_backward(
                <const double*> data(dy), <const double*> data(x), <const double*> data(w),
                <double*> data(dx), <double*> data(dw), <double*> data(db), N, I, O)
    if failed:
        raise MemoryError("linear_backward: no room for the packed panels")


cdef int _matmul(const real* a, const real* b, real* y, Py_ssize_t B, Py_ssize_t M, Py_ssize_t K, Py_ssize_t N) noexcept nogil:
    cdef Py_ssize_t i
    cdef int failed = 0
    for i in range(B):
        failed |= _multiply(y + i * M * N, N, a + i * M * K, K, 1, b + i * K * N, N, 1, M, N, K, False)
    return failed


def matmul(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray y not None):
    cdef Py_ssize_t B = length(a, 0), M = length(a, 1), K = length(a, 2), N = length(b, 2)
    cdef int failed
    if is_float32(a):
        with nogil:
            failed = _matmul(<const float*> data(a), <const float*> data(b), <float*> data(y), B, M, K, N)
    else:
        with nogil:
            failed = _matmul(<const double*> data(a), <const double*> data(b), <double*> data(y), B, M, K, N)
    if failed:
        raise MemoryError("matmul: no room for the packed panels")


cdef int _matmul_backward(
    const real* dy, const real* a, const real* b, real* da, real* db, Py_ssize_t B, Py_ssize_t M, Py_ssize_t K, Py_ssize_t N
) noexcept nogil:
    cdef Py_ssize_t i
    cdef int failed = 0
    for i in range(B):
        if da != NULL:
            failed |= _multiply(da + i * M * K, K, dy + i * M * N, N, 1, b + i * K * N, 1, N, M, K, N, False)
        if db != NULL:
            failed |= _multiply(db + i * K * N, N, a + i * M * K, 1, K, dy + i * M * N, N, 1, K, N, M, False)
    return failed


def matmul_backward(cnp.ndarray dy not None, cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray da, cnp.ndarray db):
    cdef Py_ssize_t B = length(a, 0), M = length(a, 1), K = length(a, 2), N = length(b, 2)
    cdef int failed
    if is_float32(a):
        with nogil:
            failed = _matmul_backward(
                <const float*> data(dy), <const float*> data(a), <const float*> data(b),
                <float*> data(da), <float*> data(db), B, M, K, N)
    else:
        with nogil:
            failed = _matmul_backward(
                <const double*> data(dy), <const double*> data(a), <const double*> data(b),
                <double*> data(da), <double*> data(db), B, M, K, N)
    if failed:
        raise MemoryError("matmul_backward: no room for the packed panels")
