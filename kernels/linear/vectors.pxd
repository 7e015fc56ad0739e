"""Products with few rows or columns, where a register tile of the blocked product would be mostly padding or packing.

dots    rows of both operands run along k: products of eight rows of one with up to three of the other, in place
passes  a row vector times a matrix, and the outer product that is the matrix' gradient, in one pass over the matrix
"""

from libc.string cimport memcpy, memset

from fastnn.kernels.arrays cimport offset, real
from fastnn.kernels.packing cimport VECTOR_BYTES

cdef extern from "simd/dots.h" nogil:
    enum:
        DOT_ROWS "FASTNN_DOT_ROWS"
        DOT_SHARED "FASTNN_DOT_SHARED"
    void dots_f32 "fastnn_dots_f32"(
        Py_ssize_t shared, Py_ssize_t k, const float* p, Py_ssize_t p_row, Py_ssize_t rows,
        const float* q, Py_ssize_t q_row, float* out) noexcept
    void dots_f64 "fastnn_dots_f64"(
        Py_ssize_t shared, Py_ssize_t k, const double* p, Py_ssize_t p_row, Py_ssize_t rows,
        const double* q, Py_ssize_t q_row, double* out) noexcept

cdef extern from "simd/rank_one.h" nogil:
    void pass_f32 "fastnn_pass_f32"(
        Py_ssize_t rows, Py_ssize_t n, const float* d, const float* w, Py_ssize_t w_row, const float* x,
        float* dx, float* dw, Py_ssize_t dw_row, bint past) noexcept
    void pass_f64 "fastnn_pass_f64"(
        Py_ssize_t rows, Py_ssize_t n, const double* d, const double* w, Py_ssize_t w_row, const double* x,
        double* dx, double* dw, Py_ssize_t dw_row, bint past) noexcept

cdef extern from *:
    """
    #include <stdint.h>

    /* Whether a thread goes over a matrix from its end this time: what it read last is still in the caches. A bit for each matrix, or
       rather for what its address hashes to; the results do not depend on it. */
    static int dots_turn(const void *matrix) {
        static __thread uint64_t turns;
        const uint64_t bit = 1ull << (((uintptr_t)matrix >> 6) * 0x9E3779B97F4A7C15ull >> 58);
        return ((turns ^= bit) & bit) != 0;
    }
    """
    bint dots_turn(const void* matrix) noexcept nogil

cdef enum:
    DOTS_LARGE = 1 << 20  # bytes of a matrix from which it is read to and fro: 4 MiB take up to 30 % less time, the first call aside
    PASS_COLUMNS = 2048  # of a matrix that are passed over at a time: their part of the vectors stays in L1
    PASS_CHUNK = 256     # rows that are added up before their sum joins the others, in double: float32 keeps its digits
    PASS_LARGE = 32 << 20  # bytes of a gradient from which it goes past the caches: 7 % faster at 64 MiB, slower at 16


cdef inline void dots(
    real* c, Py_ssize_t c_p, Py_ssize_t c_q, const real* start, Py_ssize_t start_p, Py_ssize_t start_q,
    const real* p, Py_ssize_t p_row, Py_ssize_t p_rows, const real* q, Py_ssize_t q_row, Py_ssize_t q_rows, Py_ssize_t k,
) noexcept nogil:
    """c[i c_p + j c_q] = start[i start_p + j start_q] + p[i] q[j], rows of p by eights. Without ``start`` it counts as zero."""
    cdef real sums[DOT_SHARED * DOT_ROWS]
    cdef Py_ssize_t units = (p_rows + DOT_ROWS - 1) // DOT_ROWS, unit, i, j, rows, shared, s, r
    cdef bint turned = p_rows * k * sizeof(real) >= DOTS_LARGE and dots_turn(p)
    cdef real* target
    cdef const real* first
    cdef real one[DOT_ROWS]
    for unit in range(units):
        i = (units - 1 - unit if turned else unit) * DOT_ROWS
        rows = min(<Py_ssize_t> DOT_ROWS, p_rows - i)
        j = 0
        while j < q_rows:
            shared = min(<Py_ssize_t> DOT_SHARED, q_rows - j)
            if real is float:
                dots_f32(shared, k, p + i * p_row, p_row, rows, q + j * q_row, q_row, sums)
            else:
                dots_f64(shared, k, p + i * p_row, p_row, rows, q + j * q_row, q_row, sums)
            for s in range(shared):
                target = c + i * c_p + (j + s) * c_q
                if rows == DOT_ROWS and c_p == 1 and start != NULL and start_p == 1:  # one vector
                    first = start + i + (j + s) * start_q
                    for r in range(DOT_ROWS):
                        one[r] = sums[s * DOT_ROWS + r] + first[r]
                    memcpy(target, one, sizeof(one))
                    continue
                if start != NULL:
                    for r in range(rows):
                        sums[s * DOT_ROWS + r] += start[(i + r) * start_p + (j + s) * start_q]
                for r in range(rows):
                    target[r * c_p] = sums[s * DOT_ROWS + r]
            j += shared


cdef inline void pass_chunk(
    const real* d, const real* w, const real* x, real* dx, real* dw, Py_ssize_t rows, Py_ssize_t n, Py_ssize_t row, bint past
) noexcept nogil:
    if real is float:
        pass_f32(rows, n, d, w, row, x, dx, dw, row, past)
    else:
        pass_f64(rows, n, d, w, row, x, dx, dw, row, past)


cdef inline void passes(
    const real* d, Py_ssize_t d_step, const real* w, const real* x, real* dx, real* dw,
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t row,
) noexcept nogil:
    """dx = d w and dw = d^T x, for some columns of a matrix whose rows lie ``row`` elements apart. Either may be NULL.

    ``d_step`` is 1; or 0, where all rows have the same few scales: PASS_CHUNK of them.
    """
    cdef bint past = dw != NULL and rows * row * sizeof(real) >= PASS_LARGE and row * sizeof(real) % VECTOR_BYTES == 0
    cdef bint several = dx != NULL and rows > PASS_CHUNK
    cdef double totals[PASS_COLUMNS]
    cdef Py_ssize_t j = 0, i, o, n, chunk
    while j < columns:
        n = min(<Py_ssize_t> PASS_COLUMNS, columns - j)
        if several:
            memset(totals, 0, n * sizeof(double))
        if dx != NULL and rows == 0:
            memset(dx + j, 0, n * sizeof(real))
        o = 0
        while o < rows:
            chunk = min(<Py_ssize_t> PASS_CHUNK, rows - o)
            if dx != NULL:
                memset(dx + j, 0, n * sizeof(real))
            pass_chunk(
                d + o * d_step, w + o * row + j, offset(x, j), offset(dx, j), offset(dw, o * row + j), chunk, n, row, past)
            if several:
                for i in range(n):
                    totals[i] += dx[j + i]
            o += chunk
        if several:
            for i in range(n):
                dx[j + i] = <real> totals[i]
        j += n
