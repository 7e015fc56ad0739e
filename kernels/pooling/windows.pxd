# cython: cdivision=True
"""Which elements the windows of one dimension cover."""

cdef extern from "simd/pooling.h" nogil:
    ctypedef struct Strides "fastnn_strides":
        Py_ssize_t kernel, stride, padding, dilation

    ctypedef struct Pooling "fastnn_pooling":
        Py_ssize_t H, W, OH, OW
        Strides rows, columns
        const double* row_weights
        const double* column_weights

cdef enum:
    MARGIN = 16  # ones on both sides of divisors and reciprocals: as many lanes as a vector of windows has at most


ctypedef struct Axis:
    Py_ssize_t size, count
    Strides strides       # a kernel of 0 where windows are not equally large
    Py_ssize_t low, high  # the windows low <= o < high are inside the plane
    Py_ssize_t* begin     # of each window, the first position inside the plane
    Py_ssize_t* end       # and the one after the last
    Py_ssize_t* first     # of each position, the first window that covers it
    Py_ssize_t* last      # and the last one
    double* divisor       # of each window
    double* reciprocal    # 1 / divisor


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """a / b rounded up, and 0 where a is negative; b is positive."""
    return (a + b - 1) // b if a > 0 else 0


cdef inline Py_ssize_t axis_bytes(Py_ssize_t size, Py_ssize_t count) noexcept nogil:
    """Memory for the tables of an axis."""
    return 2 * (size + count) * sizeof(Py_ssize_t) + 2 * (count + 2 * MARGIN) * sizeof(double)


cdef inline void lay_out(Axis* axis, Py_ssize_t size, Py_ssize_t count, char* memory) noexcept nogil:
    """Give the tables their places."""
    cdef Py_ssize_t weights = count + 2 * MARGIN, o
    axis.size, axis.count = size, count
    axis.begin = <Py_ssize_t*> memory
    axis.end = axis.begin + count
    axis.first = axis.begin + 2 * count
    axis.last = axis.first + size
    axis.divisor = <double*> (axis.last + size) + MARGIN
    axis.reciprocal = axis.divisor + weights
    for o in range(-MARGIN, 2 * weights - MARGIN):
        axis.divisor[o] = 1


cdef inline void _complete(Axis* axis) noexcept nogil:
    """Reciprocals, and which windows cover each position: ``begin`` and ``end`` never decrease, so one walk finds them."""
    cdef Py_ssize_t i, first = 0, last = -1
    for i in range(axis.count):
        axis.reciprocal[i] = 1 / axis.divisor[i]
    for i in range(axis.size):
        while first < axis.count and axis.end[first] <= i:
            first += 1
        while last + 1 < axis.count and axis.begin[last + 1] <= i:
            last += 1
        axis.first[i] = first
        axis.last[i] = last


cdef inline void fill_strided(Axis* axis, Strides strides, bint count_include_pad, Py_ssize_t divisor) noexcept nogil:
    """Windows ``stride`` apart; a divisor of 0 stands for the number of elements."""
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
    axis.strides = strides
    axis.low = min(ceil_div(strides.padding, strides.stride), axis.count)
    axis.high = axis.size + strides.padding - strides.kernel
    axis.high = max(axis.low, min(axis.high // strides.stride + 1 if axis.high >= 0 else 0, axis.count))
    _complete(axis)


cdef inline void fill_adaptive(Axis* axis) noexcept nogil:
    """As many windows as there are, about equally large."""
    cdef Py_ssize_t o
    for o in range(axis.count):
        axis.begin[o] = o * axis.size // axis.count
        axis.end[o] = ceil_div((o + 1) * axis.size, axis.count)
        axis.divisor[o] = axis.end[o] - axis.begin[o]
    axis.low = axis.high = 0
    axis.strides = Strides(0, 1, 0, 1)
    if axis.count and axis.size % axis.count == 0:
        axis.strides.kernel = axis.strides.stride = axis.size // axis.count
        axis.high = axis.count
    _complete(axis)
