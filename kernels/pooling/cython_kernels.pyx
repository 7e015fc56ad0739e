# cython: cdivision=True
"""Pooling, compiled ahead of time. Threads share out planes."""

cimport numpy as cnp
from cython.parallel cimport parallel, prange

from fastnn.kernels.arrays cimport real
from fastnn.kernels.entry cimport Argument, Argument32, Argument64, Entry, kernel
from fastnn.kernels.lanes cimport LARGE_FILL, fence
from fastnn.kernels.parallel cimport threads_for
from fastnn.kernels.pooling.maxima cimport adaptive_max_plane, scatter_plane
from fastnn.kernels.pooling.means cimport average_plane, global_plane
from fastnn.kernels.pooling.strips cimport ARGMAX, MAX, can_add_up, can_gather, can_halve, halve_rows, pool_plane
from fastnn.kernels.pooling.windows cimport Axis, Pooling, Strides, axis_bytes, fill_adaptive, fill_strided, lay_out
from fastnn.kernels.scratch cimport scratch


cdef enum:
    PLANE = 1 << 19  # bytes of a plane that is put together before it goes past the caches


cdef inline Pooling _pooling(const Argument* x, const Argument* y) noexcept nogil:
    """Sizes: ``x`` is, or has the shape of, the input of the pooling, ``y`` of its output."""
    cdef Pooling pooling
    pooling.H, pooling.W, pooling.OH, pooling.OW = x.dims[2], x.dims[3], y.dims[2], y.dims[3]
    return pooling


