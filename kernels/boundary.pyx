"""The Python boundary, compiled: a call like one that was checked before goes straight to its kernel.

Checking arguments in Python costs several microseconds, more than many a kernel. What it decides depends on types, shapes, layout and
plain values alone; so a function that was called once remembers them with the kernel that its arguments led to. A later call is
compared (a few nanoseconds an argument) and either is the same in all of that, or takes the Python way, which converts or explains.
"""

cimport numpy as cnp
from cpython.contextvars cimport PyContextVar_Get
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

from fastnn.kernels.layouts cimport (
    NO_ARRAY, READY, WRITEABLE, Layout, allocate, describe, is_array, matches, overlap, same_shape, view)

cnp.import_array()

cdef extern from "Python.h":
    object PyObject_Vectorcall(object callable, PyObject** args, size_t count, PyObject* names)

cdef enum:
    MOST_ARGUMENTS = 24   # of a kernel: arrays, attributes and outputs
    MOST_CALLS = 16       # that one function remembers; the oldest goes first

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
    outputs : int
        How many the kernel has. The first is the result; nobody wants the others.
    result : tuple
        The shape that the user gets, the shape that the kernel sees, and the type number.
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
    cdef Layout result, result_view
    cdef int sources[MOST_ARGUMENTS]

    def __cinit__(
        self, kernel, state, tuple names, tuple values, tuple arrays, tuple attributes, int outputs, tuple result, bint inplace,
        tuple checks,
    ):
        cdef int i
        if max(len(values), len(arrays) + len(attributes) + outputs) > MOST_ARGUMENTS:
            raise ValueError(f"expected at most {MOST_ARGUMENTS} arguments")
        self.kernel, self.state, self.names, self.values, self.attributes = kernel, state, names, values, attributes
        self.outputs, self.inplace, self.checks = outputs, inplace, checks
        self.arguments, self.inputs = <int> len(values), <int> len(arrays)
        self.layouts = <Layout*> PyMem_Calloc(self.arguments + 1, sizeof(Layout))
        self.views = <Layout*> PyMem_Calloc(self.inputs + 1, sizeof(Layout))
        if self.layouts == NULL or self.views == NULL:
            raise MemoryError("no room for a remembered call")
        for i in range(self.arguments):
            self.layouts[i].type = NO_ARRAY
            if type(values[i]) is list:
                describe(&self.layouts[i], values[i][0], values[i][1])
        for i in range(self.inputs):
            self.sources[i] = NO_ARRAY if arrays[i] is None else arrays[i][0]
            if arrays[i] is not None:
                describe(&self.views[i], arrays[i][1], self.layouts[self.sources[i]].type)
        describe(&self.result, result[0], result[2])
        describe(&self.result_view, result[1], result[2])

    def __dealloc__(self):
        PyMem_Free(self.layouts)
        PyMem_Free(self.views)

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
                and self.views[i].type == self.result.type and same_shape(&self.views[i], &self.result_view)
            ):
                return False
        return True

    cdef bint values_fit(self, PyObject** found):
        for argument, classes, ignored in self.checks:
            if not valid_classes(<object> found[<int> argument], classes, ignored):
                return False
        return True

    cdef object run(self, PyObject** found, object out):
        """Call the kernel on arguments that fit."""
        cdef PyObject* args[MOST_ARGUMENTS]
        cdef list views = []  # args borrows them
        cdef int count = 0, i
        for i in range(self.inputs):
            if self.sources[i] == NO_ARRAY:
                args[count] = <PyObject*> None
            elif same_shape(&self.views[i], &self.layouts[self.sources[i]]):
                args[count] = found[self.sources[i]]
            else:
                views.append(view(<cnp.ndarray> found[self.sources[i]], &self.views[i]))
                args[count] = <PyObject*> views[-1]
            count += 1
        for i in range(len(self.attributes)):
            args[count] = <PyObject*> self.attributes[i]
            count += 1
        result = out if out is not None else allocate(&self.result)
        target = result if same_shape(&self.result, &self.result_view) else view(result, &self.result_view)
        args[count] = <PyObject*> target
        for i in range(1, self.outputs):
            args[count + i] = <PyObject*> None
        PyObject_Vectorcall(self.kernel, args, count + self.outputs, NULL)
        return result


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

    cdef object function, state, observer, learn
    cdef list memories
    cdef int oldest
    cdef dict __dict__

    def __init__(self, function, state, observer, learn):
        self.function, self.state, self.observer, self.learn = function, state, observer, learn
        self.memories = []
        self.oldest = 0

    def __call__(self, *args, **kwargs):
        cdef PyObject* found[MOST_ARGUMENTS]
        cdef PyObject* out = PyDict_GetItem(kwargs, "out")
        cdef PyObject* state = current(self.state)
        cdef bint has_out = out != NULL
        cdef Memory memory
        cdef Py_ssize_t i
        if current(self.observer) != <PyObject*> None:
            return self.function(*args, **kwargs)
        if out == NULL:
            out = <PyObject*> None
        for i in range(len(self.memories)):
            memory = <Memory> self.memories[i]
            if <PyObject*> memory.state == state and memory.find(args, kwargs, has_out, found):
                if (out == <PyObject*> None or memory.accepts(found, out)) and (not memory.checks or memory.values_fit(found)):
                    return memory.run(found, <object> out)
                return self.function(*args, **kwargs)
        if not all([is_array(<PyObject*> value) or type(value) in PLAIN for value in (*args, *kwargs.values())]):
            return self.function(*args, **kwargs)
        result, learnt = self.learn(self.function, args, kwargs)
        if learnt is not None:
            self.remember(learnt)
        return result

    cdef remember(self, memory):
        if len(self.memories) < MOST_CALLS:
            self.memories.append(memory)
        else:
            self.memories[self.oldest] = memory
            self.oldest = (self.oldest + 1) % MOST_CALLS

    def __reduce__(self):
        return self.__qualname__  # pickled by name, as functions are


