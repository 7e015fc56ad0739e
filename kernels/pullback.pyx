"""The pullback of a single operator, compiled: ``pullback(dy, out=None)`` goes straight to the backward kernel."""

cimport numpy as cnp

from fastnn.kernels.layouts cimport (
    NO_ARRAY, READY, WRITEABLE, allocate, describe, is_array, matches, overlap, same_shape, view)

cnp.import_array()


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
        self.inputs, self.outputs = inputs, <int> len(gradients)
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
    slow : callable or None
        The Python way, with the same signature; None has it made by ``gradients.again`` if it is ever wanted.
    function, params
        For ``again``.
    """

    def __init__(self, Gradients gradients, tuple constants, tuple inputs, slow, function=None, dict params=None):
        if 1 + len(constants) + gradients.outputs > MOST_ARGUMENTS:
            raise ValueError(f"expected at most {MOST_ARGUMENTS} arguments")
        self.gradients, self.constants, self.inputs, self.slow = gradients, constants, inputs, slow
        self.function, self.params = function, params

    def __call__(self, dy, out=None):
        cdef PyObject* args[MOST_ARGUMENTS]
        cdef Gradients known = self.gradients
        cdef list results, views = []
        cdef int count = 1, i
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
        if not same_shape(&known.dy, &known.dy_view):
            dy = view(dy, &known.dy_view)
        args[0] = <PyObject*> dy
        for i in range(len(self.constants)):
            args[count] = <PyObject*> self.constants[i]
            count += 1
        results = [None] * known.inputs
        for i in range(known.outputs):
            args[count + i] = <PyObject*> None
            if known.arguments[i] == NO_ARRAY:
                continue
            target = out[known.arguments[i]] if out is not None else None
            target = target if target is not None else allocate(&known.layouts[i])
            results[known.arguments[i]] = target
            if not same_shape(&known.layouts[i], &known.views[i]):
                target = view(target, &known.views[i])
            views.append(target)  # args borrows it
            args[count + i] = <PyObject*> target
        PyObject_Vectorcall(known.kernel, args, count + known.outputs, NULL)
        return tuple(results)

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
            self.slow = self.gradients.again(self.function, self.inputs, self.params)
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
