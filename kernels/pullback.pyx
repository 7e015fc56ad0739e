"""The pullback of a single operator, compiled: ``pullback(dy, out=None)`` goes straight to the backward kernel."""

cimport numpy as cnp
from cpython.object cimport PyObject, PyTypeObject

from fastnn.kernels.entry cimport MOST_NUMBERS, Argument64, kernel_of, lay_out
from fastnn.kernels.layouts cimport (
    NO_ARRAY, READY, WRITEABLE, allocate, describe, is_array, matches, overlap, seen, size_of)
from fastnn.kernels.vectorcall cimport PyVectorcall_NARGS, call_by_vector, count_of, listed, named, place_of

cnp.import_array()


cdef inline bint anything_missing(tuple values) noexcept:
    """Whether there is a None."""
    cdef Py_ssize_t i
    for i in range(len(values)):
        if <PyObject*> values[i] == <PyObject*> None:
            return True
    return False


cdef class Gradients:
    """How the gradients of one operator are computed: what the pullbacks of all calls like one another share.

    Parameters
    ----------
    kernel : callable
        ``kernel(dy, *saved, *attributes, *outputs)``.
    state, observer : ContextVar
        The order of backends that chose the kernel; and who watches all calls, for whom every one takes the Python way.
    dy : tuple
        The shape that the user gives, the shape that the kernel sees, and the type number.
    gradients : tuple
        For each output of the kernel None where nobody wants it, or the number of the argument whose gradient it is, that argument's
        shape, and the shape as the kernel sees it.
    inputs : int
        How many arguments the function has.
    again : callable
        ``again(function, arguments, params)`` -> the pullback in Python.
    """

    def __init__(self, kernel, state, observer, tuple dy, tuple gradients, int inputs, again):
        cdef int i
        if max(len(gradients), inputs) > MOST_ARGUMENTS:
            raise ValueError(f"expected at most {MOST_ARGUMENTS} arguments")
        self.kernel, self.state, self.observer, self.order, self.again = kernel, state, observer, state.get(), again
        self.compiled = kernel_of(kernel)
        self.inputs, self.outputs, self.itemsize = inputs, <int> len(gradients), size_of(dy[2])
        describe(&self.dy, dy[0], dy[2])
        describe(&self.dy_view, dy[1], dy[2])
        for i in range(self.outputs):
            self.arguments[i] = NO_ARRAY if gradients[i] is None else gradients[i][0]
            if gradients[i] is not None:
                describe(&self.layouts[i], gradients[i][1], dy[2])
                describe(&self.views[i], gradients[i][2], dy[2])

    cdef bint fits(self, Py_ssize_t argument, PyObject* target) noexcept:
        """Whether the kernel may write an argument's gradient to that array itself."""
        cdef int i
        for i in range(self.outputs):
            if self.arguments[i] == argument:
                return matches(target, &self.layouts[i], WRITEABLE)
        return False


