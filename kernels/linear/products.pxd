"""The product of two matrices of any strides: which of the ways to compute it, and how threads share it.

The way depends on the shapes alone, never on the number of threads, and so do the bits.
"""

from cython.parallel cimport prange
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastnn.kernels.arrays cimport offset, real
from fastnn.kernels.gemm cimport (
    IDENTITY, MOST_DEPTH, MOST_ROWS, TILE_BYTES, TILE_ROWS, activate, activated_product, even_part, few_rows_product, gemm_workspace,
    product_with_panels)
from fastnn.kernels.linear.vectors cimport DOT_ROWS, DOT_SHARED, PASS_CHUNK, dots, passes
from fastnn.kernels.parallel cimport threads_for
from fastnn.kernels.scratch cimport scratch

cdef enum:
    LONG_ROWS = 1024  # of C whose sums are in double at a time, where they are long


cdef inline Py_ssize_t share(Py_ssize_t length, int threads, Py_ssize_t multiple) noexcept nogil:
    """What each of the threads gets of a length, but for the last ones."""
    return ((length + threads - 1) // threads + multiple - 1) // multiple * multiple


cdef inline void left_multiply(
    const real* d, Py_ssize_t d_step, const real* w, const real* x, real* dx, real* dw, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """``passes`` over w and dw (rows, columns), whose columns threads share out."""
    cdef int threads = threads_for(rows * columns // 8), t
    cdef Py_ssize_t step = share(columns, threads, 64), begin
    if threads == 1:
        passes(d, d_step, w, x, dx, dw, rows, columns, columns)
        return
    for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        begin = t * step
        if begin < columns:
            passes(
                d, d_step, w + begin, offset(x, begin), offset(dx, begin), offset(dw, begin),
                rows, min(step, columns - begin), columns,
            )


cdef inline void column_sums(const real* a, real* sums, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """A row of ones times a matrix, as many of its rows at a time as are added up in one go."""
    cdef real ones[PASS_CHUNK]
    cdef Py_ssize_t i
    for i in range(min(<Py_ssize_t> PASS_CHUNK, rows)):
        ones[i] = 1
    left_multiply(ones, 0, a, <const real*> NULL, sums, <real*> NULL, rows, columns)


cdef inline void all_dots(
    real* c, Py_ssize_t c_p, Py_ssize_t c_q, const real* start, Py_ssize_t start_p, Py_ssize_t start_q,
    const real* p, Py_ssize_t p_row, Py_ssize_t p_rows, const real* q, Py_ssize_t q_row, Py_ssize_t q_rows, Py_ssize_t k,
) noexcept nogil:
    """``dots``, whose rows of p threads share out."""
    cdef int threads = threads_for(p_rows * q_rows * k // 8), t
    cdef Py_ssize_t step = share(p_rows, threads, DOT_ROWS), begin
    if threads == 1:
        dots(c, c_p, c_q, start, start_p, start_q, p, p_row, p_rows, q, q_row, q_rows, k)
        return
    for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        begin = t * step
        if begin < p_rows:
            dots(
                c + begin * c_p, c_p, c_q, offset(start, begin * start_p), start_p, start_q,
                p + begin * p_row, p_row, min(step, p_rows - begin), q, q_row, q_rows, k,
            )


cdef inline int part(
    real* c, Py_ssize_t c_row, const real* start,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* b, Py_ssize_t b_k, Py_ssize_t b_column,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, bint few_rows, int activation,
) noexcept nogil:
    """What one thread computes of a blocked product. Returns 0, or 1 without memory."""
    cdef char* workspace = scratch(gemm_workspace(sizeof(real)))
    if workspace == NULL:
        return 1
    if few_rows:
        few_rows_product(c, c_row, start, a, a_row, a_k, b, b_column, m, n, k, activation, workspace)
    else:
        activated_product(c, c_row, start, 0, a, a_row, a_k, b, b_k, b_column, m, n, k, activation, workspace)
    return 0


cdef inline int blocks(
    real* c, const real* start,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* b, Py_ssize_t b_k, Py_ssize_t b_column,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, int activation,
) noexcept nogil:
    """The blocked product; threads share out the longer side of C. Returns 0, or -1 without memory."""
    cdef int threads = threads_for(m * n * k // 16), t, failed = 0
    cdef bint by_rows = m >= n, few_rows = m <= MOST_ROWS and b_k == 1
    cdef Py_ssize_t step = share(m, threads, TILE_ROWS) if by_rows else share(n, threads, TILE_BYTES // sizeof(real)), begin
    if threads == 1:
        return -part(c, n, start, a, a_row, a_k, b, b_k, b_column, m, n, k, few_rows, activation)
    for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        begin = t * step
        if by_rows and begin < m:
            failed |= part(
                c + begin * n, n, start, a + begin * a_row, a_row, a_k, b, b_k, b_column, min(step, m - begin), n, k,
                few_rows, activation)
        elif not by_rows and begin < n:
            failed |= part(
                c + begin, n, offset(start, begin), a, a_row, a_k, b + begin * b_column, b_k, b_column, m, min(step, n - begin),
                k, few_rows, activation)
    return -failed


cdef inline bint prefers_dots(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """Whether products of whole rows beat the blocked product, both operands' rows running along k.

    Measured where they meet: 3 rows or columns at k = 32, 4 at 64, 6 from 128 on (twice the rows that share a load); at 8 and
    more the blocked product wins, up to twofold.
    """
    return min(m, n) <= min(<Py_ssize_t> 2 * DOT_SHARED, 2 + k // 32)


cdef inline int _multiply_strided(
    real* c, const real* start,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* b, Py_ssize_t b_k, Py_ssize_t b_column,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, int activation,
) noexcept nogil:
    """``multiply`` for sums that are not long."""
    if m == 0 or n == 0:
        return 0
    if a_k == 1 and b_k == 1 and prefers_dots(m, n, k):
        if n >= m:
            all_dots(c, 1, n, start, 1, 0, b, b_column, n, a, a_row, m, k)
        else:
            all_dots(c, n, 1, start, 0, 1, a, a_row, m, b, b_column, n, k)
        activate(c, n, m, n, activation)
        return 0
    if start == NULL and m == 1 and a_k == 1 and b_column == 1 and b_k == n:
        left_multiply(a, 1, b, <const real*> NULL, c, <real*> NULL, k, n)
        activate(c, n, m, n, activation)
        return 0
    if start == NULL and n == 1 and b_k == 1 and a_row == 1 and a_k == m:
        left_multiply(b, 1, a, <const real*> NULL, c, <real*> NULL, k, m)
        activate(c, n, m, n, activation)
        return 0
    return blocks(c, start, a, a_row, a_k, b, b_k, b_column, m, n, k, activation)


cdef inline void _multiply_panels(
    real* c, const real* start, const real* a, Py_ssize_t a_row, const real* panels, Py_ssize_t panel, Py_ssize_t pitch,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, int activation,
) noexcept nogil:
    """``multiply`` for sums that are not long and a matrix B in panels; threads share out the longer side of C."""
    cdef int threads = threads_for(m * n * k // 16), t
    cdef bint by_rows = m >= n
    cdef Py_ssize_t step = share(m, threads, TILE_ROWS) if by_rows else share(n, threads, panel)
    cdef Py_ssize_t begin
    if threads == 1:
        product_with_panels(c, n, start, a, a_row, panels, panel, pitch, m, n, k, activation)
        return
    for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        begin = t * step
        if by_rows and begin < m:
            product_with_panels(
                c + begin * n, n, start, a + begin * a_row, a_row, panels, panel, pitch, min(step, m - begin), n, k, activation)
        elif not by_rows and begin < n:
            product_with_panels(
                c + begin, n, offset(start, begin), a, a_row, panels + begin // panel * pitch, panel, pitch,
                m, min(step, n - begin), k, activation)


cdef inline int _multiply(
    real* c, const real* start,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* b, Py_ssize_t b_k, Py_ssize_t b_column, Py_ssize_t pitch,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, int activation,
) noexcept nogil:
    """``multiply`` for sums that are not long."""
    if pitch == 0:
        return _multiply_strided(c, start, a, a_row, a_k, b, b_k, b_column, m, n, k, activation)
    _multiply_panels(c, start, a, a_row, b, b_k, pitch, m, n, k, activation)
    return 0


cdef inline int multiply(
    real* c, const real* start,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* b, Py_ssize_t b_k, Py_ssize_t b_column, Py_ssize_t pitch,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, int activation,
) noexcept nogil:
    """C (m, n) = start + A (m, k) B (k, n) and its activation. Start is one row or NULL. Returns 0, or -1 without memory.

    B has any strides, and a ``pitch`` of 0; or it is packed once for all in padded panels [k][b_k] that lie ``pitch`` apart.
    A sum of 200,000 equal products would be off by 43 eps if blocks of k were all added up in float32.
    """
    cdef Py_ssize_t first = 0, p, i, rows, step, depth
    cdef double* totals
    cdef int failed = 0
    cdef bint is_long = real is float and k > MOST_DEPTH
    if not is_long or m * n == 0:
        return _multiply(c, start, a, a_row, a_k, b, b_k, b_column, pitch, m, n, k, activation)
    step, depth = even_part(m, LONG_ROWS), even_part(k, MOST_DEPTH)
    totals = <double*> malloc(step * n * sizeof(double))
    if totals == NULL:
        return -1
    while first < m:
        rows = min(step, m - first)
        memset(totals, 0, rows * n * sizeof(double))
        p = 0
        while p < k:
            failed |= _multiply(
                c + first * n, <const real*> NULL if p else start, a + first * a_row + p * a_k, a_row, a_k, b + p * b_k, b_k, b_column,
                pitch, rows, n, min(depth, k - p), IDENTITY)
            for i in range(rows * n):
                totals[i] += c[first * n + i]
            p += depth
        for i in range(rows * n):
            c[first * n + i] = <real> totals[i]
        first += rows
    free(totals)
    activate(c, n, m, n, activation)
    return failed
