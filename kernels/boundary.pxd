"""What other compiled modules take from the Python boundary."""

cimport numpy as cnp
from cpython.object cimport PyObject

from fastnn.kernels.entry cimport Argument64, Kernel
from fastnn.kernels.layouts cimport Layout
from fastnn.kernels.pullback cimport MOST_ARGUMENTS, Gradients

# Values whose equality says that a check would find the same again.
cdef frozenset PLAIN

cpdef bint valid_classes(cnp.ndarray target, Py_ssize_t classes, Py_ssize_t ignored) noexcept


cdef class Memory:
    cdef object kernel, state
    cdef Kernel compiled       # the same, or None where it is none of ours
    cdef Argument64* prepared  # its arguments but for the memory of arrays
    cdef Py_ssize_t* numbers   # of tuples among them
    cdef Py_ssize_t elements   # of all arrays
    cdef tuple names, values, attributes, checks
    cdef int arguments, inputs, outputs
    cdef bint inplace
    cdef Layout* layouts  # of the arguments
    cdef Layout* views    # of the kernel's arrays
    cdef Layout* results  # of the kernel's outputs
    cdef Layout result
    cdef int sources[MOST_ARGUMENTS]
    cdef int prepare(self) except -1
    cdef bint find(self, PyObject* const* args, Py_ssize_t given, PyObject* names, bint has_out, PyObject** found) except -1
    cdef bint accepts(self, PyObject** found, PyObject* out) noexcept
    cdef bint values_fit(self, PyObject** found) except -1
    cdef object run(self, PyObject** found, object out, list rest)
    cdef int launch(self, PyObject** found, object result, list rest) except -1
    cdef object argument(self, int number, PyObject** found, object result, list rest)


cdef class Record:
    cdef Memory call
    cdef Gradients gradients
    cdef tuple constants
    cdef tuple run(self, PyObject** found, object function, tuple args, dict params)
