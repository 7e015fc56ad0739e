"""The Python boundary, compiled: a call like one that was checked before goes straight to its kernel.

Checking arguments in Python costs several microseconds, more than many a kernel. What it decides depends on types, shapes, layout and
plain values alone; so a function that was called once (see ``remembered.pyx``) keeps them with the kernel that its arguments led to, and
that kernel's arguments in plain C. A later call is compared (a few nanoseconds an argument) and either is the same in all of that, or
takes the Python way, which converts or explains.
"""

cimport numpy as cnp
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.string cimport memcpy

from fastnn.kernels.entry cimport MOST_NUMBERS, Argument64, kernel_of, lay_out
from fastnn.kernels.layouts cimport (
    NO_ARRAY, READY, WRITEABLE, Layout, allocate, describe, matches, overlap, same_shape, seen, size_of)
from fastnn.kernels.pullback cimport MOST_ARGUMENTS, Gradients, pulled
from fastnn.kernels.vectorcall cimport count_of, place_of

cnp.import_array()

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
            self.views[i].type = NO_ARRAY
            if arrays[i] is not None:
                describe(&self.views[i], arrays[i][1], self.layouts[self.sources[i]].type)
        for i in range(self.outputs):
            self.results[i].type = NO_ARRAY
            if outputs[i] is not None:
                describe(&self.results[i], outputs[i][0], outputs[i][1])
        describe(&self.result, result, self.results[0].type)
        self.compiled = kernel_of(kernel)
        if self.compiled is not None:
            self.prepare()

    cdef int prepare(self) except -1:
        """Put the arguments of a compiled kernel into plain C."""
        cdef int count = self.inputs + <int> len(self.attributes) + self.outputs, i
        cdef const Layout* layout
        self.prepared = <Argument64*> PyMem_Calloc(count, sizeof(Argument64))
        self.numbers = <Py_ssize_t*> PyMem_Calloc(count * MOST_NUMBERS, sizeof(Py_ssize_t))
        if self.prepared == NULL or self.numbers == NULL:
            raise MemoryError("no room for a remembered call")
        for i in range(count):
            if self.inputs <= i < count - self.outputs:
                self.compiled.take(&self.prepared[i], i, <PyObject*> self.attributes[i - self.inputs], &self.numbers[i * MOST_NUMBERS])
                continue
            layout = &self.views[i] if i < self.inputs else &self.results[i - (count - self.outputs)]
            if layout.type == NO_ARRAY:
                self.compiled.take(&self.prepared[i], i, <PyObject*> None, NULL)
            else:
                lay_out(&self.prepared[i], layout, size_of(layout.type))
                self.elements += self.prepared[i].size
        return 0

    def __dealloc__(self):
        PyMem_Free(self.prepared)
        PyMem_Free(self.numbers)
        PyMem_Free(self.layouts)
        PyMem_Free(self.views)
        PyMem_Free(self.results)

    cdef bint find(self, PyObject* const* args, Py_ssize_t given, PyObject* names, bint has_out, PyObject** found) except -1:
        """Put the arguments into ``found`` where the call is like this one."""
        cdef Py_ssize_t count = given + count_of(names) - has_out, i, place
        if count != self.arguments or len(self.names) != count - given:
            return False
        for i in range(count):
            if i < given:
                found[i] = args[i]
            else:
                place = place_of(names, self.names[i - given])
                if place < 0:
                    return False
                found[i] = args[given + place]
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

    cdef bint values_fit(self, PyObject** found) except -1:
        for argument, classes, ignored in self.checks:
            if not valid_classes(<object> found[<int> argument], classes, ignored):
                return False
        return True

    cdef object run(self, PyObject** found, object out, list rest):
        """Call the kernel on arguments that fit. ``rest`` receives its outputs but the first; it may be None where there is one."""
        cdef int i
        result = out if out is not None else allocate(&self.result)
        for i in range(1, self.outputs):
            rest.append(None if self.results[i].type == NO_ARRAY else allocate(&self.results[i]))
        if self.compiled is None:
            arrays = [None if self.sources[i] == NO_ARRAY else self.argument(i, found, result, rest) for i in range(self.inputs)]
            self.kernel(*arrays, *self.attributes, seen(result, &self.result, &self.results[0]), *(rest or ()))
        else:
            self.launch(found, result, rest)
        return result

    cdef int launch(self, PyObject** found, object result, list rest) except -1:
        cdef Argument64 arguments[MOST_ARGUMENTS]
        cdef int first = self.inputs + <int> len(self.attributes), i
        memcpy(arguments, self.prepared, (first + self.outputs) * sizeof(Argument64))
        for i in range(self.inputs):
            if self.sources[i] != NO_ARRAY:
                arguments[i].output = <double*> cnp.PyArray_DATA(<cnp.ndarray> found[self.sources[i]])
        arguments[first].output = <double*> cnp.PyArray_DATA(<cnp.ndarray> result)
        for i in range(1, self.outputs):
            if self.results[i].type != NO_ARRAY:
                arguments[first + i].output = <double*> cnp.PyArray_DATA(<cnp.ndarray> rest[i - 1])
        return self.compiled.launch(arguments, self.views[0].type == cnp.NPY_FLOAT32, self.elements)

    cdef object argument(self, int number, PyObject** found, object result, list rest):
        """An array as the kernel sees it."""
        cdef int first = self.inputs + <int> len(self.attributes)
        if number < self.inputs:
            return seen(<object> found[self.sources[number]], &self.layouts[self.sources[number]], &self.views[number])
        return rest[number - first - 1] if number > first else seen(result, &self.result, &self.results[0])


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

    def __init__(self, Memory call, Gradients gradients, tuple constants):
        self.call, self.gradients, self.constants = call, gradients, constants

    cdef tuple run(self, PyObject** found, object function, tuple args, dict params):
        """The result, and its pullback."""
        cdef list rest = [] if self.call.outputs > 1 else None
        cdef tuple constants = PyTuple_New(len(self.constants))
        cdef Py_ssize_t i
        result = self.call.run(found, None, rest)
        for i in range(len(self.constants)):
            constant = self.constants[i]
            constant = self.call.argument(<int> constant, found, result, rest) if type(constant) is int else (<list> constant)[0]
            Py_INCREF(constant)
            PyTuple_SET_ITEM(constants, i, constant)
        return result, pulled(self.gradients, constants, args, function, params)
