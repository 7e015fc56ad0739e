"""What the processor can do at most on one thread, as loops to time. They release the GIL, so that threads run side by side."""

from libc.stdint cimport uintptr_t

cdef extern from "simd/machine.h" nogil:
    enum:
        FASTNN_CHAINS
        FASTNN_SPAN_BYTES
    float fastnn_machine_multiply_adds_f32(Py_ssize_t rounds, float factor)
    double fastnn_machine_multiply_adds_f64(Py_ssize_t rounds, double factor)
    float fastnn_machine_read(const char* bytes, Py_ssize_t n, Py_ssize_t times)

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


def read(const unsigned char[::1] memory not None, Py_ssize_t times) -> float:
    """Read ``memory`` so many times, from its first address that a vector divides; a rest of less than 9 vectors is left out."""
    if memory.shape[0] == 0:
        return 0.0
    cdef const char* first = <const char*> &memory[0]
    cdef Py_ssize_t skipped = <Py_ssize_t> (-<uintptr_t> first % FASTNN_SPAN_BYTES)
    cdef Py_ssize_t size = max(memory.shape[0] - skipped, 0) // (8 * FASTNN_SPAN_BYTES) * (8 * FASTNN_SPAN_BYTES)
    cdef float total
    with nogil:
        total = fastnn_machine_read(first + skipped, size, times)
    return total
