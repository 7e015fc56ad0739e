# cython: cdivision=True
"""Mean and variance in two passes, exact to rounding however large the mean, and the two sums of every backward pass.

The leaf loops of a run of neighbouring elements are in moments.h. Where a channel's runs are short, a strip of whole channels, at most
STRIP columns wide, is walked row by row instead: ``count`` rows, ``stride`` apart.
"""

from fastnn.kernels.arrays cimport offset, real
from fastnn.kernels.lanes cimport CHUNK, long_sum

cdef extern from "simd/moments.h" nogil:
    void deviations_f32 "fastnn_run_deviations_f32"(const float* x, float shift, Py_ssize_t n, double* first, double* second) noexcept
    void deviations_f64 "fastnn_run_deviations_f64"(const double* x, double shift, Py_ssize_t n, double* first, double* second) noexcept
    void products_f32 "fastnn_run_products_f32"(
        const float* dy, const float* x, const float* w, float mean, Py_ssize_t n, double* first, double* second) noexcept
    void products_f64 "fastnn_run_products_f64"(
        const double* dy, const double* x, const double* w, double mean, Py_ssize_t n, double* first, double* second) noexcept
    void normalize_f32 "fastnn_run_normalize_f32"(
        const float* x, float mean, float scale, float shift, float* y, Py_ssize_t n, bint past) noexcept
    void normalize_f64 "fastnn_run_normalize_f64"(
        const double* x, double mean, double scale, double shift, double* y, Py_ssize_t n, bint past) noexcept
    void center_f32 "fastnn_run_center_f32"(
        const float* dy, const float* x, float mean, float slope, float average, float along, float* dx, Py_ssize_t n, bint past) noexcept
    void center_f64 "fastnn_run_center_f64"(
        const double* dy, const double* x, double mean, double slope, double average, double along, double* dx, Py_ssize_t n,
        bint past) noexcept

cdef enum:
    STRIP = 64
    ROWS = 128  # rows that are added in the dtype itself before the sum goes into a double

cdef struct Moments:
    double mean
    double var


cdef inline void add_deviations(const real* x, real shift, Py_ssize_t n, double* first, double* second) noexcept nogil:
    """first += the sum of x - shift, second += that of its square"""
    cdef Py_ssize_t i = 0, count
    while i < n:
        count = min(<Py_ssize_t> CHUNK, n - i)
        if real is float:
            deviations_f32(x + i, shift, count, first, second)
        else:
            deviations_f64(x + i, shift, count, first, second)
        i += CHUNK


cdef inline void add_products(
    const real* dy, const real* x, const real* w, real mean, Py_ssize_t n, double* first, double* second
) noexcept nogil:
    """first += the sum of dy w, second += that of dy w (x - mean); w may be NULL"""
    cdef Py_ssize_t i = 0, count
    while i < n:
        count = min(<Py_ssize_t> CHUNK, n - i)
        if real is float:
            products_f32(dy + i, x + i, offset(w, i), mean, count, first, second)
        else:
            products_f64(dy + i, x + i, offset(w, i), mean, count, first, second)
        i += CHUNK


cdef inline Moments corrected(double shift, double deviations, double squares, double n) noexcept nogil:
    """The mean of the deviations from a rounded mean corrects both results (Chan, Golub and LeVeque, 1983)."""
    deviations /= n
    return Moments(shift + deviations, squares / n - deviations * deviations)


cdef inline Moments run_moments(const real* x, Py_ssize_t n) noexcept nogil:
    """Of one run."""
    cdef double count = <double> max(n, <Py_ssize_t> 1), deviations = 0, squares = 0
    cdef real shift = <real> (long_sum(x, n) / count)
    add_deviations(x, shift, n, &deviations, &squares)
    return corrected(shift, deviations, squares, count)


cdef inline void normalize(const real* x, real mean, real scale, real shift, real* y, Py_ssize_t n, bint past) noexcept nogil:
    """y = (x - mean) scale + shift"""
    if real is float:
        normalize_f32(x, mean, scale, shift, y, n, past)
    else:
        normalize_f64(x, mean, scale, shift, y, n, past)


cdef inline void center(
    const real* dy, const real* x, real mean, real slope, real average, real along, real* dx, Py_ssize_t n, bint past
) noexcept nogil:
    """dx = dy slope - average - (x - mean) along"""
    if real is float:
        center_f32(dy, x, mean, slope, average, along, dx, n, past)
    else:
        center_f64(dy, x, mean, slope, average, along, dx, n, past)


cdef inline void fold_columns(double* totals, real* columns, Py_ssize_t channels, Py_ssize_t length) noexcept nogil:
    """totals[c] += the columns of channel c, which are set back to 0."""
    cdef Py_ssize_t c, j
    for c in range(channels):
        for j in range(length):
            totals[c] += columns[c * length + j]
            columns[c * length + j] = 0


cdef inline void strip_moments(
    const real* x, Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t channels, Py_ssize_t length, double* mean, double* var
) noexcept nogil:
    """Moments of ``channels`` channels of ``length`` columns each."""
    cdef Py_ssize_t width = channels * length, c, i, j
    cdef double n = <double> max(rows * length, 1)
    cdef double deviations[STRIP]
    cdef real first[STRIP]
    cdef real second[STRIP]
    cdef real shift[STRIP]
    cdef real d
    for j in range(width):
        first[j] = 0
        second[j] = 0
    for c in range(channels):
        mean[c] = 0
        var[c] = 0
        deviations[c] = 0
    for i in range(rows):
        for j in range(width):
            first[j] += x[i * stride + j]
        if i % ROWS == ROWS - 1 or i == rows - 1:
            fold_columns(mean, first, channels, length)
    for j in range(width):
        shift[j] = <real> (mean[j // length] / n)
    for i in range(rows):
        for j in range(width):
            d = x[i * stride + j] - shift[j]
            first[j] += d
            second[j] += d * d
        if i % ROWS == ROWS - 1 or i == rows - 1:
            fold_columns(deviations, first, channels, length)
            fold_columns(var, second, channels, length)
    for c in range(channels):
        deviations[c] /= n
        mean[c] = shift[c * length] + deviations[c]
        var[c] = var[c] / n - deviations[c] * deviations[c]


cdef inline void strip_products(
    const real* dy, const real* x, const real* mean, const real* rstd,
    Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t channels, Py_ssize_t length, double* sum_dy, double* sum_dyx,
) noexcept nogil:
    """Sums of dy and of dy (x - mean) rstd, statistics by column."""
    cdef Py_ssize_t width = channels * length, c, i, j
    cdef real first[STRIP]
    cdef real second[STRIP]
    for j in range(width):
        first[j] = 0
        second[j] = 0
    for c in range(channels):
        sum_dy[c] = 0
        sum_dyx[c] = 0
    for i in range(rows):
        for j in range(width):
            first[j] += dy[i * stride + j]
            second[j] += dy[i * stride + j] * ((x[i * stride + j] - mean[j]) * rstd[j])
        if i % ROWS == ROWS - 1 or i == rows - 1:
            fold_columns(sum_dy, first, channels, length)
            fold_columns(sum_dyx, second, channels, length)
