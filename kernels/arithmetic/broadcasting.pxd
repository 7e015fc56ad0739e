"""Walking two arrays that broadcast to a third: rows in which each of them advances by one element, or stands still."""

from fastnn.kernels.entry cimport Argument64

cdef enum:
    MOST = 64  # NumPy's limit of dimensions


cdef struct Walk:
    int ndim                  # of the outer dimensions
    Py_ssize_t rows           # their product
    Py_ssize_t length         # of the inner one
    bint a_moves
    bint b_moves
    Py_ssize_t dims[MOST]
    Py_ssize_t a_steps[MOST]  # in elements; 0 along broadcast dimensions
    Py_ssize_t b_steps[MOST]


cdef inline void _steps(const Argument64* array, int ndim, const Py_ssize_t* dims, Py_ssize_t* steps) noexcept nogil:
    """The distance of neighbours along each of ``ndim`` dimensions of a contiguous array that broadcasts to ``dims``."""
    cdef int own = array.ndim, d
    cdef Py_ssize_t step = 1, length
    for d in range(ndim - 1, -1, -1):
        length = array.dims[d - ndim + own] if d - ndim + own >= 0 else 1
        steps[d] = 0 if length == 1 and dims[d] != 1 else step
        step *= length


cdef inline Walk walk(const Argument64* a, const Argument64* b, const Argument64* y) noexcept nogil:
    """How ``a`` and ``b`` go along ``y``; dimensions that can be walked as one are joined."""
    cdef Walk w
    cdef int ndim = y.ndim, d, last = -1
    cdef const Py_ssize_t* dims = y.dims
    cdef Py_ssize_t a_steps[MOST]
    cdef Py_ssize_t b_steps[MOST]
    _steps(a, ndim, dims, a_steps)
    _steps(b, ndim, dims, b_steps)
    for d in range(ndim):
        if dims[d] == 1:
            continue
        if last >= 0 and w.a_steps[last] == a_steps[d] * dims[d] and w.b_steps[last] == b_steps[d] * dims[d]:
            w.dims[last] *= dims[d]
        else:
            last += 1
            w.dims[last] = dims[d]
        w.a_steps[last] = a_steps[d]
        w.b_steps[last] = b_steps[d]
    if last < 0:
        last = 0
        w.dims[0] = w.a_steps[0] = w.b_steps[0] = 1
    w.ndim = last
    w.length = w.dims[last]
    w.a_moves = w.a_steps[last] != 0
    w.b_moves = w.b_steps[last] != 0
    w.rows = 1
    for d in range(last):
        w.rows *= w.dims[d]
    return w


cdef inline void locate(const Walk* w, Py_ssize_t row, Py_ssize_t* a, Py_ssize_t* b) noexcept nogil:
    """Where a row begins in both arrays."""
    cdef int d
    cdef Py_ssize_t index
    a[0] = b[0] = 0
    for d in range(w.ndim - 1, -1, -1):
        index = row % w.dims[d]
        row //= w.dims[d]
        a[0] += index * w.a_steps[d]
        b[0] += index * w.b_steps[d]
