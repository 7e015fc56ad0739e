"""Steps and predictions like the last ones, without Python: compared, copied, run."""

from functools import wraps

cimport numpy as cnp
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.string cimport memcpy

from fastnn.kernels.boundary cimport valid_classes
from fastnn.kernels.conditions cimport Conditions, free_conditions, hold, list_conditions
from fastnn.kernels.executor cimport Executor
from fastnn.kernels.guard cimport Guard
from fastnn.kernels.layouts cimport READY, WRITEABLE, Layout, allocate, describe, matches, overlap
from fastnn.kernels.room cimport make_room

cnp.import_array()

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* value)

cdef extern from "numpy/arrayobject.h":
    ctypedef struct ArrayFields "PyArrayObject_fields":
        PyObject* weakreflist

cdef enum:
    MOST_INPUTS = 4
    SPARES = 2           # predictions that are given again once nobody has them: a loop holds the last one while it asks for the next
    MOST_SPARED = 4096   # bytes of such a prediction
    MOST_COPIED = 512    # bytes of an input that is copied in any case, which takes less than telling its calls where it is
    LINE = 64            # bytes
    MOST_UNALIGNED = 16384  # bytes of an input that is read where it is although it does not begin at a cache line


cdef struct Input:
    Layout layout
    void* memory      # from which the calls read it
    size_t bytes
    Py_ssize_t first, last  # of the reads: the calls that can read it elsewhere; none where it has to be copied


cdef struct Check:
    Py_ssize_t input, classes, ignored


cdef struct Read:
    Py_ssize_t call, argument


cdef struct Step:
    Py_ssize_t call, argument
    PyObject* state   # a dict


