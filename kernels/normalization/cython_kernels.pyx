# cython: cdivision=True
"""Normalization, compiled ahead of time. Threads share out channels (batch_norm), rows (layer_norm) or groups (group_norm)."""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.math cimport sqrt

from fastnn.kernels.arrays cimport data, is_float32, length, real
from fastnn.kernels.normalization.moments cimport (
    STRIP, Moments, run_moments, run_products, strip_moments, strip_products,
)
from fastnn.kernels.parallel cimport threads_for

cnp.import_array()

# Runs shorter than this are walked in strips of whole channels.
cdef enum:
    SHORT = 16


cdef struct Batch:
    Py_ssize_t N
    Py_ssize_t C
    Py_ssize_t L
    double eps


cdef inline Py_ssize_t _channels_at_once(const Batch* batch) noexcept nogil:
    """How many channels one thread does together: one with long runs, else a strip of them."""
    return 1 if batch.L > SHORT or batch.L == 0 else STRIP // batch.L


cdef inline void _scale_shift(
    const real* x, real mean, real scale, real shift, real* y, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = (x[i] - mean) * scale + shift


cdef void _normalize_channels(
    const Batch* batch, Py_ssize_t c0, Py_ssize_t channels, const real* x, const real* w, const real* b,
    const real* mean, const real* var, real* y,
) noexcept nogil:
    """y of the channels from c0 on; ``mean`` and ``var`` start at c0."""
    cdef Py_ssize_t L = batch.L, row = batch.C * L, width = channels * L, n, j, c
    cdef real means[STRIP]
    cdef real scales[STRIP]
    cdef real shifts[STRIP]
    cdef real scale
    if L > SHORT:
        scale = <real> (1 / sqrt(var[0] + batch.eps)) * (1 if w == NULL else w[c0])
        for n in range(batch.N):
            _scale_shift(x + n * row + c0 * L, mean[0], scale, 0 if b == NULL else b[c0], y + n * row + c0 * L, L)
        return
    for j in range(width):
        c = j // L
        means[j] = mean[c]
        scales[j] = <real> (1 / sqrt(var[c] + batch.eps)) * (1 if w == NULL else w[c0 + c])
        shifts[j] = 0 if b == NULL else b[c0 + c]
    for n in range(batch.N):
        for j in range(width):
            y[n * row + c0 * L + j] = (x[n * row + c0 * L + j] - means[j]) * scales[j] + shifts[j]


cdef void _batch_norm_channels(
    const Batch* batch, Py_ssize_t c0, Py_ssize_t channels, const real* x, const real* w, const real* b,
    real* y, real* mean, real* var,
) noexcept nogil:
    cdef Py_ssize_t row = batch.C * batch.L, c
    cdef double means[STRIP]
    cdef double vars[STRIP]
    cdef real local_mean[STRIP]
    cdef real local_var[STRIP]
    cdef Moments moments
    if batch.L > SHORT or batch.L == 0:
        moments = run_moments(x + c0 * batch.L, batch.N, batch.L, row)
        means[0] = moments.mean
        vars[0] = moments.var
    else:
        strip_moments(x + c0 * batch.L, batch.N, row, channels, batch.L, means, vars)
    for c in range(channels):
        local_mean[c] = <real> means[c]
        local_var[c] = <real> vars[c]
        if mean != NULL:
            mean[c0 + c] = local_mean[c]
        if var != NULL:
            var[c0 + c] = local_var[c]
    if y != NULL:
        _normalize_channels(batch, c0, channels, x, w, b, <const real*> local_mean, <const real*> local_var, y)


cdef void _batch_norm(
    const Batch* batch, bint training, const real* x, const real* w, const real* b, real* y, real* mean, real* var
) noexcept nogil:
    """With statistics of the batch, which are stored, or with those given."""
    cdef Py_ssize_t together = _channels_at_once(batch), units = (batch.C + together - 1) // together, i, c0, channels
    cdef int threads = threads_for(batch.N * batch.C * batch.L // (2 if training else 4))
    for i in prange(units, num_threads=threads, schedule="static"):
        c0 = i * together
        channels = min(together, batch.C - c0)
        if training:
            _batch_norm_channels(batch, c0, channels, x, w, b, y, mean, var)
        else:
            _normalize_channels(batch, c0, channels, x, w, b, <const real*> mean + c0, <const real*> var + c0, y)


def batch_norm(
    cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray bias, double eps, cnp.ndarray y, cnp.ndarray mean, cnp.ndarray var
):
    cdef Batch batch = Batch(length(x, 0), length(x, 1), length(x, 2), eps)
    if is_float32(x):
        with nogil:
            _batch_norm(
                &batch, True, <const float*> data(x), <const float*> data(weight), <const float*> data(bias),
                <float*> data(y), <float*> data(mean), <float*> data(var))
    else:
        with nogil:
            _batch_norm(
                &batch, True, <const double*> data(x), <const double*> data(weight), <const double*> data(bias),
                <double*> data(y), <double*> data(mean), <double*> data(var))


def batch_norm_evaluation(
    cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray bias, cnp.ndarray running_mean not None,
    cnp.ndarray running_var not None, double eps, cnp.ndarray y not None,
):
    cdef Batch batch = Batch(length(x, 0), length(x, 1), length(x, 2), eps)
    if is_float32(x):
        with nogil:
            _batch_norm(
                &batch, False, <const float*> data(x), <const float*> data(weight), <const float*> data(bias),
                <float*> data(y), <float*> data(running_mean), <float*> data(running_var))
    else:
        with nogil:
            _batch_norm(
                &batch, False, <const double*> data(x), <const double*> data(weight), <const double*> data(bias),
                <double*> data(y), <double*> data(running_mean), <double*> data(running_var))


cdef inline void _center_gradient(
    const real* dy, const real* x, real mean, real factor, real average, real along, real* dx, Py_ssize_t n
) noexcept nogil:
    """dx = factor (dy - average - (x - mean) along)"""
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = factor * (dy[i] - average - (x[i] - mean) * along)


cdef void _strip_gradient(
    const Batch* batch, bint training, Py_ssize_t c0, Py_ssize_t channels, const real* dy, const real* x, const real* w,
    const real* means, const real* rstds, const double* sum_dy, const double* sum_dyx, real* dx,
) noexcept nogil:
    """dx of a strip of channels; ``means`` and ``rstds`` by column."""
    cdef Py_ssize_t L = batch.L, row = batch.C * L, at, n, j, c
    cdef double count = <double> max(batch.N * L, 1)
    cdef real factors[STRIP]
    cdef real averages[STRIP]
    cdef real alongs[STRIP]
    for j in range(channels * L):
        c = j // L
        factors[j] = rstds[j] * (1 if w == NULL else w[c0 + c])
        averages[j] = <real> (sum_dy[c] / count) if training else 0
        alongs[j] = rstds[j] * <real> (sum_dyx[c] / count) if training else 0
    for n in range(batch.N):
        at = n * row + c0 * L
        for j in range(channels * L):
            dx[at + j] = factors[j] * (dy[at + j] - averages[j] - (x[at + j] - means[j]) * alongs[j])


cdef void _batch_norm_backward_channels(
    const Batch* batch, bint training, Py_ssize_t c0, Py_ssize_t channels, const real* dy, const real* x, const real* w,
    const real* mean, const real* var, real* dx, real* dw, real* db,
) noexcept nogil:
    cdef Py_ssize_t L = batch.L, row = batch.C * L, n, j, c, at
    cdef double count = <double> max(batch.N * L, 1)
    cdef double sum_dy[STRIP]
    cdef double sum_dyx[STRIP]
    cdef real means[STRIP]
    cdef real rstds[STRIP]
    cdef real rstd = <real> (1 / sqrt(var[c0] + batch.eps)), average, along
    if L > SHORT or L == 0:
        run_products(dy + c0 * L, x + c0 * L, <const real*> NULL, mean[c0], batch.N, L, row, sum_dy, sum_dyx)
        sum_dyx[0] *= rstd
        average = <real> (sum_dy[0] / count) if training else 0
        along = rstd * <real> (sum_dyx[0] / count) if training else 0
        if dx != NULL:
            for n in range(batch.N):
                at = n * row + c0 * L
                _center_gradient(dy + at, x + at, mean[c0], rstd * (1 if w == NULL else w[c0]), average, along, dx + at, L)
    else:
        for j in range(channels * L):
            means[j] = mean[c0 + j // L]
            rstds[j] = <real> (1 / sqrt(var[c0 + j // L] + batch.eps))
        strip_products(
            dy + c0 * L, x + c0 * L, <const real*> means, <const real*> rstds, False, batch.N, row, channels, L, sum_dy, sum_dyx)
        if dx != NULL:
            _strip_gradient(
                batch, training, c0, channels, dy, x, w, <const real*> means, <const real*> rstds, sum_dy, sum_dyx, dx)
    for c in range(channels):
        if dw != NULL:
            dw[c0 + c] = <real> sum_dyx[c]
        if db != NULL:
            db[c0 + c] = <real> sum_dy[c]


cdef void _batch_norm_backward(
    const Batch* batch, bint training, const real* dy, const real* x, const real* w, const real* mean, const real* var,
    real* dx, real* dw, real* db,
) noexcept nogil:
    cdef Py_ssize_t together = _channels_at_once(batch), units = (batch.C + together - 1) // together, i
    cdef int threads = threads_for(batch.N * batch.C * batch.L // 2)
    for i in prange(units, num_threads=threads, schedule="static"):
        _batch_norm_backward_channels(
            batch, training, i * together, min(together, batch.C - i * together), dy, x, w, mean, var, dx, dw, db)


cdef _run_batch_norm_backward(
    bint training, cnp.ndarray dy, cnp.ndarray x, cnp.ndarray weight, cnp.ndarray mean, cnp.ndarray var, double eps,
    cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias,
):
    cdef Batch batch = Batch(length(x, 0), length(x, 1), length(x, 2), eps)
    if is_float32(x):
        with nogil:
            _batch_norm_backward(
                &batch, training, <const float*> data(dy), <const float*> data(x), <const float*> data(weight),
                <const float*> data(mean), <const float*> data(var),
                <float*> data(dx), <float*> data(dweight), <float*> data(dbias))
    else:
        with nogil:
            _batch_norm_backward(
                &batch, training, <const double*> data(dy), <const double*> data(x), <const double*> data(weight),
                <const double*> data(mean), <const double*> data(var),
                <double*> data(dx), <double*> data(dweight), <double*> data(dbias))


def batch_norm_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray mean not None, cnp.ndarray var not None,
    double eps, cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias,
):
    _run_batch_norm_backward(True, dy, x, weight, mean, var, eps, dx, dweight, dbias)


def batch_norm_evaluation_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray running_mean not None,
    cnp.ndarray running_var not None, double eps, cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias,
):
    _run_batch_norm_backward(False, dy, x, weight, running_mean, running_var, eps, dx, dweight, dbias)


cdef void _move(const real* value, const real* running, real momentum, real factor, real* result, Py_ssize_t n) noexcept nogil:
    """result = running + momentum (factor value - running)"""
    cdef Py_ssize_t i
    for i in range(n):
        result[i] = running[i] + momentum * (factor * value[i] - running[i])


def running_statistics(
    cnp.ndarray mean not None, cnp.ndarray var not None, cnp.ndarray running_mean not None, cnp.ndarray running_var not None,
    double momentum, Py_ssize_t count, cnp.ndarray new_running_mean, cnp.ndarray new_running_var,
):
    cdef Py_ssize_t C = length(mean, 0)
    cdef double unbiased = <double> count / <double> (count - 1)
    if is_float32(mean):
        with nogil:
            if new_running_mean is not None:
                _move(<const float*> data(mean), <const float*> data(running_mean), <float> momentum, <float> 1,
                      <float*> data(new_running_mean), C)
            if new_running_var is not None:
                _move(<const float*> data(var), <const float*> data(running_var), <float> momentum, <float> unbiased,
                      <float*> data(new_running_var), C)
    else:
        with nogil:
            if new_running_mean is not None:
                _move(<const double*> data(mean), <const double*> data(running_mean), momentum, <double> 1,
                      <double*> data(new_running_mean), C)
            if new_running_var is not None:
                _move(<const double*> data(var), <const double*> data(running_var), momentum, unbiased,
                      <double*> data(new_running_var), C)


cdef void _normalize_row(
    const real* x, const real* w, const real* b, real mean, real rstd, real* y, Py_ssize_t D
) noexcept nogil:
    cdef Py_ssize_t j
    if w == NULL:
        _scale_shift(x, mean, rstd, 0, y, D)
    else:
        for j in range(D):
            y[j] = (x[j] - mean) * rstd * w[j]
    if b != NULL:
        for j in range(D):
            y[j] += b[j]


cdef void _layer_norm_row(
    Py_ssize_t n, const real* x, const real* w, const real* b, double eps, real* y, real* mean, real* rstd, Py_ssize_t D
) noexcept nogil:
    cdef Moments moments = run_moments(x + n * D, 1, D, D)
    cdef real scale = <real> (1 / sqrt(moments.var + eps))
    if mean != NULL:
        mean[n] = <real> moments.mean
    if rstd != NULL:
        rstd[n] = scale
    if y != NULL:
        _normalize_row(x + n * D, w, b, <real> moments.mean, scale, y + n * D, D)


cdef void _layer_norm(
    const real* x, const real* w, const real* b, double eps, real* y, real* mean, real* rstd, Py_ssize_t N, Py_ssize_t D
) noexcept nogil:
    cdef int threads = threads_for(N * D // 2)
    cdef Py_ssize_t n
    for n in prange(N, num_threads=threads, schedule="static"):
        _layer_norm_row(n, x, w, b, eps, y, mean, rstd, D)


def layer_norm(
    cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray bias, double eps, cnp.ndarray y, cnp.ndarray mean, cnp.ndarray rstd
):
    cdef Py_ssize_t N = length(x, 0), D = length(x, 1)
    if is_float32(x):
        with nogil:
            _layer_norm(
                <const float*> data(x), <const float*> data(weight), <const float*> data(bias), eps,
                <float*> data(y), <float*> data(mean), <float*> data(rstd), N, D)
    else:
        with nogil:
            _layer_norm(
                <const double*> data(x), <const double*> data(weight), <const double*> data(bias), eps,
                <double*> data(y), <double*> data(mean), <double*> data(rstd), N, D)


cdef void _layer_norm_dx(
    const real* dy, const real* x, const real* w, real mean, real rstd, real* dx, Py_ssize_t D
) noexcept nogil:
    cdef double sum_dy, sum_dyx
    cdef real average, along
    cdef Py_ssize_t j
    run_products(dy, x, w, mean, 1, D, D, &sum_dy, &sum_dyx)
    average = <real> (sum_dy / D)
    along = rstd * rstd * <real> (sum_dyx / D)
    if w == NULL:
        _center_gradient(dy, x, mean, rstd, average, along, dx, D)
    else:
        for j in range(D):
            dx[j] = rstd * (dy[j] * w[j] - average - (x[j] - mean) * along)


cdef void _layer_norm_columns(
    const real* dy, const real* x, const real* mean, const real* rstd, real* dw, real* db,
    Py_ssize_t N, Py_ssize_t D, Py_ssize_t first,
) noexcept nogil:
    """dw and db of one strip of columns."""
    cdef double sum_dy[STRIP]
    cdef double sum_dyx[STRIP]
    cdef Py_ssize_t width = min(<Py_ssize_t> STRIP, D - first), j
    strip_products(dy + first, x + first, mean, rstd, True, N, D, width, 1, sum_dy, sum_dyx)
    for j in range(width):
        if dw != NULL:
            dw[first + j] = <real> sum_dyx[j]
        if db != NULL:
            db[first + j] = <real> sum_dy[j]


cdef void _layer_norm_backward(
    const real* dy, const real* x, const real* w, const real* mean, const real* rstd, real* dx, real* dw, real* db,
    Py_ssize_t N, Py_ssize_t D,
) noexcept nogil:
    cdef int threads = threads_for(N * D // 2)
    cdef Py_ssize_t n, i
    if dx != NULL:
        for n in prange(N, num_threads=threads, schedule="static"):
            _layer_norm_dx(dy + n * D, x + n * D, w, mean[n], rstd[n], dx + n * D, D)
    if dw != NULL or db != NULL:
        for i in prange((D + STRIP - 1) // STRIP, num_threads=threads, schedule="static"):
            _layer_norm_columns(dy, x, mean, rstd, dw, db, N, D, i * STRIP)


def layer_norm_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray mean not None, cnp.ndarray rstd not None,
    cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias,
):
    cdef Py_ssize_t N = length(x, 0), D = length(x, 1)
    if is_float32(x):
        with nogil:
            _layer_norm_backward(
                <const float*> data(dy), <const float*> data(x), <const float*> data(weight), <const float*> data(mean),
                <const float*> data(rstd), <float*> data(dx), <float*> data(dweight), <float*> data(dbias), N, D)
    else:
        with nogil:
            _layer_norm_backward(
                <const double*> data(dy), <const double*> data(x), <const double*> data(weight), <const double*> data(mean),
                <const double*> data(rstd), <double*> data(dx), <double*> data(dweight), <double*> data(dbias), N, D)


cdef void _group_norm_group(
    Py_ssize_t i, Py_ssize_t groups, const real* x, const real* w, const real* b, double eps, real* y, real* mean, real* rstd,
    Py_ssize_t K, Py_ssize_t L,
) noexcept nogil:
    """Group i of all examples' groups: K channels of L values, contiguous."""
    cdef Moments moments = run_moments(x + i * K * L, 1, K * L, K * L)
    cdef real scale = <real> (1 / sqrt(moments.var + eps))
    cdef Py_ssize_t k, c
    if mean != NULL:
        mean[i] = <real> moments.mean
    if rstd != NULL:
        rstd[i] = scale
    if y != NULL:
        for k in range(K):
            c = i % groups * K + k
            _scale_shift(
                x + (i * K + k) * L, <real> moments.mean, scale * (1 if w == NULL else w[c]), 0 if b == NULL else b[c],
                y + (i * K + k) * L, L)


cdef void _group_norm(
    const real* x, const real* w, const real* b, Py_ssize_t groups, double eps, real* y, real* mean, real* rstd,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t L,
) noexcept nogil:
    cdef int threads = threads_for(N * C * L // 2)
    cdef Py_ssize_t i
    for i in prange(N * groups, num_threads=threads, schedule="static"):
        _group_norm_group(i, groups, x, w, b, eps, y, mean, rstd, C // groups, L)


def group_norm(
    cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray bias, Py_ssize_t groups, double eps,
    cnp.ndarray y, cnp.ndarray mean, cnp.ndarray rstd,
):
    cdef Py_ssize_t N = length(x, 0), C = length(x, 1), L = length(x, 2)
    if is_float32(x):
        with nogil:
            _group_norm(
                <const float*> data(x), <const float*> data(weight), <const float*> data(bias), groups, eps,
                <float*> data(y), <float*> data(mean), <float*> data(rstd), N, C, L)
    else:
        with nogil:
            _group_norm(
                <const double*> data(x), <const double*> data(weight), <const double*> data(bias), groups, eps,
                <double*> data(y), <double*> data(mean), <double*> data(rstd), N, C, L)


cdef void _group_norm_dx(
    Py_ssize_t i, Py_ssize_t groups, const real* dy, const real* x, const real* w, real mean, real rstd, real* dx,
    Py_ssize_t K, Py_ssize_t L,
) noexcept nogil:
    cdef double sum_dy = 0, sum_dyx = 0, one, one_x, count = <double> max(K * L, 1)
    cdef real average, along, weight
    cdef Py_ssize_t k, at
    for k in range(K):
        weight = 1 if w == NULL else w[i % groups * K + k]
        run_products(dy + (i * K + k) * L, x + (i * K + k) * L, <const real*> NULL, mean, 1, L, L, &one, &one_x)
        sum_dy += weight * one
        sum_dyx += weight * one_x
    average = <real> (sum_dy / count)
    along = rstd * rstd * <real> (sum_dyx / count)
    for k in range(K):
        at = (i * K + k) * L
        weight = 1 if w == NULL else w[i % groups * K + k]
        _weighted_gradient(dy + at, x + at, weight, mean, rstd, average, along, dx + at, L)


cdef void _weighted_gradient(
    const real* dy, const real* x, real w, real mean, real rstd, real average, real along, real* dx, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        dx[i] = rstd * (dy[i] * w - average - (x[i] - mean) * along)


cdef void _group_norm_channel(
    Py_ssize_t c, Py_ssize_t groups, const real* dy, const real* x, const real* mean, const real* rstd, real* dw, real* db,
    Py_ssize_t N, Py_ssize_t C, Py_ssize_t L,
) noexcept nogil:
    """dw and db of one channel."""
    cdef double sum_dy = 0, sum_dyx = 0, one, one_x
    cdef Py_ssize_t n, i, at
    for n in range(N):
        i = n * groups + c // (C // groups)
        at = (n * C + c) * L
        run_products(dy + at, x + at, <const real*> NULL, mean[i], 1, L, L, &one, &one_x)
        sum_dy += one
        sum_dyx += one_x * rstd[i]
    if dw != NULL:
        dw[c] = <real> sum_dyx
    if db != NULL:
        db[c] = <real> sum_dy


cdef void _group_norm_backward(
    const real* dy, const real* x, const real* w, const real* mean, const real* rstd, Py_ssize_t groups,
    real* dx, real* dw, real* db, Py_ssize_t N, Py_ssize_t C, Py_ssize_t L,
) noexcept nogil:
    cdef int threads = threads_for(N * C * L // 2)
    cdef Py_ssize_t i, c, K = C // groups
    if dx != NULL:
        for i in prange(N * groups, num_threads=threads, schedule="static"):
            _group_norm_dx(i, groups, dy, x, w, mean[i], rstd[i], dx, K, L)
    if dw != NULL or db != NULL:
        for c in prange(C, num_threads=threads, schedule="static"):
            _group_norm_channel(c, groups, dy, x, mean, rstd, dw, db, N, C, L)


def group_norm_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray mean not None, cnp.ndarray rstd not None,
    Py_ssize_t groups, cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias,
):
    cdef Py_ssize_t N = length(x, 0), C = length(x, 1), L = length(x, 2)
    if is_float32(x):
        with nogil:
            _group_norm_backward(
                <const float*> data(dy), <const float*> data(x), <const float*> data(weight), <const float*> data(mean),
                <const float*> data(rstd), groups, <float*> data(dx), <float*> data(dweight), <float*> data(dbias), N, C, L)
    else:
        with nogil:
            _group_norm_backward(
                <const double*> data(dy), <const double*> data(x), <const double*> data(weight), <const double*> data(mean),
                <const double*> data(rstd), groups, <double*> data(dx), <double*> data(dweight), <double*> data(dbias), N, C, L)
