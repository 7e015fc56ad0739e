"""How many threads a kernel may use. Each output element is computed by one thread, so the answer never changes the bits."""

cdef int threads_for(Py_ssize_t work) noexcept nogil
