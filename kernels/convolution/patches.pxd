"""The patches that a convolution's kernel meets, as rows of a matrix that is never stored whole.

Row k = (c, u, v) of that matrix holds, for every output pixel p, the input element under kernel tap (u, v) of channel c. Pixels of one
output row are a run: their elements lie ``stride`` apart in the input, so that runs are copied and not single elements.
"""

from libc.string cimport memset

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
    else:
        for t in range(begin, end):
            target[t] = row[first + t * stride]
    for t in range(end, count):
        target[t] = 0


cdef inline void scatter_run(
    real* row, Py_ssize_t W, Py_ssize_t first, Py_ssize_t stride, Py_ssize_t count, const real* source
) noexcept nogil:
    """row[first + t stride] += source[t], what falls outside the row is dropped."""
    cdef Py_ssize_t begin = valid_begin(first, stride), end = valid_end(first, stride, W, count), t
    if stride == 1:
        for t in range(begin, end):
            row[first + t] += source[t]
    else:
        for t in range(begin, end):
            row[first + t * stride] += source[t]


cdef inline void gather_patches(
    const real* x, const Geometry* g, Py_ssize_t k0, Py_ssize_t depth, Py_ssize_t p0, Py_ssize_t count,
    real* target, Py_ssize_t k_stride,
) noexcept nogil:
    """target[k * k_stride + i] = element of patch row k0 + k at pixel p0 + i, for one group of one image."""
    cdef Py_ssize_t i = 0, k, c, u, v, p, q, run, row
    while i < count:
        p = (p0 + i) // g.Q
        q = (p0 + i) % g.Q
        run = min(g.Q - q, count - i)
        c = k0 // (g.KH * g.KW)
        u = k0 // g.KW % g.KH
        v = k0 % g.KW
        for k in range(depth):
            row = p * g.sh - g.top + u * g.dh
            if row < 0 or row >= g.H:
                memset(target + k * k_stride + i, 0, run * sizeof(real))
            else:
                gather_run(x + (c * g.H + row) * g.W, g.W, q * g.sw - g.left + v * g.dw, g.sw, run, target + k * k_stride + i)
            v += 1
            if v == g.KW:
                v = 0
                u += 1
                if u == g.KH:
                    u = 0
                    c += 1
        i += run


cdef inline void scatter_patches(
    real* dx, const Geometry* g, Py_ssize_t k0, Py_ssize_t depth, Py_ssize_t p0, Py_ssize_t count,
    const real* source, Py_ssize_t k_stride,
) noexcept nogil:
    """The adjoint: add source[k * k_stride + i] to the element that ``gather_patches`` would have read."""
    cdef Py_ssize_t i = 0, k, c, u, v, p, q, run, row
    while i < count:
        p = (p0 + i) // g.Q
        q = (p0 + i) % g.Q
        run = min(g.Q - q, count - i)
        c = k0 // (g.KH * g.KW)
        u = k0 // g.KW % g.KH
        v = k0 % g.KW
        for k in range(depth):
            row = p * g.sh - g.top + u * g.dh
            if 0 <= row < g.H:
                scatter_run(dx + (c * g.H + row) * g.W, g.W, q * g.sw - g.left + v * g.dw, g.sw, run, source + k * k_stride + i)
            v += 1
            if v == g.KW:
                v = 0
                u += 1
                if u == g.KH:
                    u = 0
                    c += 1
        i += run
