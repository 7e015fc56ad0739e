"""The lock of a plan."""

from time import sleep

from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport (
    PyThread_allocate_lock, PyThread_free_lock, PyThread_get_thread_ident, PyThread_release_lock, PyThread_type_lock)

cdef extern from "pythread.h" nogil:
    int PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int interrupted)

cdef enum:
    NAPS = 50  # at most, while a thread lets another one wake up and go first

NAP = 2e-5  # s


cdef class Guard:
    """A lock that compiled code takes, or finds taken, by looking at a flag. Not reentrant.

    The flag changes only under the GIL. Who waits for it sleeps on a lock, which is released as often as somebody may wait. Who has waited
    goes first: a thread that calls a plan again and again would have taken the flag once more before the other one has the GIL.
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
        cdef int naps = 0
        while self.waiting > 0 and not self.taken and naps < NAPS:
            sleep(NAP)
            naps += 1
        while self.taken:
            self.waiting += 1
            with nogil:
                PyThread_acquire_lock_timed(self.awake, 100_000, 0)
            self.waiting -= 1
            PyErr_CheckSignals()
        self.taken, self.owner = True, PyThread_get_thread_ident()

    def __exit__(self, *exception):
        self.release()

    cdef bint take(self) noexcept:
        """Whether nobody held it, or waits for it; then the caller does."""
        if self.taken or self.waiting > 0:
            return False
        self.taken = True
        self.owner = PyThread_get_thread_ident()
        return True

    cdef void release(self) noexcept:
        self.taken = False
        if self.waiting > 0:
            PyThread_release_lock(self.awake)
