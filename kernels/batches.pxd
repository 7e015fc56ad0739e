"""Batches of the rows of a table."""

cimport numpy as cnp
from libc.string cimport memcpy


cdef struct Source:  # of a batch
    const char* table
    char* batch
    size_t row           # bytes


cdef inline void gather(const Source* source, const cnp.int64_t* rows, Py_ssize_t count) noexcept nogil:
    """batch[i] = table[rows[i]]. Rows of a number or two are not worth a call each; rows one after the other are copied as one."""
    cdef Py_ssize_t i = 0, first
    if source.row == 4:
        for i in range(count):
            memcpy(source.batch + 4 * i, source.table + 4 * rows[i], 4)
    elif source.row == 8:
        for i in range(count):
            memcpy(source.batch + 8 * i, source.table + 8 * rows[i], 8)
    else:
        while i < count:
            first = i
            i += 1
            while i < count and rows[i] == rows[i - 1] + 1:
                i += 1
            memcpy(source.batch + first * source.row, source.table + rows[first] * source.row, (i - first) * source.row)
