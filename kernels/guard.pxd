from cpython.pythread cimport PyThread_type_lock


cdef class Guard:
    cdef readonly bint taken
    cdef Py_ssize_t waiting
    cdef PyThread_type_lock awake
    cdef unsigned long owner  # thread that took it last
    cdef bint take(self) noexcept
    cdef void release(self) noexcept
