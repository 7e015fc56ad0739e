"""Memory that belongs to an object and goes with it."""

from cpython.mem cimport PyMem_Calloc


cdef inline void* make_room(Py_ssize_t count, size_t size) except NULL:
    """Zeros for so many elements, for PyMem_Free; never NULL, even where there are none."""
    cdef void* memory = PyMem_Calloc(count + 1, size)
    if memory == NULL:
        raise MemoryError("no room for a plan")
    return memory
