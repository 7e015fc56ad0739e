"""The number of threads of the Cython kernels: one setting for the process, and less where the work is small."""

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    static int openmp_limit(void) { return omp_in_parallel() ? 1 : omp_get_max_threads(); }
    static void openmp_set(int n) { omp_set_num_threads(n); }
    static const int openmp_present = 1;
    #else
    static int openmp_limit(void) { return 1; }
    static void openmp_set(int n) { (void)n; }
    static const int openmp_present = 0;
    #endif
    """
    int openmp_limit() noexcept nogil
    void openmp_set(int n) noexcept nogil
    const int openmp_present

# Elementary operations (about a nanosecond each) that one thread does before a second one pays for the parallel region.
cdef Py_ssize_t work_per_thread = 32768
cdef int requested = 1
cdef bint serial = False


cdef int threads_for(Py_ssize_t work) noexcept nogil:
    cdef Py_ssize_t useful = work // work_per_thread
    cdef int allowed
    if useful <= 1 or requested == 1 or serial:
        return 1
    allowed = openmp_limit()  # lower than requested where threadpoolctl or OMP_NUM_THREADS says so
    if requested < allowed:
        allowed = requested
    return <int> useful if useful < allowed else allowed


def has_openmp() -> bool:
    """Whether the kernels were compiled with OpenMP."""
    return bool(openmp_present)


def threads_allowed(Py_ssize_t work) -> int:
    """How many threads a kernel called from here would use for that many elementary operations."""
    return threads_for(work)


def set_threads(int n) -> None:
    """Allow ``n`` threads, here and in every Python thread that sets no lower limit of its own."""
    global requested
    requested = n
    openmp_set(n)


def become_serial() -> None:
    """Use one thread from now on: a forked child has lost the threads of its parent's pool."""
    global serial
    serial = True
