"""The layout of an array - type, shape, contiguous memory - in plain C: what a call is compared by."""

cimport numpy as cnp
from cpython.object cimport PyObject, PyTypeObject
from libc.string cimport memcmp

cdef extern from "Python.h":
    PyTypeObject* Py_TYPE(PyObject* value)

cdef extern from "numpy/arrayobject.h":
    PyTypeObject PyArray_Type

cdef enum:
    MOST_DIMENSIONS = 8
    READY = cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED
    WRITEABLE = READY | cnp.NPY_ARRAY_WRITEABLE
    NO_ARRAY = -1


cdef struct Layout:
    int type
    int ndim
    cnp.npy_intp dims[MOST_DIMENSIONS]


cdef inline int describe(Layout* layout, tuple shape, int type) except -1:
    """Note a shape and NumPy's number of a dtype."""
    cdef int i
    if len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"expected at most {MOST_DIMENSIONS} dimensions, got {shape}")
    layout.type = type
    layout.ndim = <int> len(shape)
    for i in range(layout.ndim):
        layout.dims[i] = shape[i]
    return 0


cdef inline bint is_array(PyObject* value) noexcept:
    return Py_TYPE(value) == &PyArray_Type


cdef inline bint matches(PyObject* value, const Layout* layout, int flags) noexcept:
    """Whether a value is a plain array of that shape and dtype with these flags."""
    if not is_array(value):
        return False
    return (
        cnp.PyArray_TYPE(<cnp.ndarray> value) == layout.type
        and cnp.PyArray_NDIM(<cnp.ndarray> value) == layout.ndim
        and (cnp.PyArray_FLAGS(<cnp.ndarray> value) & flags) == flags
        and memcmp(cnp.PyArray_DIMS(<cnp.ndarray> value), layout.dims, layout.ndim * sizeof(cnp.npy_intp)) == 0
        and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray> value)
    )


cdef inline bint overlap(PyObject* a, PyObject* b) noexcept:
    """Whether two contiguous arrays share memory."""
    cdef char* first = <char*> cnp.PyArray_DATA(<cnp.ndarray> a)
    cdef char* second = <char*> cnp.PyArray_DATA(<cnp.ndarray> b)
    return first < second + cnp.PyArray_NBYTES(<cnp.ndarray> b) and second < first + cnp.PyArray_NBYTES(<cnp.ndarray> a)


cdef inline bint same_shape(const Layout* a, const Layout* b) noexcept:
    return a.ndim == b.ndim and memcmp(a.dims, b.dims, a.ndim * sizeof(cnp.npy_intp)) == 0


cdef inline object allocate(Layout* layout):
    return cnp.PyArray_SimpleNew(layout.ndim, layout.dims, layout.type)


cdef inline object view(cnp.ndarray array, Layout* layout):
    """The same contiguous memory in another shape."""
    result = cnp.PyArray_SimpleNewFromData(layout.ndim, layout.dims, layout.type, cnp.PyArray_DATA(array))
    cnp.set_array_base(result, array)
    return result


cdef inline object seen(object array, Layout* layout, Layout* kernels):
    """A contiguous array of one layout as the kernel sees it."""
    return array if same_shape(layout, kernels) else view(<cnp.ndarray> array, kernels)


cdef inline int size_of(int type) except -1:
    """Bytes of an element."""
    return <int> (<cnp.dtype> cnp.PyArray_DescrFromType(type)).itemsize
