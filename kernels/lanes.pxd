"""Sums and maxima over contiguous memory in LANES independent partial results: vector code, and one order for every thread."""

from libc.math cimport INFINITY

from fastnn.kernels.arrays cimport real
from fastnn.kernels.elementary cimport exp_

cdef extern from *:
    void fetch "__builtin_prefetch"(const void* address, int write, int locality) noexcept nogil

cdef extern from "simd/stream.h" nogil:
    void stream_bytes "fastnn_stream"(char* to, const char* source, size_t n) noexcept

cdef enum:
    LANES = 32
    CHUNK = 1024  # elements that are added in the dtype itself before the sum goes into a double
    LARGE = 4 << 20  # bytes of a result from which it goes past the caches


cdef inline real* offset(const real* pointer, Py_ssize_t n) noexcept nogil:
    """``pointer + n``, or NULL where there is no array."""
    if pointer == NULL:
        return NULL
    return <real*> pointer + n


cdef inline void stream(real* to, const real* source, Py_ssize_t n) noexcept nogil:
    """A copy past the caches."""
    stream_bytes(<char*> to, <const char*> source, n * sizeof(real))


cdef inline real fold(real* lanes) noexcept nogil:
    """Sum of LANES partial sums, which it overwrites."""
    cdef Py_ssize_t j
    for j in range(16):
        lanes[j] += lanes[j + 16]
    for j in range(8):
        lanes[j] += lanes[j + 8]
    for j in range(4):
        lanes[j] += lanes[j + 4]
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])


cdef inline real fold_maximum(real* lanes) noexcept nogil:
    """The largest of LANES numbers, which it overwrites."""
    cdef Py_ssize_t j
    for j in range(16):
        lanes[j] = lanes[j] if lanes[j] > lanes[j + 16] else lanes[j + 16]
    for j in range(8):
        lanes[j] = lanes[j] if lanes[j] > lanes[j + 8] else lanes[j + 8]
    for j in range(4):
        lanes[j] = lanes[j] if lanes[j] > lanes[j + 4] else lanes[j + 4]
    for j in range(2):
        lanes[j] = lanes[j] if lanes[j] > lanes[j + 2] else lanes[j + 2]
    return lanes[0] if lanes[0] > lanes[1] else lanes[1]


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


cdef inline real chunk_dot(const real* x, const real* y, Py_ssize_t n) noexcept nogil:
    """Sum of the products of n <= CHUNK elements."""
    cdef real lanes[LANES]
    cdef real total
    cdef Py_ssize_t i = 0, j
    for j in range(LANES):
        lanes[j] = 0
    while i + LANES <= n:
        for j in range(LANES):
            lanes[j] += x[i + j] * y[i + j]
        i += LANES
    total = fold(lanes)
    while i < n:
        total += x[i] * y[i]
        i += 1
    return total


cdef inline double long_dot(const real* x, const real* y, Py_ssize_t n) noexcept nogil:
    """Sum of the products of any number of elements, chunk by chunk."""
    cdef double total = 0
    cdef Py_ssize_t i = 0
    while i < n:
        total += chunk_dot(x + i, y + i, min(<Py_ssize_t> CHUNK, n - i))
        i += CHUNK
    return total


cdef inline real maximum(const real* x, Py_ssize_t n) noexcept nogil:
    """The largest of n >= 1 elements; a NaN among them may be passed over."""
    cdef real lanes[LANES]
    cdef real top = x[0]
    cdef Py_ssize_t i = LANES, j
    if n < LANES:
        for j in range(1, n):
            top = x[j] if x[j] > top else top
        return top
    for j in range(LANES):
        lanes[j] = x[n - LANES + j]  # the last ones may come twice: no rest is left
    for j in range(LANES):
        lanes[j] = x[j] if x[j] > lanes[j] else lanes[j]
    while i + LANES <= n:
        for j in range(LANES):
            lanes[j] = x[i + j] if x[i + j] > lanes[j] else lanes[j]
        i += LANES
    return fold_maximum(lanes)


cdef inline double exponentials(const real* x, real top, real* e, Py_ssize_t n) noexcept nogil:
    """Sum of exp(x - top), whose terms go to ``e`` (which may be x) unless it is NULL. Fetches the n elements that follow x."""
    cdef real lanes[LANES]
    cdef real terms[LANES]
    cdef double total = 0
    cdef Py_ssize_t i = 0, j, stop
    while i < n:
        stop = min(i + CHUNK, n)
        for j in range(LANES):
            lanes[j] = 0
        while i + LANES <= stop:
            fetch(x + i + n, 0, 2)
            fetch(x + i + n + LANES // 2, 0, 2)
            for j in range(LANES):
                terms[j] = exp_(x[i + j] - top)
            for j in range(LANES):
                lanes[j] += terms[j]
            if e != NULL:
                for j in range(LANES):
                    e[i + j] = terms[j]
            i += LANES
        if i < stop:
            rest_of_exponentials(x + i, top, offset(e, i), stop - i, lanes)
            i = stop
        total += fold(lanes)
    return total


cdef inline void rest_of_exponentials(const real* x, real top, real* e, Py_ssize_t n, real* lanes) noexcept nogil:
    """lanes += exp(x - top) of n < LANES elements."""
    cdef real terms[LANES]
    cdef Py_ssize_t j
    for j in range(LANES):
        terms[j] = <real> -INFINITY
    for j in range(n):
        terms[j] = x[j]
    for j in range(LANES):
        terms[j] = exp_(terms[j] - top)
        lanes[j] += terms[j]
    if e != NULL:
        for j in range(n):
            e[j] = terms[j]
