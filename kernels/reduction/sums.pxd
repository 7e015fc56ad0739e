# cython: cdivision=True
"""Sums of the middle dimension of (A, R, B), and of squared distances from a center, in double.

The elements of a reduction go in chunks of CHUNK, those beside each other (b) in strips of STRIP. Each chunk of a strip has its own
partial result; the partial results are combined in ascending order. So the bits do not depend on the number of threads, and one
long sum has work for all of them.
"""

from cython.parallel cimport prange
from libc.stdlib cimport free, malloc

from fastnn.kernels.arrays cimport offset, real
from fastnn.kernels.parallel cimport threads_for
from fastnn.kernels.softmax.columns cimport SHORT, WIDTH, gather

cdef extern from "simd/reductions.h" nogil:
    double wide_sum_f32 "fastnn_run_wide_sum_f32"(const float* x, Py_ssize_t n) noexcept
    double wide_sum_f64 "fastnn_run_wide_sum_f64"(const double* x, Py_ssize_t n) noexcept
    void add_rows_f32 "fastnn_run_add_rows_f32"(const float* x, Py_ssize_t step, Py_ssize_t rows, double* total, Py_ssize_t n) noexcept
    void add_rows_f64 "fastnn_run_add_rows_f64"(const double* x, Py_ssize_t step, Py_ssize_t rows, double* total, Py_ssize_t n) noexcept

cdef enum:
    CHUNK = 4096
    STRIP = 1024  # columns whose totals stay in the first-level cache
    LANES = 32  # squares side by side where the reduced elements are neighbours
    FEW = 512  # totals that have room on the stack


cdef inline double sum_of_run(const real* x, Py_ssize_t n) noexcept nogil:
    if real is float:
        return wide_sum_f32(x, n)
    else:
        return wide_sum_f64(x, n)


cdef inline void add_rows(const real* x, Py_ssize_t step, Py_ssize_t rows, double* total, Py_ssize_t n) noexcept nogil:
    """total[j] += the sum of column j"""
    if real is float:
        add_rows_f32(x, step, rows, total, n)
    else:
        add_rows_f64(x, step, rows, total, n)


cdef inline double squares_of_run(const real* x, Py_ssize_t n, double center) noexcept nogil:
    """Neighbouring elements: LANES sums side by side, then added up by halves."""
    cdef double lanes[LANES]
    cdef double distance
    cdef Py_ssize_t i = 0, j, width = LANES // 2
    for j in range(LANES):
        lanes[j] = 0
    while i + LANES <= n:
        for j in range(LANES):
            distance = x[i + j] - center
            lanes[j] += distance * distance
        i += LANES
    for j in range(n - i):
        distance = x[i + j] - center
        lanes[j] += distance * distance
    while width > 0:
        for j in range(width):
            lanes[j] += lanes[j + width]
        width //= 2
    return lanes[0]


