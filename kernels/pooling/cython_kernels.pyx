# cython: cdivision=True
"""Pooling, compiled ahead of time. Threads share out planes; sums are formed in double, so that large windows stay accurate.

A strided maximum goes offset by offset over a strip of outputs, which is vector code. Means are separable: rows of a window are
added up along whole lines first, then columns. What each window covers is a table for each dimension, made once a call.
"""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdint cimport int32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastnn.kernels.arrays cimport data, is_float32, length, real
from fastnn.kernels.parallel cimport threads_for

cnp.import_array()

cdef enum:
    STRIP = 64  # outputs whose maxima are kept on the stack


ctypedef struct Strides:
    Py_ssize_t kernel, stride, padding, dilation


cdef inline Py_ssize_t _ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b if a > 0 else 0


# Strided maxima

cdef inline void _take_larger(
    const real* row, Py_ssize_t step, Py_ssize_t position, Py_ssize_t count, real* best, int32_t* where
) noexcept nogil:
    """Compare one element of each of ``count`` windows; the first element of a window is always taken."""
    cdef Py_ssize_t j
    cdef real value
    cdef bint taken
    for j in range(count):
        value = row[j * step]
        taken = (value > best[j]) | (value != value) | (where[j] < 0)
        best[j] = value if taken else best[j]
        where[j] = <int32_t> (position + j * step) if taken else where[j]


cdef void _max_strip(
    const real* plane, Py_ssize_t H, Py_ssize_t W, Py_ssize_t i, Py_ssize_t begin, Py_ssize_t count,
    Strides rows, Strides columns, real* best, int32_t* where
) noexcept nogil:
    """Maxima of the windows (i, begin) to (i, begin + count - 1)."""
    cdef Py_ssize_t j, m, n, h, w, low, high, position
    cdef Py_ssize_t top = i * rows.stride - rows.padding, left = begin * columns.stride - columns.padding
    for j in range(count):
        best[j] = -INFINITY
        where[j] = -1
    for m in range(_ceil_div(-top, rows.dilation), min(rows.kernel, _ceil_div(H - top, rows.dilation))):
        h = top + m * rows.dilation
        for n in range(_ceil_div(-left - (count - 1) * columns.stride, columns.dilation),
                       min(columns.kernel, _ceil_div(W - left, columns.dilation))):
            w = left + n * columns.dilation
            low = _ceil_div(-w, columns.stride)
            high = min(count, _ceil_div(W - w, columns.stride))
            if low >= high:
                continue
            position = h * W + w + low * columns.stride
            if columns.stride == 1:  # constants make the loads contiguous or a pair of shuffles
                _take_larger(plane + position, 1, position, high - low, best + low, where + low)
            elif columns.stride == 2:
                _take_larger(plane + position, 2, position, high - low, best + low, where + low)
            else:
                _take_larger(plane + position, columns.stride, position, high - low, best + low, where + low)


cdef void _max_plane(
    const real* plane, real* y, cnp.int64_t* indices, Py_ssize_t H, Py_ssize_t W, Py_ssize_t OH, Py_ssize_t OW,
    Strides rows, Strides columns
) noexcept nogil:
    cdef real best[STRIP]
    cdef int32_t where[STRIP]
    cdef Py_ssize_t i, j, count, begin
    for i in range(OH):
        begin = 0
        while begin < OW:
            count = min(<Py_ssize_t> STRIP, OW - begin)
            _max_strip(plane, H, W, i, begin, count, rows, columns, best, where)
            if y != NULL:
                for j in range(count):
                    y[i * OW + begin + j] = best[j]
            if indices != NULL:
                for j in range(count):
                    indices[i * OW + begin + j] = where[j]
            begin += STRIP


