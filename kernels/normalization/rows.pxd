# cython: cdivision=True
"""Normalization of the rows of x (N, D). The gradients of weight and bias are added up in chunks of ROWS rows, in ascending order."""

from cython.parallel cimport parallel, prange
from libc.math cimport sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.lanes cimport LARGE, fence
from fastnn.kernels.normalization.moments cimport ROWS, Moments, add_products, center, run_moments
from fastnn.kernels.parallel cimport threads_for

cdef extern from "simd/moments.h" nogil:
    void normalize_each_f32 "fastnn_run_normalize_each_f32"(
        const float* x, float mean, float scale, const float* w, const float* b, float* y, Py_ssize_t n, bint past) noexcept
    void normalize_each_f64 "fastnn_run_normalize_each_f64"(
        const double* x, double mean, double scale, const double* w, const double* b, double* y, Py_ssize_t n, bint past) noexcept
    void center_each_f32 "fastnn_run_center_each_f32"(
        const float* dy, const float* x, const float* w, float mean, float factor, float average, float along,
        float* dx, Py_ssize_t n, bint past) noexcept
    void center_each_f64 "fastnn_run_center_each_f64"(
        const double* dy, const double* x, const double* w, double mean, double factor, double average, double along,
        double* dx, Py_ssize_t n, bint past) noexcept
    void add_products_f32 "fastnn_run_add_products_f32"(
        const float* dy, const float* x, float mean, float rstd, float* first, float* second, Py_ssize_t n) noexcept
    void add_products_f64 "fastnn_run_add_products_f64"(
        const double* dy, const double* x, double mean, double rstd, double* first, double* second, Py_ssize_t n) noexcept


cdef inline void layer_norm_row(
    Py_ssize_t n, const real* x, const real* w, const real* b, double eps, real* y, real* mean, real* rstd, Py_ssize_t D, bint past
) noexcept nogil:
    cdef Moments moments = run_moments(x + n * D, D)
    cdef real scale = <real> (1 / sqrt(moments.var + eps))
    if mean != NULL:
        mean[n] = <real> moments.mean
    if rstd != NULL:
        rstd[n] = scale
    if y == NULL:
        return
    if real is float:
        normalize_each_f32(x + n * D, <float> moments.mean, scale, w, b, y + n * D, D, past)
    else:
        normalize_each_f64(x + n * D, moments.mean, scale, w, b, y + n * D, D, past)


cdef inline void layer_norm_forward(
    const real* x, const real* w, const real* b, double eps, real* y, real* mean, real* rstd, Py_ssize_t N, Py_ssize_t D
) noexcept nogil:
    cdef int threads = threads_for(N * D // 2)
    cdef bint past = N * D * <Py_ssize_t> sizeof(real) >= LARGE
    cdef Py_ssize_t n
    if threads == 1:
        for n in range(N):
            layer_norm_row(n, x, w, b, eps, y, mean, rstd, D, past)
        fence()
    else:
        with parallel(num_threads=threads):
            for n in prange(N, schedule="static"):
                layer_norm_row(n, x, w, b, eps, y, mean, rstd, D, past)
            fence()


cdef inline void layer_norm_dx(
    const real* dy, const real* x, const real* w, real mean, real rstd, real* dx, Py_ssize_t D, bint past
) noexcept nogil:
    cdef double sum_dy = 0, sum_dyx = 0
    cdef real average, along
    add_products(dy, x, w, mean, D, &sum_dy, &sum_dyx)
    average = <real> (sum_dy / D)
    along = rstd * rstd * <real> (sum_dyx / D)
    if w == NULL:
        center(dy, x, mean, rstd, rstd * average, rstd * along, dx, D, past)
    elif real is float:
        center_each_f32(dy, x, w, mean, rstd, average, along, dx, D, past)
    else:
        center_each_f64(dy, x, w, mean, rstd, average, along, dx, D, past)


cdef inline void layer_norm_chunk(
    Py_ssize_t chunk, const real* dy, const real* x, const real* w, const real* mean, const real* rstd, real* dx, real* partial,
    Py_ssize_t N, Py_ssize_t D, bint past,
) noexcept nogil:
    """dx of the chunk's rows, and their part of the gradients of weight and bias, unless ``partial`` is NULL."""
    cdef real* bias = partial + 2 * chunk * D
    cdef real* weight = bias + D
    cdef Py_ssize_t n
    if partial != NULL:
        memset(bias, 0, 2 * D * sizeof(real))
    for n in range(chunk * ROWS, min(N, (chunk + 1) * ROWS)):
        if dx != NULL:
            layer_norm_dx(dy + n * D, x + n * D, w, mean[n], rstd[n], dx + n * D, D, past)
        if partial != NULL:
            if real is float:
                add_products_f32(dy + n * D, x + n * D, mean[n], rstd[n], bias, weight, D)
            else:
                add_products_f64(dy + n * D, x + n * D, mean[n], rstd[n], bias, weight, D)


cdef inline void add_chunks(const real* partial, Py_ssize_t chunks, Py_ssize_t step, real* result, Py_ssize_t D) noexcept nogil:
    cdef Py_ssize_t j, chunk
    cdef double total
    for j in range(D):
        total = 0
        for chunk in range(chunks):
            total += partial[chunk * step + j]
        result[j] = <real> total


cdef inline int layer_norm_gradients(
    const real* dy, const real* x, const real* w, const real* mean, const real* rstd, real* dx, real* dw, real* db,
    Py_ssize_t N, Py_ssize_t D,
) noexcept nogil:
    """Returns 0, or -1 without memory."""
    cdef int threads = threads_for(N * D // 2)
    cdef bint past = N * D * <Py_ssize_t> sizeof(real) >= LARGE
    cdef Py_ssize_t chunks = (N + ROWS - 1) // ROWS, chunk
    cdef real* partial = NULL
    if dw != NULL or db != NULL:
        partial = <real*> malloc((2 * chunks * D + 1) * sizeof(real))
        if partial == NULL:
            return -1
    if threads == 1:
        for chunk in range(chunks):
            layer_norm_chunk(chunk, dy, x, w, mean, rstd, dx, partial, N, D, past)
        fence()
    else:
        with parallel(num_threads=threads):
            for chunk in prange(chunks, schedule="static"):
                layer_norm_chunk(chunk, dy, x, w, mean, rstd, dx, partial, N, D, past)
            fence()
    if db != NULL:
        add_chunks(<const real*> partial, chunks, 2 * D, db, D)
    if dw != NULL:
        add_chunks(<const real*> partial + D, chunks, 2 * D, dw, D)
    free(partial)
    return 0
