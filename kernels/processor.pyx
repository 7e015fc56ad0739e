"""What the processor and the operating system can run, asked once and without touching anything else."""

cdef extern from "simd/processor.h":
    int fastnn_x86_64_level() nogil


def x86_64_level() -> int:
    """Highest x86-64 level that can run here: 2, 3 or 4; 1 for an x86-64 below v2; 0 on another architecture."""
    return fastnn_x86_64_level()
