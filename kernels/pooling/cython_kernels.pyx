# cython: cdivision=True
"""Pooling, compiled ahead of time. Threads share out planes."""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.stdlib cimport free, malloc

from fastnn.kernels.arrays cimport data, is_float32, length, real
from fastnn.kernels.parallel cimport threads_for
from fastnn.kernels.pooling.maxima cimport adaptive_max_plane, scatter_plane
from fastnn.kernels.pooling.means cimport average_plane, global_plane
from fastnn.kernels.pooling.strips cimport ARGMAX, MAX, can_add_up, can_gather, pool_plane
from fastnn.kernels.pooling.windows cimport Axis, Pooling, Strides, allocate, fill_adaptive, fill_strided

cnp.import_array()


cdef inline int _bytes(cnp.ndarray indices) noexcept:
    return 0 if indices is None else <int> cnp.PyArray_ITEMSIZE(indices)


cdef Pooling _pooling(cnp.ndarray x, cnp.ndarray y) noexcept:
    """Sizes: ``x`` is, or has the shape of, the input of the pooling, ``y`` of its output."""
    cdef Pooling pooling
    pooling.H, pooling.W, pooling.OH, pooling.OW = length(x, 2), length(x, 3), length(y, 2), length(y, 3)
    return pooling


# Strided maxima

cdef inline void _max_one(
    const real* x, real* y, char* indices, int bytes, Py_ssize_t p, const Pooling* pooling
) noexcept nogil:
    cdef Py_ssize_t inputs = pooling.H * pooling.W, outputs = pooling.OH * pooling.OW
    pool_plane(x + p * inputs, NULL if y == NULL else y + p * outputs, NULL if indices == NULL else indices + p * outputs * bytes,
               bytes, pooling, MAX if indices == NULL else ARGMAX)


