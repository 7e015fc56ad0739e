"""The Python boundary, compiled: a call like one that was checked before goes straight to its kernel.

Checking arguments in Python costs several microseconds, more than many a kernel. What it decides depends on types, shapes, layout and
plain values alone; so a function that was called once remembers them with the kernel that its arguments led to. A later call is
compared (a few nanoseconds an argument) and either is the same in all of that, or takes the Python way, which converts or explains.
"""

cimport numpy as cnp
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject

from fastnn.kernels.layouts cimport (
    NO_ARRAY, READY, WRITEABLE, Layout, allocate, describe, is_array, matches, overlap, same_shape, view)
from fastnn.kernels.pullback cimport MOST_ARGUMENTS, Gradients, Pullback, PyObject_Vectorcall, current

cnp.import_array()

cdef enum:
    MOST_CALLS = 16  # that one function remembers, with and without gradient; the oldest goes first

# Values whose equality says that a check would find the same again.
cdef frozenset PLAIN = frozenset((type(None), bool, int, float, str, tuple))


cdef bint same_value(object given, object known):
    """Whether two plain values are one and the same to whoever checks them: 1, 1.0 and True are not."""
    cdef Py_ssize_t i
    if given is known:
        return True
    if type(given) is not type(known) or type(given) not in PLAIN:
        return False
    if type(given) is not tuple:
        return given == known and (type(given) is not float or given != 0.0)  # 0.0 == -0.0
    if len(<tuple> given) != len(<tuple> known):
        return False
    for i in range(len(<tuple> given)):
        if not same_value((<tuple> given)[i], (<tuple> known)[i]):
            return False
    return True


cpdef bint valid_classes(cnp.ndarray target, Py_ssize_t classes, Py_ssize_t ignored) noexcept:
    """Whether every element of a contiguous int64 array lies in [0, classes) or is ``ignored``."""
    cdef const cnp.int64_t* values = <const cnp.int64_t*> cnp.PyArray_DATA(target)
    cdef Py_ssize_t i
    cdef bint wrong = False
    for i in range(cnp.PyArray_SIZE(target)):
        wrong |= (<size_t> values[i] >= <size_t> classes) & (values[i] != ignored)
    return not wrong


cdef class Memory:
    """One checked call: what its arguments looked like, and how they reach the kernel.

    Parameters
    ----------
    kernel : callable
        ``kernel(*arrays, *attributes, *outputs)``.
    state : object
        The order of backends that chose the kernel; another one chooses anew.
    names : tuple of str
        Of the arguments given by name, without ``out``.
    values : tuple
        The arguments, first those given by position: plain values, and in place of an array a list of its shape and type number.
    arrays : tuple
        For each array of the kernel None, or the number of the argument that it is, and its shape as the kernel sees it.
    attributes : tuple
        The kernel's own, as checked.
    outputs : tuple
        For each output of the kernel None where nobody wants it, or its shape and type number. The first is the result.
    result : tuple
        The shape of the result that the user gets.
    inplace : bool
        Whether the result may be the very memory of an input.
    checks : tuple
        (argument, classes, ignored) of the arguments whose values are checked at every call.
    """

    cdef object kernel, state
    cdef tuple names, values, attributes, checks
    cdef int arguments, inputs, outputs
    cdef bint inplace
    cdef Layout* layouts  # of the arguments
    cdef Layout* views    # of the kernel's arrays
    cdef Layout* results  # of the kernel's outputs
    cdef Layout result
    cdef int sources[MOST_ARGUMENTS]

    def __cinit__(
        self, kernel, state, tuple names, tuple values, tuple arrays, tuple attributes, tuple outputs, tuple result, bint inplace,
        tuple checks,
    ):
        cdef int i
        if max(len(values), len(arrays) + len(attributes) + len(outputs)) > MOST_ARGUMENTS:
            raise ValueError(f"expected at most {MOST_ARGUMENTS} arguments")
        self.kernel, self.state, self.names, self.values, self.attributes = kernel, state, names, values, attributes
        self.inplace, self.checks = inplace, checks
        self.arguments, self.inputs, self.outputs = <int> len(values), <int> len(arrays), <int> len(outputs)
        self.layouts = <Layout*> PyMem_Calloc(self.arguments + 1, sizeof(Layout))
        self.views = <Layout*> PyMem_Calloc(self.inputs + 1, sizeof(Layout))
        self.results = <Layout*> PyMem_Calloc(self.outputs + 1, sizeof(Layout))
        if self.layouts == NULL or self.views == NULL or self.results == NULL:
            raise MemoryError("no room for a remembered call")
        for i in range(self.arguments):
            self.layouts[i].type = NO_ARRAY
            if type(values[i]) is list:
                describe(&self.layouts[i], values[i][0], values[i][1])
        for i in range(self.inputs):
            self.sources[i] = NO_ARRAY if arrays[i] is None else arrays[i][0]
            if arrays[i] is not None:
                describe(&self.views[i], arrays[i][1], self.layouts[self.sources[i]].type)
        for i in range(self.outputs):
            self.results[i].type = NO_ARRAY
            if outputs[i] is not None:
                describe(&self.results[i], outputs[i][0], outputs[i][1])
        describe(&self.result, result, self.results[0].type)

    def __dealloc__(self):
        PyMem_Free(self.layouts)
        PyMem_Free(self.views)
        PyMem_Free(self.results)

    cdef bint find(self, tuple args, dict named, bint has_out, PyObject** found):
        """Put the arguments into ``found`` where the call is like this one."""
        cdef Py_ssize_t given = len(args), count = given + len(named) - has_out, i
        if count != self.arguments or len(self.names) != count - given:
            return False
        for i in range(count):
            found[i] = <PyObject*> args[i] if i < given else PyDict_GetItem(named, self.names[i - given])
            if found[i] == NULL:
                return False
            if self.layouts[i].type != NO_ARRAY:
                if not matches(found[i], &self.layouts[i], READY):
                    return False
            elif not same_value(<object> found[i], self.values[i]):
                return False
        return True

    cdef bint accepts(self, PyObject** found, PyObject* out) noexcept:
        """Whether the kernel may write to ``out`` itself."""
        cdef int i
        cdef PyObject* value
        if not matches(out, &self.result, WRITEABLE):
            return False
        for i in range(self.inputs):
            if self.sources[i] == NO_ARRAY:
                continue
            value = found[self.sources[i]]
            if overlap(out, value) and not (
                self.inplace
                and cnp.PyArray_DATA(<cnp.ndarray> out) == cnp.PyArray_DATA(<cnp.ndarray> value)
                and self.views[i].type == self.result.type and same_shape(&self.views[i], &self.results[0])
            ):
                return False
        return True

    cdef bint values_fit(self, PyObject** found):
        for argument, classes, ignored in self.checks:
            if not valid_classes(<object> found[<int> argument], classes, ignored):
                return False
        return True

    cdef object run(self, PyObject** found, object out, PyObject** args, list borrowed):
        """Call the kernel on arguments that fit.

        ``args`` receives the kernel's arguments; those that are neither arguments of the function nor attributes live as long as
        ``borrowed``.
        """
        cdef int count = 0, i
        for i in range(self.inputs):
            if self.sources[i] == NO_ARRAY:
                args[count] = <PyObject*> None
            elif same_shape(&self.views[i], &self.layouts[self.sources[i]]):
                args[count] = found[self.sources[i]]
            else:
                borrowed.append(view(<cnp.ndarray> found[self.sources[i]], &self.views[i]))
                args[count] = <PyObject*> borrowed[-1]
            count += 1
        for i in range(len(self.attributes)):
            args[count] = <PyObject*> self.attributes[i]
            count += 1
        result = out if out is not None else allocate(&self.result)
        borrowed.append(result if same_shape(&self.result, &self.results[0]) else view(result, &self.results[0]))
        args[count] = <PyObject*> borrowed[-1]
        for i in range(1, self.outputs):
            if self.results[i].type == NO_ARRAY:
                args[count + i] = <PyObject*> None
            else:
                borrowed.append(allocate(&self.results[i]))
                args[count + i] = <PyObject*> borrowed[-1]
        PyObject_Vectorcall(self.kernel, args, count + self.outputs, NULL)
        return result


