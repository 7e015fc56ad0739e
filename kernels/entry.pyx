"""The Python side of compiled kernels: callables that put their arguments into plain C, and call the kernel with them."""

cimport numpy as cnp
from cpython.exc cimport PyErr_Occurred
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_AsDouble
from cpython.object cimport PyObject, PyObject_IsTrue, PyTypeObject

from fastnn.kernels.layouts cimport Py_TYPE, is_array

cnp.import_array()

cdef extern from "Python.h":
    ctypedef PyObject* (*PyCFunction)(PyObject*, PyObject*)
    int METH_FASTCALL
    object PyCFunction_NewEx(PyMethodDef* method, object self, object module)
    PyTypeObject PyFloat_Type
    PyTypeObject PyLong_Type
    const char* PyUnicode_AsUTF8(object text) except NULL
    long long PyLong_AsLongLong(object number) except? -1

cdef enum:
    RELEASED_FROM = 16384  # elements of all arrays from which the GIL is released for a call; they take a microsecond at least

cdef dict KINDS = {"array": b"a", "int": b"i", "bool": b"b", "float": b"f", "str": b"s", "tuple": b"t"}


cdef class Kernel:
    """A compiled kernel: its entries, and what its arguments are. The ``__self__`` of the function that Python calls."""

    def __init__(self, str signature):
        cdef int i
        self.name, _, arguments = signature.removesuffix(")").partition("(")
        declared = [argument.split() for argument in arguments.split(", ")]
        self.names = tuple([words[len(words) - 1].removesuffix("?") for words in declared])
        self.count = <int> len(declared)
        if self.count > MOST_ARGUMENTS:
            raise ValueError(f"expected at most {MOST_ARGUMENTS} arguments: {signature}")
        for i in range(self.count):
            kind = KINDS["array" if len(declared[i]) == 1 else declared[i][0]]
            self.kinds[i] = (<const char*> kind)[0]
            self.optional[i] = declared[i][len(declared[i]) - 1].endswith("?")
        self.c_name, self.signature = self.name.encode(), signature.encode()
        self.method = PyMethodDef(self.c_name, <PyCFunction> <void*> call, METH_FASTCALL, self.signature)

    cdef bint is_float32(self, PyObject** values) noexcept:
        """Whether the entry for float32 is wanted: by the first argument, which is an array in every kernel."""
        return (
            (is_array(values[0]) or cnp.PyArray_Check(<object> values[0]))
            and cnp.PyArray_TYPE(<cnp.ndarray> values[0]) == cnp.NPY_FLOAT32
        )

    cdef int take(self, Argument64* argument, int index, PyObject* value, Py_ssize_t* room) except -1:
        """Fill in one argument; ``room`` for MOST_NUMBERS keeps the numbers of a tuple."""
        cdef char kind = self.kinds[index]
        cdef Py_ssize_t i
        cdef cnp.ndarray array
        argument.given = True
        if kind == c"a":
            if is_array(value) or cnp.PyArray_Check(<object> value):
                array = <cnp.ndarray> value
                argument.output = <double*> cnp.PyArray_DATA(array)
                argument.dims = <const Py_ssize_t*> cnp.PyArray_DIMS(array)
                argument.ndim = cnp.PyArray_NDIM(array)
                argument.itemsize = <int> cnp.PyArray_ITEMSIZE(array)
                argument.size = 1
                for i in range(argument.ndim):
                    argument.size *= argument.dims[i]
                return 0
        elif value == <PyObject*> None:
            pass
        elif kind == c"f":
            argument.number = PyFloat_AS_DOUBLE(<object> value) if Py_TYPE(value) == &PyFloat_Type else PyFloat_AsDouble(<object> value)
            if argument.number == -1 and PyErr_Occurred():
                raise self.wrong(index, value)
            return 0
        elif kind == c"i":
            argument.integer = PyLong_AsLongLong(<object> value)
            argument.number = <double> argument.integer
            return 0
        elif kind == c"b":
            argument.integer = PyObject_IsTrue(<object> value)
            argument.number = <double> argument.integer
            return 0
        elif kind == c"s":
            if isinstance(<object> value, str):
                argument.text = PyUnicode_AsUTF8(<object> value)
                return 0
        elif isinstance(<object> value, tuple) and len(<tuple> value) <= MOST_NUMBERS:
            argument.ndim = <int> len(<tuple> value)
            argument.dims = room
            for i in range(argument.ndim):
                room[i] = (<tuple> value)[i]
            return 0
        if value != <PyObject*> None or not self.optional[index]:
            raise self.wrong(index, value)
        argument.given = False
        argument.output = NULL
        argument.dims = NULL
        argument.size = argument.ndim = argument.itemsize = 0
        return 0

    cdef object wrong(self, int index, PyObject* value):
        return TypeError(f"{self.signature.decode()}: {self.names[index]} cannot be {<object> value!r}")

    cdef object no_memory(self):
        return MemoryError(f"{self.name}: no room for what it computes in between")

    cdef int launch(self, const Argument64* arguments, bint narrow, Py_ssize_t elements) except -1:
        """Call the entry for float32, or for float64, where all arrays together have so many elements."""
        cdef Entry entry = self.entry32 if narrow else self.entry64
        cdef int failed
        if elements < RELEASED_FROM:
            failed = entry(arguments)
        else:
            with nogil:
                failed = entry(arguments)
        if failed:
            raise self.no_memory()
        return 0


cdef object call(Kernel self, PyObject* const* values, Py_ssize_t count):
    """What Python calls."""
    cdef Argument64 arguments[MOST_ARGUMENTS]
    cdef Py_ssize_t room[MOST_ARGUMENTS * MOST_NUMBERS]
    cdef Py_ssize_t elements = 0
    cdef int i
    if count != self.count:
        raise TypeError(f"{self.signature.decode()}: expected {self.count} arguments, got {count}")
    for i in range(count):
        self.take(&arguments[i], i, values[i], &room[i * MOST_NUMBERS])
        if self.kinds[i] == c"a":
            elements += arguments[i].size
    self.launch(arguments, self.is_float32(<PyObject**> values), elements)


cdef Kernel kernel_of(function):
    """The compiled kernel that a Python callable stands for, or None."""
    known = getattr(function, "__self__", None)
    return <Kernel> known if isinstance(known, Kernel) else None


def kernel_at(str signature, size_t entry32, size_t entry64):
    """A kernel that was compiled elsewhere, say by Numba: its signature and the addresses of its entries."""
    cdef Kernel made = Kernel(signature)
    made.entry32, made.entry64 = <Entry> <void*> entry32, <Entry> <void*> entry64
    return PyCFunction_NewEx(&made.method, made, None)


cdef object kernel(dict module, str signature, Entry entry32, Entry entry64, Together together32=NULL, Together together64=NULL):
    """Put a kernel into a module, under the name in its signature.

    Parameters
    ----------
    module : dict
        The module's ``globals()``.
    signature : str
        ``"linear_packed(x, panels, b?, int out_features, str activation, y)"``: arrays without a type, and ``?`` after what may be None.
    entry32, entry64 : Entry
        For arrays of float32, and of float64.
    together32, together64 : Together, optional
        Compute many calls as one; a plan prefers them where calls stand side by side.
    """
    cdef Kernel made = Kernel(signature)
    made.entry32, made.entry64, made.together32, made.together64 = entry32, entry64, together32, together64
    module[made.name] = PyCFunction_NewEx(&made.method, made, module["__name__"])
