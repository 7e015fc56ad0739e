# cython: cdivision=True
"""The driver of all activations: cuts arrays into shares for the threads, and shares into whole tiles.

Every loop has the same form, ``loop(a, b, y, n, p, q, past)`` with n a multiple of TILE: forward a is x; backward a is dy and b the
saved value; p and q are the attributes; ``past`` sends the result past the caches.
"""

from cython.parallel cimport prange
from libc.string cimport memcpy, memset

from fastnn.kernels.entry cimport Argument64
from fastnn.kernels.parallel cimport threads_for
from fastnn.kernels.tiles cimport TILE, settle

cdef enum:
    LINE = 64               # bytes
    LARGE = 4 << 20         # bytes of a result from which it goes past the caches
    ALIGNED_FROM = 4096     # elements from which the first store begins a line: 100,000 took 13.6 us and 10.3 us with relu

ctypedef void (*Loop32)(const float* a, const float* b, float* y, Py_ssize_t n, float p, float q, bint past) noexcept nogil
ctypedef void (*Loop64)(const double* a, const double* b, double* y, Py_ssize_t n, double p, double q, bint past) noexcept nogil

cdef struct Loops:
    Loop32 narrow
    Loop64 wide
    double p, q


cdef inline void tiles(const Loops* loops, int item, const char* a, const char* b, char* y, Py_ssize_t n, bint past) noexcept nogil:
    """A whole number of tiles."""
    if item == 4:
        loops.narrow(<const float*> a, <const float*> b, <float*> y, n, <float> loops.p, <float> loops.q, past)
    else:
        loops.wide(<const double*> a, <const double*> b, <double*> y, n, loops.p, loops.q, past)


cdef inline void part(const Loops* loops, int item, const char* a, const char* b, char* y, Py_ssize_t n) noexcept nogil:
    """Less than a tile."""
    cdef double first[TILE]
    cdef double second[TILE]
    cdef double result[TILE]
    memset(first, 0, TILE * item)
    memset(second, 0, TILE * item)
    memcpy(first, a, n * item)
    memcpy(second, b, n * item)
    tiles(loops, item, <const char*> first, <const char*> second, <char*> result, TILE, False)
    memcpy(y, result, n * item)


cdef inline void share(const Loops* loops, int item, const char* a, const char* b, char* y, Py_ssize_t n, bint past) noexcept nogil:
    """One thread's share. What is left behind the last whole tile is computed with some elements before it, once more, where the result
    has memory of its own."""
    cdef Py_ssize_t head = 0, whole
    if n >= ALIGNED_FROM:
        head = <Py_ssize_t> (-<size_t> y & (LINE - 1)) // item
    if head > 0:
        part(loops, item, a, b, y, head)
    whole = (n - head) // TILE * TILE
    tiles(loops, item, a + head * item, b + head * item, y + head * item, whole, past)
    if past:
        settle()
    head += whole
    if head < n:
        if n >= TILE and y != a and y != b:
            tiles(loops, item, a + (n - TILE) * item, b + (n - TILE) * item, y + (n - TILE) * item, TILE, False)
        else:
            part(loops, item, a + head * item, b + head * item, y + head * item, n - head)


cdef inline void run(Loop32 narrow, Loop64 wide, const void* arguments, int b, int y, double p, double q, int work) noexcept nogil:
    """y = loop(a, b), with so many elementary operations an element: the first argument and those numbered b and y."""
    cdef const Argument64* given = <const Argument64*> arguments
    cdef Loops loops = Loops(narrow, wide, p, q)
    cdef Py_ssize_t n = given.size, each, i
    cdef int item = given.itemsize, threads = threads_for(n * work // 4)
    cdef const char* first = <const char*> given.input
    cdef const char* second = <const char*> given[b].input
    cdef char* result = <char*> given[y].output
    cdef bint past = n * item >= LARGE and result != first and result != second
    if threads == 1:
        share(&loops, item, first, second, result, n, past)
        return
    each = (n // threads // TILE + 1) * TILE
    for i in prange(threads, num_threads=threads, schedule="static"):
        if i * each < n:
            share(&loops, item, first + i * each * item, second + i * each * item, result + i * each * item,
                  min(each, n - i * each), past)
