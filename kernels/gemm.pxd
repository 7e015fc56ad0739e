"""Blocked matrix product on packed panels; operands of any strides, so that transposes need no copy.

The scheme is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): a block of B is packed
into panels as wide as the register tile, then rows of A stream against it. Every element of C is summed in ascending order of k,
whatever the blocking, so that splitting rows or columns among threads never changes a bit.
"""

from fastnn.kernels.arrays cimport offset, real
from fastnn.kernels.elementary cimport sigmoid_, tanh_
from fastnn.kernels.packing cimport pack, put_transposed

cdef extern from "simd/tile.h" nogil:
    enum:
        TILE_ROWS "FASTNN_TILE_ROWS"
        TILE_BYTES "FASTNN_TILE_BYTES"
        VECTOR_BYTES "FASTNN_VECTOR_BYTES"
        CHUNK "FASTNN_CHUNK"
    void tile_f32 "fastnn_tile_f32"(
        Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t k, const float* a, Py_ssize_t a_row, Py_ssize_t a_k,
        const float* b, Py_ssize_t b_k, float* c, Py_ssize_t c_row, const float* start, Py_ssize_t start_row) noexcept
    void tile_f64 "fastnn_tile_f64"(
        Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t k, const double* a, Py_ssize_t a_row, Py_ssize_t a_k,
        const double* b, Py_ssize_t b_k, double* c, Py_ssize_t c_row, const double* start, Py_ssize_t start_row) noexcept

cdef enum:
    BLOCK_BYTES = 2048      # depth of a block: a panel of A (28 KiB) stays in L1
    FEW_ROWS_BYTES = 4096   # and in ``few_rows_product``, whose C is transposed once a block: at 2048 bytes 2 to 6 % slower
    BLOCK_ROWS = 112        # rows of A that are packed at a time where one block of B is all
    PACKED_ROWS = 2048      # and where there are more blocks of B, for which they are kept: 4 MiB
    IN_PLACE_ROWS = 48      # rows of C up to which packing B costs more than it saves, where its rows run along n
    WHOLE_LINE_ROWS = 256   # the same where all rows of B begin at one place of a cache line, and a vector is a line
    IN_PLACE_COLUMNS = 256  # columns of C up to which packing A costs more than it saves
    MOST_ROWS = 256         # of C in ``few_rows_product``
    SAME_SET_ROWS = 12      # of a tile there, if they lie pages apart: so many lines a set of the first-level cache holds
    TILE_ELEMENTS = 448     # of a register tile, at most
    MOST_DEPTH = 8192       # products that are added up in float32 itself, by chunks and blocks; longer sums go into doubles by parts

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


cdef inline Py_ssize_t gemm_workspace(Py_ssize_t itemsize) noexcept nogil:
    """Bytes of workspace that one thread needs in ``product`` and ``activated_product``: a block of B and one of A."""
    return BLOCK_BYTES * (BLOCK_COLUMNS + TILE_BYTES // itemsize + PACKED_ROWS + TILE_ROWS)


cdef inline Py_ssize_t even_part(Py_ssize_t length, Py_ssize_t most) noexcept nogil:
    """The length of equal parts of at most that many, but for the last one."""
    cdef Py_ssize_t parts = (length + most - 1) // most
    return (length + parts - 1) // parts


cdef inline void activate(real* c, Py_ssize_t c_row, Py_ssize_t rows, Py_ssize_t columns, int activation) noexcept nogil:
    """Apply an activation in place."""
    cdef Py_ssize_t i, j
    cdef real* row
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
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k, Py_ssize_t a_panel,
    const real* b, Py_ssize_t b_k, Py_ssize_t panel, Py_ssize_t pitch, const real* edge, Py_ssize_t edge_k,
    Py_ssize_t m, Py_ssize_t step, Py_ssize_t n, Py_ssize_t k, int activation,
) noexcept nogil:
    """C = start + A B and its activation, of a block of B that the caches hold.

    Rows of A go by ``step``, ``a_panel`` elements from one part to the next. Panels of ``panel`` columns of B,
    a multiple of a tile's, lie ``pitch`` elements apart. Columns that fill no tile are in ``edge``, padded.

    Tiles follow the rows of C. Eight below each other, while 96 rows of a panel of B stay in L1, were 3 % faster by
    themselves, but took 3 to 13 % longer where C has 512 or 1024 columns.
    """
    cdef Py_ssize_t width = TILE_BYTES // sizeof(real), i = 0, j, rows
    while i < m:  # a range() with a step that is no literal would need the GIL
        rows = min(step, m - i)
        j = 0
        while j < n:
            tile(
                rows, min(width, n - j), k, a, a_row, a_k,
                edge if n - j < width else b + j // panel * pitch + j % panel, edge_k if n - j < width else b_k,
                c + i * c_row + j, c_row, offset(start, i * start_row + j), start_row,
            )
            j += width
        if activation != IDENTITY:
            activate(c + i * c_row, c_row, rows, n, activation)
        i += rows
        a += a_panel


