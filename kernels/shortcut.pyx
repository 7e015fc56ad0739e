"""Steps and predictions like the last ones, without Python: compared, copied, run."""

cimport numpy as cnp
from cpython.dict cimport PyDict_GetItem
from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.pythread cimport (
    NOWAIT_LOCK, PyThread_allocate_lock, PyThread_acquire_lock, PyThread_free_lock, PyThread_get_thread_ident,
    PyThread_release_lock, PyThread_type_lock)
from libc.string cimport memcpy

from fastnn.kernels.boundary cimport valid_classes
from fastnn.kernels.executor cimport Executor
from fastnn.kernels.layouts cimport READY, WRITEABLE, Layout, describe, matches
from fastnn.kernels.pullback cimport current

cnp.import_array()

cdef extern from "pythread.h" nogil:
    int PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int interrupted)

cdef enum:
    MOST_INPUTS = 4


cdef struct Item:
    PyObject* holder  # a dict
    PyObject* key
    PyObject* value
    bint by_equality


cdef class Guard:
    """A lock that compiled code can try without waiting. Not reentrant."""

    cdef PyThread_type_lock lock
    cdef unsigned long owner  # thread that holds it, through __enter__

    def __cinit__(self):
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError("no room for a lock")

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    def __enter__(self):
        cdef int taken = PyThread_acquire_lock(self.lock, NOWAIT_LOCK)
        if not taken and self.owner == PyThread_get_thread_ident():
            raise ValueError("a plan was called by its own model, loss or optimiser")
        while not taken:
            with nogil:
                taken = PyThread_acquire_lock_timed(self.lock, 100_000, 0)
            PyErr_CheckSignals()
        self.owner = PyThread_get_thread_ident()

    def __exit__(self, *exception):
        self.owner = 0
        PyThread_release_lock(self.lock)


cdef class Shortcut:
    """A call like the last one, compared instead of checked.

    Parameters
    ----------
    executor : Executor
    guard : Guard
        Held while the executor runs.
    inputs : tuple of array
        The memory from which the calls read what they are given.
    result : array
        Where they leave the loss, or the prediction.
    checks : tuple of (int, int, int)
        (number of the input, classes, ignored): integers that have to be classes.
    watched : tuple of (dict, key, object)
        The call is another one as soon as the dict's item is no longer that object.
    options : tuple of (dict, key, object)
        Likewise as soon as it is not equal any more.
    lists : tuple of (list, int)
        Likewise as soon as a list has another length.
    variables : tuple of (ContextVar, object)
        Likewise for the values of context variables.
    steps : tuple of (int, int, dict)
        (call, argument, dict): counts that grow by one before each step, in the call (unless its number is negative) and as "step" in
        the dict.
    written : tuple of array
        The call is another one where one of them is read-only.
    """

    cdef Executor executor
    cdef Guard guard
    cdef tuple inputs, checks, lists, variables, steps, written, held
    cdef cnp.ndarray result
    cdef Item* items
    cdef Py_ssize_t count
    cdef Layout layouts[MOST_INPUTS]
    cdef Layout output

    def __cinit__(self, Executor executor, Guard guard, tuple inputs, cnp.ndarray result, tuple checks, tuple watched, tuple options,
                  tuple lists, tuple variables, tuple steps, tuple written):
        cdef Py_ssize_t i
        if len(inputs) > MOST_INPUTS:
            raise ValueError(f"expected at most {MOST_INPUTS} inputs")
        self.executor, self.guard, self.inputs, self.result, self.checks = executor, guard, inputs, result, checks
        self.lists, self.variables, self.steps, self.written, self.held = lists, variables, steps, written, (watched, options)
        self.items = <Item*> PyMem_Calloc(len(watched) + len(options) + 1, sizeof(Item))
        if self.items == NULL:
            raise MemoryError("no room for a shortcut")
        for holder, key, value in (*watched, *options):  # held by self.held
            self.items[self.count] = Item(
                <PyObject*> holder, <PyObject*> key, <PyObject*> value, self.count >= len(watched))
            self.count += 1
        for i in range(len(inputs)):
            describe(&self.layouts[i], inputs[i].shape, inputs[i].dtype.num)
        describe(&self.output, (<object> result).shape, (<object> result).dtype.num)

    def __dealloc__(self):
        PyMem_Free(self.items)

    cdef bint fits(self, tuple given):
        """Whether nothing is different."""
        cdef Py_ssize_t i
        cdef PyObject* value
        for i in range(len(given)):
            if not matches(<PyObject*> given[i], &self.layouts[i], READY):
                return False
        for i in range(self.count):
            value = PyDict_GetItem(<object> self.items[i].holder, <object> self.items[i].key)
            if value != self.items[i].value and not (self.items[i].by_equality and same(value, <object> self.items[i].value)):
                return False
        for known, length in self.lists:
            if PyList_GET_SIZE(known) != <Py_ssize_t> length:
                return False
        for array in self.written:
            if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> array):
                return False
        for variable, known in self.variables:
            if current(variable) != <PyObject*> known:
                return False
        for number, classes, ignored in self.checks:
            if not valid_classes(given[<Py_ssize_t> number], classes, ignored):
                return False
        return True

    cdef bint run(self, tuple given) except -1:
        """Copy what is given, count the step, and run."""
        cdef Py_ssize_t i
        cdef cnp.ndarray memory
        for i in range(len(given)):
            memory = <cnp.ndarray> self.inputs[i]
            memcpy(cnp.PyArray_DATA(memory), cnp.PyArray_DATA(<cnp.ndarray> given[i]), cnp.PyArray_NBYTES(memory))
        for call, argument, state in self.steps:
            state["step"] = count = state["step"] + 1
            if call >= 0:
                self.executor.set(call, argument, count)
        self.executor.step()
        return True

    def step(self, x, y):
        """The loss, or None where the call is another one."""
        cdef tuple given = (x, y)
        if not self.fits(given) or not PyThread_acquire_lock(self.guard.lock, NOWAIT_LOCK):
            return None
        try:
            self.run(given)
            return read(self.result)
        finally:
            PyThread_release_lock(self.guard.lock)

    def predict(self, x, out):
        """The prediction, or None where the call is another one."""
        cdef tuple given = (x,)
        if not self.fits(given):
            return None
        if out is None:
            out = cnp.PyArray_EMPTY(self.output.ndim, self.output.dims, self.output.type, 0)
        elif not matches(<PyObject*> out, &self.output, WRITEABLE):
            return None
        if not PyThread_acquire_lock(self.guard.lock, NOWAIT_LOCK):
            return None
        try:
            self.run(given)
            memcpy(cnp.PyArray_DATA(<cnp.ndarray> out), cnp.PyArray_DATA(self.result), cnp.PyArray_NBYTES(self.result))
            return out
        finally:
            PyThread_release_lock(self.guard.lock)


cdef bint same(PyObject* value, object known):
    return value != NULL and type(<object> value) is type(known) and <object> value == known


cdef double read(cnp.ndarray number) noexcept:
    if cnp.PyArray_TYPE(number) == cnp.NPY_FLOAT32:
        return (<float*> cnp.PyArray_DATA(number))[0]
    return (<double*> cnp.PyArray_DATA(number))[0]
