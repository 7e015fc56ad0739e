# cython: cdivision=True
"""Mean and variance in two passes, exact to rounding however large the mean, and the two sums of every backward pass.

A channel's values lie in ``count`` contiguous runs of ``length`` elements, ``stride`` apart (a row is one run). Where the runs are short,
a strip of whole channels, at most STRIP columns wide, is walked row by row instead: ``count`` rows, ``stride`` apart.
"""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.lanes cimport CHUNK, chunk_sum, long_sum

cdef enum:
    STRIP = 64
    ROWS = 128  # rows that are added in the dtype itself before the sum goes into a double

cdef struct Moments:
    double mean
    double var


cdef inline Moments run_moments(const real* x, Py_ssize_t count, Py_ssize_t length, Py_ssize_t stride) noexcept nogil:
    """The mean of the deviations from a rounded mean corrects both results (Chan, Golub and LeVeque, 1983)."""
    cdef real deviation[CHUNK]
    cdef real square[CHUNK]
    cdef real shift
    cdef double total = 0, deviations = 0, squares = 0, n = <double> max(count * length, 1)
    cdef Py_ssize_t i, j, k, width
    for i in range(count):
        total += long_sum(x + i * stride, length)
    shift = <real> (total / n)
    for i in range(count):
        k = 0
        while k < length:
            width = min(<Py_ssize_t> CHUNK, length - k)
            for j in range(width):
                deviation[j] = x[i * stride + k + j] - shift
                square[j] = deviation[j] * deviation[j]
            deviations += chunk_sum(<const real*> deviation, width)
            squares += chunk_sum(<const real*> square, width)
            k += CHUNK
    deviations /= n
    return Moments(shift + deviations, squares / n - deviations * deviations)


cdef inline void run_products(
    const real* dy, const real* x, const real* w, real mean, Py_ssize_t count, Py_ssize_t length, Py_ssize_t stride,
    double* sum_dy, double* sum_dyx,
) noexcept nogil:
    """Sums of w dy and w dy (x - mean); w, where not NULL, holds a factor for each element of one run."""
    cdef real g[CHUNK]
    cdef real along[CHUNK]
    cdef Py_ssize_t i, j, k, width, at
    sum_dy[0] = 0
    sum_dyx[0] = 0
    for i in range(count):
        k = 0
        while k < length:
            width = min(<Py_ssize_t> CHUNK, length - k)
            at = i * stride + k
            for j in range(width):
                g[j] = dy[at + j] if w == NULL else dy[at + j] * w[k + j]
                along[j] = g[j] * (x[at + j] - mean)
            sum_dy[0] += chunk_sum(<const real*> g, width)
            sum_dyx[0] += chunk_sum(<const real*> along, width)
            k += CHUNK


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
    const real* dy, const real* x, const real* mean, const real* rstd, Py_ssize_t per_row,
    Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t channels, Py_ssize_t length, double* sum_dy, double* sum_dyx,
) noexcept nogil:
    """Sums of dy and of dy (x - mean) rstd. The statistics belong to columns, or where ``per_row`` is set, to rows."""
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
        if per_row:
            for j in range(width):
                first[j] += dy[i * stride + j]
                second[j] += dy[i * stride + j] * ((x[i * stride + j] - mean[i]) * rstd[i])
        else:
            for j in range(width):
                first[j] += dy[i * stride + j]
                second[j] += dy[i * stride + j] * ((x[i * stride + j] - mean[j]) * rstd[j])
        if i % ROWS == ROWS - 1 or i == rows - 1:
            fold_columns(sum_dy, first, channels, length)
            fold_columns(sum_dyx, second, channels, length)
