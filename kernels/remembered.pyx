"""Functions that remember their checked calls, and ``vjp`` of them."""

cimport numpy as cnp
from cpython.object cimport PyObject, PyTypeObject

from fastnn.kernels.boundary cimport PLAIN, Memory, Record
from fastnn.kernels.layouts cimport is_array
from fastnn.kernels.pullback cimport MOST_ARGUMENTS, PyObject_Vectorcall, current
from fastnn.kernels.vectorcall cimport (
    PyVectorcall_Call, PyVectorcall_NARGS, call_by_vector, count_of, listed, named, place_of, vectorcallfunc)

cnp.import_array()

cdef enum:
    MOST_CALLS = 16  # that one function remembers, with and without gradient; the oldest goes first


cdef class Remembered:
    """A function that remembers its checked calls.

    Parameters
    ----------
    function : callable
        What it is without memory. Its one keyword for the result's memory is ``out``.
    state, observer : ContextVar
        The order of backends; and who watches all calls, for whom every one takes the Python way.
    learn : callable
        ``learn(function, args, kwargs) -> (result, Memory or None)``.
    """

    cdef vectorcallfunc vectorcall
    cdef readonly object function
    cdef object state, observer, learn
    cdef list memories, records
    cdef dict __dict__

    def __cinit__(self):
        self.vectorcall = <vectorcallfunc> <void*> call_remembered

    def __init__(self, function, state, observer, learn):
        self.function, self.state, self.observer, self.learn = function, state, observer, learn
        self.memories, self.records = [], []

    def __call__(self, *args, **kwargs):
        return PyVectorcall_Call(self, args, kwargs)

    cdef object recorded(self, PyObject* const* args, Py_ssize_t given, PyObject* names):
        """``(y, pullback)`` of a call like one of which a record is kept, else None."""
        cdef PyObject* found[MOST_ARGUMENTS]
        cdef PyObject* state = current(self.state)
        cdef Record record
        cdef list known = self.records
        cdef Py_ssize_t i
        if current(self.observer) != <PyObject*> None:
            return None
        for i in range(len(known)):
            record = <Record> known[i]
            if <PyObject*> record.call.state == state and record.call.find(args, given, names, False, found):
                if record.call.checks and not record.call.values_fit(found):
                    return None
                return record.run(found, self, listed(args, given), None if names == NULL else named(args + given, names))
        return None

    def keep(self, Record record):
        """Remember how a call with its gradient goes."""
        self.records = [*self.records[1 - MOST_CALLS:], record]

    def __reduce__(self):
        return self.__qualname__  # pickled by name, as functions are


cdef object call_remembered(Remembered self, PyObject* const* args, size_t flagged, PyObject* names):
    """What Python calls."""
    cdef PyObject* found[MOST_ARGUMENTS]
    cdef Py_ssize_t given = PyVectorcall_NARGS(flagged), place = place_of(names, "out"), i
    cdef PyObject* out = <PyObject*> None if place < 0 else args[given + place]
    cdef PyObject* state = current(self.state)
    cdef Memory memory
    cdef list known = self.memories
    if current(self.observer) != <PyObject*> None:
        return PyObject_Vectorcall(self.function, <PyObject**> args, given, names)
    for i in range(len(known)):
        memory = <Memory> known[i]
        if <PyObject*> memory.state == state and memory.find(args, given, names, place >= 0, found):
            if (out == <PyObject*> None or memory.accepts(found, out)) and (not memory.checks or memory.values_fit(found)):
                return memory.run(found, <object> out, [] if memory.outputs > 1 else None)
            return PyObject_Vectorcall(self.function, <PyObject**> args, given, names)
    if not all([is_array(args[i]) or type(<object> args[i]) in PLAIN for i in range(given + count_of(names))]):
        return PyObject_Vectorcall(self.function, <PyObject**> args, given, names)
    result, learnt = self.learn(self.function, listed(args, given), named(args + given, names))
    if learnt is not None:
        self.memories = [*self.memories[1 - MOST_CALLS:], learnt]  # a new list: other threads may be reading the old one
    return result


cdef class Differentiating:
    """``vjp``: of a call of a remembered function like one of which a record is kept, without Python.

    Parameters
    ----------
    function : callable
        ``function(f, *arrays, **params) -> (y, pullback)``, which takes every other call.
    """

    cdef vectorcallfunc vectorcall
    cdef readonly object function
    cdef dict __dict__

    def __cinit__(self, function):
        self.function = function
        self.vectorcall = <vectorcallfunc> <void*> call_differentiating

    def __call__(self, *args, **kwargs):
        return PyVectorcall_Call(self, args, kwargs)

    def __reduce__(self):
        return self.__qualname__


cdef object call_differentiating(Differentiating self, PyObject* const* args, size_t flagged, PyObject* names):
    """What Python calls."""
    cdef Py_ssize_t given = PyVectorcall_NARGS(flagged)
    if given > 0 and type(<object> args[0]) is Remembered:
        known = (<Remembered> args[0]).recorded(args + 1, given - 1, names)
        if known is not None:
            return known
    return PyObject_Vectorcall(self.function, <PyObject**> args, given, names)


cdef Remembered example = Remembered.__new__(Remembered)
call_by_vector(<PyTypeObject*> Remembered, <char*> &example.vectorcall - <char*> <PyObject*> example)
cdef Differentiating other_example = Differentiating.__new__(Differentiating, None)
call_by_vector(<PyTypeObject*> Differentiating, <char*> &other_example.vectorcall - <char*> <PyObject*> other_example)
