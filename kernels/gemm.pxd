"""Blocked matrix product on packed panels; operands of any strides, so that transposes need no copy.

The scheme is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): a block of B is packed
into panels as wide as the register tile, then rows of A stream against it. Every element of C is summed in ascending order of k,
whatever the blocking, so that splitting rows or columns among threads never changes a bit.
"""

from libc.string cimport memset

from fastnn.kernels.arrays cimport offset, real
from fastnn.kernels.elementary cimport sigmoid_, tanh_

cdef extern from "simd/tile.h" nogil:
    enum:
        TILE_ROWS "FASTNN_TILE_ROWS"
        TILE_BYTES "FASTNN_TILE_BYTES"
        VECTOR_BYTES "FASTNN_VECTOR_BYTES"
    void tile_f32 "fastnn_tile_f32"(
        Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t k, const float* a, Py_ssize_t a_row, Py_ssize_t a_k,
        const float* b, Py_ssize_t b_k, float* c, Py_ssize_t c_row, const float* start, Py_ssize_t start_row) noexcept
    void tile_f64 "fastnn_tile_f64"(
        Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t k, const double* a, Py_ssize_t a_row, Py_ssize_t a_k,
        const double* b, Py_ssize_t b_k, double* c, Py_ssize_t c_row, const double* start, Py_ssize_t start_row) noexcept

cdef extern from "simd/transpose.h" nogil:
    void transpose_f32 "fastnn_transpose_block_f32"(const float* source, Py_ssize_t stride, float* out, Py_ssize_t width) noexcept
    void transpose_f64 "fastnn_transpose_block_f64"(
        const double* source, Py_ssize_t stride, double* out, Py_ssize_t width) noexcept
    void transpose_part_f32 "fastnn_transpose_part_f32"(
        const float* source, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t columns,
        float* out, Py_ssize_t width, Py_ssize_t padded) noexcept
    void transpose_part_f64 "fastnn_transpose_part_f64"(
        const double* source, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t columns,
        double* out, Py_ssize_t width, Py_ssize_t padded) noexcept
    void copy_panels_f32 "fastnn_copy_panels_f32"(
        const float* source, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t n, float* out, Py_ssize_t width) noexcept
    void copy_panels_f64 "fastnn_copy_panels_f64"(
        const double* source, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t n, double* out, Py_ssize_t width) noexcept

cdef enum:
    BLOCK_K = 512           # depth of a block in float32: a panel of A (28 KiB) stays in L1
    BLOCK_BYTES = 2048      # and in bytes
    SHORT_BYTES = 1536      # depth of a panel of B that is packed for few rows alone, and then stays in L1
    BLOCK_ROWS = 112        # rows of A that are packed at a time, whole cache lines where they run along m
    IN_PLACE_ROWS = 48      # rows of C up to which packing B costs more than it saves, where its rows run along n
    IN_PLACE_COLUMNS = 256  # and columns of C up to which packing A does

cdef enum:  # what is done to a finished element of C
    IDENTITY
    RELU
    SIGMOID
    TANH

cdef extern from *:
    enum:
        BLOCK_COLUMNS "(4 * FASTNN_TILE_BYTES)"  # the packed block of B (1 MiB with AVX-512) stays in L2


cdef inline void tile(
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t k, const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* b, Py_ssize_t b_k, real* c, Py_ssize_t c_row, const real* start, Py_ssize_t start_row,
) noexcept nogil:
    """c = start + a b, of at most one tile. ``start`` may be c itself, one row for all (start_row 0) or NULL."""
    if real is float:
        tile_f32(rows, columns, k, a, a_row, a_k, b, b_k, c, c_row, start, start_row)
    else:
        tile_f64(rows, columns, k, a, a_row, a_k, b, b_k, c, c_row, start, start_row)