cdef class Shortcut:
    """A call like the last one, compared instead of checked.

    Parameters
    ----------
    executor : Executor
    guard : Guard
        Held while the executor runs.
    inputs : tuple of array
        The memory from which the calls read what they are given.
    reads : tuple of tuple of (int, int)
        For each input the calls and arguments that read it, all of compiled kernels; nothing where it has to be copied.
    result : array
        Where they leave the loss, or the prediction.
    arena : array
        The memory of all that the calls compute: the call is another one where an input lies in it.
    checks : tuple of (int, int, int)
        (number of the input, classes, ignored): integers that have to be classes.
    watched : tuple of (dict, key, object)
        The call is another one as soon as the dict's item is no longer that object.
    options : tuple of (dict, key, object)
        Likewise as soon as it is not equal any more.
    lists : tuple of (list, tuple)
        Likewise as soon as a list has other items.
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
    cdef Py_ssize_t input_count, check_count, step_count
    cdef Input inputs[MOST_INPUTS]
    cdef Conditions conditions
    cdef Check* checks
    cdef Step* steps
    cdef Read* reads
    cdef tuple written, held
    cdef cnp.ndarray result, arena
    cdef Layout output
    cdef list spares     # of predictions
    cdef Py_ssize_t next_spare

    def __cinit__(self, Executor executor, Guard guard, tuple inputs, tuple reads, cnp.ndarray result, cnp.ndarray arena, tuple checks,
                  tuple watched, tuple options, tuple lists, tuple variables, tuple steps, tuple written):
        cdef Py_ssize_t i
        if len(inputs) > MOST_INPUTS:
            raise ValueError(f"expected at most {MOST_INPUTS} inputs")
        self.executor, self.guard, self.result, self.arena, self.written = executor, guard, result, arena, written
        self.spares = [None] * SPARES if cnp.PyArray_NBYTES(result) <= MOST_SPARED else []
        self.held = (inputs, watched, options, lists, variables, steps)  # what the pointers lead to
        self.input_count, self.check_count, self.step_count = len(inputs), len(checks), len(steps)
        list_conditions(&self.conditions, watched, options, lists, variables)
        self.checks = <Check*> make_room(self.check_count, sizeof(Check))
        self.steps = <Step*> make_room(self.step_count, sizeof(Step))
        for i, (number, classes, ignored) in enumerate(checks):
            self.checks[i] = Check(number, classes, ignored)
        for i, (call, argument, state) in enumerate(steps):
            self.steps[i] = Step(call, argument, <PyObject*> state)
        self.reads = <Read*> make_room(sum([len(places) for places in reads]), sizeof(Read))
        for i, places in enumerate(reads):
            self.inputs[i].first = self.inputs[i].last = 0 if i == 0 else self.inputs[i - 1].last
            for call, argument in places if inputs[i].nbytes > MOST_COPIED else ():
                self.reads[self.inputs[i].last] = Read(call, argument)
                self.inputs[i].last += 1
        for i, array in enumerate(inputs):
            self.inputs[i].memory, self.inputs[i].bytes = cnp.PyArray_DATA(array), cnp.PyArray_NBYTES(array)
            describe(&self.inputs[i].layout, array.shape, array.dtype.num)
        describe(&self.output, (<object> result).shape, (<object> result).dtype.num)

    def __dealloc__(self):
        free_conditions(&self.conditions)
        PyMem_Free(self.checks)
        PyMem_Free(self.steps)
        PyMem_Free(self.reads)

    cdef bint fits(self, PyObject** given) except -1:
        """Whether nothing is different."""
        cdef Py_ssize_t i
        for i in range(self.input_count):
            if not matches(given[i], &self.inputs[i].layout, READY) or overlap(given[i], <PyObject*> self.arena):
                return False
        if not hold(&self.conditions):
            return False
        for i in range(PyTuple_GET_SIZE(self.written)):
            if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> PyTuple_GET_ITEM(self.written, i)):
                return False
        for i in range(self.check_count):
            if not valid_classes(<cnp.ndarray> given[self.checks[i].input], self.checks[i].classes, self.checks[i].ignored):
                return False
        return True

    cdef void point(self, const Input* taken, void* memory) noexcept:
        """Have the calls read an input there."""
        cdef Py_ssize_t i
        for i in range(taken.first, taken.last):
            self.executor.point(self.reads[i].call, self.reads[i].argument, memory)

    cdef void take(self, const Input* taken, void* memory) noexcept:
        """Have an input read where it is, or copy it: long vectors across cache lines take longer than a copy."""
        if taken.last > taken.first and (taken.bytes <= MOST_UNALIGNED or <size_t> memory % LINE == 0):
            self.point(taken, memory)
        else:
            memcpy(taken.memory, memory, taken.bytes)

    cdef int run(self, PyObject** given) except -1:
        """Take what is given, count the step, and run."""
        cdef Py_ssize_t i
        cdef Step* step
        cdef long long number, last = -1
        cdef object count = None
        for i in range(self.step_count):
            step = &self.steps[i]
            number = (<dict> step.state)["step"]
            if number + 1 != last:  # mostly all have the same
                last = number + 1
                count = last
            (<dict> step.state)["step"] = count
            if step.call >= 0:
                self.executor.set_integer(step.call, step.argument, last)
        for i in range(self.input_count):
            self.take(&self.inputs[i], cnp.PyArray_DATA(<cnp.ndarray> given[i]))
        try:
            return self.executor.step()
        except BaseException:
            for i in range(self.step_count):  # a step that fails is none
                (<dict> self.steps[i].state)["step"] -= 1
            raise
        finally:
            for i in range(self.input_count):
                self.point(&self.inputs[i], self.inputs[i].memory)

    def step(self, x, y):
        """The loss, or None where the call is another one."""
        cdef PyObject* given[2]
        given[0], given[1] = <PyObject*> x, <PyObject*> y
        return self.take_step(given)

    cdef object take_step(self, PyObject** given):
        if not self.fits(given) or not self.guard.take():
            return None
        try:
            self.run(given)
            return read(self.result)
        finally:
            self.guard.release()

    cdef object fresh(self):
        """An array that nobody has: making one and freeing it takes as long as the smallest networks."""
        cdef Py_ssize_t i
        cdef PyObject* spare
        for i in range(PyList_GET_SIZE(self.spares)):
            spare = PyList_GET_ITEM(self.spares, i)
            if Py_REFCNT(spare) == 1 and matches(spare, &self.output, WRITEABLE) and (<ArrayFields*> spare).weakreflist == NULL:
                return <object> spare
        made = allocate(&self.output)
        if PyList_GET_SIZE(self.spares) > 0:
            self.spares[self.next_spare] = made
            self.next_spare = (self.next_spare + 1) % SPARES
        return made

    cdef object take_prediction(self, PyObject** given, object out):
        """The prediction, or None where the call is another one."""
        if not self.fits(given):
            return None
        if out is None:
            out = self.fresh()
        elif not matches(<PyObject*> out, &self.output, WRITEABLE):
            return None
        if not self.guard.take():
            return None
        try:
            self.run(given)
            memcpy(cnp.PyArray_DATA(<cnp.ndarray> out), cnp.PyArray_DATA(self.result), cnp.PyArray_NBYTES(self.result))
            return out
        finally:
            self.guard.release()


cdef class Shortcuts:
    """What a plan inherits: its shortcuts, where compiled code finds them at once."""

    cdef public Shortcut _step_shortcut, _predict_shortcut


def stepping(slow):
    """A plan's ``step`` that takes the shortcut in ``_step_shortcut`` where it can, else the way of ``slow``."""
    @wraps(slow)
    def step(Shortcuts self not None, x, y):
        cdef PyObject* given[2]
        cdef Shortcut known = self._step_shortcut
        if known is not None:
            given[0], given[1] = <PyObject*> x, <PyObject*> y
            loss = known.take_step(given)
            if loss is not None:
                return loss
        return slow(self, x, y)
    return step


def predicting(slow):
    """A plan's ``predict`` that takes the shortcut in ``_predict_shortcut`` where it can, else the way of ``slow``."""
    @wraps(slow)
    def predict(Shortcuts self not None, x, out=None):
        cdef PyObject* given[1]
        cdef Shortcut known = self._predict_shortcut
        if known is not None:
            given[0] = <PyObject*> x
            prediction = known.take_prediction(given, out)
            if prediction is not None:
                return prediction
        return slow(self, x, out)
    return predict


cdef double read(cnp.ndarray number) noexcept:
    if cnp.PyArray_TYPE(number) == cnp.NPY_FLOAT32:
        return (<float*> cnp.PyArray_DATA(number))[0]
    return (<double*> cnp.PyArray_DATA(number))[0]
