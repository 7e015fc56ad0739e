"""Blocked matrix product on packed panels; operands of any strides, so that transposes need no copy.

The scheme is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): a block of B is packed into
panels as wide as the register tile, then panels of A stream against it. Every element of C is summed in ascending order of k,
whatever the blocking, so that splitting rows or columns among threads never changes a bit.
"""

from libc.string cimport memset

from fastnn.kernels.arrays cimport real

cdef extern from "simd/tile.h" nogil:
    enum:
        TILE_ROWS "FASTNN_TILE_ROWS"
        TILE_BYTES "FASTNN_TILE_BYTES"
    void tile_f32 "fastnn_tile_f32"(Py_ssize_t k, const float* a, const float* b, float* out) noexcept
    void tile_f64 "fastnn_tile_f64"(Py_ssize_t k, const double* a, const double* b, double* out) noexcept
    float dot_f32 "fastnn_dot_f32"(Py_ssize_t n, const float* a, const float* b) noexcept
    double dot_f64 "fastnn_dot_f64"(Py_ssize_t n, const double* a, const double* b) noexcept

cdef extern from "simd/transpose.h" nogil:
    enum:
        VECTOR_BYTES "FASTNN_VECTOR_BYTES"
    void transpose_f32 "fastnn_transpose_block_f32"(const float* source, Py_ssize_t stride, float* out, Py_ssize_t width) noexcept
    void transpose_f64 "fastnn_transpose_block_f64"(const double* source, Py_ssize_t stride, double* out, Py_ssize_t width) noexcept

cdef enum:
    BLOCK_K = 384       # a panel of A of this depth (21 KiB) stays in L1
    BLOCK_COLUMNS = 384  # and the packed block of B (576 KiB in float32) in L2


cdef inline real dot(Py_ssize_t n, const real* a, const real* b) noexcept nogil:
    """Sum of a[i] b[i]."""
    if real is float:
        return dot_f32(n, a, b)
    else:
        return dot_f64(n, a, b)


cdef inline void pack(
    const real* source, Py_ssize_t stride, Py_ssize_t k_stride, Py_ssize_t count, Py_ssize_t k, Py_ssize_t width, real* panel
) noexcept nogil:
    """panel[p][i] = source[i * stride + p * k_stride] for i < count, and zero for count <= i < width."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real)
    cdef Py_ssize_t blocked_rows = 0, blocked_k = 0, i, p
    if count < width:
        memset(panel, 0, k * width * sizeof(real))
    if stride == 1:
        for p in range(k):
            for i in range(count):
                panel[p * width + i] = source[p * k_stride + i]
        return
    if k_stride == 1:
        blocked_rows = count // lanes * lanes
        blocked_k = k // lanes * lanes
        p = 0
        while p < blocked_k:
            i = 0
            while i < blocked_rows:
                if real is float:
                    transpose_f32(source + i * stride + p, stride, panel + p * width + i, width)
                else:
                    transpose_f64(source + i * stride + p, stride, panel + p * width + i, width)
                i += lanes
            p += lanes
    for i in range(count):
        for p in range(blocked_k if i < blocked_rows else 0, k):
            panel[p * width + i] = source[i * stride + p * k_stride]


cdef inline void store_tile(
    const real* tile, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t width, real* c, Py_ssize_t c_stride, bint accumulate
) noexcept nogil:
    """Assign or add the valid part of a finished tile to C."""
    cdef Py_ssize_t i, j
    for i in range(rows):
        if accumulate:
            for j in range(columns):
                c[i * c_stride + j] += tile[i * width + j]
        else:
            for j in range(columns):
                c[i * c_stride + j] = tile[i * width + j]


cdef inline Py_ssize_t gemm_workspace(Py_ssize_t itemsize) noexcept nogil:
    """Bytes of workspace that one thread needs in ``gemm``: a block of B, a panel of A and a tile."""
    return itemsize * BLOCK_K * (BLOCK_COLUMNS + TILE_BYTES + TILE_ROWS) + TILE_ROWS * TILE_BYTES + 64


cdef inline void multiply_panels(
    real* c, Py_ssize_t c_stride,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* packed_b, real* packed_a, real* tile,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, bint accumulate,
) noexcept nogil:
    """C (m, n) = or += A (m, k) times a block of B already packed in panels."""
    cdef Py_ssize_t width = TILE_BYTES // sizeof(real)
    cdef Py_ssize_t i = 0, j, rows
    while i < m:  # a range() with a step that is no literal would need the GIL
        rows = min(<Py_ssize_t> TILE_ROWS, m - i)
        pack(a + i * a_row, a_row, a_k, rows, k, TILE_ROWS, packed_a)
        j = 0
        while j < n:
            if real is float:
                tile_f32(k, packed_a, packed_b + j * k, tile)
            else:
                tile_f64(k, packed_a, packed_b + j * k, tile)
            store_tile(tile, rows, min(width, n - j), width, c + i * c_stride + j, c_stride, accumulate)
            j += width
        i += TILE_ROWS


cdef inline void gemm(
    real* c, Py_ssize_t c_stride,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* b, Py_ssize_t b_k, Py_ssize_t b_column,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, bint accumulate, char* workspace,
) noexcept nogil:
    """C (m, n) = or += A (m, k) B (k, n), on one thread. ``workspace`` has ``gemm_workspace`` bytes."""
    cdef Py_ssize_t width = TILE_BYTES // sizeof(real)
    cdef real* packed_b = <real*> workspace
    cdef real* packed_a = packed_b + BLOCK_K * (BLOCK_COLUMNS + width)
    cdef real* tile = packed_a + BLOCK_K * TILE_ROWS
    cdef Py_ssize_t j0 = 0, p0, j, columns, depth
    if k == 0 and not accumulate:
        for j in range(m):
            memset(c + j * c_stride, 0, n * sizeof(real))
        return
    while j0 < n:
        columns = min(<Py_ssize_t> BLOCK_COLUMNS, n - j0)
        p0 = 0
        while p0 < k:
            depth = min(<Py_ssize_t> BLOCK_K, k - p0)
            j = 0
            while j < columns:
                pack(
                    b + p0 * b_k + (j0 + j) * b_column, b_column, b_k, min(width, columns - j), depth, width,
                    packed_b + j * depth,
                )
                j += width
            multiply_panels(
                c + j0, c_stride, a + p0 * a_k, a_row, a_k, packed_b, packed_a, tile, m, columns, depth,
                accumulate or p0 > 0,
            )
            p0 += BLOCK_K
        j0 += BLOCK_COLUMNS