cdef void _max_pool(
    const real* x, real* y, cnp.int64_t* indices, Py_ssize_t planes, Py_ssize_t H, Py_ssize_t W, Py_ssize_t OH, Py_ssize_t OW,
    Strides rows, Strides columns
) noexcept nogil:
    cdef Py_ssize_t p, count = OH * OW
    for p in prange(planes, num_threads=threads_for(planes * count * rows.kernel * columns.kernel // 4), schedule="static"):
        _max_plane(x + p * H * W, NULL if y == NULL else y + p * count, NULL if indices == NULL else indices + p * count,
                   H, W, OH, OW, rows, columns)


def max_pool2d(cnp.ndarray x not None, kernel_size, stride, padding, dilation, ceil_mode, cnp.ndarray y, cnp.ndarray indices):
    cdef Strides rows = Strides(kernel_size[0], stride[0], padding[0], dilation[0])
    cdef Strides columns = Strides(kernel_size[1], stride[1], padding[1], dilation[1])
    cdef cnp.ndarray result = indices if y is None else y
    cdef Py_ssize_t planes = length(x, 0) * length(x, 1), H = length(x, 2), W = length(x, 3)
    cdef Py_ssize_t OH = length(result, 2), OW = length(result, 3)
    if is_float32(x):
        with nogil:
            _max_pool(<const float*> data(x), <float*> data(y), <cnp.int64_t*> data(indices), planes, H, W, OH, OW, rows, columns)
    else:
        with nogil:
            _max_pool(<const double*> data(x), <double*> data(y), <cnp.int64_t*> data(indices),
                      planes, H, W, OH, OW, rows, columns)


cdef void _max_pool_backward(
    const real* dy, const cnp.int64_t* indices, real* dx, Py_ssize_t planes, Py_ssize_t outputs, Py_ssize_t inputs
) noexcept nogil:
    cdef Py_ssize_t p, o, index
    for p in prange(planes, num_threads=threads_for(planes * (outputs + inputs // 8)), schedule="static"):
        memset(dx + p * inputs, 0, inputs * sizeof(real))
        for o in range(outputs):
            index = indices[p * outputs + o]
            if index >= 0:
                dx[p * inputs + index] += dy[p * outputs + o]


def max_pool2d_backward(cnp.ndarray dy not None, cnp.ndarray indices not None, x_shape, cnp.ndarray dx not None):
    cdef Py_ssize_t planes = length(dy, 0) * length(dy, 1)
    cdef Py_ssize_t outputs = length(dy, 2) * length(dy, 3), inputs = length(dx, 2) * length(dx, 3)
    if is_float32(dy):
        with nogil:
            _max_pool_backward(<const float*> data(dy), <const cnp.int64_t*> data(indices), <float*> data(dx),
                               planes, outputs, inputs)
    else:
        with nogil:
            _max_pool_backward(<const double*> data(dy), <const cnp.int64_t*> data(indices), <double*> data(dx),
                               planes, outputs, inputs)


# Windows as tables

ctypedef struct Axis:
    Py_ssize_t size, count
    Py_ssize_t* begin   # of each window, the first position inside the plane
    Py_ssize_t* end     # and the one after the last
    Py_ssize_t* first   # of each position, the first window that covers it
    Py_ssize_t* last    # and the last one
    double* divisor     # of each window


cdef int _allocate(Axis* axis, Py_ssize_t size, Py_ssize_t count) except -1:
    """Room for the tables, in one block that starts at ``begin``."""
    cdef Py_ssize_t* block = <Py_ssize_t*> malloc((2 * size + 2 * count) * sizeof(Py_ssize_t) + count * sizeof(double) + 1)
    axis.size, axis.count, axis.begin = size, count, block
    if block == NULL:
        raise MemoryError("pooling: no room for the tables of windows")
    axis.end = block + count
    axis.first = block + 2 * count
    axis.last = axis.first + size
    axis.divisor = <double*> (axis.last + size)
    return 0


cdef void _fill_coverage(Axis* axis) noexcept nogil:
    """Which windows cover each position: ``begin`` and ``end`` never decrease, so one walk finds them."""
    cdef Py_ssize_t i, first = 0, last = -1
    for i in range(axis.size):
        while first < axis.count and axis.end[first] <= i:
            first += 1
        while last + 1 < axis.count and axis.begin[last + 1] <= i:
            last += 1
        axis.first[i] = first
        axis.last[i] = last


cdef void _fill_strided(Axis* axis, Strides strides, bint count_include_pad, Py_ssize_t divisor) noexcept nogil:
    cdef Py_ssize_t o, start
    for o in range(axis.count):
        start = o * strides.stride - strides.padding
        axis.begin[o] = max(start, <Py_ssize_t> 0)
        axis.end[o] = min(start + strides.kernel, axis.size)
        if divisor != 0:
            axis.divisor[o] = divisor
        elif count_include_pad:
            axis.divisor[o] = min(start + strides.kernel, axis.size + strides.padding) - start
        else:
            axis.divisor[o] = axis.end[o] - axis.begin[o]
    _fill_coverage(axis)


cdef void _fill_adaptive(Axis* axis) noexcept nogil:
    cdef Py_ssize_t o
    for o in range(axis.count):
        axis.begin[o] = o * axis.size // axis.count
        axis.end[o] = _ceil_div((o + 1) * axis.size, axis.count)
        axis.divisor[o] = axis.end[o] - axis.begin[o]
    _fill_coverage(axis)


# Means

cdef void _mean_plane(const real* x, real* y, Axis rows, Axis columns, double* line) noexcept nogil:
    cdef Py_ssize_t i, j, h, w
    cdef double total
    for i in range(rows.count):
        for w in range(columns.size):
            line[w] = 0
        for h in range(rows.begin[i], rows.end[i]):
            for w in range(columns.size):
                line[w] += x[h * columns.size + w]
        for j in range(columns.count):
            total = 0
            for w in range(columns.begin[j], columns.end[j]):
                total = total + line[w]
            y[i * columns.count + j] = <real> (total / (rows.divisor[i] * columns.divisor[j]))


cdef void _spread_plane(const real* dy, real* dx, Axis rows, Axis columns, double* line) noexcept nogil:
    cdef Py_ssize_t i, j, h, w
    cdef double total, scale
    for h in range(rows.size):
        for j in range(columns.count):
            line[j] = 0
        for i in range(rows.first[h], rows.last[h] + 1):
            scale = 1 / rows.divisor[i]
            for j in range(columns.count):
                line[j] += dy[i * columns.count + j] * scale
        for j in range(columns.count):
            line[j] /= columns.divisor[j]
        for w in range(columns.size):
            total = 0
            for j in range(columns.first[w], columns.last[w] + 1):
                total = total + line[j]
            dx[h * columns.size + w] = <real> total


cdef int _average(const real* x, real* y, Py_ssize_t planes, Axis rows, Axis columns, bint backward) noexcept nogil:
    """Means of each plane (``x`` to ``y``), or their gradient (dy to dx). Returns 0, or -1 without memory."""
    cdef Py_ssize_t inputs = rows.size * columns.size, outputs = rows.count * columns.count
    cdef Py_ssize_t width = max(columns.size, columns.count) + 8  # lines of two threads share no cache line
    cdef Py_ssize_t p, t, begin, end
    cdef int threads = threads_for(planes * (inputs + outputs))
    cdef double* lines = <double*> malloc(threads * width * sizeof(double))
    if lines == NULL:
        return -1
    for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        begin = planes * t // threads
        end = planes * (t + 1) // threads
        for p in range(begin, end):
            if backward:
                _spread_plane(x + p * outputs, y + p * inputs, rows, columns, lines + t * width)
            else:
                _mean_plane(x + p * inputs, y + p * outputs, rows, columns, lines + t * width)
    free(lines)
    return 0


cdef int _run_average(cnp.ndarray x, cnp.ndarray y, Axis* rows, Axis* columns, bint backward) except -1:
    cdef Py_ssize_t planes = length(x, 0) * length(x, 1)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _average(<const float*> data(x), <float*> data(y), planes, rows[0], columns[0], backward)
    else:
        with nogil:
            failed = _average(<const double*> data(x), <double*> data(y), planes, rows[0], columns[0], backward)
    if failed:
        raise MemoryError("avg_pool2d: no room for a line of sums")
    return 0


cdef int _strided_average(
    cnp.ndarray x, cnp.ndarray y, cnp.ndarray plane, cnp.ndarray windows,
    kernel_size, stride, padding, count_include_pad, divisor_override
) except -1:
    """``plane`` has the shape of the input of the pooling and ``windows`` that of its output."""
    cdef Strides row_strides = Strides(kernel_size[0], stride[0], padding[0], 1)
    cdef Strides column_strides = Strides(kernel_size[1], stride[1], padding[1], 1)
    cdef bint with_padding = count_include_pad
    cdef Py_ssize_t divisor = 0 if divisor_override is None else divisor_override
    cdef Axis rows, columns
    rows.begin = columns.begin = NULL
    try:
        _allocate(&rows, length(plane, 2), length(windows, 2))
        _allocate(&columns, length(plane, 3), length(windows, 3))
        _fill_strided(&rows, row_strides, with_padding, divisor)
        _fill_strided(&columns, column_strides, with_padding, 1 if divisor else 0)
        _run_average(x, y, &rows, &columns, x is windows)
    finally:
        free(rows.begin)
        free(columns.begin)
    return 0


def avg_pool2d(
    cnp.ndarray x not None, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, cnp.ndarray y not None
):
    _strided_average(x, y, x, y, kernel_size, stride, padding, count_include_pad, divisor_override)


def avg_pool2d_backward(
    cnp.ndarray dy not None, kernel_size, stride, padding, count_include_pad, divisor_override, x_shape, cnp.ndarray dx not None
):
    _strided_average(dy, dx, dx, dy, kernel_size, stride, padding, count_include_pad, divisor_override)


cdef int _adaptive_average(cnp.ndarray x, cnp.ndarray y, cnp.ndarray plane, cnp.ndarray windows) except -1:
    cdef Axis rows, columns
    rows.begin = columns.begin = NULL
    try:
        _allocate(&rows, length(plane, 2), length(windows, 2))
        _allocate(&columns, length(plane, 3), length(windows, 3))
        _fill_adaptive(&rows)
        _fill_adaptive(&columns)
        _run_average(x, y, &rows, &columns, x is windows)
    finally:
        free(rows.begin)
        free(columns.begin)
    return 0


def adaptive_avg_pool2d(cnp.ndarray x not None, output_size, cnp.ndarray y not None):
    _adaptive_average(x, y, x, y)


def adaptive_avg_pool2d_backward(cnp.ndarray dy not None, x_shape, cnp.ndarray dx not None):
    _adaptive_average(dy, dx, dx, dy)


# Adaptive maxima

cdef void _adaptive_max_plane(
    const real* x, real* y, cnp.int64_t* indices, Axis rows, Axis columns
) noexcept nogil:
    cdef Py_ssize_t i, j, h, w, where, o = 0
    cdef real best, value
    for i in range(rows.count):
        for j in range(columns.count):
            where = rows.begin[i] * columns.size + columns.begin[j]
            best = x[where]
            for h in range(rows.begin[i], rows.end[i]):
                for w in range(columns.begin[j], columns.end[j]):
                    value = x[h * columns.size + w]
                    if value > best or value != value:
                        best = value
                        where = h * columns.size + w
            if y != NULL:
                y[o] = best
            if indices != NULL:
                indices[o] = where
            o = o + 1


cdef void _adaptive_max(
    const real* x, real* y, cnp.int64_t* indices, Py_ssize_t planes, Axis rows, Axis columns
) noexcept nogil:
    cdef Py_ssize_t p, inputs = rows.size * columns.size, outputs = rows.count * columns.count
    for p in prange(planes, num_threads=threads_for(planes * (inputs + outputs)), schedule="static"):
        _adaptive_max_plane(x + p * inputs, NULL if y == NULL else y + p * outputs,
                            NULL if indices == NULL else indices + p * outputs, rows, columns)


def adaptive_max_pool2d(cnp.ndarray x not None, output_size, cnp.ndarray y, cnp.ndarray indices):
    cdef Py_ssize_t planes = length(x, 0) * length(x, 1)
    cdef Axis rows, columns
    rows.begin = columns.begin = NULL
    try:
        _allocate(&rows, length(x, 2), output_size[0])
        _allocate(&columns, length(x, 3), output_size[1])
        _fill_adaptive(&rows)
        _fill_adaptive(&columns)
        if is_float32(x):
            with nogil:
                _adaptive_max(<const float*> data(x), <float*> data(y), <cnp.int64_t*> data(indices), planes, rows, columns)
        else:
            with nogil:
                _adaptive_max(<const double*> data(x), <double*> data(y), <cnp.int64_t*> data(indices), planes, rows, columns)
    finally:
        free(rows.begin)
        free(columns.begin)
