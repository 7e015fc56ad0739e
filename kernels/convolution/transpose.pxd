"""Transposition, in square blocks of as many elements as a vector has lanes."""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport SPAN_BYTES
from fastnn.kernels.packing cimport transpose_f32, transpose_f64, transpose_part_f32, transpose_part_f64


cdef inline void transpose(
    const real* source, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t columns, real* target, Py_ssize_t width
) noexcept nogil:
    """target[j width + i] = source[i stride + j]"""
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), i = 0, j, high, wide
    while i < rows:
        high = min(lanes, rows - i)
        j = 0
        while j < columns:
            wide = min(lanes, columns - j)
            if real is float:
                if high == lanes and wide == lanes:
                    transpose_f32(source + i * stride + j, stride, target + j * width + i, width)
                else:
                    transpose_part_f32(source + i * stride + j, stride, high, wide, target + j * width + i, width, high)
            else:
                if high == lanes and wide == lanes:
                    transpose_f64(source + i * stride + j, stride, target + j * width + i, width)
                else:
                    transpose_part_f64(source + i * stride + j, stride, high, wide, target + j * width + i, width, high)
            j += lanes
        i += lanes
