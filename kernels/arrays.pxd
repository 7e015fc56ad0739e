"""What every Cython kernel needs of an array: its element type and its memory. Dispatch has made it contiguous and aligned."""

cimport numpy as cnp

ctypedef fused real:
    float
    double


cdef inline bint is_float32(cnp.ndarray array) noexcept nogil:
    return cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32


cdef inline void* data(cnp.ndarray array) noexcept nogil:
    """First element; NULL for an array that is absent."""
    return NULL if array is None else cnp.PyArray_DATA(array)


cdef inline real* offset(const real* pointer, Py_ssize_t n) noexcept nogil:
    """``pointer + n``, or NULL where there is no array."""
    if pointer == NULL:
        return NULL
    return <real*> pointer + n


cdef inline Py_ssize_t size(cnp.ndarray array) noexcept nogil:
    return cnp.PyArray_SIZE(array)


cdef inline Py_ssize_t length(cnp.ndarray array, int dimension) noexcept nogil:
    return cnp.PyArray_DIM(array, dimension)