cdef void _max_pool(
    const real* x, real* y, char* indices, int bytes, Py_ssize_t planes, const Pooling* pooling
) noexcept nogil:
    cdef Py_ssize_t p
    cdef int threads = threads_for(planes * pooling.OH * pooling.OW * pooling.rows.kernel * pooling.columns.kernel // 8)
    if threads == 1:
        for p in range(planes):
            _max_one(x, y, indices, bytes, p, pooling)
    else:
        for p in prange(planes, num_threads=threads, schedule="static"):
            _max_one(x, y, indices, bytes, p, pooling)


def max_pool2d(
    cnp.ndarray x not None, kernel_size, stride, padding, dilation, ceil_mode, return_indices, cnp.ndarray y, cnp.ndarray indices
):
    cdef Pooling pooling = _pooling(x, indices if y is None else y)
    cdef Py_ssize_t planes = length(x, 0) * length(x, 1)
    cdef int bytes = _bytes(indices)
    pooling.rows = Strides(kernel_size[0], stride[0], padding[0], dilation[0])
    pooling.columns = Strides(kernel_size[1], stride[1], padding[1], dilation[1])
    if is_float32(x):
        with nogil:
            _max_pool(<const float*> data(x), <float*> data(y), <char*> data(indices), bytes, planes, &pooling)
    else:
        with nogil:
            _max_pool(<const double*> data(x), <double*> data(y), <char*> data(indices), bytes, planes, &pooling)


cdef inline void _gradient_one(
    const real* dy, const char* indices, int bytes, real* dx, Py_ssize_t p, const Pooling* pooling
) noexcept nogil:
    cdef Py_ssize_t outputs = pooling.OH * pooling.OW
    dy += p * outputs
    dx += p * pooling.H * pooling.W
    indices += p * outputs * bytes
    if bytes == 2:
        scatter_plane(dy, <const cnp.int16_t*> indices, dx, pooling)
    elif bytes == 4:
        scatter_plane(dy, <const cnp.int32_t*> indices, dx, pooling)
    else:
        scatter_plane(dy, <const cnp.int64_t*> indices, dx, pooling)


cdef void _max_gradient(
    const real* dy, const char* indices, int bytes, real* dx, Py_ssize_t planes, const Pooling* pooling
) noexcept nogil:
    cdef Py_ssize_t p
    cdef int threads = threads_for(planes * (pooling.OH * pooling.OW + pooling.H * pooling.W // 8))
    if threads == 1:
        for p in range(planes):
            _gradient_one(dy, indices, bytes, dx, p, pooling)
    else:
        for p in prange(planes, num_threads=threads, schedule="static"):
            _gradient_one(dy, indices, bytes, dx, p, pooling)


cdef int _run_max_gradient(cnp.ndarray dy, cnp.ndarray indices, cnp.ndarray dx, Strides rows) except -1:
    cdef Py_ssize_t planes = length(dy, 0) * length(dy, 1)
    cdef Pooling pooling = _pooling(dx, dy)
    cdef int bytes = _bytes(indices)
    pooling.rows = rows
    if is_float32(dy):
        with nogil:
            _max_gradient(<const float*> data(dy), <const char*> data(indices), bytes, <float*> data(dx), planes, &pooling)
    else:
        with nogil:
            _max_gradient(<const double*> data(dy), <const char*> data(indices), bytes, <double*> data(dx), planes, &pooling)
    return 0


def max_pool2d_backward(
    cnp.ndarray dy not None, cnp.ndarray indices not None, kernel_size, stride, padding, dilation, x_shape,
    cnp.ndarray dx not None
):
    _run_max_gradient(dy, indices, dx, Strides(kernel_size[0], stride[0], padding[0], dilation[0]))


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
    cdef Pooling size = _pooling(x, indices if y is None else y)
    cdef Py_ssize_t planes = length(x, 0) * length(x, 1)
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
                _adaptive_max(<const float*> data(x), <float*> data(y), <char*> data(indices), bytes, planes, rows, columns)
        else:
            with nogil:
                _adaptive_max(<const double*> data(x), <double*> data(y), <char*> data(indices), bytes, planes, rows, columns)
    finally:
        free(rows.begin)
        free(columns.begin)


def adaptive_max_pool2d_backward(cnp.ndarray dy not None, cnp.ndarray indices not None, x_shape, cnp.ndarray dx not None):
    _run_max_gradient(dy, indices, dx, Strides(length(dx, 2), 1, 0, 1))


# Means

cdef int _average(const real* x, real* y, Py_ssize_t planes, Axis rows, Axis columns, bint backward) noexcept nogil:
    """Means of each plane (``x`` to ``y``), or their gradient (dy to dx). Returns 0, or -1 without memory."""
    cdef Pooling pooling = Pooling(rows.size, columns.size, rows.count, columns.count, rows.strides, columns.strides, NULL, NULL)
    cdef bint strips = can_gather(&pooling) if backward else can_add_up(&pooling)
    cdef Py_ssize_t width = pooling.W + pooling.OW + 8, p  # lines of two threads share no cache line
    cdef int threads = threads_for(planes * (pooling.H * pooling.W + pooling.OH * pooling.OW) // 4), t
    cdef double* lines = <double*> malloc(threads * width * sizeof(double))
    if lines == NULL:
        return -1
    pooling.row_weights = rows.reciprocal if backward else rows.divisor
    pooling.column_weights = columns.reciprocal if backward else columns.divisor
    if threads == 1:
        for p in range(planes):
            average_plane(x, y, p, &pooling, rows, columns, strips, backward, lines)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            for p in range(planes * t // threads, planes * (t + 1) // threads):
                average_plane(x, y, p, &pooling, rows, columns, strips, backward, lines + t * width)
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
    cnp.ndarray x, cnp.ndarray y, Pooling size, kernel_size, stride, padding, count_include_pad, divisor_override, bint backward
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
    _strided_average(x, y, _pooling(x, y), kernel_size, stride, padding, count_include_pad, divisor_override, False)


def avg_pool2d_backward(
    cnp.ndarray dy not None, kernel_size, stride, padding, count_include_pad, divisor_override, x_shape, cnp.ndarray dx not None
):
    _strided_average(dy, dx, _pooling(dx, dy), kernel_size, stride, padding, count_include_pad, divisor_override, True)


cdef void _global_average(const real* x, real* y, Py_ssize_t planes, Py_ssize_t size, bint backward) noexcept nogil:
    """One window a plane."""
    cdef Py_ssize_t p
    cdef int threads = threads_for(planes * size // 4)
    if threads == 1:
        for p in range(planes):
            global_plane(x, y, p, size, backward)
    else:
        for p in prange(planes, num_threads=threads, schedule="static"):
            global_plane(x, y, p, size, backward)


cdef int _adaptive_average(cnp.ndarray x, cnp.ndarray y, Pooling size, bint backward) except -1:
    cdef Py_ssize_t planes = length(x, 0) * length(x, 1)
    cdef Axis rows, columns
    if size.OH * size.OW == 1:
        if is_float32(x):
            with nogil:
                _global_average(<const float*> data(x), <float*> data(y), planes, size.H * size.W, backward)
        else:
            with nogil:
                _global_average(<const double*> data(x), <double*> data(y), planes, size.H * size.W, backward)
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
    _adaptive_average(x, y, _pooling(x, y), False)


def adaptive_avg_pool2d_backward(cnp.ndarray dy not None, x_shape, cnp.ndarray dx not None):
    _adaptive_average(dy, dx, _pooling(dx, dy), True)
