"""The element types that compiled kernels are written for, and pointers to where there may be no array."""

ctypedef fused real:
    float
    double


cdef inline real* offset(const real* pointer, Py_ssize_t n) noexcept nogil:
    """``pointer + n``, or NULL where there is no array."""
    if pointer == NULL:
        return NULL
    return <real*> pointer + n
