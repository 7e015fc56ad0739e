# cython: cdivision=True
"""Pooling, compiled ahead of time. Threads share out planes."""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.stdlib cimport free, malloc

from fastnn.kernels.arrays cimport data, is_float32, length, real
from fastnn.kernels.parallel cimport threads_for
from fastnn.kernels.pooling.maxima cimport adaptive_max_plane, can_gather, gather_plane, max_plane, position, scatter_plane
from fastnn.kernels.pooling.means cimport fill, mean_plane, spread_plane, sum_of
from fastnn.kernels.pooling.windows cimport Axis, Strides, allocate, fill_adaptive, fill_strided

cnp.import_array()


ctypedef struct Planes:
    Py_ssize_t count, H, W, OH, OW


cdef Planes _planes(cnp.ndarray x, cnp.ndarray y) noexcept:
    """``x`` is, or has the shape of, the input of the pooling, ``y`` of its output."""
    return Planes(length(x, 0) * length(x, 1), length(x, 2), length(x, 3), length(y, 2), length(y, 3))


cdef inline int _bytes(cnp.ndarray indices) noexcept:
    return 0 if indices is None else <int> cnp.PyArray_ITEMSIZE(indices)


# Strided maxima

cdef inline void _max_one(
    const real* x, real* y, char* indices, int bytes, Py_ssize_t p, Planes size, Strides rows, Strides columns
) noexcept nogil:
    cdef Py_ssize_t inputs = size.H * size.W, outputs = size.OH * size.OW
    max_plane(x + p * inputs, NULL if y == NULL else y + p * outputs, NULL if indices == NULL else indices + p * outputs * bytes,
              bytes, size.H, size.W, size.OH, size.OW, rows, columns)


