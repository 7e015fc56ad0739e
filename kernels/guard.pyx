"""The lock of a plan."""

from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport (
    PyThread_allocate_lock, PyThread_free_lock, PyThread_get_thread_ident, PyThread_release_lock, PyThread_type_lock)

cdef extern from "pythread.h" nogil:
    int PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int interrupted)


cdef class Guard:
    """A lock that compiled code takes, or finds taken, by looking at a flag. Not reentrant.

    The flag changes only under the GIL. Who waits for it sleeps on a lock, which is released as often as somebody may wait.
    """

    def __cinit__(self):
        self.awake = PyThread_allocate_lock()
        if self.awake == NULL:
            raise MemoryError("no room for a lock")

    def __dealloc__(self):
        if self.awake != NULL:
            PyThread_free_lock(self.awake)

    def __enter__(self):
        if self.taken and self.owner == PyThread_get_thread_ident():
            raise ValueError("a plan was called by its own model, loss or optimiser")
        while not self.take():
            self.waiting += 1
            with nogil:
                PyThread_acquire_lock_timed(self.awake, 100_000, 0)
            self.waiting -= 1
            PyErr_CheckSignals()

    def __exit__(self, *exception):
        self.release()

    cdef bint take(self) noexcept:
        """Whether nobody held it; then the caller does."""
        if self.taken:
            return False
        self.taken = True
        self.owner = PyThread_get_thread_ident()
        return True

    cdef void release(self) noexcept:
        self.taken = False
        if self.waiting > 0:
            PyThread_release_lock(self.awake)