cdef class Pullback:
    """The pullback of one call.

    Parameters
    ----------
    gradients : Gradients
    constants : tuple
        What the kernel takes after ``dy``: saved values and attributes.
    inputs : tuple
        The arguments of the function; what is no array counts as having no gradient.
    slow : callable
        The Python way, with the same signature.
    """

    def __cinit__(self):
        self.vectorcall = <vectorcallfunc> <void*> call_pullback

    def __init__(self, Gradients gradients, tuple constants, tuple inputs, slow):
        if 1 + len(constants) + gradients.outputs > MOST_ARGUMENTS:
            raise ValueError(f"expected at most {MOST_ARGUMENTS} arguments")
        self.gradients, self.constants, self.inputs, self.slow = gradients, constants, inputs, slow

    def __call__(self, dy, out=None):
        return self.pull(dy, out)

    cdef object pull(self, object dy, object out):
        cdef Gradients known = self.gradients
        cdef tuple targets
        cdef int i
        if type(out) is tuple:
            self.spare(<tuple> out)
        if not is_array(<PyObject*> dy) and cnp.PyArray_CheckScalar(dy):
            dy = cnp.PyArray_FROM_O(dy)  # of a loss
        elif known.dy.ndim == 0 and type(dy) is float:
            dy = cnp.PyArray_Cast(cnp.PyArray_FROM_O(dy), known.dy.type)
        if not (
            current(known.state) == <PyObject*> known.order
            and current(known.observer) == <PyObject*> None
            and matches(<PyObject*> dy, &known.dy, READY)
            and (out is None or (type(out) is tuple and self.accepts(<PyObject*> dy, <tuple> out)))
        ):
            return self.python_way(dy, out)
        targets = self.targets(out)
        if known.compiled is None:
            known.kernel(
                seen(dy, &known.dy, &known.dy_view), *self.constants,
                *[
                    None if known.arguments[i] == NO_ARRAY else seen(targets[known.arguments[i]], &known.layouts[i], &known.views[i])
                    for i in range(known.outputs)
                ])
        else:
            self.launch(dy, targets)
        return targets

    cdef tuple targets(self, tuple out):
        """The arrays that gradients go to: those of ``out``, and new ones."""
        cdef Gradients known = self.gradients
        cdef list arrays
        cdef int i
        if out is not None and not anything_missing(out):
            return out
        arrays = [None] * known.inputs if out is None else list(out)
        for i in range(known.outputs):
            if known.arguments[i] != NO_ARRAY and arrays[known.arguments[i]] is None:
                arrays[known.arguments[i]] = allocate(&known.layouts[i])
        return tuple(arrays)

    cdef int launch(self, cnp.ndarray dy, tuple targets) except -1:
        """Call a compiled kernel."""
        cdef Argument64 arguments[MOST_ARGUMENTS]
        cdef Py_ssize_t numbers[MOST_ARGUMENTS * MOST_NUMBERS]
        cdef Gradients known = self.gradients
        cdef int first = 1 + <int> len(self.constants), i
        cdef Py_ssize_t elements
        if first + known.outputs != known.compiled.count:
            raise TypeError(f"{known.compiled.signature.decode()}: expected {known.compiled.count} arguments, got {first + known.outputs}")
        lay_out(&arguments[0], &known.dy_view, known.itemsize)
        arguments[0].output = <double*> cnp.PyArray_DATA(dy)
        elements = arguments[0].size
        for i in range(1, first):
            known.compiled.take(&arguments[i], i, <PyObject*> self.constants[i - 1], &numbers[i * MOST_NUMBERS])
            if known.compiled.kinds[i] == c"a":
                elements += arguments[i].size
        for i in range(known.outputs):
            if known.arguments[i] == NO_ARRAY:
                known.compiled.take(&arguments[first + i], first + i, <PyObject*> None, NULL)
                continue
            lay_out(&arguments[first + i], &known.views[i], known.itemsize)
            arguments[first + i].output = <double*> cnp.PyArray_DATA(<cnp.ndarray> targets[known.arguments[i]])
            elements += arguments[first + i].size
        return known.compiled.launch(arguments, known.dy.type == cnp.NPY_FLOAT32, elements)

    cdef int spare(self, tuple out) except -1:
        """Refuse to write over what later calls of this pullback will read. (Of the arguments the Python way tells more.)"""
        cdef Py_ssize_t i, j
        for i in range(len(out)):
            for j in range(len(self.constants)):
                if (
                    is_array(<PyObject*> out[i]) and is_array(<PyObject*> self.constants[j])
                    and cnp.PyArray_FLAGS(<cnp.ndarray> out[i]) & cnp.NPY_ARRAY_C_CONTIGUOUS
                    and overlap(<PyObject*> out[i], <PyObject*> self.constants[j])
                    and not any([value is self.constants[j] for value in self.inputs])
                ):
                    raise ValueError(f"out[{i}]: the array overlaps y or another array that the pullback keeps")
        return 0

    cdef object python_way(self, object dy, object out):
        if self.slow is None:
            self.slow = self.gradients.again(self.function, self.inputs, self.params or {})
        return self.slow(dy, out)

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
            if not self.gradients.fits(i, target) or overlap(target, dy):
                return False
            for j in range(len(self.inputs)):
                if is_array(<PyObject*> self.inputs[j]) and overlap(target, <PyObject*> self.inputs[j]):
                    return False
            for j in range(i):
                if <PyObject*> out[j] != <PyObject*> None and overlap(target, <PyObject*> out[j]):
                    return False
        return True


cdef Pullback pulled(Gradients gradients, tuple constants, tuple inputs, object function, dict params):
    """A pullback whose Python way is made by ``gradients.again`` if it is ever wanted."""
    cdef Pullback made = Pullback.__new__(Pullback)
    made.gradients, made.constants, made.inputs = gradients, constants, inputs
    made.function, made.params = function, params
    return made


cdef object call_pullback(Pullback self, PyObject* const* args, size_t flagged, PyObject* names):
    """What Python calls."""
    cdef Py_ssize_t given = PyVectorcall_NARGS(flagged), count = count_of(names)
    if given == 1 and count == 0:
        return self.pull(<object> args[0], None)
    if given + count == 2 and (count == 0 or (count == 1 and place_of(names, "out") == 0)):
        return self.pull(<object> args[0], <object> args[1])
    return self.__call__(*listed(args, given), **named(args + given, names))


cdef Pullback example = Pullback.__new__(Pullback)
call_by_vector(<PyTypeObject*> Pullback, <char*> &example.vectorcall - <char*> <PyObject*> example)