cdef inline bint reads_rows_in_place(Py_ssize_t m, Py_ssize_t n, Py_ssize_t row_bytes) noexcept nogil:
    """Whether packing B, whose rows run along n, costs more than it saves.

    64 and 128 rows times a matrix of 784 columns: 9 and 7 % faster in place (with AVX2 up to 6 % slower). Rows of 1024 floats,
    of which the first-level cache keeps few, take 12 % longer; so do rows of 1000, many of whose vectors lie across two lines.
    """
    if m <= IN_PLACE_ROWS:
        return True
    return VECTOR_BYTES == 64 and m <= WHOLE_LINE_ROWS and n > IN_PLACE_COLUMNS and row_bytes % 64 == 0 and row_bytes % 2048 != 0


cdef inline Py_ssize_t columns_before_vectors(const real* b, Py_ssize_t b_k) noexcept nogil:
    """How many columns to set apart so that vectors of all others, read in place, lie in one cache line each.

    32 rows times 128 x 784: 36.9 us against 40.3.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), past = <size_t> b % VECTOR_BYTES // sizeof(real)
    return 2 * lanes - past if past and b_k % lanes == 0 else 0


cdef inline void activated_product(
    real* c, Py_ssize_t c_row, const real* start, Py_ssize_t start_row,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* b, Py_ssize_t b_k, Py_ssize_t b_column,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, int activation, char* workspace,
) noexcept nogil:
    """C (m, n) = start + A (m, k) B (k, n) and its activation, on one thread.

    ``start`` is C itself, a matrix, one row for all (start_row 0) or NULL. ``workspace`` has ``gemm_workspace`` bytes.
    """
    cdef Py_ssize_t width = TILE_BYTES // sizeof(real), most = BLOCK_BYTES // sizeof(real)
    cdef bint pack_a = n > IN_PLACE_COLUMNS, pack_b = b_column != 1 or not reads_rows_in_place(m, n, b_k * sizeof(real))
    cdef Py_ssize_t lead = 0 if pack_b or n <= IN_PLACE_COLUMNS else columns_before_vectors(b, b_k)
    # A is kept for other blocks of B; where there are none it is packed in parts that L2 holds beside the block.
    cdef bint keep_a = n > BLOCK_COLUMNS or lead > 0
    cdef real* packed_b = <real*> workspace
    cdef real* packed_a = packed_b + most * (BLOCK_COLUMNS + width)
    cdef Py_ssize_t first = 0, i, j, p, last, rows, columns, whole, depth, step
    cdef const real* block
    while first < m:
        last = min(m, first + PACKED_ROWS) if pack_a else m
        step = even_part(last - first, TILE_ROWS)
        p = 0
        while p == 0 or p < k:
            depth = min(most, k - p)
            j = 0
            while j < n:
                columns = lead if lead > j else min(<Py_ssize_t> BLOCK_COLUMNS, n - j)
                whole = columns // width * width if pack_b else 0
                block = b + p * b_k + j * b_column
                if pack_b:
                    pack(block, b_column, b_k, columns, depth, width, packed_b)
                else:
                    pack(block + columns // width * width, 1, b_k, columns % width, depth, width, packed_b)
                i = first
                while i < last:
                    rows = min(BLOCK_ROWS // step * step, last - i) if pack_a and not keep_a else last - i
                    if pack_a and j == 0:
                        pack(a + i * a_row + p * a_k, a_row, a_k, rows, depth, step, packed_a)
                    multiply_block(
                        c + i * c_row + j, c_row,
                        c + i * c_row + j if p else offset(start, i * start_row + j), c_row if p else start_row,
                        packed_a if pack_a else <real*> a + i * a_row + p * a_k, 1 if pack_a else a_row, step if pack_a else a_k,
                        step * (depth if pack_a else a_row),
                        packed_b if pack_b else <real*> block, width if pack_b else b_k, width if pack_b else columns,
                        width * depth, packed_b + whole * depth, width,
                        rows, step, columns, depth, activation if p + depth >= k else <int> IDENTITY,
                    )
                    i += rows
                j += columns
            p += most
        first = last


cdef inline void few_rows_product(
    real* c, Py_ssize_t c_row, const real* start,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k, const real* b, Py_ssize_t b_column,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, int activation, char* workspace,
) noexcept nogil:
    """``activated_product`` for m <= MOST_ROWS and a matrix B whose columns are contiguous: a tile's A is B^T, in place.

    Packing B instead took a fifth longer at 32 rows (784 -> 128) and 8 % at 128 (1024 -> 1024).
    """
    cdef Py_ssize_t width = TILE_BYTES // sizeof(real), most = FEW_ROWS_BYTES // sizeof(real)
    cdef bint pages_apart = b_column * sizeof(real) % 4096 == 0  # 128 rows, 1024 -> 1024: 2 % less time with lower tiles
    cdef Py_ssize_t step = even_part(n, min(<int> TILE_ROWS, <int> SAME_SET_ROWS) if pages_apart else <int> TILE_ROWS)
    cdef Py_ssize_t i, j, p = 0, rows, columns, depth
    cdef const real* none = NULL
    cdef real* panels = <real*> workspace
    cdef real[TILE_ELEMENTS] part
    while p == 0 or p < k:
        depth = min(most, k - p)
        pack(a + p * a_k, a_row, a_k, m, depth, width, panels)
        i = 0
        while i < n:
            rows = min(step, n - i)
            j = 0
            while j < m:
                columns = min(width, m - j)
                tile(rows, columns, depth, b + i * b_column + p, b_column, 1, panels + j * depth, width, part, width, none, 0)
                put_transposed(
                    part, width, rows, columns,
                    c + j * c_row + i, c_row, c + j * c_row + i if p else offset(start, i), c_row if p else 0)
                j += width
            i += rows
        p += most
    if activation != IDENTITY:
        activate(c, c_row, m, n, activation)


cdef inline void product(
    real* c, Py_ssize_t c_row, const real* start, Py_ssize_t start_row,
    const real* a, Py_ssize_t a_row, Py_ssize_t a_k,
    const real* b, Py_ssize_t b_k, Py_ssize_t b_column,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, char* workspace,
) noexcept nogil:
    """``activated_product`` without activation."""
    activated_product(c, c_row, start, start_row, a, a_row, a_k, b, b_k, b_column, m, n, k, IDENTITY, workspace)


cdef inline void product_with_panels(
    real* c, Py_ssize_t c_row, const real* start, const real* a, Py_ssize_t a_row,
    const real* panels, Py_ssize_t panel, Py_ssize_t pitch, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, int activation,
) noexcept nogil:
    """C (m, n) = start + A (m, k) B and its activation, on one thread; B packed once for all in padded panels [k][panel]."""
    cdef Py_ssize_t width = TILE_BYTES // sizeof(real), most = BLOCK_BYTES // sizeof(real)
    cdef Py_ssize_t j = 0, p, columns, depth, step
    cdef const real* block
    if m == 0:
        return
    step = even_part(m, TILE_ROWS)
    while j < n:
        columns = min(<Py_ssize_t> BLOCK_COLUMNS, n - j)
        p = 0
        while p == 0 or p < k:
            depth = min(most, k - p)
            block = panels + j // panel * pitch + p * panel
            multiply_block(
                c + j, c_row, c + j if p else offset(start, j), c_row if p else 0, a + p, a_row, 1, step * a_row,
                block, panel, panel, pitch,
                block + columns // width * width // panel * pitch + columns // width * width % panel, panel,
                m, step, columns, depth, activation if p + depth >= k else <int> IDENTITY,
            )
            p += most
        j += BLOCK_COLUMNS