cdef inline void pack_transposed(
    const real* source, Py_ssize_t stride, Py_ssize_t count, Py_ssize_t k, Py_ssize_t width, real* panel
) noexcept nogil:
    """panel[p][i] = source[i * stride + p]"""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), i, p = 0, rows
    cdef const real* first
    while p < k:
        i = 0
        while i < width:
            rows = max(0, min(lanes, count - i))
            first = source + (i * stride if rows else 0) + p
            if real is float:
                transpose_part_f32(first, stride, rows, min(lanes, k - p), panel + p * width + i, width, min(lanes, width - i))
            else:
                transpose_part_f64(first, stride, rows, min(lanes, k - p), panel + p * width + i, width, min(lanes, width - i))
            i += lanes
        p += lanes


cdef inline void pack(
    const real* source, Py_ssize_t stride, Py_ssize_t k_stride, Py_ssize_t count, Py_ssize_t k, Py_ssize_t width, real* panels
) noexcept nogil:
    """panels[i / width][p][i % width] = source[i * stride + p * k_stride] for i < count and p < k; the last panel is padded."""
    cdef Py_ssize_t i = 0, p
    cdef real* panel
    if stride == 1:
        if real is float:
            copy_panels_f32(source, k_stride, k, count, panels, width)
        else:
            copy_panels_f64(source, k_stride, k, count, panels, width)
        return
    if k_stride == 1:
        while i < count:
            pack_transposed(source + i * stride, stride, min(width, count - i), k, width, panels + i * k)
            i += width
        return
    if count % width:
        memset(panels + count // width * width * k, 0, k * width * sizeof(real))
    for i in range(count):
        panel = panels + i // width * width * k + i % width
        for p in range(k):
            panel[p * width] = source[i * stride + p * k_stride]


cdef inline Py_ssize_t gemm_workspace(Py_ssize_t itemsize) noexcept nogil:
    """Bytes of workspace that one thread needs in ``product`` and ``activated_product``: a block of B and one of A."""
    return itemsize * BLOCK_K * (BLOCK_COLUMNS + TILE_BYTES + BLOCK_ROWS)


cdef inline Py_ssize_t even_part(Py_ssize_t length, Py_ssize_t most) noexcept nogil:
    """The length of equal parts of at most that many, but for the last one."""
    cdef Py_ssize_t parts = (length + most - 1) // most
    return (length + parts - 1) // parts


cdef inline void activate(real* c, Py_ssize_t c_row, Py_ssize_t rows, Py_ssize_t columns, int activation) noexcept nogil:
    """Apply an activation in place."""
    cdef Py_ssize_t i, j
    cdef real* row
    if c_row == columns:  # one long row instead of many that fill no vectors
        rows, columns = 1, rows * columns
    for i in range(rows):
        row = c + i * c_row
        if activation == RELU:
            for j in range(columns):
                row[j] = 0 if row[j] <= 0 else row[j]  # NaN stays
        elif activation == SIGMOID:
            for j in range(columns):
                row[j] = sigmoid_(row[j])
        elif activation == TANH:
            for j in range(columns):
                row[j] = tanh_(row[j])


cdef inline void multiply_block(
    real* c, Py_ssize_t c_row, const real* start, Py_ssize_t start_row,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* b, Py_ssize_t b_k, Py_ssize_t panel, Py_ssize_t pitch, const real* edge, Py_ssize_t edge_k,
    real* packed_a, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, int activation,
) noexcept nogil:
    """C = start + A B and its activation, of a block of B that the caches hold.

    Panels of ``panel`` columns of B, a multiple of a tile's, lie ``pitch`` elements apart. Columns that fill no tile are in
    ``edge``, padded. Rows of A are packed where ``packed_a`` is given.
    """
    cdef Py_ssize_t width = TILE_BYTES // sizeof(real), step = even_part(m, TILE_ROWS)
    cdef Py_ssize_t block = BLOCK_ROWS // step * step, i = 0, j, rows
    cdef const real* left
    while i < m:  # a range() with a step that is no literal would need the GIL
        rows = min(step, m - i)
        left = a + i * a_row
        if packed_a != NULL:
            if i % block == 0:
                pack(left, a_row, a_k, min(block, m - i), k, step, packed_a)
            left = packed_a + i % block * k
        j = 0
        while j < n:
            tile(
                rows, min(width, n - j), k, left, a_row if packed_a == NULL else 1, a_k if packed_a == NULL else step,
                edge if n - j < width else b + j // panel * pitch + j % panel, edge_k if n - j < width else b_k,
                c + i * c_row + j, c_row, offset(start, i * start_row + j), start_row,
            )
            j += width
        if activation != IDENTITY:
            activate(c + i * c_row, c_row, rows, n, activation)
        i += rows


cdef inline void activated_product(
    real* c, Py_ssize_t c_row, const real* start, Py_ssize_t start_row,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* b, Py_ssize_t b_k, Py_ssize_t b_column,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, bint few_rows, int activation, char* workspace,
) noexcept nogil:
    """C (m, n) = start + A (m, k) B (k, n) and its activation, on one thread.

    With ``few_rows``, of the whole matrix, panels of B are packed one at a time and so short that they stay in L1.

    ``start`` is C itself, a matrix, one row for all (start_row 0) or NULL. ``workspace`` has ``gemm_workspace`` bytes.
    """
    cdef Py_ssize_t width = TILE_BYTES // sizeof(real)
    cdef Py_ssize_t most = (SHORT_BYTES if few_rows else BLOCK_BYTES) // sizeof(real)
    cdef Py_ssize_t at_once = width if few_rows else <Py_ssize_t> BLOCK_COLUMNS
    cdef real* packed_b = <real*> workspace
    cdef real* packed_a = packed_b + most * (BLOCK_COLUMNS + width) if n > IN_PLACE_COLUMNS and not few_rows else <real*> NULL
    cdef bint in_place = b_column == 1 and m <= IN_PLACE_ROWS
    cdef Py_ssize_t j = 0, p, whole, columns, depth
    cdef const real* block
    if m == 0:
        return
    while j < n:
        columns = min(at_once, n - j)
        p = 0
        while p == 0 or p < k:
            depth = min(most, k - p)
            block = b + p * b_k + j * b_column
            whole = columns // width * width if in_place else 0
            pack(block + whole * b_column, b_column, b_k, columns - whole, depth, width, packed_b + whole * depth)
            multiply_block(
                c + j, c_row, c + j if p else offset(start, j), c_row if p else start_row, a + p * a_k, a_row, a_k,
                block if in_place else packed_b, b_k if in_place else width, columns if in_place else width, width * depth,
                packed_b + columns // width * width * depth, width, packed_a, m, columns, depth,
                activation if p + depth >= k else <int> IDENTITY,
            )
            p += most
        j += at_once


cdef inline void product(
    real* c, Py_ssize_t c_row, const real* start, Py_ssize_t start_row,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* b, Py_ssize_t b_k, Py_ssize_t b_column,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, char* workspace,
) noexcept nogil:
    """``activated_product`` without activation."""
    activated_product(c, c_row, start, start_row, a, a_row, a_k, b, b_k, b_column, m, n, k, False, IDENTITY, workspace)


cdef inline void product_with_panels(
    real* c, Py_ssize_t c_row, const real* start, const real* a, const real* panels, Py_ssize_t panel, Py_ssize_t pitch,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, int activation,
) noexcept nogil:
    """C (m, n) = start + A (m, k) B and its activation, on one thread; B packed once for all in padded panels [k][panel]."""
    cdef Py_ssize_t width = TILE_BYTES // sizeof(real), most = BLOCK_BYTES // sizeof(real)
    cdef Py_ssize_t j = 0, p, columns, depth
    cdef const real* block
    if m == 0:
        return
    while j < n:
        columns = min(<Py_ssize_t> BLOCK_COLUMNS, n - j)
        p = 0
        while p == 0 or p < k:
            depth = min(most, k - p)
            block = panels + j // panel * pitch + p * panel
            multiply_block(
                c + j, c_row, c + j if p else offset(start, j), c_row if p else 0, a + p, k, 1, block, panel, panel, pitch,
                block + columns // width * width // panel * pitch + columns // width * width % panel, panel,
                <real*> NULL, m, columns, depth, activation if p + depth >= k else <int> IDENTITY,
            )
            p += most
        j += BLOCK_COLUMNS
