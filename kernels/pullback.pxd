"""A pullback without Python: what :mod:`fastnn.kernels.boundary` makes for a remembered function."""

cimport numpy as cnp
from cpython.contextvars cimport PyContextVar_Get
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

from fastnn.kernels.entry cimport MOST_ARGUMENTS, Kernel
from fastnn.kernels.layouts cimport Layout
from fastnn.kernels.vectorcall cimport vectorcallfunc

cdef extern from "Python.h":
    object PyObject_Vectorcall(object callable, PyObject** args, size_t count, PyObject* names)


cdef inline PyObject* current(object variable) except NULL:
    """The value of a context variable that has a default. Borrowed: the context or the variable holds it."""
    cdef PyObject* value = NULL
    PyContextVar_Get(variable, NULL, &value)
    Py_DECREF(<object> value)
    return value


cdef class Gradients:
    cdef object kernel, state, observer, order, again
    cdef Kernel compiled  # the same as ``kernel``, or None where it is none of ours
    cdef int inputs, outputs, itemsize
    cdef Layout dy, dy_view
    cdef Layout layouts[MOST_ARGUMENTS]
    cdef Layout views[MOST_ARGUMENTS]
    cdef int arguments[MOST_ARGUMENTS]
    cdef bint fits(self, Py_ssize_t argument, PyObject* target) noexcept


cdef class Pullback:
    cdef vectorcallfunc vectorcall
    cdef Gradients gradients
    cdef tuple constants, inputs
    cdef object function, slow
    cdef dict params
    cdef object pull(self, object dy, object out)
    cdef tuple targets(self, tuple out)
    cdef int launch(self, cnp.ndarray dy, tuple targets) except -1
    cdef bint accepts(self, PyObject* dy, tuple out)
    cdef int spare(self, tuple out) except -1
    cdef object python_way(self, object dy, object out)


cdef Pullback pulled(Gradients gradients, tuple constants, tuple inputs, object function, dict params)