cdef inline Strides _strides(const Argument* attributes, int dimension, Py_ssize_t dilation) noexcept nogil:
    """Of the kernel's size, stride and padding."""
    return Strides(attributes[0].dims[dimension], attributes[1].dims[dimension], attributes[2].dims[dimension], dilation)


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
    cdef Py_ssize_t p, rows = planes * pooling.OH
    cdef int threads = threads_for(planes * pooling.OH * pooling.OW * pooling.rows.kernel * pooling.columns.kernel // 8), t
    if rows > 0 and can_halve(pooling):
        if threads == 1:
            halve_rows(x, y, indices, bytes, pooling, 0, rows)
            return
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            halve_rows(x, y, indices, bytes, pooling, rows * t // threads, rows * (t + 1) // threads)
    elif threads == 1:
        for p in range(planes):
            _max_one(x, y, indices, bytes, p, pooling)
    else:
        for p in prange(planes, num_threads=threads, schedule="static"):
            _max_one(x, y, indices, bytes, p, pooling)


cdef int max_pool2d(const Argument* a) noexcept nogil:
    """x, kernel_size, stride, padding, dilation, ceil_mode, return_indices -> y, indices"""
    cdef Pooling pooling = _pooling(a, a + 7 if a[7].given else a + 8)
    pooling.rows = _strides(a + 1, 0, a[4].dims[0])
    pooling.columns = _strides(a + 1, 1, a[4].dims[1])
    _max_pool(a[0].input, a[7].output, <char*> a[8].output, a[8].itemsize, a[0].dims[0] * a[0].dims[1], &pooling)
    return 0


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


cdef int max_pool2d_backward(const Argument* a) noexcept nogil:
    """dy, indices, kernel_size, stride, padding, dilation, x_shape -> dx"""
    cdef Pooling pooling = _pooling(a + 7, a)
    pooling.rows = _strides(a + 2, 0, a[5].dims[0])
    _max_gradient(a[0].input, <const char*> a[1].input, a[1].itemsize, a[7].output, a[0].dims[0] * a[0].dims[1], &pooling)
    return 0


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


cdef inline char* _tables(Axis* rows, Axis* columns, const Pooling* sizes, Py_ssize_t more) noexcept nogil:
    """Memory for the tables of both axes; gives that of ``more`` bytes, or NULL where there is none."""
    cdef Py_ssize_t row_bytes = axis_bytes(sizes.H, sizes.OH), column_bytes = axis_bytes(sizes.W, sizes.OW)
    cdef char* memory = scratch(row_bytes + column_bytes + more)
    if memory == NULL:
        return NULL
    lay_out(rows, sizes.H, sizes.OH, memory)
    lay_out(columns, sizes.W, sizes.OW, memory + row_bytes)
    return memory + row_bytes + column_bytes


cdef int adaptive_max_pool2d(const Argument* a) noexcept nogil:
    """x, output_size, return_indices -> y, indices"""
    cdef Pooling pooling = _pooling(a, a + 3 if a[3].given else a + 4)
    cdef Axis rows, columns
    if _tables(&rows, &columns, &pooling, 0) == NULL:
        return -1
    fill_adaptive(&rows)
    fill_adaptive(&columns)
    _adaptive_max(
        a[0].input, a[3].output, <char*> a[4].output, a[4].itemsize, a[0].dims[0] * a[0].dims[1], rows, columns)
    return 0


cdef int adaptive_max_pool2d_backward(const Argument* a) noexcept nogil:
    """dy, indices, x_shape -> dx"""
    cdef Pooling pooling = _pooling(a + 3, a)
    pooling.rows = Strides(a[3].dims[2], 1, 0, 1)
    _max_gradient(a[0].input, <const char*> a[1].input, a[1].itemsize, a[3].output, a[0].dims[0] * a[0].dims[1], &pooling)
    return 0


# Means

cdef inline Py_ssize_t _room(const Pooling* pooling, bint past) noexcept nogil:
    """Doubles of workspace for one thread: two lines, or a plane. Two threads share no cache line."""
    return max(pooling.W + pooling.OW, pooling.H * pooling.W if past else 0) + 8


cdef inline bint _goes_past(const Pooling* pooling, Py_ssize_t planes, Py_ssize_t itemsize) noexcept nogil:
    """Whether a gradient is so large that it goes past the caches, plane by plane, each of which the second-level cache holds."""
    cdef Py_ssize_t plane = pooling.H * pooling.W * itemsize
    return planes * plane >= LARGE_FILL and plane <= PLANE


cdef inline int _mean_threads(const Pooling* pooling, Py_ssize_t planes) noexcept nogil:
    return threads_for(planes * (pooling.H * pooling.W + pooling.OH * pooling.OW) // 4)


cdef inline void _average(
    const real* x, real* y, Py_ssize_t planes, Axis rows, Axis columns, bint backward, double* lines
) noexcept nogil:
    """Means of each plane (``x`` to ``y``), or their gradient (dy to dx)."""
    cdef Pooling pooling = Pooling(rows.size, columns.size, rows.count, columns.count, rows.strides, columns.strides, NULL, NULL)
    cdef bint strips = can_gather(&pooling) if backward else can_add_up(&pooling)
    cdef bint past = backward and _goes_past(&pooling, planes, sizeof(real))
    cdef Py_ssize_t width = _room(&pooling, past), p
    cdef int threads = _mean_threads(&pooling, planes), t
    pooling.row_weights = rows.reciprocal if backward else rows.divisor
    pooling.column_weights = columns.reciprocal if backward else columns.divisor
    if threads == 1:
        for p in range(planes):
            average_plane(x, y, p, &pooling, rows, columns, strips, backward, past, lines)
        fence()
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            for p in range(planes * t // threads, planes * (t + 1) // threads):
                average_plane(x, y, p, &pooling, rows, columns, strips, backward, past, lines + t * width)
            fence()


cdef int _windows_average(
    const Argument* x, const Argument* y, const Pooling* sizes, const Argument* attributes, bint backward
) noexcept nogil:
    """``attributes`` are kernel_size, stride, padding, count_include_pad and divisor_override; NULL where windows adapt."""
    cdef Py_ssize_t planes = x.dims[0] * x.dims[1], divisor
    cdef bint past = backward and _goes_past(sizes, planes, y.itemsize)
    cdef Axis rows, columns
    cdef char* lines = _tables(&rows, &columns, sizes, _mean_threads(sizes, planes) * _room(sizes, past) * sizeof(double))
    if lines == NULL:
        return -1
    if attributes == NULL:
        fill_adaptive(&rows)
        fill_adaptive(&columns)
    else:
        divisor = attributes[4].integer if attributes[4].given else 0
        fill_strided(&rows, _strides(attributes, 0, 1), attributes[3].integer, divisor)
        fill_strided(&columns, _strides(attributes, 1, 1), attributes[3].integer, 1 if divisor else 0)
    _average(x.input, y.output, planes, rows, columns, backward, <double*> lines)
    return 0


cdef int avg_pool2d(const Argument* a) noexcept nogil:
    """x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override -> y"""
    cdef Pooling sizes = _pooling(a, a + 7)
    cdef Argument attributes[5]
    attributes = [a[1], a[2], a[3], a[5], a[6]]
    return _windows_average(a, a + 7, &sizes, attributes, False)


cdef int avg_pool2d_backward(const Argument* a) noexcept nogil:
    """dy, kernel_size, stride, padding, count_include_pad, divisor_override, x_shape -> dx"""
    cdef Pooling sizes = _pooling(a + 7, a)
    return _windows_average(a, a + 7, &sizes, a + 1, True)


cdef void _global_average(const real* x, real* y, Py_ssize_t planes, Py_ssize_t size, bint backward) noexcept nogil:
    """One window a plane."""
    cdef Py_ssize_t p
    cdef int threads = threads_for(planes * size // 4)
    cdef bint past = backward and planes * size * <Py_ssize_t> sizeof(real) >= LARGE_FILL
    if threads == 1:
        for p in range(planes):
            global_plane(x, y, p, size, backward, past)
        fence()
    else:
        with parallel(num_threads=threads):
            for p in prange(planes, schedule="static"):
                global_plane(x, y, p, size, backward, past)
            fence()


cdef int _adaptive_average(const Argument* x, const Argument* y, const Pooling* sizes, bint backward) noexcept nogil:
    if sizes.OH * sizes.OW == 1:
        _global_average(x.input, y.output, x.dims[0] * x.dims[1], sizes.H * sizes.W, backward)
        return 0
    return _windows_average(x, y, sizes, NULL, backward)


cdef int adaptive_avg_pool2d(const Argument* a) noexcept nogil:
    """x, output_size -> y"""
    cdef Pooling sizes = _pooling(a, a + 2)
    return _adaptive_average(a, a + 2, &sizes, False)


cdef int adaptive_avg_pool2d_backward(const Argument* a) noexcept nogil:
    """dy, x_shape -> dx"""
    cdef Pooling sizes = _pooling(a + 2, a)
    return _adaptive_average(a, a + 2, &sizes, True)


kernel(globals(), "max_pool2d(x, tuple kernel_size, tuple stride, tuple padding, tuple dilation, "
       "bool ceil_mode, bool return_indices, y?, indices?)",
       <Entry> max_pool2d[Argument32], <Entry> max_pool2d[Argument64])
kernel(globals(), "max_pool2d_backward(dy, indices, tuple kernel_size, tuple stride, tuple padding, "
       "tuple dilation, tuple x_shape, dx)",
       <Entry> max_pool2d_backward[Argument32], <Entry> max_pool2d_backward[Argument64])
kernel(globals(), "adaptive_max_pool2d(x, tuple output_size, bool return_indices, y?, indices?)",
       <Entry> adaptive_max_pool2d[Argument32], <Entry> adaptive_max_pool2d[Argument64])
kernel(globals(), "adaptive_max_pool2d_backward(dy, indices, tuple x_shape, dx)",
       <Entry> adaptive_max_pool2d_backward[Argument32], <Entry> adaptive_max_pool2d_backward[Argument64])
kernel(globals(), "avg_pool2d(x, tuple kernel_size, tuple stride, tuple padding, bool ceil_mode, "
       "bool count_include_pad, int divisor_override?, y)",
       <Entry> avg_pool2d[Argument32], <Entry> avg_pool2d[Argument64])
kernel(globals(), "avg_pool2d_backward(dy, tuple kernel_size, tuple stride, tuple padding, bool count_include_pad, "
       "int divisor_override?, tuple x_shape, dx)",
       <Entry> avg_pool2d_backward[Argument32], <Entry> avg_pool2d_backward[Argument64])
kernel(globals(), "adaptive_avg_pool2d(x, tuple output_size, y)",
       <Entry> adaptive_avg_pool2d[Argument32], <Entry> adaptive_avg_pool2d[Argument64])
kernel(globals(), "adaptive_avg_pool2d_backward(dy, tuple x_shape, dx)",
       <Entry> adaptive_avg_pool2d_backward[Argument32], <Entry> adaptive_avg_pool2d_backward[Argument64])