cdef inline void add_squared_rows(
    const real* x, Py_ssize_t step, Py_ssize_t rows, const double* center, double* total, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t r, j
    cdef double distance
    for r in range(rows):
        for j in range(n):
            distance = x[r * step + j] - center[j]
            total[j] += distance * distance


cdef inline void sum_part(
    const real* x, Py_ssize_t rows, Py_ssize_t B, Py_ssize_t width, const double* center, double* total
) noexcept nogil:
    """A chunk of a strip."""
    cdef Py_ssize_t j
    if B == 1:
        total[0] = sum_of_run(x, rows) if center == NULL else squares_of_run(x, rows, center[0])
        return
    for j in range(width):
        total[j] = 0
    if center == NULL:
        add_rows(x, B, rows, total, width)
    else:
        add_squared_rows(x, B, rows, center, total, width)


cdef inline void sum_short_rows(const real* x, Py_ssize_t R, Py_ssize_t count, double* total) noexcept nogil:
    """Up to WIDTH rows, transposed: their own vectors would be mostly empty."""
    cdef real block[SHORT * WIDTH]
    cdef Py_ssize_t j
    gather(x, R, count, block)
    for j in range(count):
        total[j] = 0
    add_rows(<const real*> block, WIDTH, R, total, count)


cdef struct Plan:
    Py_ssize_t A
    Py_ssize_t R
    Py_ssize_t B
    Py_ssize_t chunks
    Py_ssize_t strips
    bint short_rows
    Py_ssize_t items


cdef inline Plan plan_of(Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, bint squared) noexcept nogil:
    cdef Plan plan = Plan(A, R, B, max((R + CHUNK - 1) // CHUNK, <Py_ssize_t> 1), (B + STRIP - 1) // STRIP, False, 0)
    plan.short_rows = B == 1 and R <= SHORT and not squared
    plan.items = (A + WIDTH - 1) // WIDTH if plan.short_rows else A * plan.chunks * plan.strips
    return plan


cdef inline void sum_item(const Plan* plan, Py_ssize_t item, const real* x, const double* center, double* partial) noexcept nogil:
    cdef Py_ssize_t a, c, b, R = plan.R, B = plan.B
    if plan.short_rows:
        a = item * WIDTH
        sum_short_rows(x + a * R, R, min(<Py_ssize_t> WIDTH, plan.A - a), partial + a)
        return
    a = item // (plan.chunks * plan.strips)
    c = item // plan.strips % plan.chunks
    b = item % plan.strips * STRIP
    sum_part(x + (a * R + c * CHUNK) * B + b, min(<Py_ssize_t> CHUNK, R - c * CHUNK), B, min(<Py_ssize_t> STRIP, B - b),
             offset(center, a * B + b), partial + (a * plan.chunks + c) * B + b)


cdef inline int sums(
    const real* x, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, const double* center, double divisor, double* totals
) noexcept nogil:
    """totals (A, B) = the sums / divisor. Returns 0, or -1 without memory."""
    cdef Plan plan = plan_of(A, R, B, center != NULL)
    cdef Py_ssize_t item, a, b, c
    cdef int threads = threads_for(A * R * B // 4)
    cdef double* partial = totals
    if plan.chunks > 1:
        partial = <double*> malloc(A * plan.chunks * B * sizeof(double) + 1)
        if partial == NULL:
            return -1
    if threads == 1:
        for item in range(plan.items):
            sum_item(&plan, item, x, center, partial)
    else:
        for item in prange(plan.items, num_threads=threads, schedule="static"):
            sum_item(&plan, item, x, center, partial)
    if plan.chunks > 1:
        for a in range(A):
            for b in range(B):
                totals[a * B + b] = partial[a * plan.chunks * B + b]
            for c in range(1, plan.chunks):
                for b in range(B):
                    totals[a * B + b] += partial[(a * plan.chunks + c) * B + b]
        free(partial)
    if divisor != 1:
        for b in range(A * B):
            totals[b] /= divisor
    return 0


cdef inline void round_to(const double* x, real* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = <real> x[i]


cdef inline int divided_sums(const real* x, real* y, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, double divisor) noexcept nogil:
    cdef double few[FEW]
    cdef double* totals = few
    cdef int failed
    if A * B > FEW:
        totals = <double*> malloc(A * B * sizeof(double))
    failed = totals == NULL or sums(x, A, R, B, NULL, divisor, totals)
    if not failed:
        round_to(<const double*> totals, y, A * B)
    if A * B > FEW:
        free(totals)
    return failed


cdef inline int variances(
    const real* x, real* y, real* mean, Py_ssize_t A, Py_ssize_t R, Py_ssize_t B, double divisor
) noexcept nogil:
    """Two passes: the differences from the mean are small, so no digits cancel."""
    cdef double* center = <double*> malloc(2 * A * B * sizeof(double) + 1)
    cdef int failed = center == NULL or sums(x, A, R, B, NULL, R, center)
    if not failed and mean != NULL:
        round_to(<const double*> center, mean, A * B)
    if not failed and y != NULL:
        failed = sums(x, A, R, B, <const double*> center, divisor, center + A * B)
        if not failed:
            round_to(<const double*> center + A * B, y, A * B)
    free(center)
    return failed
