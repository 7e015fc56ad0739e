"""How a compiled kernel is called: with one pointer, to arguments in plain C.

A plan makes them once and then runs kernels without Python; Python's calls make them each time. A kernel is written once, over the fused
type ``Argument``, and compiled for float32 and for float64::

    cdef int relu(const Argument* a) noexcept nogil:
        return threshold(a[0].input, a[1].output, a[1].size)

    kernel(globals(), "relu(x, y)", <Entry> relu[Argument32], <Entry> relu[Argument64])
"""

from cpython.object cimport PyObject

from fastnn.kernels.layouts cimport Layout

cdef extern from "Python.h":
    ctypedef struct PyMethodDef:
        const char* ml_name
        PyObject* (*ml_meth)(PyObject*, PyObject*)
        int ml_flags
        const char* ml_doc

cdef extern from *:
    """
    #define FASTNN_ARGUMENT(name, real)                                                              \\
        typedef struct {                                                                             \\
            union { const real *input; real *output; };                                              \\
            const Py_ssize_t *dims;                                                                  \\
            Py_ssize_t size;                                                                         \\
            long long integer;                                                                       \\
            double number;                                                                           \\
            const char *text;                                                                        \\
            int ndim, itemsize, given;                                                               \\
        } name
    FASTNN_ARGUMENT(fastnn_argument32, float);
    FASTNN_ARGUMENT(fastnn_argument64, double);
    """
    ctypedef struct Argument32 "fastnn_argument32":
        const float* input      # the first element of an array, NULL where it is absent
        float* output           # the same, to be written
        const Py_ssize_t* dims  # the lengths of an array's dimensions, or the numbers of a tuple
        Py_ssize_t size         # elements of an array
        long long integer       # an int or a bool
        double number           # a float, or what an int is as one
        const char* text        # a str
        int ndim                # of an array, or how many numbers a tuple has
        int itemsize            # bytes of an element
        bint given              # 0 for None

    ctypedef struct Argument64 "fastnn_argument64":
        const double* input
        double* output
        const Py_ssize_t* dims
        Py_ssize_t size
        long long integer
        double number
        const char* text
        int ndim
        int itemsize
        bint given

ctypedef fused Argument:
    Argument32
    Argument64

# 0, or anything else where there is no memory. It takes an Argument32* or Argument64*, which differ in the type of their pointers alone.
ctypedef int (*Entry)(const void* arguments) noexcept nogil
# Many calls of one kernel as one, each with its own arguments.
ctypedef int (*Together)(const void** calls, Py_ssize_t count) noexcept nogil

cdef enum:
    MOST_ARGUMENTS = 24  # of a kernel: arrays, attributes and outputs
    MOST_NUMBERS = 8     # of a tuple, and dimensions of an array


cdef inline void lay_out(Argument64* argument, const Layout* layout, int itemsize) noexcept:
    """An array of that layout, but for its memory; ``layout`` has to live as long."""
    cdef int i
    argument.given = True
    argument.dims = <const Py_ssize_t*> layout.dims
    argument.ndim = layout.ndim
    argument.itemsize = itemsize
    argument.size = 1
    for i in range(layout.ndim):
        argument.size *= layout.dims[i]


cdef class Kernel:
    cdef Entry entry32, entry64
    cdef Together together32, together64
    cdef PyMethodDef method
    cdef bytes c_name, signature
    cdef readonly str name
    cdef readonly tuple names
    cdef int count
    cdef char kinds[MOST_ARGUMENTS]
    cdef bint optional[MOST_ARGUMENTS]
    cdef bint is_float32(self, PyObject** values) noexcept
    cdef int take(self, Argument64* argument, int index, PyObject* value, Py_ssize_t* room) except -1
    cdef object wrong(self, int index, PyObject* value)
    cdef object no_memory(self)
    cdef int launch(self, const Argument64* arguments, bint narrow, Py_ssize_t elements) except -1


cdef Kernel kernel_of(function)
cdef object kernel(dict module, str signature, Entry entry32, Entry entry64, Together together32=*, Together together64=*)
