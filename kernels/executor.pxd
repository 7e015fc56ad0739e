"""What runs a plan's calls."""

from cpython.object cimport PyObject

from fastnn.kernels.entry cimport Argument64, Entry, Kernel, Together


cdef struct Call:
    PyObject* function
    PyObject** values      # its arguments
    Py_ssize_t count
    PyObject* kernel       # a Kernel, or None where only Python can call it
    Entry entry
    Argument64* arguments  # the values in plain C
    Py_ssize_t* room       # the dimensions and tuples among them


cdef struct Piece:  # of a run: one call, or some that are computed as one
    Entry entry
    Together together
    const void** arguments  # of each call
    Py_ssize_t count
    Py_ssize_t first


cdef struct Counter:
    long long* values
    Py_ssize_t count


cdef class Executor:
    cdef Call* calls
    cdef const void** arguments  # of each call
    cdef Piece* pieces
    cdef Counter* counters
    cdef Py_ssize_t count, pieces_count, counters_count, elements
    cdef tuple held
    cdef object watched
    cdef long long* stamps  # where a run leaves the clock, or NULL
    cdef int prepare(self, Py_ssize_t number, function, arguments) except -1
    cdef int take(self, Py_ssize_t number, Py_ssize_t index) except -1
    cdef int run_once(self) except -1 nogil
    cdef int run_python(self, Py_ssize_t number) except -1
    cdef int fail(self, Py_ssize_t number) except -1
    cdef int step(self) except -1
    cdef int set_integer(self, Py_ssize_t number, Py_ssize_t index, long long value) except -1
    cdef int grow_argument(self, Py_ssize_t number, Py_ssize_t index) except -1 nogil
    cdef void point(self, Py_ssize_t number, Py_ssize_t index, void* memory) noexcept
    cpdef set(self, Py_ssize_t call, Py_ssize_t argument, value)
