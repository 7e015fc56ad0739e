# cython: cdivision=True
"""Means of windows and their gradient, plane by plane. Sums are formed in double, so that large windows stay accurate.

Means are separable: rows of a window are added up along whole lines first, then columns.
"""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.lanes cimport fill, scale as move
from fastnn.kernels.pooling.streams cimport sum_of
from fastnn.kernels.pooling.strips cimport MEAN, gather_plane, pool_plane
from fastnn.kernels.pooling.windows cimport Axis, Pooling


cdef inline void _sum_rows(const real* x, Py_ssize_t rows, Py_ssize_t size, double* line) noexcept nogil:
    """line = the sum of so many rows."""
    cdef Py_ssize_t h, w
    if rows == 1:
        for w in range(size):
            line[w] = x[w]
        return
    for w in range(size):
        line[w] = <double> x[w] + x[size + w]
    for h in range(2, rows):
        for w in range(size):
            line[w] += x[h * size + w]


cdef inline void _add_strided(
    const double* line, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t count, double* sums
) noexcept nogil:
    """sums[j] = the sum of ``kernel`` elements from line[j stride] on."""
    cdef Py_ssize_t j, n
    for j in range(count):
        sums[j] = line[j * stride]
    for n in range(1, kernel):
        for j in range(count):
            sums[j] += line[j * stride + n]


cdef inline void _sum_columns(const double* line, Axis columns, double* sums) noexcept nogil:
    """sums[j] = the sum of what window j covers."""
    cdef Py_ssize_t j, n, w, count = columns.high - columns.low
    cdef const double* start = line
    cdef double* inner = sums + columns.low
    for j in range(columns.count):
        if columns.low <= j < columns.high:
            continue
        sums[j] = 0
        for w in range(columns.begin[j], columns.end[j]):
            sums[j] += line[w]
    if count <= 0:
        return
    start = line + columns.begin[columns.low]
    if columns.strides.kernel == 2 and columns.strides.stride == 2:
        for j in range(count):
            inner[j] = start[2 * j] + start[2 * j + 1]
    elif columns.strides.stride == 1:  # constants make the loads contiguous or a pair of shuffles
        _add_strided(start, columns.strides.kernel, 1, count, inner)
    elif columns.strides.stride == 2:
        _add_strided(start, columns.strides.kernel, 2, count, inner)
    else:
        for j in range(count):
            inner[j] = 0
            for n in range(columns.strides.kernel):
                inner[j] += start[j * columns.strides.stride + n]


cdef inline void mean_plane(const real* x, real* y, Axis rows, Axis columns, double* line, double* sums) noexcept nogil:
    """``line`` has room for a row of x and ``sums`` for one of y."""
    cdef Py_ssize_t i, j
    cdef double scale
    for i in range(rows.count):
        _sum_rows(x + rows.begin[i] * columns.size, rows.end[i] - rows.begin[i], columns.size, line)
        _sum_columns(line, columns, sums)
        scale = 1 / rows.divisor[i]
        for j in range(columns.count):
            if real is float:
                y[i * columns.count + j] = <float> (sums[j] * (scale * columns.reciprocal[j]))
            else:  # a division, for means that are as exact as can be
                y[i * columns.count + j] = sums[j] / (rows.divisor[i] * columns.divisor[j])


cdef inline void _spread_columns(const double* sums, Axis columns, double* line) noexcept nogil:
    """line = for each column the sum of those of the windows that cover it."""
    cdef Py_ssize_t j, n, w, low = columns.low, count = columns.high - columns.low
    cdef double* start = line
    if columns.strides.kernel == 2 and columns.strides.stride == 2 and count * 2 == columns.size:
        for j in range(count):
            line[2 * j] = sums[j]
            line[2 * j + 1] = sums[j]
        return
    for w in range(columns.size):
        line[w] = 0
    for j in range(columns.count):
        if low <= j < columns.high:
            continue
        for w in range(columns.begin[j], columns.end[j]):
            line[w] += sums[j]
    if count <= 0:
        return
    start = line + columns.begin[low]
    if columns.strides.stride == 1:
        for n in range(columns.strides.kernel):
            for j in range(count):
                start[j + n] += sums[low + j]
    else:
        for j in range(count):
            for n in range(columns.strides.kernel):
                start[j * columns.strides.stride + n] += sums[low + j]


cdef inline void spread_plane(const real* dy, real* dx, Axis rows, Axis columns, double* line, double* sums) noexcept nogil:
    """The gradient: each window's share to all that it covers. Rows that the same windows cover are equal."""
    cdef Py_ssize_t h, i, j, w
    cdef double scale
    for h in range(rows.size):
        if h == 0 or rows.first[h] != rows.first[h - 1] or rows.last[h] != rows.last[h - 1]:
            for j in range(columns.count):
                sums[j] = 0
            for i in range(rows.first[h], rows.last[h] + 1):
                scale = 1 / rows.divisor[i]
                for j in range(columns.count):
                    sums[j] += dy[i * columns.count + j] * scale
            for j in range(columns.count):
                sums[j] *= columns.reciprocal[j]
            _spread_columns(sums, columns, line)
        for w in range(columns.size):
            dx[h * columns.size + w] = <real> line[w]


cdef inline void average_plane(
    const real* x, real* y, Py_ssize_t p, const Pooling* pooling, Axis rows, Axis columns, bint strips, bint backward,
    bint past, double* lines
) noexcept nogil:
    """Means of plane p, from ``x`` to ``y``, or their gradient, from dy to dx; room for a line of inputs and one of outputs."""
    cdef Py_ssize_t inputs = pooling.H * pooling.W, outputs = pooling.OH * pooling.OW
    x += p * (outputs if backward else inputs)
    y += p * (inputs if backward else outputs)
    if backward and strips and past:
        gather_plane(x, <real*> lines, pooling)
        move(<const real*> lines, <real> 1, y, inputs, True)
    elif backward and strips:
        gather_plane(x, y, pooling)
    elif backward:
        spread_plane(x, y, rows, columns, lines, lines + pooling.W)
    elif strips:
        pool_plane(x, y, NULL, 0, pooling, MEAN)
    else:
        mean_plane(x, y, rows, columns, lines, lines + pooling.W)


cdef inline void global_plane(const real* x, real* y, Py_ssize_t p, Py_ssize_t size, bint backward, bint past) noexcept nogil:
    """One window for all of plane p."""
    if backward:
        fill(<real> (x[p] / <double> size), y + p * size, size, past)
    else:
        y[p] = <real> (sum_of(x + p * size, size) / size)
