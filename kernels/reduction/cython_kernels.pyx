# cython: cdivision=True
"""Reductions of the middle dimension, compiled ahead of time.

The elements of a reduction go in chunks of CHUNK, those beside each other (b) in strips of STRIP. Each chunk of a strip has its
own partial result, sums in double; the partial results are combined in ascending order. So the bits do not depend on the number
of threads, and one long sum has work for all of them.
"""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdint cimport int32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastnn.kernels.arrays cimport data, is_float32, length, real
from fastnn.kernels.parallel cimport threads_for

cnp.import_array()

cdef enum:
    CHUNK = 4096
    STRIP = 256
    LANES = 32  # sums side by side where the reduced elements are neighbours


# Sums of x, or of (x - center)^2 where there is a center

cdef inline double _term(real value, double center, bint squared) noexcept nogil:
    cdef double distance = value
    if not squared:
        return distance
    distance = distance - center
    return distance * distance


cdef inline double _sum_run(const real* x, Py_ssize_t n, double center, bint squared) noexcept nogil:
    """Neighbouring elements: LANES sums side by side, then added up by halves."""
    cdef double lanes[LANES]
    cdef Py_ssize_t i = 0, j, width = LANES // 2
    for j in range(LANES):
        lanes[j] = 0
    while i + LANES <= n:
        for j in range(LANES):
            lanes[j] += _term(x[i + j], center, squared)
        i += LANES
    for j in range(n - i):
        lanes[j] += _term(x[i + j], center, squared)
    while width > 0:
        for j in range(width):
            lanes[j] += lanes[j + width]
        width //= 2
    return lanes[0]


cdef inline void _sum_rows(
    const real* x, Py_ssize_t rows, Py_ssize_t step, Py_ssize_t width, const double* center, bint squared, double* total
) noexcept nogil:
    """Sums of columns: whole rows are added."""
    cdef Py_ssize_t r, j
    for j in range(width):
        total[j] = 0
    for r in range(rows):
        for j in range(width):
            total[j] += _term(x[r * step + j], center[j] if squared else 0, squared)


cdef void _sum_part(
    const real* x, Py_ssize_t rows, Py_ssize_t B, Py_ssize_t width, const double* center, double* total
) noexcept nogil:
    if B == 1 and center == NULL:
        total[0] = _sum_run(x, rows, 0, False)
    elif B == 1:
        total[0] = _sum_run(x, rows, center[0], True)
    elif center == NULL:
        _sum_rows(x, rows, B, width, NULL, False, total)
    else:
        _sum_rows(x, rows, B, width, center, True, total)


