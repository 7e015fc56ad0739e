"""What a convolution is, and runs of its input: elements ``stride`` apart in one row, zeros where they lie outside."""

from fastnn.kernels.arrays cimport real


cdef struct Geometry:
    Py_ssize_t N, C, H, W          # input; C is the channels of one group
    Py_ssize_t O, P, Q             # output; O is the channels of one group
    Py_ssize_t KH, KW
    Py_ssize_t sh, sw, top, left, dh, dw, groups


cdef inline Py_ssize_t valid_begin(Py_ssize_t first, Py_ssize_t stride) noexcept nogil:
    """First t >= 0 with first + t stride >= 0."""
    return 0 if first >= 0 else (-first + stride - 1) // stride


cdef inline Py_ssize_t valid_end(Py_ssize_t first, Py_ssize_t stride, Py_ssize_t size, Py_ssize_t count) noexcept nogil:
    """One past the last t < count with first + t stride < size."""
    return 0 if first >= size else min(count, (size - 1 - first) // stride + 1)


cdef inline void gather_run(
    const real* row, Py_ssize_t W, Py_ssize_t first, Py_ssize_t stride, Py_ssize_t count, real* target
) noexcept nogil:
    """target[t] = row[first + t stride], zero outside the row."""
    cdef Py_ssize_t begin = min(valid_begin(first, stride), count), end = max(begin, valid_end(first, stride, W, count)), t
    for t in range(begin):
        target[t] = 0
    if stride == 1:
        for t in range(begin, end):
            target[t] = row[first + t]
    elif stride == 2:
        for t in range(begin, end):
            target[t] = row[first + 2 * t]
    else:
        for t in range(begin, end):
            target[t] = row[first + t * stride]
    for t in range(end, count):
        target[t] = 0
