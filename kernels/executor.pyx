"""Runs a list of kernel calls whose arguments were fixed once: a training step, or all steps of an epoch."""

cimport numpy as cnp
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF, Py_XINCREF
from libc.string cimport memcpy

cnp.import_array()

cdef extern from "Python.h":
    object PyObject_Vectorcall(object callable, PyObject** args, size_t count, PyObject* names)


cdef struct Call:
    PyObject* kernel
    PyObject** arguments
    Py_ssize_t count


cdef class Executor:
    """Kernel calls in order.

    Parameters
    ----------
    calls : sequence of (callable, sequence of arguments)
    counters : sequence of int64 arrays
        Their elements grow by one before each run.
    """

    cdef Call* calls
    cdef Py_ssize_t count
    cdef tuple counters

    def __cinit__(self, calls, counters):
        cdef Py_ssize_t i, j
        self.counters = tuple(counters)
        self.calls = <Call*> PyMem_Calloc(len(calls) + 1, sizeof(Call))
        if self.calls == NULL:
            raise MemoryError("no room for a plan")
        for i, (kernel, arguments) in enumerate(calls):
            self.calls[i].arguments = <PyObject**> PyMem_Calloc(len(arguments) + 1, sizeof(PyObject*))
            if self.calls[i].arguments == NULL:
                raise MemoryError("no room for a plan")
            self.calls[i].kernel = <PyObject*> kernel
            Py_XINCREF(self.calls[i].kernel)
            for j, value in enumerate(arguments):
                self.calls[i].arguments[j] = <PyObject*> value
                Py_XINCREF(self.calls[i].arguments[j])
            self.calls[i].count = len(arguments)
            self.count += 1

    def __dealloc__(self):
        cdef Py_ssize_t i, j
        for i in range(self.count):
            Py_XDECREF(self.calls[i].kernel)
            for j in range(self.calls[i].count):
                Py_XDECREF(self.calls[i].arguments[j])
            PyMem_Free(self.calls[i].arguments)
        PyMem_Free(self.calls)

    def set(self, Py_ssize_t call, Py_ssize_t argument, value):
        """Give one call another argument from now on."""
        cdef PyObject** place = &self.calls[call].arguments[argument]
        cdef PyObject* old = place[0]
        place[0] = <PyObject*> value
        Py_XINCREF(place[0])
        Py_XDECREF(old)

    def run(self):
        """All calls once."""
        cdef Py_ssize_t i
        for counter in self.counters:
            grow(counter)
        for i in range(self.count):
            PyObject_Vectorcall(<object> self.calls[i].kernel, self.calls[i].arguments, self.calls[i].count, NULL)

    def epoch(self, sources, cnp.ndarray order, cnp.ndarray loss, steps):
        """Run once for each batch of rows; the sum of the losses.

        Parameters
        ----------
        sources : sequence of (array, array)
            All rows, and the memory from which the calls read one batch.
        order : int64 array
            The rows; as many as fill whole batches.
        loss : array of one float
            Where the calls leave the loss.
        steps : sequence of (int, int)
            Arguments that are ints and grow by one before each batch, as (call, argument).
        """
        cdef Py_ssize_t size = cnp.PyArray_DIM(sources[0][1], 0), first
        cdef const cnp.int64_t* rows = <const cnp.int64_t*> cnp.PyArray_DATA(order)
        cdef double total = 0
        for first in range(0, cnp.PyArray_SIZE(order) - size + 1, size):
            for table, batch in sources:
                gather(table, rows + first, batch)
            for call, argument in steps:
                self.set(call, argument, <object> self.calls[<Py_ssize_t> call].arguments[<Py_ssize_t> argument] + 1)
            self.run()
            total += read(loss)
        return total


cdef void grow(cnp.ndarray counter) noexcept:
    cdef cnp.int64_t* values = <cnp.int64_t*> cnp.PyArray_DATA(counter)
    cdef Py_ssize_t i
    for i in range(cnp.PyArray_SIZE(counter)):
        values[i] += 1


cdef double read(cnp.ndarray number) noexcept:
    if cnp.PyArray_TYPE(number) == cnp.NPY_FLOAT32:
        return (<float*> cnp.PyArray_DATA(number))[0]
    return (<double*> cnp.PyArray_DATA(number))[0]


cdef void gather(cnp.ndarray table, const cnp.int64_t* rows, cnp.ndarray batch) noexcept:
    """batch[i] = table[rows[i]], both contiguous and of one dtype"""
    cdef Py_ssize_t count = cnp.PyArray_DIM(batch, 0), i
    cdef size_t row = cnp.PyArray_NBYTES(batch) // max(count, 1)
    cdef char* target = <char*> cnp.PyArray_DATA(batch)
    cdef const char* source = <const char*> cnp.PyArray_DATA(table)
    with nogil:
        for i in range(count):
            memcpy(target + i * row, source + rows[i] * row, row)