cdef int _sums(
    const real* x, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, double* center, double divisor, double* totals
) noexcept nogil:
    """totals (A, B) = the sums / divisor. Returns 0, or -1 without memory."""
    cdef Py_ssize_t chunks = max((R + CHUNK - 1) // CHUNK, <Py_ssize_t> 1), strips = (B + STRIP - 1) // STRIP
    cdef Py_ssize_t item, a, c, b, begin, rows
    cdef int threads = threads_for(A * R * B // 4)
    cdef double* partial = totals
    if chunks > 1:
        partial = <double*> malloc(A * chunks * B * sizeof(double) + 1)
        if partial == NULL:
            return -1
    for item in prange(A * chunks * strips, num_threads=threads, schedule="static"):
        a = item // (chunks * strips)
        c = item // strips % chunks
        b = item % strips * STRIP
        begin = c * CHUNK
        rows = min(<Py_ssize_t> CHUNK, R - begin)
        _sum_part(x + (a * R + begin) * B + b, rows, B, min(<Py_ssize_t> STRIP, B - b),
                  NULL if center == NULL else center + a * B + b, partial + (a * chunks + c) * B + b)
    for a in range(A):
        for b in range(B):
            totals[a * B + b] = partial[a * chunks * B + b]
        for c in range(1, chunks):
            for b in range(B):
                totals[a * B + b] += partial[(a * chunks + c) * B + b]
    for b in range(A * B):
        totals[b] /= divisor
    if chunks > 1:
        free(partial)
    return 0


cdef void _round(const double* x, real* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = <real> x[i]


cdef int _sum(const real* x, real* y, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, double divisor) noexcept nogil:
    cdef double* totals = <double*> malloc(A * B * sizeof(double) + 1)
    cdef int failed = totals == NULL or _sums(x, A, R, B, NULL, divisor, totals)
    if not failed:
        _round(totals, y, A * B)
    free(totals)
    return failed


cdef int _divided_sum(cnp.ndarray x, cnp.ndarray y, double divisor) except -1:
    cdef Py_ssize_t A = length(x, 0), R = length(x, 1), B = length(x, 2)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _sum(<const float*> data(x), <float*> data(y), A, R, B, divisor)
    else:
        with nogil:
            failed = _sum(<const double*> data(x), <double*> data(y), A, R, B, divisor)
    if failed:
        raise MemoryError("sum: no room for partial sums")
    return 0


def sum(cnp.ndarray x not None, cnp.ndarray y not None):
    _divided_sum(x, y, 1)


def mean(cnp.ndarray x not None, cnp.ndarray y not None):
    _divided_sum(x, y, length(x, 1))


cdef void _spread(const real* dy, real* dx, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, real divisor) noexcept nogil:
    cdef Py_ssize_t row, b
    for row in prange(A * R, num_threads=threads_for(A * R * B // 4), schedule="static"):
        for b in range(B):
            dx[row * B + b] = dy[row // R * B + b] / divisor


cdef int _spread_divided(cnp.ndarray dy, cnp.ndarray dx, double divisor) except -1:
    cdef Py_ssize_t A = length(dx, 0), R = length(dx, 1), B = length(dx, 2)
    if is_float32(dy):
        with nogil:
            _spread(<const float*> data(dy), <float*> data(dx), A, R, B, <float> divisor)
    else:
        with nogil:
            _spread(<const double*> data(dy), <double*> data(dx), A, R, B, divisor)
    return 0


def sum_backward(cnp.ndarray dy not None, x_shape, cnp.ndarray dx not None):
    _spread_divided(dy, dx, 1)


def mean_backward(cnp.ndarray dy not None, x_shape, cnp.ndarray dx not None):
    _spread_divided(dy, dx, length(dx, 1))


cdef int _var(const real* x, real* y, real* mean, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, double divisor) noexcept nogil:
    """Two passes: the differences from the mean are small, so no digits cancel."""
    cdef double* center = <double*> malloc(2 * A * B * sizeof(double) + 1)
    cdef int failed = center == NULL or _sums(x, A, R, B, NULL, R, center)
    if not failed and mean != NULL:
        _round(center, mean, A * B)
    if not failed and y != NULL:
        failed = _sums(x, A, R, B, center, divisor, center + A * B)
        if not failed:
            _round(center + A * B, y, A * B)
    free(center)
    return failed


def var(cnp.ndarray x not None, correction, cnp.ndarray y, cnp.ndarray mean):
    cdef Py_ssize_t A = length(x, 0), R = length(x, 1), B = length(x, 2)
    cdef double divisor = max(R - correction, 0)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _var(<const float*> data(x), <float*> data(y), <float*> data(mean), A, R, B, divisor)
    else:
        with nogil:
            failed = _var(<const double*> data(x), <double*> data(y), <double*> data(mean), A, R, B, divisor)
    if failed:
        raise MemoryError("var: no room for partial sums")


cdef void _var_backward(
    const real* dy, const real* x, const real* mean, real* dx, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, real scale
) noexcept nogil:
    cdef Py_ssize_t row, b
    for row in prange(A * R, num_threads=threads_for(A * R * B // 2), schedule="static"):
        for b in range(B):
            dx[row * B + b] = dy[row // R * B + b] * scale * (x[row * B + b] - mean[row // R * B + b])


def var_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray mean not None, correction, cnp.ndarray dx not None
):
    cdef Py_ssize_t A = length(x, 0), R = length(x, 1), B = length(x, 2)
    cdef double scale = 2 / <double> max(R - correction, 0)
    if is_float32(x):
        with nogil:
            _var_backward(<const float*> data(dy), <const float*> data(x), <const float*> data(mean), <float*> data(dx),
                          A, R, B, <float> scale)
    else:
        with nogil:
            _var_backward(<const double*> data(dy), <const double*> data(x), <const double*> data(mean), <double*> data(dx),
                          A, R, B, scale)


# Extrema. The smallest x is where -x is largest, and a change of sign is exact.

cdef inline real _largest(const real* x, Py_ssize_t n, real sign, bint* has_nan) noexcept nogil:
    """The largest ``sign * x`` that is no NaN, and whether there is a NaN, in vector code; ``n`` is at least 1."""
    cdef real lanes[LANES]
    cdef int32_t unordered[LANES]
    cdef Py_ssize_t i = 0, j
    cdef real value
    for j in range(LANES):
        lanes[j] = -INFINITY
        unordered[j] = 0
    while i + LANES <= n:
        for j in range(LANES):
            value = sign * x[i + j]
            lanes[j] = value if value > lanes[j] else lanes[j]
            unordered[j] |= value != value
        i += LANES
    for j in range(n - i):
        value = sign * x[i + j]
        lanes[j] = value if value > lanes[j] else lanes[j]
        unordered[j] |= value != value
    value = lanes[0]
    has_nan[0] = unordered[0]
    for j in range(1, LANES):
        value = lanes[j] if lanes[j] > value else value
        has_nan[0] |= unordered[j]
    return value


cdef void _extremum_run(const real* x, Py_ssize_t R, real sign, real* y, cnp.int64_t* index) noexcept nogil:
    """The chunk of the largest value, or of the first NaN, is found first, and its place in the chunk only then."""
    cdef Py_ssize_t begin = 0, found = 0
    cdef real value, best = -INFINITY
    cdef bint has_nan = False
    while begin < R and not has_nan:
        value = _largest(x + begin, min(<Py_ssize_t> CHUNK, R - begin), sign, &has_nan)
        if has_nan or value > best:
            best = value
            found = begin
        begin += CHUNK
    if has_nan:
        while x[found] == x[found]:
            found += 1
    else:
        while sign * x[found] != best:
            found += 1
    if y != NULL:
        y[0] = x[found]
    if index != NULL:
        index[0] = found


cdef void _extremum_strip(
    const real* x, Py_ssize_t R, Py_ssize_t B, Py_ssize_t width, real sign, real* y, cnp.int64_t* indices
) noexcept nogil:
    cdef real best[STRIP]
    cdef int32_t where[STRIP]
    cdef Py_ssize_t r, j
    cdef real value
    cdef bint taken
    for j in range(width):
        best[j] = x[j]
        where[j] = 0
    for r in range(1, R):
        for j in range(width):
            value = x[r * B + j]
            taken = (sign * value > sign * best[j]) | ((value != value) & (best[j] == best[j]))
            best[j] = value if taken else best[j]
            where[j] = <int32_t> r if taken else where[j]
    for j in range(width):
        if y != NULL:
            y[j] = best[j]
        if indices != NULL:
            indices[j] = where[j]


cdef void _extremum(
    const real* x, real* y, cnp.int64_t* indices, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, real sign
) noexcept nogil:
    cdef Py_ssize_t strips = (B + STRIP - 1) // STRIP
    cdef Py_ssize_t item, offset, b
    for item in prange(A * strips, num_threads=threads_for(A * R * B // 4), schedule="static"):
        b = item % strips * STRIP
        offset = item // strips * B + b
        if B == 1:
            _extremum_run(x + offset * R, R, sign,
                          NULL if y == NULL else y + offset, NULL if indices == NULL else indices + offset)
        else:
            _extremum_strip(x + item // strips * R * B + b, R, B, min(<Py_ssize_t> STRIP, B - b), sign,
                            NULL if y == NULL else y + offset, NULL if indices == NULL else indices + offset)


cdef int _signed_extremum(cnp.ndarray x, cnp.ndarray y, cnp.ndarray indices, int sign) except -1:
    cdef Py_ssize_t A = length(x, 0), R = length(x, 1), B = length(x, 2)
    if is_float32(x):
        with nogil:
            _extremum(<const float*> data(x), <float*> data(y), <cnp.int64_t*> data(indices), A, R, B, sign)
    else:
        with nogil:
            _extremum(<const double*> data(x), <double*> data(y), <cnp.int64_t*> data(indices), A, R, B, sign)
    return 0


def amax(cnp.ndarray x not None, cnp.ndarray y, cnp.ndarray indices):
    _signed_extremum(x, y, indices, 1)


def amin(cnp.ndarray x not None, cnp.ndarray y, cnp.ndarray indices):
    _signed_extremum(x, y, indices, -1)


cdef void _extremum_backward(
    const real* dy, const cnp.int64_t* indices, real* dx, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B
) noexcept nogil:
    cdef Py_ssize_t a, b
    for a in prange(A, num_threads=threads_for(A * R * B // 4), schedule="static"):
        memset(dx + a * R * B, 0, R * B * sizeof(real))
        for b in range(B):
            dx[(a * R + indices[a * B + b]) * B + b] = dy[a * B + b]


def extremum_backward(cnp.ndarray dy not None, cnp.ndarray indices not None, x_shape, cnp.ndarray dx not None):
    cdef Py_ssize_t A = length(dx, 0), R = length(dx, 1), B = length(dx, 2)
    if is_float32(dy):
        with nogil:
            _extremum_backward(<const float*> data(dy), <const cnp.int64_t*> data(indices), <float*> data(dx), A, R, B)
    else:
        with nogil:
            _extremum_backward(<const double*> data(dy), <const cnp.int64_t*> data(indices), <double*> data(dx), A, R, B)