cdef void _max_pool(
    const real* x, real* y, char* indices, int bytes, Planes size, Strides rows, Strides columns
) noexcept nogil:
    cdef Py_ssize_t p
    cdef int threads = threads_for(size.count * size.OH * size.OW * rows.kernel * columns.kernel // 4)
    if threads == 1:
        for p in range(size.count):
            _max_one(x, y, indices, bytes, p, size, rows, columns)
    else:
        for p in prange(size.count, num_threads=threads, schedule="static"):
            _max_one(x, y, indices, bytes, p, size, rows, columns)


def max_pool2d(
    cnp.ndarray x not None, kernel_size, stride, padding, dilation, ceil_mode, return_indices, cnp.ndarray y, cnp.ndarray indices
):
    cdef Strides rows = Strides(kernel_size[0], stride[0], padding[0], dilation[0])
    cdef Strides columns = Strides(kernel_size[1], stride[1], padding[1], dilation[1])
    cdef Planes size = _planes(x, indices if y is None else y)
    cdef int bytes = _bytes(indices)
    if is_float32(x):
        with nogil:
            _max_pool(<const float*> data(x), <float*> data(y), <char*> data(indices), bytes, size, rows, columns)
    else:
        with nogil:
            _max_pool(<const double*> data(x), <double*> data(y), <char*> data(indices), bytes, size, rows, columns)


cdef inline void _gradient_one(
    const real* dy, const char* indices, real* dx, int bytes, Py_ssize_t p, Planes size, Strides rows, Strides columns, bint gather
) noexcept nogil:
    cdef Py_ssize_t inputs = size.H * size.W, outputs = size.OH * size.OW
    dy += p * outputs
    dx += p * inputs
    indices += p * outputs * bytes
    if gather:
        gather_plane(dy, indices, dx, bytes, size.H, size.W, size.OH, size.OW, rows, columns)
    elif bytes == 2:
        scatter_plane(dy, <const cnp.int16_t*> indices, dx, outputs, inputs)
    elif bytes == 4:
        scatter_plane(dy, <const cnp.int32_t*> indices, dx, outputs, inputs)
    else:
        scatter_plane(dy, <const cnp.int64_t*> indices, dx, outputs, inputs)


cdef void _max_gradient(
    const real* dy, const char* indices, real* dx, int bytes, Planes size, Strides rows, Strides columns, bint gather
) noexcept nogil:
    cdef Py_ssize_t p
    cdef int threads = threads_for(size.count * (size.OH * size.OW + size.H * size.W // 8))
    if threads == 1:
        for p in range(size.count):
            _gradient_one(dy, indices, dx, bytes, p, size, rows, columns, gather)
    else:
        for p in prange(size.count, num_threads=threads, schedule="static"):
            _gradient_one(dy, indices, dx, bytes, p, size, rows, columns, gather)


cdef int _run_max_gradient(
    cnp.ndarray dy, cnp.ndarray indices, cnp.ndarray dx, Strides rows, Strides columns, bint gather
) except -1:
    cdef Planes size = _planes(dx, dy)
    cdef int bytes = _bytes(indices)
    if is_float32(dy):
        with nogil:
            _max_gradient(<const float*> data(dy), <const char*> data(indices), <float*> data(dx), bytes, size, rows, columns, gather)
    else:
        with nogil:
            _max_gradient(<const double*> data(dy), <const char*> data(indices), <double*> data(dx), bytes, size, rows, columns, gather)
    return 0


def max_pool2d_backward(
    cnp.ndarray dy not None, cnp.ndarray indices not None, kernel_size, stride, padding, dilation, x_shape, cnp.ndarray dx not None
):
    cdef Strides rows = Strides(kernel_size[0], stride[0], padding[0], dilation[0])
    cdef Strides columns = Strides(kernel_size[1], stride[1], padding[1], dilation[1])
    _run_max_gradient(dy, indices, dx, rows, columns, can_gather(rows, columns, _bytes(indices)))


# Adaptive maxima

cdef inline void _adaptive_max_one(
    const real* x, real* y, char* indices, int bytes, Py_ssize_t p, Axis rows, Axis columns
) noexcept nogil:
    cdef Py_ssize_t outputs = rows.count * columns.count
    x += p * rows.size * columns.size
    y = NULL if y == NULL else y + p * outputs
    indices = NULL if indices == NULL else indices + p * outputs * bytes
    if bytes == 2:
        adaptive_max_plane(x, y, <cnp.int16_t*> indices, rows, columns)
    elif bytes == 4:
        adaptive_max_plane(x, y, <cnp.int32_t*> indices, rows, columns)
    else:
        adaptive_max_plane(x, y, <cnp.int64_t*> indices, rows, columns)


cdef void _adaptive_max(
    const real* x, real* y, char* indices, int bytes, Py_ssize_t planes, Axis rows, Axis columns
) noexcept nogil:
    cdef Py_ssize_t p
    cdef int threads = threads_for(planes * (rows.size * columns.size + rows.count * columns.count))
    if threads == 1:
        for p in range(planes):
            _adaptive_max_one(x, y, indices, bytes, p, rows, columns)
    else:
        for p in prange(planes, num_threads=threads, schedule="static"):
            _adaptive_max_one(x, y, indices, bytes, p, rows, columns)


def adaptive_max_pool2d(cnp.ndarray x not None, output_size, return_indices, cnp.ndarray y, cnp.ndarray indices):
    cdef Planes size = _planes(x, indices if y is None else y)
    cdef int bytes = _bytes(indices)
    cdef Axis rows, columns
    rows.begin = columns.begin = NULL
    try:
        allocate(&rows, size.H, size.OH)
        allocate(&columns, size.W, size.OW)
        fill_adaptive(&rows)
        fill_adaptive(&columns)
        if is_float32(x):
            with nogil:
                _adaptive_max(<const float*> data(x), <float*> data(y), <char*> data(indices), bytes, size.count, rows, columns)
        else:
            with nogil:
                _adaptive_max(<const double*> data(x), <double*> data(y), <char*> data(indices), bytes, size.count, rows, columns)
    finally:
        free(rows.begin)
        free(columns.begin)


def adaptive_max_pool2d_backward(cnp.ndarray dy not None, cnp.ndarray indices not None, x_shape, cnp.ndarray dx not None):
    cdef Strides none
    _run_max_gradient(dy, indices, dx, none, none, False)


# Means

cdef inline void _average_range(
    const real* x, real* y, Py_ssize_t begin, Py_ssize_t end, Axis rows, Axis columns, bint backward, double* lines
) noexcept nogil:
    """The planes from ``begin`` to ``end``, with room for a line of inputs and one of outputs."""
    cdef Py_ssize_t inputs = rows.size * columns.size, outputs = rows.count * columns.count, p
    for p in range(begin, end):
        if backward:
            spread_plane(x + p * outputs, y + p * inputs, rows, columns, lines, lines + columns.size)
        else:
            mean_plane(x + p * inputs, y + p * outputs, rows, columns, lines, lines + columns.size)


cdef int _average(const real* x, real* y, Py_ssize_t planes, Axis rows, Axis columns, bint backward) noexcept nogil:
    """Means of each plane (``x`` to ``y``), or their gradient (dy to dx). Returns 0, or -1 without memory."""
    cdef Py_ssize_t width = columns.size + columns.count + 8  # lines of two threads share no cache line
    cdef int threads = threads_for(planes * (rows.size * columns.size + rows.count * columns.count)), t
    cdef double* lines = <double*> malloc(threads * width * sizeof(double))
    if lines == NULL:
        return -1
    if threads == 1:
        _average_range(x, y, 0, planes, rows, columns, backward, lines)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            _average_range(x, y, planes * t // threads, planes * (t + 1) // threads, rows, columns, backward, lines + t * width)
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
    cnp.ndarray x, cnp.ndarray y, Planes size, kernel_size, stride, padding, count_include_pad, divisor_override, bint backward
) except -1:
    cdef Strides row_strides = Strides(kernel_size[0], stride[0], padding[0], 1)
    cdef Strides column_strides = Strides(kernel_size[1], stride[1], padding[1], 1)
    cdef bint with_padding = count_include_pad
    cdef Py_ssize_t divisor = 0 if divisor_override is None else divisor_override
    cdef Axis rows, columns
    rows.begin = columns.begin = NULL
    try:
        allocate(&rows, size.H, size.OH)
        allocate(&columns, size.W, size.OW)
        fill_strided(&rows, row_strides, with_padding, divisor)
        fill_strided(&columns, column_strides, with_padding, 1 if divisor else 0)
        _run_average(x, y, &rows, &columns, backward)
    finally:
        free(rows.begin)
        free(columns.begin)
    return 0


def avg_pool2d(
    cnp.ndarray x not None, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, cnp.ndarray y not None
):
    _strided_average(x, y, _planes(x, y), kernel_size, stride, padding, count_include_pad, divisor_override, False)


def avg_pool2d_backward(
    cnp.ndarray dy not None, kernel_size, stride, padding, count_include_pad, divisor_override, x_shape, cnp.ndarray dx not None
):
    _strided_average(dy, dx, _planes(dx, dy), kernel_size, stride, padding, count_include_pad, divisor_override, True)


cdef void _global_average(const real* x, real* y, Py_ssize_t planes, Py_ssize_t size, bint backward) noexcept nogil:
    """One window a plane."""
    cdef Py_ssize_t p
    cdef int threads = threads_for(planes * size // 4)
    if threads == 1:
        for p in range(planes):
            _global_one(x, y, p, size, backward)
    else:
        for p in prange(planes, num_threads=threads, schedule="static"):
            _global_one(x, y, p, size, backward)


cdef inline void _global_one(const real* x, real* y, Py_ssize_t p, Py_ssize_t size, bint backward) noexcept nogil:
    if backward:
        fill(y + p * size, <real> (x[p] / <double> size), size)
    else:
        y[p] = <real> (sum_of(x + p * size, size) / size)


cdef int _adaptive_average(cnp.ndarray x, cnp.ndarray y, Planes size, bint backward) except -1:
    cdef Axis rows, columns
    if size.OH * size.OW == 1:
        if is_float32(x):
            with nogil:
                _global_average(<const float*> data(x), <float*> data(y), size.count, size.H * size.W, backward)
        else:
            with nogil:
                _global_average(<const double*> data(x), <double*> data(y), size.count, size.H * size.W, backward)
        return 0
    rows.begin = columns.begin = NULL
    try:
        allocate(&rows, size.H, size.OH)
        allocate(&columns, size.W, size.OW)
        fill_adaptive(&rows)
        fill_adaptive(&columns)
        _run_average(x, y, &rows, &columns, backward)
    finally:
        free(rows.begin)
        free(columns.begin)
    return 0


def adaptive_avg_pool2d(cnp.ndarray x not None, output_size, cnp.ndarray y not None):
    _adaptive_average(x, y, _planes(x, y), False)


def adaptive_avg_pool2d_backward(cnp.ndarray dy not None, x_shape, cnp.ndarray dx not None):
    _adaptive_average(dy, dx, _planes(dx, dy), True)
