"""Copies between matrices and the packed panels and tiles of the matrix product."""

from libc.string cimport memset

from fastnn.kernels.arrays cimport offset, real

cdef extern from "simd/tile.h" nogil:
    enum:
        VECTOR_BYTES "FASTNN_VECTOR_BYTES"

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
    void add_transposed_f32 "fastnn_add_transposed_f32"(
        const float* source, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t columns,
        float* out, Py_ssize_t width, const float* start, Py_ssize_t start_row) noexcept
    void add_transposed_f64 "fastnn_add_transposed_f64"(
        const double* source, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t columns,
        double* out, Py_ssize_t width, const double* start, Py_ssize_t start_row) noexcept
    void copy_panels_f32 "fastnn_copy_panels_f32"(
        const float* source, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t n, float* out, Py_ssize_t width) noexcept
    void copy_panels_f64 "fastnn_copy_panels_f64"(
        const double* source, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t n, double* out, Py_ssize_t width) noexcept


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


cdef inline void put_transposed(
    const real* tile, Py_ssize_t tile_row, Py_ssize_t rows, Py_ssize_t columns,
    real* c, Py_ssize_t c_row, const real* start, Py_ssize_t start_row,
) noexcept nogil:
    """c[j][i] = start[j][i] + tile[i][j]"""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), i = 0, j
    while i < rows:
        j = 0
        while j < columns:
            if real is float:
                add_transposed_f32(
                    tile + i * tile_row + j, tile_row, min(lanes, rows - i), min(lanes, columns - j),
                    c + j * c_row + i, c_row, offset(start, j * start_row + i), start_row)
            else:
                add_transposed_f64(
                    tile + i * tile_row + j, tile_row, min(lanes, rows - i), min(lanes, columns - j),
                    c + j * c_row + i, c_row, offset(start, j * start_row + i), start_row)
            j += lanes
        i += lanes