cdef PyObject* current(object variable) except NULL:
    """The value of a context variable that has a default. Borrowed: the context or the variable holds it."""
    cdef PyObject* value = NULL
    PyContextVar_Get(variable, NULL, &value)
    Py_DECREF(<object> value)
    return value


cdef class Pullback:
    """The pullback of a single operator: ``pullback(dy, out=None)`` goes straight to the backward kernel.

    Parameters
    ----------
    kernel : callable
        ``kernel(dy, *saved, *attributes, *outputs)``.
    state, observer : ContextVar
        As for ``Remembered``.
    dy : tuple
        The shape that the user gives, the shape that the kernel sees, and the type number.
    constants : tuple
        The saved values and attributes.
    gradients : tuple
        For each output of the kernel None where nobody wants it, or the number of the argument whose gradient it is, that argument's
        shape, and the shape as the kernel sees it.
    inputs : tuple
        The arguments of the function; what is no array counts as having no gradient.
    slow : callable
        The Python way, with the same signature.
    """

    cdef object kernel, state, observer, order, slow
    cdef tuple constants, inputs
    cdef int outputs
    cdef Layout dy, dy_view
    cdef Layout layouts[MOST_ARGUMENTS]
    cdef Layout views[MOST_ARGUMENTS]
    cdef int arguments[MOST_ARGUMENTS]

    def __init__(self, kernel, state, observer, tuple dy, tuple constants, tuple gradients, tuple inputs, slow):
        cdef int i
        if max(1 + len(constants) + len(gradients), len(inputs)) > MOST_ARGUMENTS:
            raise ValueError(f"expected at most {MOST_ARGUMENTS} arguments")
        self.kernel, self.state, self.observer, self.order, self.slow = kernel, state, observer, state.get(), slow
        self.constants, self.inputs = constants, inputs
        self.outputs = <int> len(gradients)
        describe(&self.dy, dy[0], dy[2])
        describe(&self.dy_view, dy[1], dy[2])
        for i in range(self.outputs):
            self.arguments[i] = NO_ARRAY if gradients[i] is None else gradients[i][0]
            if gradients[i] is not None:
                describe(&self.layouts[i], gradients[i][1], dy[2])
                describe(&self.views[i], gradients[i][2], dy[2])

    def __call__(self, dy, out=None):
        cdef PyObject* args[MOST_ARGUMENTS]
        cdef list results, views = []
        cdef int count = 1, i
        cdef PyObject* order = current(self.state)
        if not (
            order == <PyObject*> self.order
            and current(self.observer) == <PyObject*> None
            and matches(<PyObject*> dy, &self.dy, READY)
            and (out is None or (type(out) is tuple and self.accepts(<PyObject*> dy, <tuple> out)))
        ):
            return self.slow(dy, out)
        if not same_shape(&self.dy, &self.dy_view):
            dy = view(dy, &self.dy_view)
        args[0] = <PyObject*> dy
        for i in range(len(self.constants)):
            args[count] = <PyObject*> self.constants[i]
            count += 1
        results = [None] * len(self.inputs)
        for i in range(self.outputs):
            args[count + i] = <PyObject*> None
            if self.arguments[i] == NO_ARRAY:
                continue
            target = out[self.arguments[i]] if out is not None else None
            target = target if target is not None else allocate(&self.layouts[i])
            results[self.arguments[i]] = target
            if not same_shape(&self.layouts[i], &self.views[i]):
                target = view(target, &self.views[i])
            views.append(target)  # args borrows it
            args[count + i] = <PyObject*> target
        PyObject_Vectorcall(self.kernel, args, count + self.outputs, NULL)
        return tuple(results)

    cdef bint accepts(self, PyObject* dy, tuple out):
        """Whether the kernel may write to every array of ``out``, one for each argument."""
        cdef Py_ssize_t i, j
        cdef PyObject* target
        if len(out) != len(self.inputs):
            return False
        for i in range(len(out)):
            target = <PyObject*> out[i]
            if target == <PyObject*> None:
                continue
            if not self.fits(i, target) or overlap(target, dy):
                return False
            for j in range(len(self.inputs)):
                if is_array(<PyObject*> self.inputs[j]) and overlap(target, <PyObject*> self.inputs[j]):
                    return False
            for j in range(i):
                if <PyObject*> out[j] != <PyObject*> None and overlap(target, <PyObject*> out[j]):
                    return False
        return True

    cdef bint fits(self, Py_ssize_t argument, PyObject* target) noexcept:
        cdef int i
        for i in range(self.outputs):
            if self.arguments[i] == argument:
                return matches(target, &self.layouts[i], WRITEABLE)
        return False
