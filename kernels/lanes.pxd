"""Sums and maxima over contiguous memory in LANES independent partial results: vector code, and one order for every thread."""

from fastnn.kernels.arrays cimport real

cdef enum:
    LANES = 32
    HALF = 16
    CHUNK = 1024  # elements that are added in the dtype itself before the sum goes into a double


cdef inline real* offset(const real* pointer, Py_ssize_t n) noexcept nogil:
    """``pointer + n``, or NULL where there is no array."""
    if pointer == NULL:
        return NULL
    return <real*> pointer + n


cdef inline real fold(const real* lanes) noexcept nogil:
    """Sum of LANES partial sums."""
    cdef real half[HALF]
    cdef real total = 0
    cdef Py_ssize_t j
    for j in range(HALF):
        half[j] = lanes[j] + lanes[j + HALF]
    for j in range(HALF):
        total += half[j]
    return total


cdef inline real chunk_sum(const real* x, Py_ssize_t n) noexcept nogil:
    """Sum of n <= CHUNK elements."""
    cdef real lanes[LANES]
    cdef real total
    cdef Py_ssize_t i = 0, j
    for j in range(LANES):
        lanes[j] = 0
    while i + LANES <= n:
        for j in range(LANES):
            lanes[j] += x[i + j]
        i += LANES
    total = fold(lanes)
    while i < n:
        total += x[i]
        i += 1
    return total


cdef inline double long_sum(const real* x, Py_ssize_t n) noexcept nogil:
    """Sum of any number of elements, chunk by chunk."""
    cdef double total = 0
    cdef Py_ssize_t i = 0
    while i < n:
        total += chunk_sum(x + i, min(<Py_ssize_t> CHUNK, n - i))
        i += CHUNK
    return total


cdef inline real maximum(const real* x, Py_ssize_t n) noexcept nogil:
    """The largest of n >= 1 elements; a NaN among them may be passed over."""
    cdef real lanes[LANES]
    cdef real top = x[0]
    cdef Py_ssize_t i = 0, j
    if n >= LANES:
        for j in range(LANES):
            lanes[j] = x[j]
        i = LANES
        while i + LANES <= n:
            for j in range(LANES):
                lanes[j] = x[i + j] if x[i + j] > lanes[j] else lanes[j]
            i += LANES
        for j in range(LANES):
            top = lanes[j] if lanes[j] > top else top
    while i < n:
        top = x[i] if x[i] > top else top
        i += 1
    return top