cdef class Record:
    """One checked call that keeps what its gradient needs.

    Parameters
    ----------
    call : Memory
    gradients : Gradients
    constants : tuple
        What the backward kernel takes after ``dy``: an int is the number of an argument of the forward kernel, a list holds any other
        value.
    """

    cdef Memory call
    cdef Gradients gradients
    cdef tuple constants

    def __init__(self, Memory call, Gradients gradients, tuple constants):
        self.call, self.gradients, self.constants = call, gradients, constants

    cdef tuple run(self, PyObject** found, object function, tuple args, dict params):
        """The result, and its pullback."""
        cdef PyObject* passed[MOST_ARGUMENTS]
        cdef list borrowed = []
        result = self.call.run(found, None, passed, borrowed)
        constants = tuple([<object> passed[<int> c] if type(c) is int else (<list> c)[0] for c in self.constants])
        return result, Pullback(self.gradients, constants, args, None, function, params)


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

    cdef readonly object function
    cdef object state, observer, learn
    cdef list memories, records
    cdef dict __dict__

    def __init__(self, function, state, observer, learn):
        self.function, self.state, self.observer, self.learn = function, state, observer, learn
        self.memories, self.records = [], []

    def __call__(self, *args, **kwargs):
        cdef PyObject* found[MOST_ARGUMENTS]
        cdef PyObject* passed[MOST_ARGUMENTS]
        cdef PyObject* out = PyDict_GetItem(kwargs, "out")
        cdef PyObject* state = current(self.state)
        cdef bint has_out = out != NULL
        cdef Memory memory
        cdef list known = self.memories
        cdef Py_ssize_t i
        if current(self.observer) != <PyObject*> None:
            return self.function(*args, **kwargs)
        if out == NULL:
            out = <PyObject*> None
        for i in range(len(known)):
            memory = <Memory> known[i]
            if <PyObject*> memory.state == state and memory.find(args, kwargs, has_out, found):
                if (out == <PyObject*> None or memory.accepts(found, out)) and (not memory.checks or memory.values_fit(found)):
                    return memory.run(found, <object> out, passed, [])
                return self.function(*args, **kwargs)
        if not all([is_array(<PyObject*> value) or type(value) in PLAIN for value in (*args, *kwargs.values())]):
            return self.function(*args, **kwargs)
        result, learnt = self.learn(self.function, args, kwargs)
        if learnt is not None:
            self.memories = [*self.memories[1 - MOST_CALLS:], learnt]  # a new list: other threads may be reading the old one
        return result

    def recorded(self, tuple args, dict kwargs):
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
            if <PyObject*> record.call.state == state and record.call.find(args, kwargs, False, found):
                if record.call.checks and not record.call.values_fit(found):
                    return None
                return record.run(found, self, args, kwargs)
        return None

    def keep(self, Record record):
        """Remember how a call with its gradient goes."""
        self.records = [*self.records[1 - MOST_CALLS:], record]

    def __reduce__(self):
        return self.__qualname__  # pickled by name, as functions are
