"""What the processor can do at most on one thread, as loops to time. They release the GIL, so that threads run side by side."""

from libc.stdint cimport uintptr_t

cdef extern from "simd/machine.h" nogil:
    enum:
        FASTNN_CHAINS
        FASTNN_SPAN_BYTES
    float fastnn_machine_multiply_adds_f32(Py_ssize_t rounds, float factor)
    double fastnn_machine_multiply_adds_f64(Py_ssize_t rounds, double factor)
    float fastnn_machine_read(const char* bytes, Py_ssize_t n, Py_ssize_t times)
    void fastnn_machine_update(char* bytes, Py_ssize_t n, Py_ssize_t times)

VECTOR_BYTES = FASTNN_SPAN_BYTES
CHAINS = FASTNN_CHAINS  # vectors that one round multiplies and adds


def multiply_adds(Py_ssize_t rounds, bint double_precision) -> float:
    """``rounds`` times one multiply-add in each of CHAINS vectors, in registers."""
    cdef double total
    with nogil:
        if double_precision:
            total = fastnn_machine_multiply_adds_f64(rounds, 0.999)
        else:
            total = fastnn_machine_multiply_adds_f32(rounds, <float> 0.999)
    return total


cdef Py_ssize_t whole(unsigned char[::1] memory, char** first) noexcept:
    """The first address that a vector divides, and the bytes of all blocks of 8 vectors from there."""
    if memory.shape[0] == 0:
        return 0
    cdef Py_ssize_t skipped = <Py_ssize_t> (-<uintptr_t> &memory[0] % FASTNN_SPAN_BYTES)
    first[0] = <char*> &memory[0] + skipped
    return max(memory.shape[0] - skipped, 0) // (8 * FASTNN_SPAN_BYTES) * (8 * FASTNN_SPAN_BYTES)


def read(unsigned char[::1] memory not None, Py_ssize_t times) -> float:
    """The sum of ``memory`` taken as float32, so many times; a rest of less than 9 vectors is left out."""
    cdef char* first = NULL
    cdef Py_ssize_t size = whole(memory, &first)
    cdef float total
    with nogil:
        total = fastnn_machine_read(first, size, times)
    return total


def update(unsigned char[::1] memory not None, Py_ssize_t times) -> None:
    """Change the sign of ``memory`` taken as float32, so many times, with the same rest."""
    cdef char* first = NULL
    cdef Py_ssize_t size = whole(memory, &first)
    with nogil:
        fastnn_machine_update(first, size, times)
